// What was typed in conversations, from one to the next.
#pragma once

#include <string>
#include <vector>

namespace plimsoll {

/// A file with one JSON text a line, oldest first, that only its owner reads. What goes wrong with
/// it is no error: then nothing is kept.
class HistoryFile {
 public:
  /// ${XDG_STATE_HOME:-~/.local/state}/plimsoll/history; empty where neither is known.
  static std::string usual_path();

  /// An empty path keeps nothing.
  explicit HistoryFile(std::string path) : path_(std::move(path)) {}

  /// The newest lines, up to 500 or 64 KiB. A file that has grown beyond twice that is cut down to
  /// them.
  std::vector<std::string> load() const;
  /// Lines longer than 8 KiB are not kept.
  void append(const std::string& line) const;

 private:
  std::string path_;
};

}  // namespace plimsoll
