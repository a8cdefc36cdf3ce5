#include "file/output_path.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <filesystem>
#include <mutex>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "base/error.h"

namespace plimsoll {
namespace {

/// As many as the kernel follows.
constexpr int most_links = 40;

struct FileId {
  dev_t device = 0;
  ino_t inode = 0;

  bool operator==(const FileId&) const = default;
};

FileId id_of(const struct stat& status) { return {status.st_dev, status.st_ino}; }

/// A file that may not be there yet: its folder and its name are.
struct Claimed {
  std::string option, path;
  std::optional<FileId> file;
  FileId folder;
  std::string name;
};

struct Marked {
  std::size_t token;
  FileId file;
  std::string path;
};

/// Of this process. Never destroyed: files may be open until its very end.
struct Registry {
  std::mutex mutex;
  std::vector<const Claimed*> outputs;
  std::vector<Marked> inputs;
  std::size_t next_token = 1;

  static Registry& get() {
    static Registry* const registry = new Registry;
    return *registry;
  }
};

[[noreturn]] void refuse_read(std::string_view option, const std::string& output,
                              const std::string& input) {
  throw Error(ErrorCode::usage,
              fmt::format("{} {} would overwrite a file that is read: {}", option, output, input),
              "name another file to write");
}

[[noreturn]] void refuse_unwritable(const std::string& path, std::string_view action, int error) {
  throw Error(ErrorCode::write_failed,
              fmt::format("{} cannot {}: {}", path, action, std::generic_category().message(error)),
              "check the folder and its permissions, or name another file");
}

/// Where symbolic links lead, as far as they do; the last one may lead to no file yet.
std::string followed(std::string path) {
  for (int link = 0; link < most_links; ++link) {
    char target[PATH_MAX];
    const ssize_t length = ::readlink(path.c_str(), target, sizeof target);
    if (length <= 0 || length == sizeof target) break;
    const std::filesystem::path to(std::string(target, static_cast<std::size_t>(length)));
    path = to.is_absolute() ? to.string() : (std::filesystem::path(path).parent_path() / to).string();
  }
  return path;
}

std::string folder_of(const std::string& path) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  return folder.empty() ? "." : folder;
}

std::string_view what(mode_t mode) {
  return S_ISDIR(mode) ? "a directory" : S_ISFIFO(mode) ? "a pipe" : S_ISSOCK(mode) ? "a socket" : "a device";
}

/// Which of the standard streams writes to this file, or none.
const char* stream_to(const FileId& file) {
  for (const auto& [descriptor, name] :
       {std::pair(STDOUT_FILENO, "standard output"), std::pair(STDERR_FILENO, "standard error")}) {
    struct stat status;
    if (::fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode) || id_of(status) != file) continue;
    const int flags = ::fcntl(descriptor, F_GETFL);
    if (flags >= 0 && (flags & O_ACCMODE) != O_RDONLY) return name;
  }
  return nullptr;
}

}  // namespace

struct OutputPath::State {
  std::string target;
  const OutputKind* kind = nullptr;  ///< none: this program's own
  bool force = false;
  Claimed claimed;
  bool is_listed = false;

  ~State() {
    if (!is_listed) return;
    Registry& registry = Registry::get();
    const std::lock_guard lock(registry.mutex);
    std::erase(registry.outputs, &claimed);
  }

  /// What is there, or errno.
  static int find(const std::string& path, struct stat& status) {
    return ::stat(path.c_str(), &status) == 0 ? 0 : errno;
  }

  void check_place() {
    const std::string& path = claimed.path;
    struct stat found;
    const int error = find(path, found);
    if (error == 0) {
      if (!S_ISREG(found.st_mode))
        throw Error(ErrorCode::write_failed,
                    fmt::format("{}: wanted a file to replace, found {}", path, what(found.st_mode)),
                    "name a file");
      struct stat last;
      if (::lstat(target.c_str(), &last) != 0 || id_of(last) != id_of(found))
        throw Error(ErrorCode::write_failed,
                    fmt::format("{}: wanted a file to replace, found one without a name", path),
                    "name a file");
      claimed.file = id_of(found);
      if (::access(target.c_str(), W_OK) != 0)
        throw Error(ErrorCode::write_failed,
                    fmt::format("{} is there and cannot be replaced: {}", path,
                                std::generic_category().message(errno)),
                    "name another file");
    } else if (error != ENOENT) {
      refuse_unwritable(path, "be written", error);
    }
    const std::string folder = folder_of(target);
    struct stat of_folder;
    if (const int why = find(folder, of_folder)) refuse_unwritable(path, "be created", why);
    if (!S_ISDIR(of_folder.st_mode)) refuse_unwritable(path, "be created", ENOTDIR);
    if (::access(folder.c_str(), W_OK | X_OK) != 0) refuse_unwritable(path, "be created", errno);
    claimed.folder = id_of(of_folder);
    claimed.name = std::filesystem::path(target).filename().string();
  }

  void list() {
    Registry& registry = Registry::get();
    const std::lock_guard lock(registry.mutex);
    for (const Claimed* other : registry.outputs)
      if (claimed.file ? claimed.file == other->file
                       : !other->file && claimed.folder == other->folder && claimed.name == other->name)
        throw Error(ErrorCode::usage,
                    fmt::format("{} and {} name the same file", other->option, claimed.option),
                    "name another file for one of them");
    if (claimed.file)
      for (const Marked& input : registry.inputs)
        if (input.file == *claimed.file) refuse_read(claimed.option, claimed.path, input.path);
    registry.outputs.push_back(&claimed);
    is_listed = true;
  }

  /// The beginning of a file that is there; empty where there is nothing to lose.
  std::optional<std::string> beginning() const {
    struct stat found;
    if (find(target, found) != 0 || (S_ISREG(found.st_mode) && found.st_size == 0)) return {};
    std::string text;
    const int file = ::open(target.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0) return text;
    text.resize(OutputKind::beginning_bytes);
    const ssize_t got = ::pread(file, text.data(), text.size(), 0);
    text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    ::close(file);
    return text;
  }
};

OutputPath OutputPath::own(std::string path) {
  const auto state = std::make_shared<State>();
  state->target = followed(path);
  state->claimed.path = std::move(path);
  return OutputPath(state);
}

OutputPath OutputPath::named(std::string option, std::string path, const OutputKind& kind,
                             bool force) {
  if (path.empty() || path == "-")
    throw Error(ErrorCode::usage,
                path.empty() ? fmt::format("{} names no file", option)
                             : fmt::format("{} writes a file, not standard output", option),
                path.empty() ? "give it a name" : "give it a name; ./- is one of that name");
  const auto state = std::make_shared<State>();
  state->target = followed(path);
  state->kind = &kind;
  state->force = force;
  state->claimed.option = std::move(option);
  state->claimed.path = std::move(path);
  state->check_place();
  if (state->claimed.file)
    if (const char* stream = stream_to(*state->claimed.file))
      throw Error(ErrorCode::usage,
                  fmt::format("{} {} is where {} goes", state->claimed.option, state->claimed.path, stream),
                  "name another file for one of them");
  state->list();
  return OutputPath(state);
}

const std::string& OutputPath::path() const { return state_->claimed.path; }
bool OutputPath::is_forced() const { return state_->force; }
const std::string& OutputPath::target() const { return state_->target; }

bool OutputPath::finds_own() const {
  const std::optional<std::string> beginning = state_->beginning();
  return beginning && (!state_->kind || state_->kind->is_ours(*beginning));
}

bool OutputPath::finds_foreign() const {
  if (!state_->kind || state_->force) return false;
  const std::optional<std::string> beginning = state_->beginning();
  return beginning && !state_->kind->is_ours(*beginning);
}

void OutputPath::refuse_foreign() const {
  if (!finds_foreign()) return;
  throw Error(ErrorCode::write_failed,
              fmt::format("{} exists and is no {}: it stays as it is", path(), state_->kind->name),
              std::string(state_->kind->advice));
}

void OutputPath::refuse_input(const std::string& input) const {
  if (is_same_file(path(), input)) refuse_read(state_->claimed.option, path(), input);
}

InputMark::InputMark(int descriptor, const std::string& path, bool is_streamed) {
  struct stat status;
  if (::fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode)) return;
  const FileId file = id_of(status);
  // One that is empty, as the shell has just made it, has nothing that could come back.
  if (is_streamed && status.st_size > 0)
    if (const char* stream = stream_to(file))
      throw Error(ErrorCode::usage, fmt::format("{} goes into a file that is read: {}", stream, path),
                  "send it to another file");
  Registry& registry = Registry::get();
  const std::lock_guard lock(registry.mutex);
  for (const Claimed* output : registry.outputs)
    if (output->file == file) refuse_read(output->option, output->path, path);
  token_ = registry.next_token++;
  registry.inputs.push_back({token_, file, path});
}

InputMark::InputMark(InputMark&& other) noexcept : token_(std::exchange(other.token_, 0)) {}

InputMark& InputMark::operator=(InputMark&& other) noexcept {
  std::swap(token_, other.token_);
  return *this;
}

InputMark::~InputMark() {
  if (token_ == 0) return;
  Registry& registry = Registry::get();
  const std::lock_guard lock(registry.mutex);
  std::erase_if(registry.inputs, [this](const Marked& input) { return input.token == token_; });
}

bool is_same_file(const std::string& a, const std::string& b) {
  struct stat first, second;
  return ::stat(a.c_str(), &first) == 0 && ::stat(b.c_str(), &second) == 0 &&
         id_of(first) == id_of(second);
}

}  // namespace plimsoll
