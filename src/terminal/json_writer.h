// One JSON object on standard output, written while it is made: no document of what is long.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "text/tokenizer.h"

namespace plimsoll {

/// Looks like print_json(), or with `one_line` like print_json_line(). All functions throw as
/// write_out() does.
class JsonWriter {
 public:
  explicit JsonWriter(bool one_line);

  /// Of any kind, but short.
  void add(std::string_view key, const nlohmann::ordered_json& value);
  /// Bytes that are not UTF-8 become U+FFFD.
  void add_text(std::string_view key, std::string_view text);
  void add_ids(std::string_view key, std::span<const TokenId> ids);
  /// What is added until the matching close() stands inside: members of an object, or with empty keys
  /// items of an array, which a flat one has on one line.
  enum class Inside { object, array, flat_array };
  void open(std::string_view key, Inside inside);
  void close();
  void end();

 private:
  void begin_member(std::string_view key);
  void break_line();
  void write(std::string_view text);

  bool one_line_;
  bool is_first_ = true;       ///< of what is open
  std::vector<Inside> open_;   ///< in the object itself
  std::string buffer_;
};

/// As print_json(), with the peak of this process, taken once the document stands, as the object's
/// member "peak_bytes" unless there is a larger one.
void print_json_with_peak(nlohmann::ordered_json object);

}  // namespace plimsoll
