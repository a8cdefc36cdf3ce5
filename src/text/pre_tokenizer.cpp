#include "text/pre_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "text/pre_tokenizer_steps.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace plimsoll {
namespace {

constexpr std::string_view gpt2_words =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

/// The steps of one "pre_tokenizer" and of those inside it.
class StepReader {
 public:
  std::vector<StepPointer> steps;

  void read(const JsonKeys& keys, int depth) {
    const auto type = keys.string("type");
    if (!type) keys.invalid("type", "the name of a pre-tokenizer");
    if (*type == "Sequence") {
      if (depth > 16) keys.invalid("pretokenizers", "sequences nested less deeply");
      for (const JsonKeys& part : keys.objects("pretokenizers")) read(part, depth + 1);
    } else if (*type == "ByteLevel") {
      if (keys.boolean("add_prefix_space").value_or(true)) steps.push_back(prefix_space_step());
      if (keys.boolean("use_regex").value_or(true))
        steps.push_back(split_step(Regex(gpt2_words, Regex::Kind::perl), SplitBehavior::isolated));
      steps.push_back(nullptr);  // spelling, which the last one may leave out
    } else if (*type == "Split") {
      read_split(keys);
    } else if (*type == "Digits") {
      steps.push_back(split_step(is_number, keys.boolean("individual_digits").value_or(false)
                                                ? SplitBehavior::isolated
                                                : SplitBehavior::contiguous));
    } else if (*type == "Punctuation") {
      steps.push_back(split_step(is_punctuation, behavior_of(keys, SplitBehavior::isolated)));
    } else if (*type == "Whitespace") {
      steps.push_back(split_step(
          Regex(fmt::format(R"([{0}]+|[^{0}\s]+)", word_class), Regex::Kind::perl),
          SplitBehavior::removed, true));
    } else if (*type == "WhitespaceSplit") {
      steps.push_back(split_step(is_white_space, SplitBehavior::removed));
    } else if (*type == "BertPreTokenizer") {
      steps.push_back(split_step(is_white_space, SplitBehavior::removed));
      steps.push_back(split_step(is_punctuation, SplitBehavior::isolated));
    } else if (*type == "Metaspace") {
      read_metaspace(keys);
    } else if (*type == "CharDelimiterSplit") {
      steps.push_back(
          split_step(character_of(keys, "delimiter", std::nullopt), SplitBehavior::removed));
    } else if (*type == "FixedLength") {
      const std::int64_t length = keys.integer("length").value_or(5);
      if (length < 1) keys.invalid("length", "a number of characters, at least 1");
      steps.push_back(fixed_length_step(static_cast<std::size_t>(length)));
    } else if (*type == "UnicodeScripts") {
      steps.push_back(scripts_step());
    } else {
      throw Error(ErrorCode::unsupported_model,
                  fmt::format("tokenizer.json: the pre-tokenizer \"{}\" is not known", *type),
                  "known: BertPreTokenizer, ByteLevel, CharDelimiterSplit, Digits, FixedLength, "
                  "Metaspace, Punctuation, Sequence, Split, UnicodeScripts, Whitespace, "
                  "WhitespaceSplit");
    }
  }

 private:
  static SplitBehavior behavior_of(const JsonKeys& keys, std::optional<SplitBehavior> otherwise) {
    const auto name = keys.string("behavior");
    if (!name && otherwise) return *otherwise;
    const auto behavior = split_behavior(name.value_or(""));
    if (!behavior)
      keys.invalid("behavior",
                   "one of Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous");
    return *behavior;
  }

  static char32_t character_of(const JsonKeys& keys, std::string_view key,
                               std::optional<char32_t> otherwise) {
    const auto text = keys.string(key);
    if (!text && otherwise) return *otherwise;
    std::size_t length = 0;
    const char32_t character = text && !text->empty() ? decode_character(*text, length) : 0;
    if (!text || text->empty() || length != text->size()) keys.invalid(key, "one character");
    return character;
  }

  void read_split(const JsonKeys& keys) {
    const JsonKeys pattern = keys.object("pattern");
    const auto text = pattern.string("String");
    const auto expression = pattern.string("Regex");
    if (!text && !expression) keys.invalid("pattern", "a String or a Regex");
    const bool is_inverted = keys.boolean("invert").value_or(false);
    steps.push_back(split_step(
        Regex(text ? *text : *expression, text ? Regex::Kind::literal : Regex::Kind::oniguruma),
        behavior_of(keys, std::nullopt), is_inverted));
  }

  void read_metaspace(const JsonKeys& keys) {
    const char32_t mark = character_of(keys, "replacement", std::nullopt);
    PrependScheme scheme = PrependScheme::always;
    if (const auto name = keys.string("prepend_scheme")) {
      if (*name == "never")
        scheme = PrependScheme::never;
      else if (*name == "first")
        scheme = PrependScheme::first;
      else if (*name != "always")
        keys.invalid("prepend_scheme", "one of always, first, never");
    } else if (!keys.boolean("add_prefix_space").value_or(true)) {
      scheme = PrependScheme::never;
    }
    std::string text;
    append_character(text, mark);
    steps.push_back(metaspace_step(text, scheme));
    if (keys.boolean("split").value_or(true))
      steps.push_back(split_step(mark, SplitBehavior::merged_with_next));
  }
};

}  // namespace

PreTokenizer::PreTokenizer(const PreTokenizerKind& kind) {
  if (!kind.published.empty()) {
    const Json json = Json::parse(kind.published);
    *this = PreTokenizer(JsonKeys(json, std::string(kind.names.front())), true);
    return;
  }
  const auto append = [&](std::string_view pattern) {
    steps_.push_back(split_step(Regex(pattern, Regex::Kind::perl), SplitBehavior::isolated));
  };
  for (std::size_t i = 0; i < kind.patterns.size(); ++i) {
    append(kind.patterns[i]);
    if (i == 0 && kind.groups_digits) steps_.push_back(digit_groups_step());
  }
  is_in_bytes_ = !kind.is_raw;
}

PreTokenizer::PreTokenizer(const JsonKeys& description, bool may_leave_bytes) {
  if (description.members().empty()) return;
  StepReader reader;
  reader.read(description, 0);
  is_in_bytes_ = may_leave_bytes && !reader.steps.empty() && !reader.steps.back();
  if (is_in_bytes_) reader.steps.pop_back();
  for (StepPointer& step : reader.steps)
    if (!step) step = spelling_step();
  steps_ = std::move(reader.steps);
  steps_.shrink_to_fit();
}

Pieces PreTokenizer::cut(std::string_view text, std::size_t from_first) const {
  Pieces pieces(text, from_first);
  for (const auto& step : steps_) step->apply(pieces);
  return pieces;
}

bool PreTokenizer::takes_parts() const {
  return !steps_.empty() &&
         std::ranges::all_of(steps_, [](const auto& step) { return step->takes_parts(); });
}

Pieces PreTokenizer::cut_beginning(std::string_view text, std::size_t from_first,
                                   std::size_t& taken) const {
  Pieces pieces = Pieces::of_beginning(text, from_first);
  for (const auto& step : steps_) {
    const std::string_view open = pieces.open;
    if (!pieces.lengths.empty()) step->apply(pieces);
    pieces.append(step->cut_open(open, pieces.open));
  }
  taken = static_cast<std::size_t>(pieces.open.data() - text.data());
  return pieces;
}

Pieces PreTokenizer::Step::cut_open(std::string_view open, std::string_view& rest) const {
  rest = open;
  return Pieces(open.substr(0, 0));
}

void Pieces::append(const Pieces& next) {
  if (next.lengths.empty()) {
    if (next.is_changed_) set_text(std::string(text()));  // something was left out
    return;
  }
  lengths.insert(lengths.end(), next.lengths.begin(), next.lengths.end());
  if (!is_changed_ && !next.is_changed_ && given_.data() + given_.size() == next.given_.data()) {
    given_ = {given_.data(), given_.size() + next.given_.size()};
    return;
  }
  std::string joined(text());
  joined += next.text();
  set_text(std::move(joined));
}

Bytes PreTokenizer::memory_bytes() const {
  Bytes bytes = steps_.capacity() * sizeof(StepPointer);
  for (const auto& step : steps_) bytes += step->memory_bytes();
  return bytes;
}

}  // namespace plimsoll
