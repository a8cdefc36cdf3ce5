// Small helpers on the bytes of a block. Blocks are little-endian and unaligned.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

namespace plimsoll {

static_assert(std::endian::native == std::endian::little, "file formats are read in place");

inline std::uint16_t load_u16(const std::uint8_t* bytes) {
  std::uint16_t value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}
inline std::uint32_t load_u32(const std::uint8_t* bytes) {
  std::uint32_t value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}
inline void store_u16(std::uint8_t* bytes, std::uint16_t value) {
  std::memcpy(bytes, &value, sizeof value);
}
inline void store_u32(std::uint8_t* bytes, std::uint32_t value) {
  std::memcpy(bytes, &value, sizeof value);
}

/// Eight bytes from eight bits: byte i is bit i of `bits`, 0 or 1.
inline std::uint64_t spread_bits(std::uint8_t bits) {
  // Each byte keeps a different bit of its copy; adding 0x7f carries any set bit to the top one.
  const std::uint64_t isolated = bits * 0x0101010101010101u & 0x8040201008040201u;
  return (isolated + 0x7f7f7f7f7f7f7f7fu) >> 7 & 0x0101010101010101u;
}

/// The two nibbles of `bytes` bytes, low ones first: codes[0, bytes) and codes[bytes, 2 * bytes).
template <int bytes>
inline void split_nibbles(const std::uint8_t* packed, std::uint8_t* codes) {
  for (int i = 0; i < bytes; ++i) {
    codes[i] = packed[i] & 0x0f;
    codes[bytes + i] = packed[i] >> 4;
  }
}
/// The inverse, of the lower four bits of each code.
template <int bytes>
inline void join_nibbles(const std::uint8_t* codes, std::uint8_t* packed) {
  for (int i = 0; i < bytes; ++i)
    packed[i] = static_cast<std::uint8_t>((codes[i] & 15) | codes[bytes + i] << 4);
}

}  // namespace plimsoll
