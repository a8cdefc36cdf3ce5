// What evaluations have found so far, in a file, so that they go on after an interruption.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "engine/evaluate.h"

namespace plimsoll {

/// Of one evaluation.
struct Found {
  Scores scores;
  Bytes peak_bytes = 0;  ///< the kernel's, so far
};

/// What makes two evaluations the same: a model's path, size and time of the last change, of all
/// the files that it is read from.
nlohmann::json file_identity(const std::string& path, std::span<const std::string> files);

/// JSON lines, one object for each evaluation: {"inputs", "scores", "peak_bytes"}. Replaced whole
/// and atomically; evaluations of other inputs stay in it.
class ResumeFile {
 public:
  /// Room that reading may take for each byte of the file: the text, its lines, one of them parsed.
  static constexpr Bytes bytes_per_byte = 5;

  /// Reads the file where there is one; `accept(bytes)` throws when it is too large. Throws
  /// Error(file_corrupt) naming the line when it is anything else than what save() writes, and as
  /// read_text_file does.
  ResumeFile(std::string path, const std::function<void(Bytes)>& accept);

  /// What was found for these inputs. Throws Error(file_corrupt) when that cannot be of `chunks`.
  std::optional<Found> find(const nlohmann::json& inputs, const Chunks& chunks,
                            bool has_reference) const;
  void put(const nlohmann::json& inputs, const Found& found);
  /// Throws as OutputFile does; the old file is whole then.
  void save() const;

  const std::string& path() const { return path_; }
  std::size_t count() const { return lines_.size(); }
  /// The most that `evaluations` more of these chunks will take, with what saving takes for a
  /// moment.
  static Bytes memory_bytes(const Chunks& chunks, std::size_t evaluations);

 private:
  struct Line {
    std::string inputs;  ///< dumped
    std::string text;    ///< the whole line
  };
  [[noreturn]] void fail(std::size_t line, const std::string& what) const;

  std::string path_;
  std::vector<Line> lines_;
};

}  // namespace plimsoll
