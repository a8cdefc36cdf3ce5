// Reading the kernel's small text files (/proc, /sys) and the fields in them.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"

namespace plimsoll {

/// The whole content, or empty if the file cannot be opened or read. For files whose size is not
/// known beforehand.
std::optional<std::string> read_small_file(const std::string& path);

/// The number after the word `key` at the start of a line: "MemTotal:   24684084 kB",
/// "inactive_file 4096". Empty without such a line, or where no number follows.
std::optional<std::uint64_t> number_field(std::string_view text, std::string_view key);

/// The same for fields that are counted in "kB", which are KiB, in bytes.
std::optional<Bytes> kib_field(std::string_view text, std::string_view key);

/// All of `text` but surrounding white space, read as a decimal number. Empty if it is anything
/// else.
std::optional<std::uint64_t> whole_number(std::string_view text);

}  // namespace plimsoll
