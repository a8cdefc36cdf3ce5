// Hashing for the vocabulary's tables: not for untrusted keys from a network, only for speed and
// spread.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

namespace plimsoll {

/// Multiplies to 128 bits and folds the halves together.
inline std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  const auto product = static_cast<unsigned __int128>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

inline std::uint64_t hash_text(std::string_view text) {
  constexpr std::uint64_t multiplier = 0x9E3779B97F4A7C15u;
  std::uint64_t hash = text.size() * multiplier;
  const char* data = text.data();
  std::size_t left = text.size();
  for (; left >= 8; left -= 8, data += 8) {
    std::uint64_t word;
    std::memcpy(&word, data, 8);
    hash = mix(hash ^ word, multiplier);
  }
  std::uint64_t tail = 0;
  if (left > 0) std::memcpy(&tail, data, left);
  return mix(hash ^ tail, 0xD6E8FEB86659FD93u);
}

/// Spreads a hash over [0, count) by its upper bits.
inline std::size_t slot_of(std::uint64_t hash, std::size_t count) {
  return static_cast<std::size_t>((static_cast<unsigned __int128>(hash) * count) >> 64);
}

}  // namespace plimsoll
