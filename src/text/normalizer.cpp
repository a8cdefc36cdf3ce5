// Each step is that of https://github.com/huggingface/tokenizers (tokenizers/src/normalizers), to
// the character.
#include "text/normalizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "base/error.h"
#include "file/base64.h"
#include "text/byte_spelling.h"
#include "text/charsmap.h"
#include "text/regex.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace plimsoll {
namespace {

using Step = Normalizer::Step;

/// Rebuilds a text out of its characters: `take(character, bytes, out)` appends what each becomes.
template <class Take>
void rewrite(WorkingText& text, Take take) {
  std::string out;
  out.reserve(text.text.size());
  std::size_t from_first = 0, done = 0;
  for_each_character(text.text, [&](char32_t character, std::string_view bytes) {
    take(character, bytes, out);
    done += bytes.size();
    if (done <= text.from_first) from_first = out.size();
  });
  text.text = std::move(out);
  text.from_first = from_first;
}

/// A step that holds nothing.
class PlainStep : public Step {
 public:
  Bytes memory_bytes() const override { return sizeof(void*); }
};

class FormStep final : public PlainStep {
 public:
  explicit FormStep(NormalForm form) : form_(form) {}
  NormalBorder border() const override { return NormalBorder::before_inert; }
  void apply(WorkingText& text) const override {
    if (std::ranges::all_of(text.text, [](char c) { return static_cast<signed char>(c) >= 0; }))
      return;
    std::string result = normal_form(text.text, form_);
    if (text.from_first > 0) {
      // Where more than one character comes of the first one, all of them do.
      const std::string first = normal_form(text.text.substr(0, text.from_first), form_);
      std::size_t length = 0;
      if (result.starts_with(first))
        length = first.size();
      else if (!result.empty())
        decode_character(result, length);
      text.from_first = length;
    }
    text.text = std::move(result);
  }
  Bytes memory_bytes() const override { return sizeof *this; }

 private:
  NormalForm form_;
};

class LowercaseStep final : public PlainStep {
 public:
  NormalBorder border() const override { return NormalBorder::before_inert; }
  void apply(WorkingText& text) const override {
    const std::size_t first = lower_case(text.text.substr(0, text.from_first)).size();
    text.text = lower_case(text.text);
    text.from_first = first;
  }
};

class StripStep final : public PlainStep {
 public:
  StripStep(bool left, bool right) : left_(left), right_(right) {}
  void apply(WorkingText& text) const override {
    std::size_t begin = 0, end = 0, done = 0;
    bool has_begun = false;
    for_each_character(text.text, [&](char32_t character, std::string_view bytes) {
      if (!is_white_space(character)) {
        if (!has_begun) begin = done;
        has_begun = true;
        end = done + bytes.size();
      }
      done += bytes.size();
    });
    if (!has_begun && (left_ || right_)) end = 0;
    if (!has_begun && !left_ && !right_) return;
    if (right_ || !has_begun) text.text.resize(end);
    if (left_) text.text.erase(0, begin);
    if (left_) text.from_first -= std::min(begin, text.from_first);
    text.from_first = std::min(text.from_first, text.text.size());
  }
  Bytes memory_bytes() const override { return sizeof *this; }

 private:
  bool left_, right_;
};

class StripAccentsStep final : public PlainStep {
 public:
  NormalBorder border() const override { return NormalBorder::before_inert; }
  void apply(WorkingText& text) const override {
    rewrite(text, [](char32_t character, std::string_view bytes, std::string& out) {
      if (character < 0x300 || !is_mark(character)) out += bytes;
    });
  }
};

class NmtStep final : public PlainStep {
 public:
  NormalBorder border() const override { return NormalBorder::before_inert; }
  void apply(WorkingText& text) const override {
    rewrite(text, [](char32_t c, std::string_view bytes, std::string& out) {
      const bool is_dropped = (c >= 0x1 && c <= 0x8) || c == 0xB || (c >= 0xE && c <= 0x1F) ||
                              c == 0x7F || c == 0x8F || c == 0x9F;
      const bool is_space = c == 0x9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 ||
                            (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 ||
                            c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
      if (is_space)
        out += ' ';
      else if (!is_dropped)
        out += bytes;
    });
  }
};

class PrependStep final : public Step {
 public:
  explicit PrependStep(std::string text) : text_(std::move(text)) {}
  void apply(WorkingText& text) const override {
    if (text.text.empty()) return;
    text.text.insert(0, text_);
    if (text.from_first > 0) text.from_first += text_.size();
  }
  Bytes memory_bytes() const override { return sizeof *this + text_.capacity(); }

 private:
  std::string text_;
};

class ReplaceStep final : public Step {
 public:
  ReplaceStep(std::string_view pattern, Regex::Kind kind, std::string content)
      : regex_(pattern, kind), content_(std::move(content)) {}
  void apply(WorkingText& text) const override {
    // An empty text has no place for a match either.
    if (text.text.empty()) return;
    std::string out;
    std::size_t done = 0;
    std::optional<std::size_t> from_first;
    Regex::Matches matches(regex_, text.text);
    const auto append = [&](std::size_t end, std::string_view replacement, std::size_t begin) {
      if (!from_first && end > text.from_first)
        from_first = out.size() + (text.from_first > done ? text.from_first - done : 0);
      out += std::string_view(text.text).substr(done, begin - done);
      out += replacement;
      done = end;
    };
    bool is_changed = false;
    while (matches.next()) {
      if (matches.begin < done) continue;
      if (matches.begin == 0 && matches.end >= text.from_first && text.from_first > 0)
        from_first = content_.size();
      append(matches.end, content_, matches.begin);
      is_changed = true;
    }
    if (!is_changed) return;
    append(text.text.size(), "", text.text.size());
    text.text = std::move(out);
    text.from_first = std::min(from_first.value_or(text.from_first), text.text.size());
  }
  Bytes memory_bytes() const override {
    return sizeof *this + regex_.memory_bytes() + content_.capacity();
  }

 private:
  Regex regex_;
  std::string content_;
};

class ReplaceTextStep final : public Step {
 public:
  ReplaceTextStep(std::string_view from, std::string_view to) : from_(from), to_(to) {}
  NormalBorder border() const override {
    return next_utf8(from_).length == from_.size() ? NormalBorder::before_inert
                                                   : NormalBorder::none;
  }
  void apply(WorkingText& text) const override {
    if (text.text.find(from_) == std::string::npos) return;
    const std::size_t first = text.text.starts_with(from_) ? to_.size() : text.from_first;
    text.text = replace_all(text.text, from_, to_);
    if (text.from_first > 0) text.from_first = std::min(first, text.text.size());
  }
  Bytes memory_bytes() const override { return sizeof *this + from_.capacity() + to_.capacity(); }

 private:
  std::string from_, to_;
};

class ByteLevelStep final : public PlainStep {
 public:
  NormalBorder border() const override { return NormalBorder::before_inert; }
  void apply(WorkingText& text) const override {
    const std::string_view whole = text.text;
    const std::size_t first = byte_spelling.spell(whole.substr(0, text.from_first)).size();
    text.text = byte_spelling.spell(whole);
    text.from_first = first;
  }
};

/// The precompiled map over whole grapheme clusters first, as the library for tokenizer.json does it
/// (sentencepiece itself goes by the longest match).
class PrecompiledStep final : public Step {
 public:
  explicit PrecompiledStep(std::string_view map) : map_(map) {}
  // Within clusters of characters, the map being no longer than these.
  NormalBorder border() const override { return NormalBorder::between_ascii; }
  void apply(WorkingText& text) const override {
    if (map_.empty()) return;
    constexpr std::size_t longest_whole = 5;
    std::string out;
    out.reserve(text.text.size());
    std::string_view rest = text.text;
    std::size_t from_first = 0, done = 0;
    while (!rest.empty()) {
      std::string_view cluster = rest.substr(0, grapheme_length(rest));
      const auto mapped =
          cluster.size() <= longest_whole ? map_.shortest(cluster) : std::nullopt;
      if (mapped) {
        out += mapped->replacement;
        done += cluster.size();
        if (done <= text.from_first || done == cluster.size()) from_first = out.size();
      } else {
        for_each_character(cluster, [&](char32_t, std::string_view bytes) {
          const auto one = map_.shortest(bytes);
          out += one ? one->replacement : bytes;
          done += bytes.size();
          if (done <= text.from_first) from_first = out.size();
        });
      }
      rest.remove_prefix(cluster.size());
    }
    text.text = std::move(out);
    if (text.from_first > 0) text.from_first = from_first;
  }
  Bytes memory_bytes() const override { return sizeof *this + map_.memory_bytes(); }

 private:
  Charsmap map_;
};

class BertStep final : public PlainStep {
 public:
  explicit BertStep(const BertRules& rules) : rules_(rules) {}
  NormalBorder border() const override { return NormalBorder::before_inert; }
  void apply(WorkingText& text) const override {
    if (rules_.clean_text)
      rewrite(text, [](char32_t c, std::string_view bytes, std::string& out) {
        const bool is_blank = c == '\t' || c == '\n' || c == '\r';
        if (!is_blank && (c == 0 || c == 0xFFFD || is_other(c))) return;
        if (is_blank || is_white_space(c))
          out += ' ';
        else
          out += bytes;
      });
    if (rules_.handle_chinese_chars)
      rewrite(text, [](char32_t c, std::string_view bytes, std::string& out) {
        const bool is_apart = is_ideograph(c);
        if (is_apart) out += ' ';
        out += bytes;
        if (is_apart) out += ' ';
      });
    if (rules_.strip_accents) {
      FormStep(NormalForm::nfd).apply(text);
      rewrite(text, [](char32_t c, std::string_view bytes, std::string& out) {
        if (c < 0x300 || !is_nonspacing_mark(c)) out += bytes;
      });
    }
    if (rules_.lowercase) LowercaseStep().apply(text);
  }
  Bytes memory_bytes() const override { return sizeof *this; }

 private:
  BertRules rules_;
};

std::unique_ptr<Step> replace_of(const JsonKeys& keys) {
  const auto content = keys.string("content");
  if (!content) keys.invalid("content", "a text");
  const JsonKeys pattern = keys.object("pattern");
  if (const auto text = pattern.string("String")) {
    if (!text->empty()) return std::make_unique<ReplaceTextStep>(*text, *content);
    return std::make_unique<ReplaceStep>("", Regex::Kind::perl, *content);
  }
  const auto expression = pattern.string("Regex");
  if (!expression) keys.invalid("pattern", "a String or a Regex");
  return std::make_unique<ReplaceStep>(*expression, Regex::Kind::oniguruma, *content);
}

void append_steps(const JsonKeys& keys, std::vector<std::unique_ptr<Step>>& steps, int depth) {
  const auto type = keys.string("type");
  if (!type) keys.invalid("type", "the name of a normalizer");
  constexpr std::pair<std::string_view, NormalForm> forms[] = {{"NFC", NormalForm::nfc},
                                                               {"NFD", NormalForm::nfd},
                                                               {"NFKC", NormalForm::nfkc},
                                                               {"NFKD", NormalForm::nfkd}};
  for (const auto& [name, form] : forms)
    if (*type == name) return steps.push_back(std::make_unique<FormStep>(form));
  if (*type == "Sequence") {
    if (depth > 16) keys.invalid("normalizers", "sequences nested less deeply");
    for (const JsonKeys& part : keys.objects("normalizers")) append_steps(part, steps, depth + 1);
  } else if (*type == "Lowercase") {
    steps.push_back(std::make_unique<LowercaseStep>());
  } else if (*type == "Strip") {
    steps.push_back(std::make_unique<StripStep>(keys.boolean("strip_left").value_or(true),
                                                keys.boolean("strip_right").value_or(true)));
  } else if (*type == "StripAccents") {
    steps.push_back(std::make_unique<StripAccentsStep>());
  } else if (*type == "Nmt") {
    steps.push_back(std::make_unique<NmtStep>());
  } else if (*type == "Prepend") {
    const auto text = keys.string("prepend");
    if (!text) keys.invalid("prepend", "a text");
    steps.push_back(std::make_unique<PrependStep>(*text));
  } else if (*type == "Replace") {
    steps.push_back(replace_of(keys));
  } else if (*type == "ByteLevel") {
    steps.push_back(std::make_unique<ByteLevelStep>());
  } else if (*type == "Precompiled") {
    const auto map = decode_base64(keys.string("precompiled_charsmap").value_or(""));
    if (!map) keys.invalid("precompiled_charsmap", "bytes in base64");
    steps.push_back(std::make_unique<PrecompiledStep>(*map));
  } else if (*type == "BertNormalizer") {
    BertRules rules;
    rules.clean_text = keys.boolean("clean_text").value_or(true);
    rules.handle_chinese_chars = keys.boolean("handle_chinese_chars").value_or(true);
    rules.lowercase = keys.boolean("lowercase").value_or(true);
    rules.strip_accents = keys.boolean("strip_accents").value_or(rules.lowercase);
    steps.push_back(bert_step(rules));
  } else {
    throw Error(ErrorCode::unsupported_model,
                fmt::format("tokenizer.json: the normalizer \"{}\" is not known", *type),
                "known: BertNormalizer, ByteLevel, Lowercase, NFC, NFD, NFKC, NFKD, Nmt, "
                "Precompiled, Prepend, Replace, Sequence, Strip, StripAccents");
  }
}

}  // namespace

Normalizer::Normalizer(const JsonKeys& description) {
  if (!description.members().empty()) append_steps(description, steps_, 0);
}

NormalBorder Normalizer::border() const {
  NormalBorder border = NormalBorder::before_inert;
  for (const auto& step : steps_) border = std::max(border, step->border());
  return border;
}

std::size_t Normalizer::last_border(std::string_view text, std::size_t end) const {
  const NormalBorder kind = border();
  if (kind == NormalBorder::none) return 0;
  const auto is_ascii = [&](std::size_t at) { return static_cast<signed char>(text[at]) >= 0; };
  while (end-- > 1) {
    if (is_ascii(end)) {
      const bool is_line_end = text[end] == '\n' && text[end - 1] == '\r';
      if (kind == NormalBorder::before_inert || (is_ascii(end - 1) && !is_line_end)) return end;
    } else if (kind == NormalBorder::before_inert) {
      // An ideograph from U+5000 to U+9FFF.
      const auto lead = static_cast<unsigned char>(text[end]);
      if (lead >= 0xE5 && lead <= 0xE9) return end;
    }
  }
  return 0;
}

Bytes Normalizer::memory_bytes() const {
  Bytes bytes = steps_.capacity() * sizeof(steps_[0]);
  for (const auto& step : steps_) bytes += step->memory_bytes();
  return bytes;
}

std::unique_ptr<Normalizer::Step> bert_step(const BertRules& rules) {
  return std::make_unique<BertStep>(rules);
}
std::unique_ptr<Normalizer::Step> replacing_step(std::string_view from, std::string_view to) {
  return std::make_unique<ReplaceTextStep>(from, to);
}

}  // namespace plimsoll
