// Reading ranges: cached, uncached, half cached; aligned and not; by many threads; past the end.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "file/header_bytes.h"
#include "file/input_file.h"
#include "file/model_file.h"
#include "support/gguf_bytes.h"
#include "support/temporary_folder.h"

namespace plimsoll {
namespace {

constexpr Bytes file_bytes = 9 * MiB + 1237;

class Read : public ::testing::Test {
 protected:
  void SetUp() override {
    std::mt19937_64 random(5);
    content_.resize(file_bytes);
    for (std::uint8_t& byte : content_) byte = static_cast<std::uint8_t>(random());
    test::write_file(path(), content_);
    fd_ = ::open(path().c_str(), O_RDONLY);
    ASSERT_GE(fd_, 0);
    // Dirty pages cannot be dropped.
    ASSERT_EQ(::fsync(fd_), 0);
    buffer_.reset(
        static_cast<std::uint8_t*>(std::aligned_alloc(4096, round_up(file_bytes, 4096) + 8192)));
  }
  void TearDown() override { ::close(fd_); }

  std::string path() const { return folder_.file("data"); }

  void drop() const { ::posix_fadvise(fd_, 0, 0, POSIX_FADV_DONTNEED); }
  void warm(std::uint64_t offset, Bytes bytes) const {
    std::vector<std::uint8_t> unused(bytes);
    ASSERT_EQ(::pread(fd_, unused.data(), bytes, static_cast<off_t>(offset)),
              static_cast<ssize_t>(bytes));
  }
  /// Pages of the file in the kernel's cache; -1 where it does not say.
  long cached() const {
    const std::uint64_t range[2] = {0, file_bytes};
    std::uint64_t result[5] = {};
    return ::syscall(451, fd_, range, result, 0) == 0 ? static_cast<long>(result[0]) : -1;
  }

  void expect_range(const InputFile& file, std::uint64_t offset, Bytes bytes, Bytes shift) const {
    std::uint8_t* to = buffer_.get() + shift;
    to[bytes] = 0xa5;
    file.read(offset, bytes, to);
    ASSERT_EQ(std::memcmp(to, content_.data() + offset, bytes), 0)
        << offset << " " << bytes << " " << shift;
    ASSERT_EQ(to[bytes], 0xa5) << "written past the end";
  }

  void expect_awkward_ranges(InputFile::Mode mode, const std::function<void()>& before) const {
    const InputFile file(path(), mode);
    ASSERT_EQ(file.size(), file_bytes);
    const std::vector<Bytes> sizes = {0, 1, 4095, 4096, 4097, 70000, 1 * MiB + 1, 5 * MiB + 333};
    const std::vector<std::uint64_t> offsets = {0, 4095, 5000, 1 * MiB - 1, 4 * MiB};
    for (const std::uint64_t offset : offsets)
      for (const Bytes bytes : sizes)
        for (const Bytes shift : {Bytes{0}, Bytes{1}, offset % 4096}) {
          if (offset + bytes > file_bytes) continue;
          before();
          expect_range(file, offset, bytes, shift);
        }
    // To the very end, which no block size divides.
    for (const Bytes bytes : {Bytes{1}, Bytes{1237}, Bytes{1238}, Bytes{6000}, 3 * MiB, file_bytes})
      for (const Bytes shift : {Bytes{0}, Bytes{7}, (file_bytes - bytes) % 4096}) {
        before();
        expect_range(file, file_bytes - bytes, bytes, shift);
      }
  }

  test::TemporaryFolder folder_;
  std::vector<std::uint8_t> content_;
  std::unique_ptr<std::uint8_t, void (*)(void*)> buffer_{nullptr, std::free};
  int fd_ = -1;
};

/// With direct I/O and without.
class ReadInModes : public Read, public ::testing::WithParamInterface<InputFile::Mode> {};
INSTANTIATE_TEST_SUITE_P(Modes, ReadInModes,
                         ::testing::Values(InputFile::Mode::direct, InputFile::Mode::buffered),
                         [](const auto& mode) {
                           return mode.param == InputFile::Mode::direct ? "Direct" : "Buffered";
                         });

TEST_P(ReadInModes, Cached) {
  expect_awkward_ranges(GetParam(), [&] { warm(0, file_bytes); });
}

TEST_P(ReadInModes, Uncached) {
  expect_awkward_ranges(GetParam(), [&] { drop(); });
}

TEST_P(ReadInModes, HalfCached) {
  expect_awkward_ranges(GetParam(), [&] {
    drop();
    warm(4 * MiB + 8192, 2 * MiB);
    warm(0, 5000);
  });
}

TEST_P(ReadInModes, LeavesNothingInTheCache) {
  drop();
  if (cached() != 0) GTEST_SKIP() << "this kernel or file system cannot drop or count cached pages";
  const InputFile file(path(), GetParam());
  expect_range(file, 0, file_bytes, 0);
  EXPECT_EQ(cached(), 0);
  expect_range(file, 12345, 3 * MiB, 12345 % 4096);
  expect_range(file, 12345, 3 * MiB, 1);
  EXPECT_EQ(cached(), 0);
  // What was there stays there, and nothing is read ahead of it.
  warm(5 * MiB, 64 * KiB);
  const long before = cached();
  EXPECT_GE(before, 16);
  expect_range(file, 5 * MiB, 64 * KiB, 0);
  EXPECT_EQ(cached(), before);
  // Reading around it adds nothing; without direct I/O it goes with what is dropped.
  expect_range(file, 0, file_bytes, 0);
  EXPECT_EQ(cached(), GetParam() == InputFile::Mode::direct ? before : 0);
}

TEST_P(ReadInModes, ManyThreads) {
  drop();
  const InputFile file(path(), GetParam());
  std::vector<std::thread> threads;
  std::vector<int> wrong(4, 0);
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      std::mt19937_64 random(static_cast<std::uint64_t>(t));
      for (int i = 0; i < 50; ++i) {
        const std::uint64_t offset = random() % file_bytes;
        const Bytes bytes = random() % (std::min<Bytes>(file_bytes - offset, 300000) + 1);
        std::vector<std::uint8_t> data(bytes);
        file.read(offset, bytes, data.data());
        wrong[static_cast<std::size_t>(t)] +=
            !std::equal(data.begin(), data.end(), content_.data() + offset);
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
}

TEST_F(Read, PastTheEnd) {
  const InputFile file(path());
  for (const auto& [offset, bytes] :
       std::vector<std::pair<std::uint64_t, Bytes>>{{file_bytes, 1},
                                                    {0, file_bytes + 1},
                                                    {~std::uint64_t{0}, 1},
                                                    {1, ~std::uint64_t{0}},
                                                    {file_bytes + 5, 0}})
    try {
      file.read(offset, bytes, buffer_.get());
      ADD_FAILURE() << offset << " " << bytes;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::file_corrupt);
    }
}

TEST_P(ReadInModes, AFileThatShrinks) {
  const InputFile file(path(), GetParam());
  for (const bool warm_pages : {false, true})
    for (const Bytes left : {3 * MiB, 2 * MiB + 5000, 4096ul, 0ul}) {
      ASSERT_EQ(::truncate(path().c_str(), static_cast<off_t>(left)), 0);
      if (!warm_pages) drop();
      for (const std::uint64_t offset : {std::uint64_t{0}, std::uint64_t{77}, left}) try {
          file.read(offset, 5 * MiB, buffer_.get() + offset % 4096);
          ADD_FAILURE() << left;
        } catch (const Error& error) {
          EXPECT_EQ(error.code(), ErrorCode::file_corrupt);
          EXPECT_NE(error.message().find(std::to_string(left)), std::string::npos)
              << error.message();
        }
    }
}

TEST_F(Read, WithoutDirectAccess) {
  // A file system in memory: everything is cached there, or direct access is refused.
  if (::access("/dev/shm", W_OK) != 0) GTEST_SKIP() << "needs /dev/shm";
  const std::string name = "/dev/shm/plimsoll-test-" + std::to_string(::getpid());
  test::write_file(name, content_);
  const InputFile file(name);
  ::unlink(name.c_str());
  expect_range(file, 0, file_bytes, 0);
  expect_range(file, 4097, 3 * MiB, 5);
}

// A header that is much longer than the first read, and the tensor behind it.
TEST_F(Read, ALongHeader) {
  test::GgufBytes bytes(1, 2);
  constexpr std::uint64_t pieces = 300000;
  bytes.array("tokenizer.ggml.tokens", 8, pieces);
  for (std::uint64_t i = 0; i < pieces; ++i) bytes.string("piece " + std::to_string(i));
  bytes.array("tokenizer.ggml.scores", 6, pieces);
  for (std::uint64_t i = 0; i < pieces; ++i) bytes.number(static_cast<float>(i));
  bytes.tensor("t", {64}, 0, 0).pad().data(256);
  const std::string name = folder_.file("long.gguf");
  test::write_file(name, bytes.bytes());
  for (const bool cold : {false, true}) {
    if (cold) {
      const int fd = ::open(name.c_str(), O_RDONLY);
      ::fsync(fd);
      ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
      ::close(fd);
    }
    const ModelFile file = ModelFile::open(name);
    const MetadataValue& tokens = *file.metadata().find("tokenizer.ggml.tokens");
    const MetadataValue& scores = *file.metadata().find("tokenizer.ggml.scores");
    ASSERT_EQ(tokens.size(), pieces);
    for (std::uint64_t i = 0; i < pieces; i += 997) {
      EXPECT_EQ(tokens.as_string(i), "piece " + std::to_string(i));
      EXPECT_EQ(scores.as_float(i), static_cast<double>(i));
    }
    // The header once, and four bytes per piece.
    EXPECT_LT(file.header_bytes(), bytes.bytes().size() + 4 * pieces + 256 * KiB);
    std::vector<std::uint8_t> data(256);
    file.read(file.tensors()[0].offset, 256, data.data());
    EXPECT_EQ(data[3], 22);
  }
}

/// A header of one array of strings, whose sizes stand nowhere but before each of them.
std::vector<std::uint8_t> header_of_words(std::uint64_t words) {
  test::GgufBytes bytes(0, 2);
  bytes.array("general.words", 8, words);
  for (std::uint64_t i = 0; i < words; ++i) bytes.string(i % 3 == 0 ? "abc" : "de");
  return bytes.u32("general.last", 7).pad().bytes();
}

// What is refused says how much would do, of all that it has, tables included: with it, it is read.
TEST(HeaderRefusal, NamesTheWholeHeader) {
  test::TemporaryFolder folder;
  const std::string path = folder.file("words.gguf");
  test::write_file(path, header_of_words(300000));
  Bytes wanted = 0;
  try {
    ModelFile::open(path, 1 * MiB);
    FAIL();
  } catch (const HeaderRefusal& refusal) {
    EXPECT_EQ(refusal.code(), ErrorCode::budget_refused);
    EXPECT_EQ(refusal.room(), 1 * MiB);
    wanted = refusal.wanted();
  }
  EXPECT_GE(wanted, 300000 * (8 + 2 + sizeof(std::uint32_t)));
  EXPECT_NO_THROW(ModelFile::open(path, wanted));
  EXPECT_THROW(ModelFile::open(path, wanted / 10 * 9), HeaderRefusal);
}

// Where the rest of it is not what it should be, it says what it knows.
TEST(HeaderRefusal, OfADamagedHeaderNamesWhatWasRead) {
  test::TemporaryFolder folder;
  const std::string path = folder.file("damaged.gguf");
  std::vector<std::uint8_t> bytes = header_of_words(300000);
  bytes[bytes.size() / 2] = 0xff;
  bytes.resize(bytes.size() - 1000);
  test::write_file(path, bytes);
  try {
    ModelFile::open(path, 1 * MiB);
    FAIL();
  } catch (const HeaderRefusal& refusal) {
    EXPECT_GT(refusal.wanted(), refusal.room());
  }
}

}  // namespace
}  // namespace plimsoll
