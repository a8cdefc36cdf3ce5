#include "terminal/line_reader.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <histedit.h>
#include <langinfo.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <clocale>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <cwchar>
#include <deque>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/numbers.h"
#include "terminal/input.h"
#include "terminal/keys.h"
#include "terminal/terminal_mode.h"
#include "text/utf8.h"

namespace plimsoll {
namespace {

/// What comes sooner than this after something else belongs to it.
constexpr int pause_milliseconds = 20;
/// An escape character after which nothing comes for so long is the Escape key.
constexpr int escape_milliseconds = 50;
/// Longer pastes are shown by a name.
constexpr std::size_t shown_paste_bytes = 1000;
constexpr std::ptrdiff_t shown_paste_lines = 12;
/// Of pastes that may still be named by a line of the history, besides the newest one.
constexpr Bytes kept_paste_bytes = 64 * KiB;
constexpr int history_lines = 500;
/// Bytes that are no UTF-8 pass the editor as characters from here on, which no text has.
constexpr wchar_t broken_bytes = 0xDC00;

/// Codes of keys for the editor: C1 control characters, which never arrive as text.
enum Code : wchar_t {
  code_paste = 0x80,
  code_interrupt,
  code_redisplay,
  code_up,
  code_down,
  code_line_break,
  code_enter,
  code_accept,
  code_left,
  code_right,
  code_word_left,
  code_word_right,
  code_home,
  code_end,
  code_erase,
  code_older,
  code_newer,
};

volatile std::sig_atomic_t resized = 0;

wchar_t code_of(const Key& key) {
  switch (key.kind) {
    case Key::Kind::character:
    case Key::Kind::meta:
      return static_cast<wchar_t>(key.code);
    case Key::Kind::broken:
      return broken_bytes + static_cast<wchar_t>(key.code);
    case Key::Kind::enter:
      return code_enter;
    case Key::Kind::line_break:
      return code_line_break;
    case Key::Kind::paste:
      return code_paste;
    case Key::Kind::up:
      return code_up;
    case Key::Kind::down:
      return code_down;
    case Key::Kind::left:
      return code_left;
    case Key::Kind::right:
      return code_right;
    case Key::Kind::word_left:
      return code_word_left;
    case Key::Kind::word_right:
      return code_word_right;
    case Key::Kind::home:
      return code_home;
    case Key::Kind::end:
      return code_end;
    case Key::Kind::erase:
      return code_erase;
  }
  return 0;
}

std::wstring widened(std::string_view text) {
  std::wstring wide;
  while (!text.empty()) {
    const Utf8Step step = next_utf8(text);
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    if (step.kind != Utf8Step::Kind::character) {
      for (std::size_t i = 0; i < step.length; ++i) wide += broken_bytes + wchar_t{byte(i)};
    } else if (step.length == 1) {
      wide += wchar_t{byte(0)};
    } else {
      wchar_t code = byte(0) & (0xFF >> (step.length + 1));
      for (std::size_t i = 1; i < step.length; ++i) code = code << 6 | (byte(i) & 0x3F);
      wide += code;
    }
    text.remove_prefix(step.length);
  }
  return wide;
}

std::string narrowed(std::wstring_view wide) {
  std::string text;
  for (const wchar_t c : wide) {
    const auto put = [&](wchar_t byte) { text += static_cast<char>(byte); };
    if (c >= broken_bytes && c < broken_bytes + 0x100) {
      put(c - broken_bytes);
    } else if (c < 0x80) {
      put(c);
    } else if (c < 0x800) {
      put(0xC0 | c >> 6);
      put(0x80 | (c & 0x3F));
    } else if (c < 0x10000) {
      put(0xE0 | c >> 12);
      put(0x80 | (c >> 6 & 0x3F));
      put(0x80 | (c & 0x3F));
    } else {
      put(0xF0 | c >> 18);
      put(0x80 | (c >> 12 & 0x3F));
      put(0x80 | (c >> 6 & 0x3F));
      put(0x80 | (c & 0x3F));
    }
  }
  return text;
}

constexpr std::string_view block_mark = "\"\"\"";

std::string_view without_spaces(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\n')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\n')) text.remove_suffix(1);
  return text;
}

bool is_block(std::string_view text) { return without_spaces(text).starts_with(block_mark); }

bool is_open_block(std::string_view text) {
  text = without_spaces(text);
  return text.starts_with(block_mark) &&
         (text.size() < 2 * block_mark.size() || !text.ends_with(block_mark));
}

/// A line that goes on in the next one: an odd number of backslashes at its end.
bool goes_on(std::string_view text) {
  const std::size_t last = text.find_last_not_of('\\');
  return (text.size() - (last == std::string_view::npos ? 0 : last + 1)) % 2 == 1;
}

/// Of the terminal, to be written to; the caller closes it.
FILE* open_terminal() {
  for (const int descriptor : {STDERR_FILENO, STDOUT_FILENO, STDIN_FILENO}) {
    const int flags = ::fcntl(descriptor, F_GETFL);
    if (::isatty(descriptor) != 1 || flags < 0 || (flags & O_ACCMODE) == O_RDONLY) continue;
    return ::fdopen(::fcntl(descriptor, F_DUPFD_CLOEXEC, 3), "w");
  }
  return ::fopen("/dev/tty", "we");
}

void choose_character_set() {
  std::setlocale(LC_CTYPE, "");
  if (std::strcmp(::nl_langinfo(CODESET), "UTF-8") != 0) std::setlocale(LC_CTYPE, "C.UTF-8");
}

}  // namespace

struct LineReader::State {
  using Clock = std::chrono::steady_clock;
  struct Paste {
    std::string name, text;
  };

  HistoryFile file;
  FILE* terminal;
  EditLine* editor = nullptr;
  HistoryW* history = nullptr;
  std::unique_ptr<TerminalMode> mode;
  struct sigaction resize_before {};

  std::deque<std::string> bursts;  ///< what came and is not decoded yet
  Clock::time_point last_burst{};
  KeyDecoder decoder;
  std::deque<Key> keys;
  std::deque<std::string> arriving;  ///< pastes on their way into the editor
  std::vector<Paste> pastes;         ///< that the text has by name
  int paste_count = 0;
  Bytes most = 0, taken = 0;
  Bytes left_out = 0;  ///< of what was too much, not even kept until it was refused
  bool too_much = false, interrupted = false;

  explicit State(HistoryFile kept) : file(std::move(kept)), terminal(open_terminal()) {
    if (terminal == nullptr)
      throw Error(ErrorCode::file_unreadable, "there is no terminal to show the conversation on",
                  "give --prompt, or leave standard output to the terminal");
    choose_character_set();
    mode = std::make_unique<TerminalMode>(is_plain_terminal() ? -1 : ::fileno(terminal));
    struct sigaction action {};
    action.sa_handler = [](int) { resized = 1; };
    ::sigaction(SIGWINCH, &action, &resize_before);
    start_editor();
  }

  ~State() {
    el_end(editor);
    history_wend(history);
    mode.reset();
    ::sigaction(SIGWINCH, &resize_before, nullptr);
    std::fclose(terminal);
  }

  static bool is_plain_terminal() {
    const char* kind = std::getenv("TERM");
    return kind == nullptr || *kind == '\0' || std::string_view(kind) == "dumb";
  }

  static State& of(EditLine* editor) {
    void* state = nullptr;
    el_wget(editor, EL_CLIENTDATA, &state);
    return *static_cast<State*>(state);
  }

  void bind(const wchar_t* keys_text, const wchar_t* function) {
    el_wset(editor, EL_BIND, keys_text, function, nullptr);
  }
  void bind(wchar_t code, const wchar_t* function) {
    const std::array<wchar_t, 2> text = {code, L'\0'};
    bind(text.data(), function);
  }
  void add(const wchar_t* name, unsigned char (*function)(EditLine*, wint_t)) {
    el_wset(editor, EL_ADDFN, name, name, function);
  }

  void start_editor() {
    editor = el_init("plimsoll", stdin, terminal, terminal);
    if (editor == nullptr) throw Error(ErrorCode::internal, "the line editor does not start");
    el_wset(editor, EL_CLIENTDATA, this);
    el_wset(editor, EL_SIGNAL, 0);
    // Between messages the terminal stays as TerminalMode has it.
    el_wset(editor, EL_SETTY, L"-x", L"-icanon", L"-echo", nullptr);
    el_wset(
        editor, EL_PROMPT, +[](EditLine*) {
          static wchar_t prompt[] = L"> ";
          return static_cast<wchar_t*>(prompt);
        });
    el_wset(
        editor, EL_GETCFN, +[](EditLine* e, wchar_t* c) { return of(e).next(*c); });
    el_wset(editor, EL_EDITOR, L"emacs");

    add(L"plimsoll-paste", [](EditLine* e, wint_t) { return of(e).insert_paste(); });
    add(L"plimsoll-interrupt", [](EditLine*, wint_t) -> unsigned char { return CC_EOF; });
    add(L"plimsoll-redisplay", [](EditLine*, wint_t) -> unsigned char { return CC_REDISPLAY; });
    add(L"plimsoll-line-break", [](EditLine* e, wint_t) -> unsigned char {
      return el_winsertstr(e, L"\n") == 0 ? CC_REFRESH : CC_ERROR;
    });
    add(L"plimsoll-enter", [](EditLine* e, wint_t) { return enter(e); });
    add(L"plimsoll-up", [](EditLine* e, wint_t) { return move_line(e, -1); });
    add(L"plimsoll-down", [](EditLine* e, wint_t) { return move_line(e, 1); });
    add(L"plimsoll-stop", [](EditLine*, wint_t) -> unsigned char {
      TerminalMode::stop();
      return CC_NORM;
    });
    bind(code_paste, L"plimsoll-paste");
    bind(code_interrupt, L"plimsoll-interrupt");
    bind(code_redisplay, L"plimsoll-redisplay");
    bind(code_up, L"plimsoll-up");
    bind(code_down, L"plimsoll-down");
    bind(L"^P", L"plimsoll-up");
    bind(L"^N", L"plimsoll-down");
    bind(code_line_break, L"plimsoll-line-break");
    bind(code_enter, L"plimsoll-enter");
    bind(code_accept, L"ed-newline");
    bind(code_left, L"ed-prev-char");
    bind(code_right, L"ed-next-char");
    bind(code_word_left, L"ed-prev-word");
    bind(code_word_right, L"em-next-word");
    bind(code_home, L"ed-move-to-beg");
    bind(code_end, L"ed-move-to-end");
    bind(code_erase, L"ed-delete-next-char");
    bind(code_older, L"ed-prev-history");
    bind(code_newer, L"ed-next-history");
    bind(L"^W", L"ed-delete-prev-word");
    bind(L"^R", L"em-inc-search-prev");
    bind(L"^Z", L"plimsoll-stop");
    bind(L"^I", L"ed-insert");

    history = history_winit();
    HistEventW event{};
    history_w(history, &event, H_SETSIZE, history_lines);
    history_w(history, &event, H_SETUNIQUE, 1);
    el_wset(editor, EL_HIST, history_w, history);
    for (const std::string& line : file.load())
      history_w(history, &event, H_ENTER, widened(line).c_str());
  }

  // --- keys for the editor ---

  /// One character; 0 at the end of input.
  int next(wchar_t& code) {
    for (;;) {
      if (interrupted) {
        code = code_interrupt;
        return 1;
      }
      if (TerminalMode::was_stopped()) {
        el_wset(editor, EL_PREP_TERM, 0);
        el_wset(editor, EL_PREP_TERM, 1);
        code = code_redisplay;
        return 1;
      }
      if (std::exchange(resized, 0) != 0) {
        el_resize(editor);
        code = code_redisplay;
        return 1;
      }
      if (!keys.empty()) {
        Key& key = keys.front();
        if (key.kind == Key::Kind::meta) {
          // Two characters to the editor.
          code = L'\x1b';
          key.kind = Key::Kind::character;
          return 1;
        }
        if (key.kind == Key::Kind::paste) arriving.push_back(std::move(key.text));
        code = code_of(key);
        keys.pop_front();
        return 1;
      }
      if (!bursts.empty()) {
        taken += bursts.front().size();
        keys = decoder.push(bursts.front());
        bursts.pop_front();
        if (taken > most) {
          drop_all();
          too_much = interrupted = true;
        }
        continue;
      }
      if (!wait()) return 0;
    }
  }

  /// Until something has come or happened; false at the end of input.
  bool wait() {
    // Signals are blocked outside of the wait, so that none falls between question and wait.
    sigset_t set, before;
    sigemptyset(&set);
    for (const int signal : {SIGINT, SIGWINCH, SIGTSTP}) sigaddset(&set, signal);
    ::pthread_sigmask(SIG_BLOCK, &set, &before);
    int ready = -1;
    if (InterruptGuard::take()) {
      drop_all();
      interrupted = true;
    } else if (resized == 0) {
      pollfd waiting{STDIN_FILENO, POLLIN, 0};
      timespec limit{0, escape_milliseconds * 1'000'000L};
      ready = ::ppoll(&waiting, 1, decoder.waits() ? &limit : nullptr, &before);
    }
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (ready == 0 && !decoder.is_in_paste()) decoder.clear();
    return ready <= 0 || take_burst();
  }

  void drop_all() {
    decoder.clear();
    keys.clear();
    bursts.clear();
    arriving.clear();
  }

  /// All that is there, and what follows at once. False at the end of input.
  bool take_burst() {
    const bool goes_with_last =
        !bursts.empty() &&
        Clock::now() - last_burst < std::chrono::milliseconds(pause_milliseconds);
    if (!goes_with_last) bursts.emplace_back();
    for (;;) {
      std::array<char, 4096> buffer;
      const ssize_t got = ::read(STDIN_FILENO, buffer.data(), buffer.size());
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return false;
      std::string& burst = bursts.back();
      // What is too much is counted by its first bytes.
      if (burst.size() <= most)
        burst.append(buffer.data(), static_cast<std::size_t>(got));
      else
        left_out += static_cast<Bytes>(got);
      pollfd more{STDIN_FILENO, POLLIN, 0};
      // Single keys are shown at once.
      if (::poll(&more, 1, burst.size() > 1 ? pause_milliseconds : 0) <= 0) break;
    }
    last_burst = Clock::now();
    return true;
  }

  // --- what keys do ---

  unsigned char insert_paste() {
    if (arriving.empty()) return CC_NORM;
    std::string text = std::move(arriving.front());
    arriving.pop_front();
    const auto lines = std::count(text.begin(), text.end(), '\n');
    if (text.size() > shown_paste_bytes || lines > shown_paste_lines) {
      const std::string what = lines > 0 ? fmt::format("{} lines", grouped(lines + 1))
                                         : fmt::format("{} bytes", grouped(std::ssize(text)));
      pastes.push_back({fmt::format("[pasted text {}: {}]", ++paste_count, what), std::move(text)});
      text = pastes.back().name;
    }
    return el_winsertstr(editor, widened(text).c_str()) == 0 ? CC_REFRESH : CC_ERROR;
  }

  static std::string text_of(EditLine* editor) {
    const LineInfoW* line = el_wline(editor);
    return narrowed({line->buffer, static_cast<std::size_t>(line->lastchar - line->buffer)});
  }

  static unsigned char enter(EditLine* editor) {
    const std::string text = text_of(editor);
    const bool continues = goes_on(text);
    if (!continues && !is_open_block(text)) {
      const wchar_t accept[] = {code_accept, L'\0'};
      el_wpush(editor, accept);
      return CC_NORM;
    }
    const LineInfoW* line = el_wline(editor);
    el_cursor(editor, static_cast<int>(line->lastchar - line->cursor));
    if (continues) el_deletestr(editor, 1);
    return el_winsertstr(editor, L"\n") == 0 ? CC_REFRESH : CC_ERROR;
  }

  /// Within a text of several lines; at its ends, through the history.
  static unsigned char move_line(EditLine* editor, int direction) {
    const LineInfoW* line = el_wline(editor);
    const std::wstring_view text(line->buffer,
                                 static_cast<std::size_t>(line->lastchar - line->buffer));
    const auto cursor = static_cast<std::size_t>(line->cursor - line->buffer);
    const auto begin_of = [&](std::size_t at) {
      const std::size_t found = at == 0 ? std::wstring_view::npos : text.rfind(L'\n', at - 1);
      return found == std::wstring_view::npos ? 0 : found + 1;
    };
    const std::size_t begin = begin_of(cursor), column = cursor - begin;
    std::size_t target, last;
    if (direction < 0) {
      if (begin == 0) return push(editor, code_older);
      target = begin_of(begin - 1);
      last = begin - 1;
    } else {
      const std::size_t end = text.find(L'\n', cursor);
      if (end == std::wstring_view::npos) return push(editor, code_newer);
      target = end + 1;
      last = std::min(text.find(L'\n', target), text.size());
    }
    const std::size_t wanted = std::min(target + column, last);
    el_cursor(editor, static_cast<int>(static_cast<std::ptrdiff_t>(wanted) -
                                       static_cast<std::ptrdiff_t>(cursor)));
    return CC_CURSOR;
  }

  static unsigned char push(EditLine* editor, Code code) {
    const wchar_t text[] = {code, L'\0'};
    el_wpush(editor, text);
    return CC_NORM;
  }

  // --- messages ---

  std::string with_pastes(std::string text) const {
    for (const Paste& paste : pastes)
      if (const std::size_t at = text.find(paste.name); at != std::string::npos)
        text.replace(at, paste.name.size(), paste.text);
    return text;
  }

  /// Only the newest, and what is small beside it.
  void forget_pastes() {
    Bytes kept = 0;
    std::size_t first = pastes.empty() ? 0 : pastes.size() - 1;
    while (first > 0 && (kept += pastes[first - 1].text.size()) <= kept_paste_bytes) --first;
    pastes.erase(pastes.begin(), pastes.begin() + static_cast<std::ptrdiff_t>(first));
  }

  Outcome read(std::string& message) {
    interrupted = too_much = false;
    taken = left_out = 0;
    if (std::exchange(resized, 0) != 0) el_resize(editor);
    int count = 0;
    const wchar_t* line = el_wgets(editor, &count);
    std::fflush(terminal);
    if (too_much) throw MessageRefusal(taken + left_out, most);
    if (interrupted) return Outcome::interrupted;
    if (line == nullptr || count <= 0) return Outcome::end;
    std::wstring_view wide(line, static_cast<std::size_t>(count));
    if (wide.ends_with(L'\n')) wide.remove_suffix(1);
    std::string typed = narrowed(wide);
    if (typed.empty()) {
      message.clear();
      return Outcome::line;
    }
    HistEventW event{};
    history_w(history, &event, H_ENTER, std::wstring(wide).c_str());
    file.append(with_pastes(typed));
    if (is_block(typed) && !is_open_block(typed)) {
      std::string_view inner = without_spaces(typed);
      inner = inner.substr(block_mark.size(), inner.size() - 2 * block_mark.size());
      if (inner.starts_with('\n')) inner.remove_prefix(1);
      if (inner.ends_with('\n')) inner.remove_suffix(1);
      typed = std::string(inner);
    }
    message = with_pastes(std::move(typed));
    forget_pastes();
    return Outcome::line;
  }
};

MessageRefusal::MessageRefusal(Bytes bytes, Bytes most)
    : Error(ErrorCode::budget_refused,
            fmt::format("the text takes {}, and the line has room for {}", format_bytes(bytes),
                        format_bytes(most)),
            // What is held changes by some pages from message to message.
            fmt::format("nothing of it was taken: give a shorter one, of at most {} bytes",
                        most - most / 8)),
      bytes_(bytes) {}

LineReader::LineReader(HistoryFile history) : state_(std::make_unique<State>(std::move(history))) {}
LineReader::~LineReader() = default;

LineReader::Outcome LineReader::read(std::string& message, Bytes most) {
  state_->most = most;
  return state_->read(message);
}

void LineReader::listen() {
  pollfd waiting{STDIN_FILENO, POLLIN, 0};
  if (::poll(&waiting, 1, 0) > 0 && (waiting.revents & POLLIN) != 0) state_->take_burst();
}

}  // namespace plimsoll
