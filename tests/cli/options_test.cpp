#include "options/options.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace plimsoll {
namespace {

std::vector<Bytes> sizes_of(const std::vector<std::string>& arguments) {
  std::vector<Bytes> sizes;
  Options options("test", "Takes sizes.");
  options.sizes("--memory", sizes, "Some.");
  EXPECT_TRUE(options.parse(arguments));
  return sizes;
}

TEST(Options, SizesAreInTheirOrder) {
  EXPECT_EQ(sizes_of({}), std::vector<Bytes>{});
  EXPECT_EQ(sizes_of({"--memory", "24MiB"}), std::vector<Bytes>{24 * MiB});
  EXPECT_EQ(sizes_of({"--memory=1.5GiB,800MB,4096"}),
            (std::vector<Bytes>{1536 * MiB, 800'000'000, 4096}));
}

TEST(Options, SizesThatAreNone) {
  for (const std::string text : {"", ",", "1MiB,", ",1MiB", "1MiB,,2MiB", "1MiB;2MiB", "1MiB,many"})
    try {
      sizes_of({"--memory", text});
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::usage) << text;
      EXPECT_NE(error.message().find("--memory"), std::string::npos) << error.message();
    }
}

}  // namespace
}  // namespace plimsoll
