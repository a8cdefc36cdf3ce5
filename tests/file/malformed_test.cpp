// Files that are not what they claim: each either opens or throws a typed error, and none makes the
// reader allocate more than a small multiple of its size.
#include <gtest/gtest.h>
#include <malloc.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <new>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "file/model_file.h"
#include "support/gguf_bytes.h"
#include "support/temporary_folder.h"

namespace {

// Bytes in blocks that operator new gave out, for the whole test program.
std::atomic<std::size_t> held{0};
std::atomic<std::size_t> most_held{0};

}  // namespace

void* operator new(std::size_t size) {
  void* block = std::malloc(size);
  if (!block) throw std::bad_alloc();
  const std::size_t now = held += malloc_usable_size(block);
  if (now > most_held) most_held = now;
  return block;
}
void operator delete(void* block) noexcept {
  if (block) held -= malloc_usable_size(block);
  std::free(block);
}
void operator delete(void* block, std::size_t) noexcept { operator delete(block); }

namespace plimsoll {
namespace {

using test::GgufBytes;

class Malformed : public ::testing::Test {
 protected:
  std::string path() const { return folder_.file("model.gguf"); }

  ModelFile open(const std::vector<std::uint8_t>& bytes) const {
    test::write_file(path(), bytes);
    return ModelFile::open(path());
  }

  /// Opening throws `code`, with `part` in the message.
  void expect_error(const GgufBytes& file, ErrorCode code, std::string_view part) const {
    expect_error(file.bytes(), code, part);
  }
  void expect_error(const std::vector<std::uint8_t>& bytes, ErrorCode code,
                    std::string_view part) const {
    test::write_file(path(), bytes);
    expect_error(path(), code, part);
  }
  static void expect_error(const std::string& name, ErrorCode code, std::string_view part) {
    const std::size_t before = held;
    most_held = before;
    try {
      ModelFile::open(name);
      ADD_FAILURE() << "opened, wanted an error with: " << part;
    } catch (const Error& error) {
      EXPECT_EQ(plimsoll::name(error.code()), plimsoll::name(code)) << error.message();
      EXPECT_NE(error.message().find(part), std::string::npos)
          << error.message() << "\nwanted: " << part;
      EXPECT_NE(error.message().find(name), std::string::npos) << error.message();
      EXPECT_FALSE(error.hint().empty());
    }
    EXPECT_LT(most_held - before, 64 * KiB);
  }

  test::TemporaryFolder folder_;
};

constexpr ErrorCode corrupt = ErrorCode::file_corrupt;
constexpr std::uint64_t huge = std::uint64_t{1} << 60;

TEST_F(Malformed, PathsThatAreNoFiles) {
  expect_error(folder_.file("absent.gguf"), ErrorCode::file_not_found, "No such file");
  expect_error(path() + "/below.gguf", ErrorCode::file_not_found, "");
  expect_error(folder_.path().string(), ErrorCode::file_unreadable, "directory");
  const std::string pipe = folder_.file("pipe");
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  expect_error(pipe, ErrorCode::file_unreadable, "pipe");
  expect_error("/dev/zero", ErrorCode::file_unreadable, "device");
}

TEST_F(Malformed, NoPermission) {
  test::write_file(path(), GgufBytes(0, 0).bytes());
  ASSERT_EQ(::chmod(path().c_str(), 0), 0);
  ASSERT_EQ(::chmod(folder_.path().c_str(), 0755), 0);
  // Root may read everything, so a child gives that up.
  const pid_t child = ::fork();
  if (child == 0) {
    if (::geteuid() == 0 && ::setuid(65534) != 0) ::_exit(2);
    expect_error(path(), ErrorCode::file_unreadable, "ermission denied");
    ::_exit(HasFailure() ? 1 : 0);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST_F(Malformed, TheLeastFileOpens) {
  const ModelFile file = open(GgufBytes(0, 0).bytes());
  EXPECT_EQ(file.version(), 3u);
  EXPECT_TRUE(file.tensors().empty());
  EXPECT_TRUE(file.metadata().entries().empty());
  EXPECT_EQ(open(GgufBytes(0, 0, 2).bytes()).version(), 2u);
}

TEST_F(Malformed, EmptyAndForeign) {
  expect_error(std::vector<std::uint8_t>{}, corrupt, "empty");
  expect_error(std::vector<std::uint8_t>{'G', 'G'}, corrupt, "found 2");
  expect_error(std::vector<std::uint8_t>{'G', 'G', 'U', 'F'}, corrupt, "version");
  expect_error(std::vector<std::uint8_t>(100, 'x'), corrupt, "not a GGUF file");
  expect_error(std::vector<std::uint8_t>{'v', 'e', 'r', 's', 'i', 'o', 'n', ' ', 'h'}, corrupt,
               "\"vers\"");
  expect_error(std::vector<std::uint8_t>(4096, 0), corrupt, "\"????\"");
}

TEST_F(Malformed, Versions) {
  const ErrorCode code = ErrorCode::unsupported_version;
  expect_error(GgufBytes(0, 0, 0), code, "found 0");
  expect_error(GgufBytes(0, 0, 1), code, "version 1");
  expect_error(GgufBytes(0, 0, 4), code, "found 4");
  expect_error(GgufBytes(0, 0, 99), code, "found 99");
  expect_error(GgufBytes(0, 0, 0x03000000), code, "big-endian");
  expect_error(GgufBytes(0, 0, 0x02000000), code, "big-endian");
}

TEST_F(Malformed, CountsBeyondTheFile) {
  expect_error(GgufBytes(huge, 0), corrupt, std::to_string(huge));
  expect_error(GgufBytes(0, huge), corrupt, std::to_string(huge));
  expect_error(GgufBytes(~std::uint64_t{0}, 0), corrupt, "tensors");
  expect_error(GgufBytes(0, ~std::uint64_t{0}), corrupt, "keys");
  expect_error(GgufBytes(1, 0), corrupt, "tensors");
  expect_error(GgufBytes(0, 1), corrupt, "keys");
  expect_error(GgufBytes(0, 2).u32("a", 1), corrupt, "found");
  for (std::uint32_t type = 0; type <= 12; ++type) {
    if (type == 9) continue;
    expect_error(GgufBytes(0, 1).array("list", type, huge).data(64), corrupt, std::to_string(huge));
    expect_error(GgufBytes(0, 1).array("list", type, ~std::uint64_t{0}).data(64), corrupt, "list");
    expect_error(GgufBytes(0, 1).array("list", type, 65).data(64), corrupt,
                 type < 2 || type == 7 ? "65" : "list");
  }
  GgufBytes crowded(0, 100000);
  crowded.data(3000000);
  expect_error(crowded, corrupt, "at most 65536 keys");
}

TEST_F(Malformed, Strings) {
  expect_error(GgufBytes(0, 1).number(huge).raw("key").data(50), corrupt, "metadata key 0");
  expect_error(GgufBytes(0, 1).key("text", 8).number(huge).data(50), corrupt, "\"text\"");
  expect_error(GgufBytes(0, 1).key("text", 8).number(std::uint64_t{5}).raw("four"), corrupt,
               "wanted 5");
  expect_error(GgufBytes(0, 1).array("texts", 8, 2).string("one").number(huge), corrupt,
               "\"texts\"");
  expect_error(GgufBytes(0, 1).string("").number(std::uint32_t{4}).number(1u).data(10), corrupt,
               "1 to 65535");
  expect_error(GgufBytes(0, 1).u32(std::string(65536, 'k'), 1), corrupt, "found 65536");
  EXPECT_EQ(
      open(GgufBytes(0, 1).u32(std::string(65535, 'k'), 1).bytes()).metadata().entries().size(),
      1u);
}

TEST_F(Malformed, MetadataTypesAndValues) {
  expect_error(GgufBytes(0, 1).key("odd", 13).data(16), corrupt, "found 13");
  expect_error(GgufBytes(0, 1).key("odd", 0xffffffff).data(16), corrupt, "\"odd\"");
  expect_error(GgufBytes(0, 1).array("odd", 13, 1).data(16), corrupt, "found 13");
  expect_error(GgufBytes(0, 1).array("nested", 9, 1).data(64), corrupt, "\"nested\"");
  expect_error(GgufBytes(0, 1).key("flag", 7).number(std::uint8_t{2}), corrupt, "found 2");
  expect_error(GgufBytes(0, 1).array("flags", 7, 3).raw(std::string("\0\1\xff", 3)), corrupt,
               "found 255");
  expect_error(GgufBytes(0, 3).u32("same", 1).u32("other", 1).u32("same", 2), corrupt, "\"same\"");
  // Names are made printable.
  expect_error(GgufBytes(0, 2).u32("\x1b[2J", 1).u32("\x1b[2J", 1), corrupt, "\"?[2J\"");
}

TEST_F(Malformed, Alignment) {
  const std::string key = "general.alignment";
  for (const std::uint32_t bad : {0u, 1u, 4u, 12u, 24u, 33u, 0xffffffffu})
    expect_error(GgufBytes(0, 1).u32(key, bad), corrupt, std::to_string(bad));
  expect_error(GgufBytes(0, 1).key(key, 8).string("32"), corrupt, "string");
  expect_error(GgufBytes(0, 1).key(key, 5).number(std::int32_t{-32}), corrupt, "-32");
  for (const std::uint32_t good : {8u, 16u, 64u, 4096u}) {
    const ModelFile file =
        open(GgufBytes(1, 1).u32(key, good).tensor("t", {8}, 0, 0).pad(good).data(32).bytes());
    EXPECT_EQ(file.tensors()[0].offset % good, 0u);
  }
  // So large that the data would start beyond the file.
  expect_error(GgufBytes(1, 1).key(key, 10).number(huge).tensor("t", {8}, 0, 0).pad().data(32),
               corrupt, "\"t\"");
}

TEST_F(Malformed, Tensors) {
  const auto with = [](const std::vector<std::uint64_t>& shape, std::uint32_t type,
                       std::uint64_t offset) {
    return GgufBytes(1, 0).tensor("t", shape, type, offset).pad().data(256);
  };
  EXPECT_NO_THROW(open(with({8, 8}, 0, 0).bytes()));
  EXPECT_NO_THROW(open(with({8, 4}, 0, 128).bytes()));
  expect_error(with({8, 8}, 0, 32), corrupt, "wanted 256 bytes at offset 32");
  expect_error(with({8, 9}, 0, 0), corrupt, "wanted 288 bytes");
  expect_error(with({8}, 0, huge), corrupt, std::to_string(huge));
  expect_error(with({8}, 0, ~std::uint64_t{31}), corrupt, "\"t\"");
  expect_error(with({8}, 0, 8), corrupt, "multiple of 32");
  expect_error(with({}, 0, 0), corrupt, "found 0");
  expect_error(with({1, 1, 1, 1, 1}, 0, 0), corrupt, "found 5");
  expect_error(with({0}, 0, 0), corrupt, "found 0");
  expect_error(with({8, 0, 8}, 0, 0), corrupt, "as number 1");
  expect_error(with({huge}, 0, 0), corrupt, "\"t\"");
  expect_error(with({huge, 8}, 0, 0), corrupt, "as number 1");
  expect_error(with({1ull << 32, 1ull << 32}, 0, 0), corrupt, "as number 1");
  expect_error(with({~0ull}, 0, 0), corrupt, "as number 0");
  expect_error(with({1ull << 62}, 0, 0), corrupt, "more than 2^64");
  expect_error(with({31, 2}, 8, 0), corrupt, "multiple of 32");
  expect_error(with({128}, 12, 0), corrupt, "multiple of 256");
  expect_error(GgufBytes(1, 0).tensor("", {8}, 0, 0).pad().data(256), corrupt, "name of tensor 0");
  expect_error(GgufBytes(1, 0).tensor("t", {8}, 0, 0), corrupt, "found a file of");
}

TEST_F(Malformed, Formats) {
  const auto with = [](std::uint32_t type) {
    return GgufBytes(1, 0).tensor("blk.0.w", {256}, type, 0).pad().data(1024);
  };
  const ErrorCode code = ErrorCode::unsupported_format;
  expect_error(with(33), code, "Q4_0_8_8");
  for (const std::uint32_t type : {4u, 5u, 24u, 31u, 41u, 0xffffffffu}) {
    expect_error(with(type), code, "type number " + std::to_string(type));
    expect_error(with(type), code, "blk.0.w");
  }
  for (const Format& f : formats()) {
    const auto type = static_cast<std::uint32_t>(f.id);
    EXPECT_NO_THROW(open(with(type).bytes())) << f.name;
  }
}

TEST_F(Malformed, TensorsInEachOthersWay) {
  const auto two = [](std::uint64_t first, std::uint64_t second) {
    return GgufBytes(2, 0).tensor("a", {16}, 0, first).tensor("b", {16}, 0, second).pad().data(256);
  };
  EXPECT_NO_THROW(open(two(0, 64).bytes()));
  EXPECT_NO_THROW(open(two(192, 0).bytes()));
  expect_error(two(0, 0), corrupt, "after");
  expect_error(two(0, 32), corrupt, "\"b\"");
  expect_error(two(96, 64), corrupt, "\"a\"");
  expect_error(GgufBytes(2, 0).tensor("a", {16}, 0, 0).tensor("a", {16}, 0, 64).pad().data(256),
               corrupt, "twice");
}

// The bundled model, damaged.
class Damaged : public Malformed {
 protected:
  void SetUp() override {
    const std::string source = PLIMSOLL_SHARED "/models/plimsoll-docs-4m-f16.gguf";
    if (!std::filesystem::exists(source)) GTEST_SKIP() << "needs " << source;
    whole_ = test::read_file(source);
    const ModelFile file = ModelFile::open(source);
    for (const TensorInfo& tensor : file.tensors()) header_ = std::min(header_, tensor.offset);
    ASSERT_LT(header_, whole_.size() / 10);
  }

  /// Opens or throws an Error; anything else fails the test. True if it opened.
  bool survives(const std::string& name, Bytes size) const {
    const std::size_t before = held;
    most_held = before;
    bool opened = true;
    try {
      const ModelFile file = ModelFile::open(name);
      for (const Metadata::Entry& entry : file.metadata().entries()) {
        const std::uint64_t last = entry.value.size() - 1;
        if (entry.value.size() > 0 && entry.value.element_type() == MetadataType::string) {
          EXPECT_LE(entry.value.as_string(last).size(), size);
        }
      }
      for (const TensorInfo& tensor : file.tensors()) EXPECT_LE(tensor.offset + tensor.bytes, size);
    } catch (const Error& error) {
      opened = false;
      EXPECT_NE(plimsoll::name(error.code()), plimsoll::name(ErrorCode::internal))
          << error.message();
    }
    // The header itself is at most the file, and is held beside these.
    EXPECT_LE(most_held - before, 3 * size + 64 * KiB);
    return opened;
  }

  std::vector<std::uint8_t> whole_;
  std::uint64_t header_ = ~std::uint64_t{0};
};

TEST_F(Damaged, Truncated) {
  test::write_file(path(), whole_);
  ASSERT_TRUE(survives(path(), whole_.size()));
  // From the end to the front, half of the places inside the header.
  std::mt19937_64 random(1);
  std::vector<std::uint64_t> places;
  for (int i = 0; i < 100; ++i) places.push_back(random() % header_);
  for (int i = 0; i < 100; ++i) places.push_back(random() % (whole_.size() - 64));
  std::ranges::sort(places, std::greater());
  for (const std::uint64_t place : places) {
    ASSERT_EQ(::truncate(path().c_str(), static_cast<off_t>(place)), 0);
    EXPECT_FALSE(survives(path(), place)) << place;
  }
}

TEST_F(Damaged, BitsFlippedInTheHeader) {
  test::write_file(path(), whole_);
  std::fstream file(path(), std::ios::binary | std::ios::in | std::ios::out);
  const auto put = [&](std::uint64_t place, std::uint8_t byte) {
    file.seekp(static_cast<std::streamoff>(place));
    file.put(static_cast<char>(byte));
    file.flush();
  };
  std::mt19937_64 random(2);
  int opened = 0;
  constexpr int rounds = 2000;
  for (int round = 0; round < rounds; ++round) {
    // Every fourth hits the first bytes or the tensor table, where most of the numbers are.
    const std::uint64_t place = round % 8 == 0   ? random() % 400
                                : round % 8 == 4 ? header_ - 1 - random() % 2000
                                                 : random() % header_;
    const auto flip =
        static_cast<std::uint8_t>(random() % 3 == 0 ? 1u << random() % 8 : 1 + random() % 255);
    put(place, whole_[place] ^ flip);
    opened += survives(path(), whole_.size());
    put(place, whole_[place]);
  }
  EXPECT_GT(opened, rounds / 10);
  EXPECT_LT(opened, rounds);
  EXPECT_TRUE(survives(path(), whole_.size()));
}

}  // namespace
}  // namespace plimsoll
