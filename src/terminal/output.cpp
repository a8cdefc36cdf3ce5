#include "terminal/output.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "terminal/terminal.h"
#include "text/utf8.h"

namespace plimsoll {
namespace {

constexpr std::string_view replacement = "\xEF\xBF\xBD";  // U+FFFD

/// 0 or the error number.
int write_all(int descriptor, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(descriptor, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return 0;
}

std::string dumped(const nlohmann::ordered_json& value) {
  return value.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

void append_pretty(const nlohmann::ordered_json& value, std::size_t depth, std::string& out) {
  const std::string indent(2 * depth + 2, ' ');
  const auto is_nested = [](const nlohmann::ordered_json& item) { return item.is_structured(); };
  const bool nested_array =
      value.is_array() && std::any_of(value.begin(), value.end(), is_nested) && !value.empty();
  if (!nested_array && (!value.is_object() || value.empty())) {
    out += dumped(value);
    return;
  }
  out += value.is_object() ? "{" : "[";
  bool first = true;
  for (const auto& [key, item] : value.items()) {
    out += first ? "\n" : ",\n";
    first = false;
    out += indent;
    if (value.is_object()) out += dumped(key) + ": ";
    append_pretty(item, depth + 1, out);
  }
  out += fmt::format("\n{:{}}{}", "", 2 * depth, value.is_object() ? "}" : "]");
}

/// Appends `text` with every control character (C0, DEL, C1) and broken byte replaced, other than
/// those that `keep` takes.
template <class Keep>
std::string without_controls(std::string_view text, Keep&& keep) {
  std::string out;
  while (!text.empty()) {
    const Utf8Step step = next_utf8(text);
    const std::string_view piece = text.substr(0, step.length);
    text.remove_prefix(step.length);
    const auto byte = static_cast<unsigned char>(piece[0]);
    const bool c1 = byte == 0xC2 && step.length == 2 && static_cast<unsigned char>(piece[1]) < 0xA0;
    if (step.kind != Utf8Step::Kind::character)
      out += replacement;
    else if (byte < 0x20 || byte == 0x7F || c1)
      keep(piece[0], out);
    else
      out += piece;
  }
  return out;
}

}  // namespace

void prepare_streams() {
  for (int descriptor = 0; descriptor <= 2; ++descriptor)
    if (::fcntl(descriptor, F_GETFD) < 0) (void)::open("/dev/null", O_RDWR);
  std::signal(SIGPIPE, SIG_DFL);
  // Where files may not grow beyond a limit (ulimit -f), writing fails with EFBIG instead.
  std::signal(SIGXFSZ, SIG_IGN);
}

void write_out(std::string_view text) {
  if (const int error = write_all(STDOUT_FILENO, text))
    throw Error(ErrorCode::write_failed,
                fmt::format("cannot write to standard output: {}", std::strerror(error)),
                "check the space on the disk it goes to");
}

void write_error(std::string_view text) { write_all(STDERR_FILENO, text); }

std::string json_text(const nlohmann::ordered_json& value, std::size_t depth) {
  std::string out;
  append_pretty(value, depth, out);
  return out;
}

std::string json_text(const nlohmann::ordered_json& object) { return json_text(object, 0) + '\n'; }

void print_json(const nlohmann::ordered_json& object) { write_out(json_text(object)); }

void print_json_line(const nlohmann::ordered_json& object) { write_out(dumped(object) + "\n"); }

nlohmann::ordered_json error_json(const Error& error) {
  return {{"code", name(error.code())}, {"message", error.message()}, {"hint", error.hint()}};
}

void report(const Error& error, bool json, bool lines) {
  if (json) {
    try {
      const nlohmann::ordered_json object{{"error", error_json(error)}};
      lines ? print_json_line(object) : print_json(object);
      return;
    } catch (const Error&) {
      // Standard output is what failed: say it on the other one.
    }
  }
  const Terminal terminal = Terminal::of(STDERR_FILENO);
  std::string text =
      terminal.styled(Style::alarm, "plimsoll:") + " " + printable(error.message()) + "\n";
  if (!error.hint().empty()) text += "  " + printable(error.hint()) + "\n";
  write_error(text);
}

void notice(std::string_view text) {
  const Terminal terminal = Terminal::of(STDERR_FILENO);
  write_error(terminal.styled(Style::dim, fmt::format("plimsoll: {}", printable(text))) + "\n");
}

std::string printable(std::string_view text) {
  return without_controls(text, [](char control, std::string& out) {
    if (control == '\n' || control == '\t')
      out += control;
    else
      out += replacement;
  });
}

std::string printable_line(std::string_view text, std::size_t most) {
  std::string shortened;
  bool cut = false;
  for (std::size_t count = 0; !text.empty(); ++count) {
    if (count == most) {
      cut = true;
      break;
    }
    const Utf8Step step = next_utf8(text);
    shortened += text.substr(0, step.length);
    text.remove_prefix(step.length);
  }
  std::string out = without_controls(shortened, [](char control, std::string& line) {
    if (control == '\n')
      line += "\\n";
    else if (control == '\t')
      line += "\\t";
    else
      line += replacement;
  });
  return cut ? out + "..." : out;
}

}  // namespace plimsoll
