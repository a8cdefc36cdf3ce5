// File blocks with arbitrary contents, for tests that hold one reading of them against another.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "format/format.h"
#include "format/half.h"

namespace plimsoll::test {

/// Any bytes at all: scales may be NaN, infinite or huge.
inline std::vector<std::uint8_t> random_bytes(std::size_t count, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<std::uint8_t> bytes(count);
  for (auto& byte : bytes) byte = static_cast<std::uint8_t>(random());
  return bytes;
}

/// Rows of plausible weights in a format: encoded Gaussians.
inline std::vector<std::uint8_t> gaussian_rows(const Format& format, std::int64_t rows, std::int64_t columns,
                                               std::uint32_t seed, float deviation = 1.0f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, deviation);
  std::vector<float> values(static_cast<std::size_t>(columns));
  std::vector<std::uint8_t> blocks(static_cast<std::size_t>(rows) * row_bytes(format, columns));
  for (std::int64_t row = 0; row < rows; ++row) {
    for (float& value : values) value = normal(random);
    format.encode(values.data(), blocks.data() + static_cast<std::size_t>(row) * row_bytes(format, columns),
                  columns / format.block_values);
  }
  return blocks;
}

}  // namespace plimsoll::test
