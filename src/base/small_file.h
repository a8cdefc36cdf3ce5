// Reading the kernel's small text files (/proc, /sys) and the fields in them.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"

namespace plimsoll {

/// Room for the longest file of the kernel: /proc/cpuinfo has 1.5 KB for each processor.
constexpr Bytes most_of_small_file = 4 * MiB;
/// Of the files that this program writes for itself (what it has measured, downloaded, kept): they
/// have some kilobytes, and what is longer is none of its own. As a JSON document a byte may take
/// eight.
constexpr Bytes most_of_own_file = 256 * KiB;

/// The whole content, or empty if the file cannot be opened or read, or has more than `most` bytes;
/// holds no more than these. For files whose size is not known beforehand.
std::optional<std::string> read_small_file(const std::string& path,
                                           Bytes most = most_of_small_file);

/// Whether arrays and objects of a JSON text stand deeper in each other than `most`: a document of
/// them takes sixty times the bytes of the text.
bool is_nested_deeper(std::string_view json, int most);

/// The number after the word `key` at the start of a line: "MemTotal:   24684084 kB",
/// "inactive_file 4096". Empty without such a line, or where no number follows.
std::optional<std::uint64_t> number_field(std::string_view text, std::string_view key);

/// The same for fields that are counted in "kB", which are KiB, in bytes.
std::optional<Bytes> kib_field(std::string_view text, std::string_view key);

/// All of `text` but surrounding white space, read as a decimal number. Empty if it is anything
/// else.
std::optional<std::uint64_t> whole_number(std::string_view text);

}  // namespace plimsoll
