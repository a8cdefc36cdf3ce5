// What goes to standard output and standard error.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/error.h"

namespace plimsoll {

/// Makes file descriptors 0 to 2 valid, so that no file that is opened later is taken for one of
/// them, lets a closed pipe end the process quietly, and a write beyond the limit of file sizes fail
/// instead of ending it. Call before anything is opened.
void prepare_streams();

/// To standard output at once. Throws Error(write_failed) when it takes no more (a full disk).
void write_out(std::string_view text);
/// To standard error; what cannot be written is lost.
void write_error(std::string_view text);

/// A value as print_json() shows it inside `depth` objects or arrays, without a line break at its end.
std::string json_text(const nlohmann::ordered_json& value, std::size_t depth);
/// What print_json() prints.
std::string json_text(const nlohmann::ordered_json& object);
/// One object and a line break; arrays of plain values stay on one line. Bytes that are not UTF-8
/// become U+FFFD. Throws as write_out does.
void print_json(const nlohmann::ordered_json& object);
/// The same on a single line.
void print_json_line(const nlohmann::ordered_json& object);
/// {"code", "message", "hint"}.
nlohmann::ordered_json error_json(const Error& error);
/// As {"error": ...} on standard output (on one line with `lines`), or as "plimsoll: message" and the
/// hint on standard error.
void report(const Error& error, bool json, bool lines = false);
/// "plimsoll: text" on standard error: something the user should know.
void notice(std::string_view text);

/// `text` without control characters that a terminal would obey (all but line breaks and tabs):
/// they become U+FFFD. Models and their files may hold any.
std::string printable(std::string_view text);
/// The same on one line: line breaks and tabs as \n and \t, at most `most` characters of text.
std::string printable_line(std::string_view text, std::size_t most);

}  // namespace plimsoll
