#include "text/pre_tokenizer_steps.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "text/byte_spelling.h"
#include "text/library_tables.h"
#include "text/script_names.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace plimsoll {
namespace {

/// Marks the length of a piece that is left out; texts are shorter than 2 GiB.
constexpr std::uint32_t removed_bit = 0x80000000u;

/// Calls `take(piece)` for every piece.
template <class Take>
void for_each_piece(const Pieces& pieces, Take take) {
  std::size_t begin = 0;
  for (const std::uint32_t length : pieces.lengths) {
    take(pieces.text().substr(begin, length));
    begin += length;
  }
}

/// Takes the new lengths of all pieces, some of them empty or removed.
void replace_lengths(Pieces& pieces, std::vector<std::uint32_t> lengths) {
  const bool has_removed =
      std::ranges::any_of(lengths, [](std::uint32_t length) { return length & removed_bit; });
  if (has_removed) {
    std::string kept;
    std::size_t begin = 0, from_first = 0;
    for (const std::uint32_t marked : lengths) {
      const std::uint32_t length = marked & ~removed_bit;
      if (!(marked & removed_bit)) {
        kept += pieces.text().substr(begin, length);
        if (begin < pieces.from_first)
          from_first = kept.size() - (begin + length - std::min<std::size_t>(begin + length,
                                                                             pieces.from_first));
      }
      begin += length;
    }
    pieces.set_text(std::move(kept));
    pieces.from_first = from_first;
  }
  std::erase_if(lengths, [](std::uint32_t length) { return length == 0 || length & removed_bit; });
  pieces.lengths = std::move(lengths);
}

/// Rebuilds the text: `take(piece, begin, out)` appends what each piece becomes.
template <class Take>
void rewrite(Pieces& pieces, Take take) {
  std::string out;
  out.reserve(pieces.text().size() + pieces.lengths.size());
  std::size_t begin = 0, from_first = 0;
  std::vector<std::uint32_t> lengths;
  lengths.reserve(pieces.lengths.size());
  for (const std::uint32_t length : pieces.lengths) {
    const std::size_t before = out.size();
    const std::size_t first =
        pieces.from_first > begin ? std::min<std::size_t>(pieces.from_first - begin, length) : 0;
    const std::size_t first_out = take(pieces.text().substr(begin, length), first, out);
    if (first > 0) from_first = before + first_out;
    lengths.push_back(static_cast<std::uint32_t>(out.size() - before));
    begin += length;
  }
  pieces.set_text(std::move(out));
  pieces.from_first = from_first;
  std::erase(lengths, 0u);
  pieces.lengths = std::move(lengths);
}

/// Puts matches and what stands between them together, of one piece after the other.
class Cutter {
 public:
  Cutter(SplitBehavior behavior, bool is_inverted) : behavior_(behavior), inverted_(is_inverted) {}

  void begin_piece() {
    first_ = lengths.size();
    previous_ = false;
  }
  void add(std::size_t bytes, bool is_match) {
    const auto length = static_cast<std::uint32_t>(bytes);
    if (inverted_) is_match = !is_match;
    const bool has_last = lengths.size() > first_;
    switch (behavior_) {
      case SplitBehavior::isolated:
        lengths.push_back(length);
        break;
      case SplitBehavior::removed:
        lengths.push_back(is_match ? length | removed_bit : length);
        break;
      case SplitBehavior::contiguous:
        if (is_match == previous_ && has_last)
          lengths.back() += length;
        else
          lengths.push_back(length);
        break;
      case SplitBehavior::merged_with_previous:
        if (is_match && !previous_ && has_last)
          lengths.back() += length;
        else
          lengths.push_back(length);
        break;
      case SplitBehavior::merged_with_next:
        if (!is_match && previous_)
          lengths.back() += length;
        else
          lengths.push_back(length);
        break;
    }
    previous_ = is_match;
  }

  std::vector<std::uint32_t> lengths;

 private:
  SplitBehavior behavior_;
  bool inverted_;
  std::size_t first_ = 0;  ///< of the piece that is being cut
  bool previous_ = false;  ///< what was added last is a match
};

/// What has been added does not change by what is added next.
bool is_final_at_once(SplitBehavior behavior) {
  return behavior == SplitBehavior::isolated || behavior == SplitBehavior::removed;
}

class RegexStep final : public PreTokenizer::Step {
 public:
  RegexStep(Regex regex, SplitBehavior behavior, bool is_inverted)
      : regex_(std::move(regex)), behavior_(behavior), inverted_(is_inverted) {}

  void apply(Pieces& pieces) const override {
    Cutter cutter(behavior_, inverted_);
    Regex::Matches matches(regex_, {});
    for_each_piece(pieces, [&](std::string_view piece) {
      cutter.begin_piece();
      matches.restart(piece);
      std::size_t done = 0;
      while (matches.next()) {
        if (matches.begin < done) continue;  // \K can put a beginning before what was matched
        if (matches.begin > done) cutter.add(matches.begin - done, false);
        cutter.add(matches.end - matches.begin, true);
        done = matches.end;
      }
      if (done < piece.size()) cutter.add(piece.size() - done, false);
    });
    replace_lengths(pieces, std::move(cutter.lengths));
  }

  bool takes_parts() const override { return regex_.takes_parts() && is_final_at_once(behavior_); }
  Pieces cut_open(std::string_view open, std::string_view& rest) const override {
    Cutter cutter(behavior_, inverted_);
    cutter.begin_piece();
    Regex::Matches matches(regex_, open);
    std::size_t done = 0;
    while (matches.next_certain()) {
      if (matches.begin < done) continue;
      if (matches.begin > done) cutter.add(matches.begin - done, false);
      cutter.add(matches.end - matches.begin, true);
      done = matches.end;
    }
    // What stands between matches is left out where those are what is kept.
    const bool is_piece = behavior_ != SplitBehavior::removed || !inverted_;
    rest = open.substr(done, is_piece && matches.open > done ? matches.open - done : 0);
    Pieces pieces(open.substr(0, done));
    replace_lengths(pieces, std::move(cutter.lengths));
    return pieces;
  }
  Bytes memory_bytes() const override { return sizeof *this + regex_.memory_bytes(); }

 private:
  Regex regex_;
  SplitBehavior behavior_;
  bool inverted_;
};

template <class IsMatch>
class CharacterStep final : public PreTokenizer::Step {
 public:
  CharacterStep(IsMatch is_match, SplitBehavior behavior)
      : is_match_(is_match), behavior_(behavior) {}

  void apply(Pieces& pieces) const override {
    Cutter cutter(behavior_, false);
    for_each_piece(pieces, [&](std::string_view piece) {
      const std::size_t between = add_piece(piece, cutter);
      if (between > 0) cutter.add(between, false);
    });
    replace_lengths(pieces, std::move(cutter.lengths));
  }

  bool takes_parts() const override { return is_final_at_once(behavior_); }
  Pieces cut_open(std::string_view open, std::string_view& rest) const override {
    Cutter cutter(behavior_, false);
    const std::size_t between = add_piece(open, cutter);
    rest = open.substr(open.size() - between);
    Pieces pieces(open.substr(0, open.size() - between));
    replace_lengths(pieces, std::move(cutter.lengths));
    return pieces;
  }
  Bytes memory_bytes() const override { return sizeof *this; }

 private:
  /// Returns the bytes behind the last match, which are not yet added.
  std::size_t add_piece(std::string_view piece, Cutter& cutter) const {
    cutter.begin_piece();
    std::size_t between = 0;
    for_each_character(piece, [&](char32_t character, std::string_view bytes) {
      if (!is_match_(character)) {
        between += bytes.size();
        return;
      }
      if (between > 0) cutter.add(between, false);
      cutter.add(bytes.size(), true);
      between = 0;
    });
    return between;
  }

  IsMatch is_match_;
  SplitBehavior behavior_;
};

/// Number of digits in `text` if it holds nothing else, otherwise 0.
std::size_t count_if_digits(std::string_view text) {
  std::size_t count = 0;
  while (!text.empty()) {
    std::size_t length = 0;
    if (!is_number(decode_character(text, length))) return 0;
    text.remove_prefix(length);
    ++count;
  }
  return count;
}

class DigitGroupsStep final : public PreTokenizer::Step {
 public:
  void apply(Pieces& pieces) const override {
    std::vector<std::uint32_t> lengths;
    lengths.reserve(pieces.lengths.size());
    for_each_piece(pieces, [&](std::string_view piece) {
      const std::size_t count = count_if_digits(piece);
      if (count == 0) return lengths.push_back(static_cast<std::uint32_t>(piece.size()));
      std::size_t in_group = (count + 2) % 3 + 1;
      while (!piece.empty()) {
        std::size_t length = 0;
        for (std::size_t i = 0; i < in_group; ++i) length += next_utf8(piece.substr(length)).length;
        lengths.push_back(static_cast<std::uint32_t>(length));
        piece.remove_prefix(length);
        in_group = 3;
      }
    });
    pieces.lengths = std::move(lengths);
  }
  Bytes memory_bytes() const override { return sizeof *this; }
};

class PrefixSpaceStep final : public PreTokenizer::Step {
 public:
  void apply(Pieces& pieces) const override {
    rewrite(pieces, [](std::string_view piece, std::size_t first, std::string& out) {
      const bool has_space = piece.starts_with(' ');
      if (!has_space) out += ' ';
      out += piece;
      return first + (has_space ? 0 : 1);
    });
  }
  Bytes memory_bytes() const override { return sizeof *this; }
};

class SpellingStep final : public PreTokenizer::Step {
 public:
  void apply(Pieces& pieces) const override {
    rewrite(pieces, [](std::string_view piece, std::size_t first, std::string& out) {
      const std::size_t before = out.size();
      std::size_t first_out = 0;
      for (std::size_t i = 0; i < piece.size(); ++i) {
        out += byte_spelling[piece[i]];
        if (i + 1 == first) first_out = out.size() - before;
      }
      return first_out;
    });
  }

  bool takes_parts() const override { return true; }
  Pieces cut_open(std::string_view open, std::string_view& rest) const override {
    // What follows would have to see its characters.
    rest = open.substr(0, 0);
    return Pieces(rest);
  }
  Bytes memory_bytes() const override { return sizeof *this; }
};

class MetaspaceStep final : public PreTokenizer::Step {
 public:
  MetaspaceStep(std::string mark, PrependScheme scheme) : mark_(std::move(mark)), scheme_(scheme) {}

  void apply(Pieces& pieces) const override {
    rewrite(pieces, [this](std::string_view piece, std::size_t first, std::string& out) {
      const std::size_t before = out.size();
      const bool begins = piece.starts_with(' ') || piece.starts_with(mark_);
      if (!begins && (scheme_ == PrependScheme::always ||
                      (scheme_ == PrependScheme::first && first > 0)))
        out += mark_;
      std::size_t first_out = 0;
      for (std::size_t i = 0; i < piece.size(); ++i) {
        if (piece[i] == ' ')
          out += mark_;
        else
          out += piece[i];
        if (i + 1 == first) first_out = out.size() - before;
      }
      return first_out;
    });
  }
  Bytes memory_bytes() const override { return sizeof *this + mark_.capacity(); }

 private:
  std::string mark_;
  PrependScheme scheme_;
};

class FixedLengthStep final : public PreTokenizer::Step {
 public:
  explicit FixedLengthStep(std::size_t length) : length_(length) {}

  void apply(Pieces& pieces) const override {
    std::vector<std::uint32_t> lengths;
    for_each_piece(pieces, [&](std::string_view piece) {
      std::size_t characters = 0, bytes = 0;
      for_each_character(piece, [&](char32_t, std::string_view character) {
        bytes += character.size();
        if (++characters < length_) return;
        lengths.push_back(static_cast<std::uint32_t>(bytes));
        characters = bytes = 0;
      });
      if (bytes > 0) lengths.push_back(static_cast<std::uint32_t>(bytes));
    });
    pieces.lengths = std::move(lengths);
  }
  Bytes memory_bytes() const override { return sizeof *this; }

 private:
  std::size_t length_;
};

}  // namespace

std::optional<SplitBehavior> split_behavior(std::string_view name) {
  constexpr std::pair<std::string_view, SplitBehavior> behaviors[] = {
      {"Removed", SplitBehavior::removed},
      {"Isolated", SplitBehavior::isolated},
      {"MergedWithPrevious", SplitBehavior::merged_with_previous},
      {"MergedWithNext", SplitBehavior::merged_with_next},
      {"Contiguous", SplitBehavior::contiguous}};
  for (const auto& [known, behavior] : behaviors)
    if (known == name) return behavior;
  return std::nullopt;
}

StepPointer split_step(Regex regex, SplitBehavior behavior, bool is_inverted) {
  return std::make_unique<RegexStep>(std::move(regex), behavior, is_inverted);
}
StepPointer split_step(bool (*is_match)(char32_t), SplitBehavior behavior) {
  return std::make_unique<CharacterStep<bool (*)(char32_t)>>(is_match, behavior);
}
StepPointer split_step(char32_t character, SplitBehavior behavior) {
  const auto is_match = [character](char32_t other) { return other == character; };
  return std::make_unique<CharacterStep<decltype(is_match)>>(is_match, behavior);
}
StepPointer digit_groups_step() { return std::make_unique<DigitGroupsStep>(); }
StepPointer prefix_space_step() { return std::make_unique<PrefixSpaceStep>(); }
StepPointer spelling_step() { return std::make_unique<SpellingStep>(); }
StepPointer metaspace_step(std::string mark, PrependScheme scheme) {
  return std::make_unique<MetaspaceStep>(std::move(mark), scheme);
}
StepPointer scripts_step() {
  // A run of one script with the spaces and the characters of no script inside of it; what stands
  // before the first one belongs to nothing, and goes. Han and Kana count as one script.
  std::string runs = R"((?(DEFINE)(?<nothing>[\x20\p{sc:Unknown})";
  for (const auto& [first, last] : library::scripts)
    runs += fmt::format(R"(\x{{{:X}}}-\x{{{:X}}})", static_cast<std::uint32_t>(first),
                        static_cast<std::uint32_t>(last));
  runs += "]))";
  const auto add = [&](std::string_view characters, bool has_kana_mark) {
    runs += fmt::format(R"({}(?:(?!(?&nothing){})[{}](?&nothing)*)+)",
                        runs.ends_with("]))") ? "(?:" : "|", has_kana_mark ? "" : R"(|\x{30FC})",
                        characters);
  };
  add(R"(\p{sc:Han}\p{sc:Hiragana}\p{sc:Katakana}\x{30FC})", true);
  for (const std::string_view name : script_names) add(fmt::format(R"(\p{{sc:{}}})", name), false);
  runs += ')';
  return split_step(Regex(runs, Regex::Kind::perl), SplitBehavior::removed, true);
}
StepPointer fixed_length_step(std::size_t length) {
  return std::make_unique<FixedLengthStep>(length);
}

}  // namespace plimsoll
