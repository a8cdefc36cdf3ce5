// What is done to a text before it is cut: the "normalizer" of tokenizer.json.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "file/json_reader.h"

namespace plimsoll {

/// A text on its way to tokens, in pieces.
struct WorkingText {
  std::string text;
  /// So many bytes at the front come from the first character of what was to be tokenized.
  std::size_t from_first = 0;
};

/// Where a text can be cut, so that its parts are normalized each by itself as they are together.
enum class NormalBorder {
  before_inert,   ///< before a character that never has to do with what stands before it
  between_ascii,  ///< between two of ASCII, but not inside of "\r\n"
  none,
};

/// Immutable and thread-safe.
class Normalizer {
 public:
  class Step {
   public:
    virtual ~Step() = default;
    virtual void apply(WorkingText& text) const = 0;
    virtual NormalBorder border() const { return NormalBorder::none; }
    virtual Bytes memory_bytes() const = 0;
  };

  Normalizer() = default;  ///< changes nothing
  /// Reads a "normalizer"; one without members changes nothing. Throws Error(unsupported_model) with
  /// the name of a step that is not known, Error(invalid_model) for parts of wrong types.
  explicit Normalizer(const JsonKeys& description);
  explicit Normalizer(std::vector<std::unique_ptr<Step>> steps) : steps_(std::move(steps)) {}

  bool changes_nothing() const { return steps_.empty(); }
  void apply(WorkingText& text) const {
    for (const auto& step : steps_) step->apply(text);
  }
  /// Of all steps together.
  NormalBorder border() const;
  /// The last border in `text` before `end` bytes; 0 where there is none.
  std::size_t last_border(std::string_view text, std::size_t end) const;
  Bytes memory_bytes() const;  ///< without sizeof *this

 private:
  std::vector<std::unique_ptr<Step>> steps_;
};

/// What BERT does to a text. `strip_accents` goes with `lowercase` where a file does not say.
struct BertRules {
  bool clean_text = true;
  bool handle_chinese_chars = true;
  bool strip_accents = true;
  bool lowercase = true;
};
std::unique_ptr<Normalizer::Step> bert_step(const BertRules& rules);
/// Every `from` becomes `to`.
std::unique_ptr<Normalizer::Step> replacing_step(std::string_view from, std::string_view to);

}  // namespace plimsoll
