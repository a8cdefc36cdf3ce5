#include "file/json_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <limits>

#include "base/error.h"
#include "file/header_bytes.h"
#include "file/input_file.h"

namespace plimsoll {
namespace {

/// A range of a file, byte by byte through a small buffer.
class ByteStream {
 public:
  ByteStream(const ByteSource& file, std::uint64_t offset, Bytes bytes)
      : file_(file), offset_(offset), left_(bytes) {
    refill();
  }

  bool is_at_end() const { return next_ == buffer_.size(); }
  char current() const { return buffer_[next_]; }
  void advance() {
    if (++next_ == buffer_.size()) refill();
  }

 private:
  void refill() {
    constexpr Bytes piece_bytes = 256 * KiB;
    const Bytes piece = std::min(left_, piece_bytes);
    buffer_.resize(piece);
    if (piece > 0) file_.read(offset_, piece, buffer_.data());
    offset_ += piece;
    left_ -= piece;
    next_ = 0;
  }

  const ByteSource& file_;
  std::uint64_t offset_;
  Bytes left_;
  std::vector<char> buffer_;
  std::size_t next_ = 0;
};

/// What the parser takes its bytes from. Without a stream it is the end of all of them.
struct ByteIterator {
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = char;

  char operator*() const { return stream->current(); }
  ByteIterator& operator++() {
    stream->advance();
    return *this;
  }
  bool is_end() const { return stream == nullptr || stream->is_at_end(); }
  bool operator==(const ByteIterator& other) const { return is_end() == other.is_end(); }

  ByteStream* stream = nullptr;
};

}  // namespace

Json* JsonCollector::place(Json value) {
  if (++values_ > most_values)
    corrupt(fmt::format("wanted up to {} values, found more", most_values));
  if (open_.empty()) {
    root_ = std::move(value);
    return &root_;
  }
  Json& container = *open_.back();
  if (container.is_object()) return &(container[names_.back()] = std::move(value));
  container.push_back(std::move(value));
  return &container.back();
}

bool JsonCollector::add(Json value) {
  place(std::move(value));
  return true;
}

bool JsonCollector::open(Json container) {
  if (open_.size() == deepest)
    corrupt(fmt::format("wanted values nested up to {} deep, found deeper ones", deepest));
  open_.push_back(place(std::move(container)));
  names_.emplace_back();
  return true;
}

bool JsonCollector::key(std::string& name) {
  names_.back() = std::move(name);
  return true;
}

bool JsonCollector::close() {
  open_.pop_back();
  names_.pop_back();
  return true;
}

bool JsonCollector::is_at(std::string_view outer, std::string_view inner) const {
  return names_.size() == 2 && names_[0] == outer && names_[1] == inner;
}

bool JsonCollector::parse_error(std::size_t position, const std::string& last,
                                const nlohmann::detail::exception&) {
  corrupt(fmt::format("wanted JSON, found {} at byte {}",
                      last.empty() ? "its end" : plimsoll::quoted(last), position));
}

void JsonCollector::corrupt(const std::string& message) const {
  throw Error(ErrorCode::file_corrupt, fmt::format("{}: {}", path_, message),
              "the file is incomplete or damaged: download it again");
}

void parse_json(const ByteSource& file, std::uint64_t offset, Bytes bytes,
                JsonCollector& collector) {
  ByteStream stream(file, offset, bytes);
  Json::sax_parse(ByteIterator{&stream}, ByteIterator{}, &collector);
}

std::optional<Json> read_json_object(const std::string& path, Bytes limit) {
  if (!file_exists(path)) return std::nullopt;
  const InputFile file(path);
  const auto corrupt = [&](const std::string& message) {
    throw Error(ErrorCode::file_corrupt, fmt::format("{}: {}", path, message),
                "the file is incomplete or damaged: download it again");
  };
  if (file.size() > limit)
    corrupt(fmt::format("wanted at most {}, found {} bytes", format_bytes(limit), file.size()));
  JsonCollector collector(path);
  parse_json(file, 0, file.size(), collector);
  Json json = collector.take();
  if (!json.is_object()) corrupt(fmt::format("wanted a JSON object, found {}", json.type_name()));
  return json;
}

const Json* JsonKeys::find(std::string_view key) const {
  const auto found = object_->find(key);
  return found == object_->end() || found->is_null() ? nullptr : &*found;
}

void JsonKeys::invalid(std::string_view key, std::string_view wanted) const {
  const Json* value = find(key);
  constexpr std::size_t longest = 60;
  const std::string text =
      value ? value->dump(-1, ' ', false, Json::error_handler_t::replace) : "none";
  throw Error(ErrorCode::invalid_model,
              fmt::format("{}: key {}: wanted {}, found {}{}", path_, plimsoll::quoted(key), wanted,
                          text.substr(0, longest), text.size() > longest ? "..." : ""),
              "the file is damaged, or of a model that is not supported");
}

std::optional<std::int64_t> JsonKeys::integer(std::string_view key) const {
  const Json* value = find(key);
  if (!value) return std::nullopt;
  constexpr auto most = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  if (!value->is_number_integer() ||
      (value->is_number_unsigned() && value->get<std::uint64_t>() > most))
    invalid(key, "a whole number");
  return value->get<std::int64_t>();
}

std::optional<double> JsonKeys::number(std::string_view key) const {
  const Json* value = find(key);
  if (!value) return std::nullopt;
  if (!value->is_number()) invalid(key, "a number");
  return value->get<double>();
}

std::optional<bool> JsonKeys::boolean(std::string_view key) const {
  const Json* value = find(key);
  if (!value) return std::nullopt;
  if (!value->is_boolean()) invalid(key, "true or false");
  return value->get<bool>();
}

std::optional<std::string> JsonKeys::string(std::string_view key) const {
  const Json* value = find(key);
  if (!value) return std::nullopt;
  if (!value->is_string()) invalid(key, "a string");
  return value->get<std::string>();
}

std::optional<std::vector<float>> JsonKeys::numbers(std::string_view key) const {
  const Json* value = find(key);
  if (!value) return std::nullopt;
  std::vector<float> numbers;
  if (!value->is_array()) invalid(key, "an array of numbers");
  for (const Json& element : *value) {
    if (!element.is_number()) invalid(key, "an array of numbers");
    numbers.push_back(element.get<float>());
  }
  return numbers;
}

JsonKeys JsonKeys::object(std::string_view key) const {
  static const Json empty = Json::object();
  const Json* value = find(key);
  if (value && !value->is_object()) invalid(key, "an object");
  return {value ? *value : empty, path_};
}

std::vector<JsonKeys> JsonKeys::objects(std::string_view key) const {
  std::vector<JsonKeys> result;
  const Json* value = find(key);
  if (!value) return result;
  if (!value->is_array()) invalid(key, "an array of objects");
  for (const Json& element : *value) {
    if (!element.is_object()) invalid(key, "an array of objects");
    result.emplace_back(element, path_);
  }
  return result;
}

std::int64_t JsonKeys::required_integer(std::string_view key) const {
  const auto value = integer(key);
  if (!value) invalid(key, "a whole number");
  return *value;
}

double JsonKeys::required_number(std::string_view key) const {
  const auto value = number(key);
  if (!value) invalid(key, "a number");
  return *value;
}

}  // namespace plimsoll
