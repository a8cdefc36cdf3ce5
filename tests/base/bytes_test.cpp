#include "base/bytes.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "base/error.h"

namespace plimsoll {
namespace {

TEST(ParseBytes, ReadsEveryForm) {
  const struct {
    const char* text;
    Bytes bytes;
  } cases[] = {
      {"1", 1},
      {"17", 17},
      {"17B", 17},
      {"0017", 17},
      {"64k", 65'536},
      {"64K", 65'536},
      {"64KiB", 65'536},
      {"64kib", 65'536},
      {"64KB", 64'000},
      {"512MiB", 536'870'912},
      {"512M", 536'870'912},
      {"12 MiB", 12'582'912},
      {"800MB", 800'000'000},
      {"800mb", 800'000'000},
      {"1.2GiB", 1'288'490'188},  // of 1288490188.8
      {"1.2g", 1'288'490'188},
      {"0.5GiB", 536'870'912},
      {"0.1GB", 100'000'000},  // exact, which doubles would not promise
      {"2.5 TiB", 2'748'779'069'440},
      {"3TB", 3'000'000'000'000},
      {"1PiB", 1'125'899'906'842'624},
      {"1.000000000000000000000000000001KiB", 1024},
      {"0.001KiB", 1},
      {"7EiB", 8'070'450'532'247'928'832},
      {"9223372036854775807", 9'223'372'036'854'775'807},
  };
  for (const auto& c : cases) EXPECT_EQ(parse_bytes(c.text), c.bytes) << c.text;
}

TEST(ParseBytes, RejectsTheRest) {
  const char* cases[] = {"",
                         " ",
                         "0",
                         "00",
                         "0GiB",
                         "0.0001KiB",
                         "abc",
                         "-1",
                         "+1",
                         "1e400",
                         "1e3",
                         "1.5",
                         "1.5B",
                         "1.",
                         "1.GiB",
                         ".5GiB",
                         "1.2.3G",
                         "1,5GiB",
                         "GiB",
                         "12  MiB",
                         " 12MiB",
                         "12MiB ",
                         "12 ",
                         "12MiBs",
                         "12Mi",
                         "12QiB",
                         "0x10",
                         "inf",
                         "nan",
                         "8EiB",
                         "9.9EB",
                         "16EiB",
                         "20 GiB!",
                         "1\n",
                         "1 \tG",
                         "9223372036854775808",
                         "18446744073709551616",
                         "99999999999999999999999999999999999999999",
                         "18446744073709551615KiB"};
  for (const char* text : cases) {
    try {
      const Bytes bytes = parse_bytes(text);
      ADD_FAILURE() << "\"" << text << "\" was read as " << bytes;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::usage) << text;
      EXPECT_NE(error.message().find(text), std::string::npos) << error.message();
      EXPECT_FALSE(error.hint().empty());
    }
  }
  EXPECT_THROW(parse_bytes(std::string_view("1\0G", 3)), Error);
}

TEST(FormatBytes, ThreeSignificantDigits) {
  const struct {
    Bytes bytes;
    const char* text;
  } cases[] = {
      {0, "0 B"},
      {17, "17 B"},
      {999, "999 B"},
      {1000, "0.977 KiB"},
      {1023, "0.999 KiB"},
      {KiB, "1.00 KiB"},
      {12 * KiB, "12.0 KiB"},
      {640 * MiB, "640 MiB"},
      {1280 * MiB, "1.25 GiB"},
      {1000 * MiB, "0.977 GiB"},
      {MiB - 1, "1.00 MiB"},
      {GiB - 1, "1.00 GiB"},
      {~Bytes{0}, "16.0 EiB"},
  };
  for (const auto& c : cases) EXPECT_EQ(format_bytes(c.bytes), c.text) << c.bytes;
}

// What is printed reads back to within the three digits that it keeps.
TEST(FormatBytes, ReadsBackWithinHalfADigit) {
  std::mt19937_64 random(7);
  for (int i = 0; i < 2000; ++i) {
    const Bytes bytes = (random() >> (2 + random() % 60)) | 1;
    const double back = static_cast<double>(parse_bytes(format_bytes(bytes)));
    // Half of the last of three digits, and the whole byte that reading drops.
    EXPECT_NEAR(back, static_cast<double>(bytes), 0.00502 * static_cast<double>(bytes) + 1)
        << bytes;
  }
}

TEST(CheckedArithmetic, EmptyOnOverflow) {
  const std::uint64_t most = ~std::uint64_t{0};
  EXPECT_EQ(checked_multiply(most / 3, 3), most);
  EXPECT_EQ(checked_multiply(most / 3 + 1, 3), std::nullopt);
  EXPECT_EQ(checked_add(most - 5, 5), most);
  EXPECT_EQ(checked_add(most - 5, 6), std::nullopt);
  EXPECT_EQ(round_up(4097, 4096), 8192u);
  EXPECT_EQ(round_up(8192, 4096), 8192u);
  EXPECT_EQ(round_down(8191, 4096), 4096u);
}

}  // namespace
}  // namespace plimsoll
