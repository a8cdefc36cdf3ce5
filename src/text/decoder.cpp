// Each step is that of https://github.com/huggingface/tokenizers (tokenizers/src/decoders).
#include "text/decoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "base/error.h"
#include "text/byte_spelling.h"
#include "text/regex.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace plimsoll {
namespace {

using Step = Decoder::Step;

/// A step that does to every token the same.
class TokenStep : public Step {
 public:
  using Step::apply;
  void apply(std::vector<std::string>& tokens) const override {
    for (std::string& token : tokens) apply(token);
  }
};

class ByteLevelStep final : public Step {
 public:
  /// The bytes of all tokens are put together before they are read as text.
  void apply(std::vector<std::string>& tokens) const override {
    std::string all;
    for (std::string& token : tokens) {
      apply(token);
      all += token;
    }
    tokens.assign(1, std::move(all));
  }
  void apply(std::string& token) const override {
    std::string bytes;
    bool spells_bytes = true;
    for_each_character(token, [&](char32_t character, std::string_view) {
      const auto byte = byte_spelling.byte_of(character);
      if (byte)
        bytes += *byte;
      else
        spells_bytes = false;
    });
    // Tokens that were added to a vocabulary later are spelled in plain text.
    if (spells_bytes) token = std::move(bytes);
  }
  Bytes memory_bytes() const override { return sizeof *this; }
};

class ReplaceStep final : public TokenStep {
 public:
  ReplaceStep(std::string_view pattern, Regex::Kind kind, std::string content)
      : regex_(pattern, kind), content_(std::move(content)) {}
  using TokenStep::apply;
  void apply(std::string& token) const override {
    std::string out;
    std::size_t done = 0;
    Regex::Matches matches(regex_, token);
    while (!token.empty() && matches.next()) {
      if (matches.begin < done) continue;
      out += std::string_view(token).substr(done, matches.begin - done);
      out += content_;
      done = matches.end;
    }
    out += std::string_view(token).substr(done);
    token = std::move(out);
  }
  Bytes memory_bytes() const override {
    return sizeof *this + regex_.memory_bytes() + content_.capacity();
  }

 private:
  Regex regex_;
  std::string content_;
};

class ReplaceTextStep final : public TokenStep {
 public:
  ReplaceTextStep(std::string_view from, std::string_view to) : from_(from), to_(to) {}
  using TokenStep::apply;
  void apply(std::string& token) const override { token = replace_all(token, from_, to_); }
  Bytes memory_bytes() const override { return sizeof *this + from_.capacity() + to_.capacity(); }

 private:
  std::string from_, to_;
};

/// Marks become spaces; those of the first token go where one was put before the text.
class MetaspaceStep final : public Step {
 public:
  MetaspaceStep(std::string mark, bool takes_first) : mark_(std::move(mark)), first_(takes_first) {}
  void apply(std::vector<std::string>& tokens) const override {
    for (std::size_t i = 0; i < tokens.size(); ++i)
      tokens[i] = replace_all(tokens[i], mark_, i == 0 && first_ ? "" : " ");
  }
  void apply(std::string& token) const override { token = replace_all(token, mark_, " "); }
  Bytes memory_bytes() const override { return sizeof *this + mark_.capacity(); }

 private:
  std::string mark_;
  bool first_;
};

/// Runs of tokens "<0x0A>" become the text that their bytes are; bytes that are none become U+FFFD.
class ByteFallbackStep final : public Step {
 public:
  void apply(std::vector<std::string>& tokens) const override {
    std::vector<std::string> out;
    std::string bytes;
    const auto flush = [&] {
      if (bytes.empty()) return;
      if (find_invalid_utf8(bytes)) {
        for (std::size_t i = 0; i < bytes.size(); ++i) out.emplace_back("\xEF\xBF\xBD");
      } else {
        out.push_back(bytes);
      }
      bytes.clear();
    };
    for (std::string& token : tokens) {
      if (const auto byte = byte_of(token)) {
        bytes += *byte;
      } else {
        flush();
        out.push_back(std::move(token));
      }
    }
    flush();
    tokens = std::move(out);
  }
  void apply(std::string& token) const override {
    if (const auto byte = byte_of(token)) token.assign(1, *byte);
  }
  Bytes memory_bytes() const override { return sizeof *this; }

 private:
  static std::optional<char> byte_of(std::string_view token) {
    if (token.size() != 6 || !token.starts_with("<0x") || token.back() != '>') return std::nullopt;
    int value = 0;
    for (const char digit : token.substr(3, 2)) {
      const int lower = digit | 0x20;
      if (digit >= '0' && digit <= '9')
        value = value * 16 + (digit - '0');
      else if (lower >= 'a' && lower <= 'f')
        value = value * 16 + (lower - 'a' + 10);
      else
        return std::nullopt;
    }
    return static_cast<char>(value);
  }
};

class FuseStep final : public Step {
 public:
  void apply(std::vector<std::string>& tokens) const override {
    std::string all;
    for (const std::string& token : tokens) all += token;
    tokens.assign(1, std::move(all));
  }
  void apply(std::string&) const override {}
  Bytes memory_bytes() const override { return sizeof *this; }
};

/// So many of a character at the beginning and end of each token. Of a token alone nothing is taken
/// once the tokens have been fused.
class StripStep final : public Step {
 public:
  StripStep(std::string content, std::size_t start, std::size_t stop, bool is_fused)
      : content_(std::move(content)), start_(start), stop_(stop), is_fused_(is_fused) {}
  void apply(std::vector<std::string>& tokens) const override {
    for (std::string& token : tokens) strip(token);
  }
  void apply(std::string& token) const override {
    if (!is_fused_) strip(token);
  }
  Bytes memory_bytes() const override { return sizeof *this + content_.capacity(); }

 private:
  void strip(std::string& token) const {
    for (std::size_t i = 0; i < start_ && token.starts_with(content_); ++i)
      token.erase(0, content_.size());
    for (std::size_t i = 0; i < stop_ && token.ends_with(content_); ++i)
      token.resize(token.size() - content_.size());
  }

  std::string content_;
  std::size_t start_, stop_;
  bool is_fused_;
};

void clean_up(std::string& text) {
  constexpr std::pair<std::string_view, std::string_view> rules[] = {
      {" .", "."},     {" ?", "?"},       {" !", "!"},     {" ,", ","},
      {" ' ", "'"},    {" n't", "n't"},   {" 'm", "'m"},   {" do not", " don't"},
      {" 's", "'s"},   {" 've", "'ve"},   {" 're", "'re"}};
  for (const auto& [from, to] : rules)
    if (text.find(from) != std::string::npos) text = replace_all(text, from, to);
}

class WordPieceStep final : public Step {
 public:
  WordPieceStep(std::string prefix, bool cleanup) : prefix_(std::move(prefix)), cleanup_(cleanup) {}
  void apply(std::vector<std::string>& tokens) const override {
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      if (i > 0) join(tokens[i]);
      if (cleanup_) clean_up(tokens[i]);
    }
  }
  void apply(std::string& token) const override {
    join(token);
    if (cleanup_) clean_up(token);
  }
  Bytes memory_bytes() const override { return sizeof *this + prefix_.capacity(); }

 private:
  void join(std::string& token) const {
    if (token.starts_with(prefix_))
      token.erase(0, prefix_.size());
    else
      token.insert(0, 1, ' ');
  }

  std::string prefix_;
  bool cleanup_;
};

/// Tokens with `suffix` end a word.
class SuffixStep final : public Step {
 public:
  explicit SuffixStep(std::string suffix) : suffix_(std::move(suffix)) {}
  void apply(std::vector<std::string>& tokens) const override {
    for (std::size_t i = 0; i < tokens.size(); ++i)
      tokens[i] = replace(tokens[i], i + 1 == tokens.size() ? "" : " ");
  }
  void apply(std::string& token) const override { token = replace(token, " "); }
  Bytes memory_bytes() const override { return sizeof *this + suffix_.capacity(); }

 private:
  std::string replace(const std::string& token, std::string_view by) const {
    return suffix_.empty() ? token : replace_all(token, suffix_, by);
  }

  std::string suffix_;
};

/// Of tokens in a row that are the same only one counts, and those for padding not at all.
class CtcStep final : public Step {
 public:
  CtcStep(std::string padding, std::string delimiter, bool cleanup)
      : padding_(std::move(padding)), delimiter_(std::move(delimiter)), cleanup_(cleanup) {}
  void apply(std::vector<std::string>& tokens) const override {
    tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
    for (std::string& token : tokens) apply(token);
    std::erase_if(tokens, [](const std::string& token) { return token.empty(); });
  }
  void apply(std::string& token) const override {
    if (!padding_.empty()) token = replace_all(token, padding_, "");
    if (!cleanup_) return;
    clean_up(token);
    if (!delimiter_.empty()) token = replace_all(token, delimiter_, " ");
  }
  Bytes memory_bytes() const override {
    return sizeof *this + padding_.capacity() + delimiter_.capacity();
  }

 private:
  std::string padding_, delimiter_;
  bool cleanup_;
};

class StepReader {
 public:
  std::vector<std::unique_ptr<Step>> steps;

  void read(const JsonKeys& keys, int depth) {
    const auto type = keys.string("type");
    if (!type) keys.invalid("type", "the name of a decoder");
    if (*type == "Sequence") {
      if (depth > 16) keys.invalid("decoders", "sequences nested less deeply");
      for (const JsonKeys& part : keys.objects("decoders")) read(part, depth + 1);
    } else if (*type == "ByteLevel") {
      steps.push_back(byte_level_decoding());
      is_fused_ = true;
    } else if (*type == "Metaspace") {
      const std::string mark = keys.string("replacement").value_or("\u2581");
      if (mark.empty()) keys.invalid("replacement", "one character");
      const auto scheme = keys.string("prepend_scheme");
      const bool takes_first =
          scheme ? *scheme != "never" : keys.boolean("add_prefix_space").value_or(true);
      steps.push_back(std::make_unique<MetaspaceStep>(mark, takes_first));
    } else if (*type == "ByteFallback") {
      steps.push_back(std::make_unique<ByteFallbackStep>());
    } else if (*type == "Fuse") {
      steps.push_back(std::make_unique<FuseStep>());
      is_fused_ = true;
    } else if (*type == "Strip") {
      const std::string content = keys.string("content").value_or(" ");
      if (content.empty()) keys.invalid("content", "one character");
      const auto count = [&](std::string_view key) {
        const std::int64_t value = keys.integer(key).value_or(0);
        if (value < 0) keys.invalid(key, "a number of characters");
        return static_cast<std::size_t>(value);
      };
      steps.push_back(
          std::make_unique<StripStep>(content, count("start"), count("stop"), is_fused_));
    } else if (*type == "Replace") {
      read_replace(keys);
    } else if (*type == "WordPiece") {
      steps.push_back(word_piece_decoding(keys.string("prefix").value_or("##"),
                                          keys.boolean("cleanup").value_or(true)));
    } else if (*type == "BPEDecoder") {
      steps.push_back(std::make_unique<SuffixStep>(keys.string("suffix").value_or("</w>")));
    } else if (*type == "CTC") {
      steps.push_back(std::make_unique<CtcStep>(keys.string("pad_token").value_or("<pad>"),
                                                keys.string("word_delimiter_token").value_or("|"),
                                                keys.boolean("cleanup").value_or(true)));
    } else {
      throw Error(ErrorCode::unsupported_model,
                  fmt::format("tokenizer.json: the decoder \"{}\" is not known", *type),
                  "known: BPEDecoder, ByteFallback, ByteLevel, CTC, Fuse, Metaspace, Replace, "
                  "Sequence, Strip, WordPiece");
    }
  }

 private:
  void read_replace(const JsonKeys& keys) {
    const std::string content = keys.string("content").value_or("");
    const JsonKeys pattern = keys.object("pattern");
    const auto text = pattern.string("String");
    const auto expression = pattern.string("Regex");
    if (text && !text->empty())
      steps.push_back(replacing_decoding(*text, content));
    else if (text || expression)
      steps.push_back(std::make_unique<ReplaceStep>(
          text ? "" : *expression, text ? Regex::Kind::perl : Regex::Kind::oniguruma, content));
    else
      keys.invalid("pattern", "a String or a Regex");
  }

  bool is_fused_ = false;
};

}  // namespace

Decoder::Decoder(const JsonKeys& description) {
  if (description.members().empty()) return;
  StepReader reader;
  reader.read(description, 0);
  steps_ = std::move(reader.steps);
  steps_.shrink_to_fit();
}

std::string Decoder::decode(std::vector<std::string> tokens) const {
  for (const auto& step : steps_) step->apply(tokens);
  std::string text;
  for (const std::string& token : tokens) {
    if (steps_.empty() && !text.empty()) text += ' ';
    text += token;
  }
  return text;
}

std::string Decoder::piece(std::string_view token) const {
  std::string text(token);
  for (const auto& step : steps_) step->apply(text);
  return text;
}

Bytes Decoder::memory_bytes() const {
  Bytes bytes = steps_.capacity() * sizeof(steps_[0]);
  for (const auto& step : steps_) bytes += step->memory_bytes();
  return bytes;
}

std::unique_ptr<Step> byte_level_decoding() { return std::make_unique<ByteLevelStep>(); }
std::unique_ptr<Step> replacing_decoding(std::string_view from, std::string_view to) {
  return std::make_unique<ReplaceTextStep>(from, to);
}
std::unique_ptr<Step> word_piece_decoding(std::string prefix, bool cleanup) {
  return std::make_unique<WordPieceStep>(std::move(prefix), cleanup);
}

}  // namespace plimsoll
