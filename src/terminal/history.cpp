#include "terminal/history.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>
#include <string_view>

#include "base/bytes.h"
#include "base/error.h"
#include "file/output_file.h"

namespace plimsoll {
namespace {

constexpr std::size_t most_lines = 500;
constexpr std::size_t most_bytes = 64 * KiB;
constexpr std::size_t longest_line = 8 * KiB;
constexpr mode_t for_owner = 0600;

std::string encoded(const std::string& line) {
  return nlohmann::json(line).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

/// The last bytes of a file from the beginning of a line on, and how many it has in all.
std::string read_end(const std::string& path, std::size_t& total) {
  total = 0;
  std::string text;
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) return text;
  struct stat status {};
  if (::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode)) {
    total = static_cast<std::size_t>(status.st_size);
    const std::size_t size = std::min(total, most_bytes);
    text.resize(size);
    const ssize_t got = ::pread(descriptor, text.data(), size, static_cast<off_t>(total - size));
    text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    if (size < total) text.erase(0, std::min(text.find('\n'), text.size() - 1) + 1);
  }
  ::close(descriptor);
  return text;
}

}  // namespace

std::string HistoryFile::usual_path() {
  const auto folder = [](const char* variable) {
    const char* value = std::getenv(variable);
    return std::string(value != nullptr && *value == '/' ? value : "");
  };
  std::string state = folder("XDG_STATE_HOME");
  if (state.empty()) {
    state = folder("HOME");
    if (state.empty()) return {};
    state += "/.local/state";
  }
  return state + "/plimsoll/history";
}

std::vector<std::string> HistoryFile::load() const {
  std::vector<std::string> lines;
  if (path_.empty()) return lines;
  std::size_t total = 0;
  const std::string text = read_end(path_, total);
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const auto line =
        nlohmann::json::parse(text.begin() + static_cast<std::ptrdiff_t>(begin),
                              text.begin() + static_cast<std::ptrdiff_t>(end), nullptr, false);
    if (line.is_string()) lines.push_back(line.get<std::string>());
    begin = end + 1;
  }
  if (lines.size() > most_lines)
    lines.erase(lines.begin(), lines.end() - static_cast<std::ptrdiff_t>(most_lines));
  if (total > 2 * most_bytes || text.size() > 2 * most_lines * longest_line) {
    try {
      OutputFile file(path_);
      for (const std::string& line : lines) {
        const std::string whole = encoded(line);
        file.append({reinterpret_cast<const std::uint8_t*>(whole.data()), whole.size()});
      }
      file.commit();
    } catch (const Error&) {
    }
  }
  return lines;
}

void HistoryFile::append(const std::string& line) const {
  if (path_.empty() || line.size() > longest_line) return;
  std::error_code ignored;
  const std::filesystem::path folder = std::filesystem::path(path_).parent_path();
  if (std::filesystem::create_directories(folder, ignored))
    std::filesystem::permissions(folder, std::filesystem::perms::owner_all, ignored);
  const int descriptor =
      ::open(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, for_owner);
  if (descriptor < 0) return;
  struct stat status {};
  if (::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode)) {
    if ((status.st_mode & 0777) != for_owner) (void)::fchmod(descriptor, for_owner);
    const std::string text = encoded(line);
    // At once, so that two conversations do not mix their lines.
    (void)!::write(descriptor, text.data(), text.size());
  }
  ::close(descriptor);
}

}  // namespace plimsoll
