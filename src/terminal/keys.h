// What a terminal sends, as keys and pastes.
#pragma once

#include <deque>
#include <string>
#include <string_view>

namespace plimsoll {

struct Key {
  enum class Kind {
    character,  ///< `code`: a character, or a control character that is a command (Ctrl-A)
    broken,     ///< `code`: a byte that is no UTF-8
    meta,       ///< `code`: a character with Alt
    enter,
    line_break,  ///< of the text: Alt-Enter
    paste,       ///< `text`, with line breaks as "\n"
    up,
    down,
    left,
    right,
    word_left,
    word_right,
    home,
    end,
    erase,  ///< the Delete key
  };
  Kind kind = Kind::character;
  char32_t code = 0;
  std::string text = {};

  bool operator==(const Key&) const = default;
};

/// Bytes arrive in bursts: what was there at once. Marked pastes ("bracketed paste") may last over
/// several; of terminals that mark none, a line break with more behind it in the same burst is
/// pasted text (but not behind a command), and so is a long burst. Sequences of keys that are not
/// known are dropped.
class KeyDecoder {
 public:
  /// Everything that the burst holds; what it leaves open waits for the next one.
  std::deque<Key> push(std::string_view burst);
  /// Whether it ends inside of a marked paste.
  bool is_in_paste() const { return in_paste_; }
  /// Whether it ends inside of a sequence or character.
  bool waits() const { return !held_.empty(); }
  /// Forgets what was left open.
  void clear();

 private:
  std::string held_;   ///< the beginning of a sequence or character
  std::string paste_;  ///< of a marked paste so far
  bool in_paste_ = false;
};

}  // namespace plimsoll
