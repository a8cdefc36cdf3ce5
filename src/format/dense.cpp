// Formats that store each number by itself: IEEE binary32 and binary16, and bfloat16 (the upper
// half of binary32).
#include <cstring>

#include "format/bits.h"
#include "format/codecs.h"
#include "format/half.h"

namespace plimsoll::codecs {

void F32::decode(const std::uint8_t* block, float* values, std::int64_t blocks) {
  std::memcpy(values, block, static_cast<std::size_t>(blocks) * sizeof(float));
}

void F32::encode(const float* values, std::uint8_t* block, std::int64_t blocks) {
  std::memcpy(block, values, static_cast<std::size_t>(blocks) * sizeof(float));
}

void F16::decode(const std::uint8_t* block, float* values, std::int64_t blocks) {
  for (std::int64_t i = 0; i < blocks; ++i) values[i] = half_to_float(load_u16(block + 2 * i));
}

void F16::encode(const float* values, std::uint8_t* block, std::int64_t blocks) {
  for (std::int64_t i = 0; i < blocks; ++i) store_u16(block + 2 * i, float_to_half(values[i]));
}

void BF16::decode(const std::uint8_t* block, float* values, std::int64_t blocks) {
  for (std::int64_t i = 0; i < blocks; ++i) values[i] = bfloat_to_float(load_u16(block + 2 * i));
}

void BF16::encode(const float* values, std::uint8_t* block, std::int64_t blocks) {
  for (std::int64_t i = 0; i < blocks; ++i) store_u16(block + 2 * i, float_to_bfloat(values[i]));
}

}  // namespace plimsoll::codecs
