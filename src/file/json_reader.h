// Reads JSON files piece by piece, so that no more of them is in memory than what is wanted of
// them.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "file/byte_source.h"

namespace plimsoll {

using Json = nlohmann::json;

/// Takes the events of a parse and keeps the document. Derived classes take parts of it for
/// themselves. Bounds depth and number of kept values, so that no file makes much more memory than
/// it has bytes.
class JsonCollector : public nlohmann::json_sax<Json> {
 public:
  static constexpr std::size_t deepest = 64;
  static constexpr std::size_t most_values = 1 << 20;

  /// `path` is for messages.
  explicit JsonCollector(std::string path) : path_(std::move(path)) {}

  Json take() { return std::move(root_); }
  /// Error(file_corrupt) with the file's name before the message.
  [[noreturn]] void corrupt(const std::string& message) const;

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(std::int64_t value) override { return add(value); }
  bool number_unsigned(std::uint64_t value) override { return add(value); }
  bool number_float(double value, const std::string&) override { return add(value); }
  bool string(std::string& value) override { return add(std::move(value)); }
  bool binary(Json::binary_t&) override { return true; }  // not in JSON
  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  /// Of two members with one name the later one counts.
  bool key(std::string& name) override;
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool parse_error(std::size_t position, const std::string& last,
                   const nlohmann::detail::exception& error) override;

 protected:
  /// True where the value that comes next is the member `inner` of the root's member `outer`.
  bool is_at(std::string_view outer, std::string_view inner) const;

 private:
  Json* place(Json value);
  bool add(Json value);
  bool open(Json container);
  bool close();

  std::string path_;
  Json root_;
  std::vector<Json*> open_;         ///< containers around the place that is being read
  std::vector<std::string> names_;  ///< in each, of the member that is being read
  std::size_t values_ = 0;
};

/// Parses bytes [offset, offset + bytes) of a file. Throws Error(file_corrupt) with the place of
/// what is no JSON, and as ByteSource::read does.
void parse_json(const ByteSource& file, std::uint64_t offset, Bytes bytes,
                JsonCollector& collector);

/// A whole file that must be an object of at most `limit` bytes; throws as InputFile and parse_json
/// do. Empty when there is no such file.
std::optional<Json> read_json_object(const std::string& path, Bytes limit = 16 * MiB);

/// Members of an object out of a file, with errors that name file and key. null counts as missing.
class JsonKeys {
 public:
  JsonKeys(const Json& object, std::string path) : object_(&object), path_(std::move(path)) {}

  const Json* find(std::string_view key) const;
  bool contains(std::string_view key) const { return find(key) != nullptr; }
  /// Empty when missing; Error(invalid_model) where the type is wrong.
  std::optional<std::int64_t> integer(std::string_view key) const;
  std::optional<double> number(std::string_view key) const;
  std::optional<bool> boolean(std::string_view key) const;
  std::optional<std::string> string(std::string_view key) const;
  std::optional<std::vector<float>> numbers(std::string_view key) const;
  /// A member that is an object; without members when it is missing.
  JsonKeys object(std::string_view key) const;
  /// The elements of a member that is an array of objects; none when it is missing.
  std::vector<JsonKeys> objects(std::string_view key) const;
  const Json& members() const { return *object_; }
  const std::string& path() const { return path_; }
  /// Error(invalid_model) when missing.
  std::int64_t required_integer(std::string_view key) const;
  double required_number(std::string_view key) const;

  [[noreturn]] void invalid(std::string_view key, std::string_view wanted) const;

 private:
  const Json* object_;
  std::string path_;
};

}  // namespace plimsoll
