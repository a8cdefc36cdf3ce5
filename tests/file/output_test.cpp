// Saving is all or nothing: folders that cannot be written, disks that fill up, targets that exist.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <string>
#include <vector>

#include "base/error.h"
#include "file/gguf_writer.h"
#include "file/model_file.h"
#include "file/output_file.h"
#include "support/temporary_folder.h"

namespace plimsoll {
namespace {

const std::vector<std::uint8_t> old_content = {'o', 'l', 'd'};

class Output : public ::testing::Test {
 protected:
  std::string path() const { return folder_.file("model.gguf"); }
  test::TemporaryFolder folder_;
};

/// Writes a model with one tensor of `bytes` (a multiple of 4).
void save(const std::string& path, Bytes bytes) {
  GgufWriter writer(OutputPath::own(path));
  writer.add_string("general.architecture", "test");
  const std::vector<std::int64_t> shape = {static_cast<std::int64_t>(bytes / 4)};
  writer.add_tensor("t", format(FormatId::F32), shape);
  const std::vector<std::uint8_t> piece(1 * MiB, 1);
  for (Bytes done = 0; done < bytes; done += piece.size())
    writer.write({piece.data(), std::min<Bytes>(piece.size(), bytes - done)});
  writer.finish();
}

/// The message of the Error(write_failed) that saving throws; empty when it succeeds.
std::string failure(const std::string& path, Bytes bytes) {
  try {
    save(path, bytes);
  } catch (const Error& error) {
    EXPECT_EQ(name(error.code()), name(ErrorCode::write_failed)) << error.message();
    EXPECT_FALSE(error.hint().empty());
    return error.message();
  }
  return {};
}

/// Runs `body` in a child process; true when it returned true.
template <class Body>
bool in_child(Body body) {
  const pid_t child = ::fork();
  if (child == 0) {
    bool good = false;
    try {
      good = body() && !::testing::Test::HasFailure();
    } catch (...) {
    }
    ::_exit(good ? 0 : 1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST_F(Output, ReplacesTheTargetOnlyWhenFinished) {
  test::write_file(path(), old_content);
  ASSERT_EQ(::chmod(path().c_str(), 0640), 0);
  {
    GgufWriter writer(OutputPath::own(path()));
    writer.add_bool("flag", true);
    const std::vector<std::int64_t> shape = {100};
    writer.add_tensor("t", format(FormatId::F32), shape);
    writer.write(std::vector<std::uint8_t>(400));
    EXPECT_EQ(test::read_file(path()), old_content);
  }
  // Given up: nothing has changed and nothing is left.
  EXPECT_EQ(test::read_file(path()), old_content);
  EXPECT_EQ(folder_.count(), 1u);

  save(path(), 20 * MiB);
  EXPECT_EQ(folder_.count(), 1u);
  EXPECT_EQ(ModelFile::open(path()).tensors()[0].bytes, 20 * MiB);
  struct stat status;
  ASSERT_EQ(::stat(path().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0640u);
  // Nothing claimed beyond the end.
  EXPECT_LE(static_cast<Bytes>(status.st_blocks) * 512, 20 * MiB + 64 * KiB);
}

TEST_F(Output, ALinkKeepsPointing) {
  test::write_file(folder_.file("real.gguf"), old_content);
  ASSERT_EQ(::symlink("real.gguf", path().c_str()), 0);
  save(path(), 64);
  EXPECT_TRUE(std::filesystem::is_symlink(path()));
  EXPECT_EQ(ModelFile::open(folder_.file("real.gguf")).tensors().size(), 1u);
}

TEST_F(Output, NewFilesFollowTheMask) {
  EXPECT_TRUE(in_child([&] {
    ::umask(027);
    save(path(), 64);
    struct stat status;
    return ::stat(path().c_str(), &status) == 0 && (status.st_mode & 07777) == 0640;
  }));
}

TEST_F(Output, RelativePaths) {
  EXPECT_TRUE(in_child([&] {
    if (::chdir(folder_.path().c_str()) != 0) return false;
    save("model.gguf", 64);
    return ModelFile::open("model.gguf").tensors().size() == 1;
  }));
}

TEST_F(Output, PlacesThatCannotBeWritten) {
  EXPECT_NE(failure(folder_.file("absent/model.gguf"), 64).find("No such file"), std::string::npos);
  EXPECT_NE(failure(folder_.path().string(), 64).find("a directory"), std::string::npos);
  EXPECT_NE(failure("/dev/null", 64).find("device"), std::string::npos);
  EXPECT_NE(failure("/proc/model.gguf", 64), "");
  EXPECT_EQ(folder_.count(), 0u);
}

TEST_F(Output, AFolderWithoutPermission) {
  ASSERT_EQ(::chmod(folder_.path().c_str(), 0555), 0);
  // Root may write everywhere, so a child gives that up.
  EXPECT_TRUE(in_child([&] {
    if (::geteuid() == 0 && ::setuid(65534) != 0) return false;
    return failure(path(), 64).find("ermission denied") != std::string::npos;
  }));
  ASSERT_EQ(::chmod(folder_.path().c_str(), 0755), 0);
  EXPECT_EQ(folder_.count(), 0u);
}

TEST_F(Output, AFileSizeLimit) {
  test::write_file(path(), old_content);
  EXPECT_TRUE(in_child([&] {
    const rlimit limit{1 * MiB, 1 * MiB};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return false;
    std::signal(SIGXFSZ, SIG_IGN);
    return failure(path(), 3 * MiB).find("too large") != std::string::npos && folder_.count() == 1;
  }));
  EXPECT_EQ(test::read_file(path()), old_content);
  EXPECT_EQ(folder_.count(), 1u);
}

TEST_F(Output, AFullDisk) {
  // A small file system of its own, seen by the child only.
  const auto mounted = [&] {
    const bool alone = ::unshare(CLONE_NEWNS) == 0 || ::unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0;
    return alone && ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
           ::mount("tmpfs", folder_.path().c_str(), "tmpfs", 0, "size=1m") == 0;
  };
  if (!in_child(mounted)) GTEST_SKIP() << "needs the right to mount a file system";
  EXPECT_TRUE(in_child([&] {
    if (!mounted()) return false;
    test::write_file(path(), old_content);
    const std::string message = failure(path(), 3 * MiB);
    if (message.find("No space left") == std::string::npos ||
        message.find("free") == std::string::npos)
      return false;
    // And where the space was not claimed beforehand.
    try {
      OutputFile file(OutputPath::own(path()));
      const std::vector<std::uint8_t> piece(300 * KiB);
      for (int i = 0; i < 10; ++i) file.append(piece);
      file.commit();
      return false;
    } catch (const Error& error) {
      if (error.code() != ErrorCode::write_failed) return false;
    }
    if (folder_.count() != 1 || test::read_file(path()) != old_content) return false;
    return failure(path(), 512 * KiB).empty() && ModelFile::open(path()).tensors().size() == 1;
  }));
}

// A process that is killed while it writes leaves the old file and nothing else.
TEST_F(Output, Killed) {
  test::write_file(path(), old_content);
  const pid_t child = ::fork();
  if (child == 0) {
    OutputFile file(OutputPath::own(path()));
    file.append(std::vector<std::uint8_t>(3 * MiB));
    ::raise(SIGKILL);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(test::read_file(path()), old_content);
  const int nameless = ::open(folder_.path().c_str(), O_TMPFILE | O_WRONLY, 0600);
  if (nameless < 0) GTEST_SKIP() << "this file system knows no files without a name";
  ::close(nameless);
  EXPECT_EQ(folder_.count(), 1u);
}

TEST_F(Output, AfterAnErrorNothingMoreIsWritten) {
  EXPECT_TRUE(in_child([&] {
    const rlimit limit{1 * MiB, 1 * MiB};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return false;
    std::signal(SIGXFSZ, SIG_IGN);
    OutputFile file(OutputPath::own(path()));
    int failures = 0;
    for (int i = 0; i < 5; ++i) try {
        file.append(std::vector<std::uint8_t>(2 * MiB));
      } catch (const Error&) {
        ++failures;
      }
    try {
      file.commit();
    } catch (const Error&) {
      ++failures;
    }
    return failures == 6 && folder_.count() == 0;
  }));
}

}  // namespace
}  // namespace plimsoll
