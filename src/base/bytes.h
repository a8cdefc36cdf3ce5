// Byte counts: the type, its arithmetic on untrusted numbers, and its text form.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace plimsoll {

/// A count of bytes. Names of variables say what is counted.
using Bytes = std::uint64_t;

constexpr Bytes KiB = 1024;
constexpr Bytes MiB = 1024 * KiB;
constexpr Bytes GiB = 1024 * MiB;

constexpr Bytes round_up(Bytes value, Bytes multiple) {
  return (value + multiple - 1) / multiple * multiple;
}
constexpr Bytes round_down(Bytes value, Bytes multiple) { return value / multiple * multiple; }

/// Arithmetic on numbers that a file claims: empty where the result does not fit 64 bits.
inline std::optional<std::uint64_t> checked_multiply(std::uint64_t a, std::uint64_t b) {
  std::uint64_t result;
  if (__builtin_mul_overflow(a, b, &result)) return std::nullopt;
  return result;
}
inline std::optional<std::uint64_t> checked_add(std::uint64_t a, std::uint64_t b) {
  std::uint64_t result;
  if (__builtin_add_overflow(a, b, &result)) return std::nullopt;
  return result;
}

/// Reads "512MiB", "1.2GiB", "800MB", "64k" (binary for KiB/K, decimal for KB) or plain bytes.
/// Throws Error(usage) on anything else, on zero, and on what does not fit 63 bits.
Bytes parse_bytes(std::string_view text);

/// "1.25 GiB", "640 MiB", "12.0 KiB", "17 B": three significant digits, binary units.
std::string format_bytes(Bytes bytes);

}  // namespace plimsoll
