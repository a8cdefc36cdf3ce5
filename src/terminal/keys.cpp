#include "terminal/keys.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "text/utf8.h"

namespace plimsoll {
namespace {

constexpr char escape = '\x1b';
/// Private modes of xterm: what is pasted stands between these.
constexpr std::string_view paste_begin = "\x1b[200~", paste_end = "\x1b[201~";
/// Nobody types as fast.
constexpr std::size_t long_burst = 256;

struct Sequence {
  std::string_view text;  ///< behind the escape character
  Key::Kind kind;
};
/// ECMA-48 and DEC forms, with the modifiers of xterm (5: Ctrl, 3: Alt).
constexpr std::array sequences = std::to_array<Sequence>({
    {"[A", Key::Kind::up},
    {"OA", Key::Kind::up},
    {"[B", Key::Kind::down},
    {"OB", Key::Kind::down},
    {"[C", Key::Kind::right},
    {"OC", Key::Kind::right},
    {"[D", Key::Kind::left},
    {"OD", Key::Kind::left},
    {"[1;5C", Key::Kind::word_right},
    {"[1;3C", Key::Kind::word_right},
    {"[1;5D", Key::Kind::word_left},
    {"[1;3D", Key::Kind::word_left},
    {"[5C", Key::Kind::word_right},
    {"[5D", Key::Kind::word_left},
    {"[H", Key::Kind::home},
    {"OH", Key::Kind::home},
    {"[1~", Key::Kind::home},
    {"[7~", Key::Kind::home},
    {"[F", Key::Kind::end},
    {"OF", Key::Kind::end},
    {"[4~", Key::Kind::end},
    {"[8~", Key::Kind::end},
    {"[3~", Key::Kind::erase},
    {"[13;2u", Key::Kind::line_break},
    {"[13;3u", Key::Kind::line_break},
    {"[27;2;13~", Key::Kind::line_break},
});

/// Bytes of the control sequence at the beginning of `text`, which begins with the escape
/// character; empty where its end has not come yet.
std::optional<std::size_t> sequence_length(std::string_view text) {
  if (text.size() < 2) return std::nullopt;
  if (text[1] == 'O') return text.size() < 3 ? std::nullopt : std::optional<std::size_t>(3);
  if (text[1] != '[') return 2;
  std::size_t at = 2;
  if (at < text.size() && text[at] == '[') ++at;  // function keys of the Linux console
  while (at < text.size() && text[at] >= 0x20 && text[at] <= 0x3F) ++at;
  if (at == text.size()) return std::nullopt;
  return text[at] >= 0x40 && text[at] <= 0x7E ? at + 1 : at;
}

char32_t code_point(std::string_view character) {
  const auto first = static_cast<unsigned char>(character[0]);
  if (first < 0x80) return first;
  char32_t code = first & (0xFFu >> (character.size() + 1));
  for (const char c : character.substr(1))
    code = code << 6 | (static_cast<unsigned char>(c) & 0x3Fu);
  return code;
}

std::string with_plain_breaks(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\r')
      out += text[i];
    else if (i + 1 == text.size() || text[i + 1] != '\n')
      out += '\n';
  }
  return out;
}

bool is_break(char c) { return c == '\n' || c == '\r'; }

/// Of the line at the beginning of `burst` with its break, if it looks like a command ("/name"),
/// which is a line by itself; otherwise 0.
std::size_t command_length(std::string_view burst) {
  if (burst.size() < 2 || burst[0] != '/' || burst[1] < 'a' || burst[1] > 'z') return 0;
  const std::size_t end = burst.find_first_of("\r\n\x1b");
  if (end == std::string_view::npos || burst[end] == escape) return 0;
  return end + (burst.substr(end).starts_with("\r\n") ? 2 : 1);
}

/// A long burst without keys in it: all of it, but for the break at its end.
bool is_unmarked_paste(std::string_view burst) {
  return burst.size() >= long_burst && std::none_of(burst.begin(), burst.end(), [](char c) {
           return (static_cast<unsigned char>(c) < 0x20 && !is_break(c) && c != '\t') || c == 0x7F;
         });
}

}  // namespace

void KeyDecoder::clear() { *this = KeyDecoder(); }

std::deque<Key> KeyDecoder::push(std::string_view burst) {
  std::deque<Key> keys;
  if (const std::size_t end = in_paste_ || waits() ? 0 : command_length(burst);
      end > 0 && end < burst.size()) {
    keys = push(burst.substr(0, end));
    for (Key& key : push(burst.substr(end))) keys.push_back(std::move(key));
    return keys;
  }
  std::string all = std::exchange(held_, {});
  const bool held_some = !all.empty();
  all += burst;
  std::string_view rest = all;
  if (!in_paste_ && !held_some && is_unmarked_paste(rest)) {
    const bool ends = is_break(rest.back());
    if (ends) rest.remove_suffix(rest.ends_with("\r\n") ? 2 : 1);
    keys.push_back({Key::Kind::paste, 0, with_plain_breaks(rest)});
    if (ends) keys.push_back({Key::Kind::enter});
    return keys;
  }
  while (!rest.empty()) {
    if (in_paste_) {
      const std::size_t end = rest.find(paste_end);
      if (end == std::string_view::npos) {
        // The mark may have come in part.
        std::size_t keep = std::min(rest.size(), paste_end.size() - 1);
        while (!rest.ends_with(paste_end.substr(0, keep))) --keep;
        paste_ += rest.substr(0, rest.size() - keep);
        held_ = rest.substr(rest.size() - keep);
        break;
      }
      paste_ += rest.substr(0, end);
      rest.remove_prefix(end + paste_end.size());
      in_paste_ = false;
      keys.push_back({Key::Kind::paste, 0, with_plain_breaks(std::exchange(paste_, {}))});
      continue;
    }
    if (rest.starts_with(paste_begin)) {
      rest.remove_prefix(paste_begin.size());
      in_paste_ = true;
      continue;
    }
    if (rest[0] == escape) {
      const std::optional<std::size_t> length = sequence_length(rest);
      if (!length) {
        held_ = rest;
        break;
      }
      const std::string_view sequence = rest.substr(1, *length - 1);
      rest.remove_prefix(*length);
      const auto known = std::find_if(sequences.begin(), sequences.end(),
                                      [&](const Sequence& s) { return s.text == sequence; });
      if (known != sequences.end())
        keys.push_back({known->kind});
      else if (sequence.size() == 1 && is_break(sequence[0]))
        keys.push_back({Key::Kind::line_break});
      else if (sequence.size() == 1 && sequence[0] > 0x20)
        keys.push_back({Key::Kind::meta, static_cast<unsigned char>(sequence[0])});
      else if (sequence.size() == 1 && sequence[0] == escape)
        held_.clear();  // twice is none
      continue;
    }
    if (is_break(rest[0])) {
      rest.remove_prefix(rest.starts_with("\r\n") ? 2 : 1);
      keys.push_back({rest.empty() ? Key::Kind::enter : Key::Kind::line_break});
      continue;
    }
    const Utf8Step step = next_utf8(rest);
    if (step.kind == Utf8Step::Kind::incomplete) {
      held_ = rest;
      break;
    }
    if (step.kind == Utf8Step::Kind::invalid) {
      for (const char c : rest.substr(0, step.length))
        keys.push_back({Key::Kind::broken, static_cast<unsigned char>(c)});
    } else if (const char32_t code = code_point(rest.substr(0, step.length));
               code < 0x80 || code >= 0xA0) {
      keys.push_back({Key::Kind::character, code});
    }
    rest.remove_prefix(step.length);
  }
  return keys;
}

}  // namespace plimsoll
