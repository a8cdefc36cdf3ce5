#include "file/tokenizer_json.h"

#include <fmt/format.h>

#include <cstring>
#include <limits>
#include <utility>

#include "file/header_bytes.h"
#include "file/input_file.h"
#include "file/metadata_builder.h"

namespace plimsoll {
namespace {

constexpr Bytes largest_tokenizer = 512 * MiB;

/// Keeps vocabulary and merges out of the document.
class TokenizerCollector final : public JsonCollector {
 public:
  /// `is_bare`: the document is a vocabulary, and has no other parts.
  explicit TokenizerCollector(TokenizerJson& result, bool is_bare = false)
      : JsonCollector(result.path), result_(result), is_bare_(is_bare) {}

  bool start_object(std::size_t size) override {
    if (part_ != Part::rest) wrong();
    const bool is_root = is_bare_ && !has_begun_;
    has_begun_ = true;
    if (!is_root && !is_at("model", "vocab")) return JsonCollector::start_object(size);
    part_ = Part::vocabulary;
    return true;
  }
  bool end_object() override {
    if (part_ == Part::rest) return JsonCollector::end_object();
    part_ = Part::rest;
    return true;
  }
  bool key(std::string& name) override {
    if (part_ == Part::rest) return JsonCollector::key(name);
    begin_token(name);
    return true;
  }
  bool start_array(std::size_t size) override {
    if (part_ == Part::rest) {
      if (is_at("model", "vocab"))
        part_ = Part::scored_vocabulary;
      else if (is_at("model", "merges"))
        part_ = Part::merges;
      else
        return JsonCollector::start_array(size);
      return true;
    }
    if (part_ == Part::vocabulary || in_pair_) wrong();
    in_pair_ = true;
    elements_ = 0;
    return true;
  }
  bool end_array() override {
    if (part_ == Part::rest) return JsonCollector::end_array();
    if (!in_pair_) {
      part_ = Part::rest;
      return true;
    }
    if (elements_ != 2) wrong();
    in_pair_ = false;
    if (part_ == Part::merges) {
      if (has_spaces_) {
        // Those before had none.
        for (std::uint64_t i = result_.left_lengths.size(); i < result_.merge_count; ++i)
          result_.left_lengths.push_back(0);
        result_.left_lengths.push_back(left_length_);
      }
      add_merge(pair_);
    }
    return true;
  }
  bool string(std::string& value) override {
    if (part_ == Part::rest) return JsonCollector::string(value);
    if (part_ == Part::merges && !in_pair_) {
      add_merge(value);
      return true;
    }
    if (!in_pair_) wrong();
    if (part_ == Part::scored_vocabulary) {
      if (elements_++ != 0) wrong();
      begin_token(value);
      result_.tokens.back().id = static_cast<std::int64_t>(result_.tokens.size()) - 1;
    } else {
      add_to_pair(value);
    }
    return true;
  }
  bool number_unsigned(std::uint64_t value) override {
    if (part_ == Part::rest) return JsonCollector::number_unsigned(value);
    if (part_ != Part::vocabulary) return score(static_cast<double>(value));
    if (value > std::numeric_limits<std::int32_t>::max()) wrong();
    result_.tokens.back().id = static_cast<std::int64_t>(value);
    return true;
  }
  bool number_integer(std::int64_t value) override {
    return part_ == Part::rest ? JsonCollector::number_integer(value)
                               : score(static_cast<double>(value));
  }
  bool number_float(double value, const std::string& text) override {
    return part_ == Part::rest ? JsonCollector::number_float(value, text) : score(value);
  }
  bool null() override {
    if (part_ != Part::rest) wrong();
    return JsonCollector::null();
  }
  bool boolean(bool value) override {
    if (part_ != Part::rest) wrong();
    return JsonCollector::boolean(value);
  }

 private:
  enum class Part { rest, vocabulary, scored_vocabulary, merges };

  [[noreturn]] void wrong() const {
    corrupt(part_ == Part::merges
                ? fmt::format("wanted merge {} as a pair of texts", result_.merge_count)
                : fmt::format("wanted token {} of the vocabulary as a text and its number",
                              result_.tokens.size()));
  }
  bool score(double value) {
    if (part_ != Part::scored_vocabulary || !in_pair_ || elements_++ != 1) wrong();
    result_.tokens.back().score = value;
    return true;
  }
  void begin_token(const std::string& text) {
    result_.tokens.push_back(
        {-1, 0, result_.texts.size(), static_cast<std::uint32_t>(text.size())});
    result_.texts += text;
  }
  void add_to_pair(const std::string& part) {
    if (elements_++ == 0) {
      pair_.clear();
      left_length_ = static_cast<std::uint32_t>(part.size());
    } else {
      pair_ += ' ';
    }
    has_spaces_ = has_spaces_ || part.find(' ') != part.npos;
    pair_ += part;
  }
  void add_merge(std::string_view merge) {
    MetadataBuilder::append_string(result_.merges, merge);
    ++result_.merge_count;
  }

  TokenizerJson& result_;
  Part part_ = Part::rest;
  bool in_pair_ = false;
  int elements_ = 0;  ///< of the pair
  const bool is_bare_;
  bool has_begun_ = false;
  bool has_spaces_ = false;  ///< some part of a merge has
  std::uint32_t left_length_ = 0;
  std::string pair_;
};

}  // namespace

std::size_t TokenizerJson::merge_length(std::string_view at) {
  std::uint64_t length;
  std::memcpy(&length, at.data(), sizeof length);
  return length;
}

namespace {

TokenizerJson read(const std::string& path, bool is_bare) {
  const InputFile file(path);
  TokenizerJson result;
  result.path = path;
  TokenizerCollector collector(result, is_bare);
  if (file.size() > largest_tokenizer)
    collector.corrupt(fmt::format("wanted at most {}, found {} bytes",
                                  format_bytes(largest_tokenizer), file.size()));
  parse_json(file, 0, file.size(), collector);
  result.rest = collector.take();
  if (!is_bare && !result.rest.is_object()) collector.corrupt("wanted an object");
  for (const TokenizerJson::Token& token : result.tokens)
    if (token.id < 0)
      collector.corrupt(
          fmt::format("token {}: wanted an id", plimsoll::quoted(result.text(token))));
  return result;
}

}  // namespace

TokenizerJson read_tokenizer_json(const std::string& path) { return read(path, false); }
TokenizerJson read_vocabulary_json(const std::string& path) { return read(path, true); }

}  // namespace plimsoll
