#include "rows/row_rounder.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"

namespace plimsoll {
namespace {

constexpr Bytes alignment = 64;
constexpr float largest_half = 65504.0f;

/// A few at a time, which stay in the nearest cache.
void round_to_halves(const Kernels& kernels, const float* values, std::int64_t count,
                     std::uint16_t* halves) {
  constexpr std::int64_t together = 512;
  float clamped[together];
  for (std::int64_t at = 0; at < count; at += together) {
    const std::int64_t part = std::min(together, count - at);
    for (std::int64_t i = 0; i < part; ++i)
      clamped[i] = std::clamp(values[at + i], -largest_half, largest_half);
    kernels.half_from_float(clamped, part, halves + at);
  }
}

}  // namespace

std::vector<float> moments_for(const Format& target, const ColumnWeights& weights,
                               std::int64_t columns) {
  if (!target.encode_weighted || !weights.feedback) return {};
  return diagonal_of_moments(weights.importance, weights.feedback, columns);
}

bool all_finite(const Format& format, const void* data, std::int64_t count) {
  // No exponent has all its bits set.
  bool finite = true;
  if (format.id == FormatId::F32) {
    const auto* values = static_cast<const std::uint32_t*>(data);
    for (std::int64_t i = 0; i < count; ++i) finite &= (values[i] & 0x7f800000u) != 0x7f800000u;
  } else {
    const std::uint16_t mask = format.id == FormatId::F16 ? 0x7c00 : 0x7f80;
    const auto* values = static_cast<const std::uint16_t*>(data);
    for (std::int64_t i = 0; i < count; ++i) finite &= (values[i] & mask) != mask;
  }
  return finite;
}

void throw_not_finite(const TensorInfo& info, std::int64_t begin, std::int64_t end) {
  throw Error(
      ErrorCode::invalid_weights,
      fmt::format("tensor {} has NaN or infinity in rows {} to {}", info.name, begin, end - 1),
      "the file is damaged, or its conversion overflowed");
}

Bytes RowRounder::scratch_bytes(const Format& target, std::int64_t columns) {
  if (target.kind == Format::Kind::dense) return 0;
  return round_up(static_cast<Bytes>(quantise_scratch_floats(columns)) * sizeof(float), alignment);
}

RowRounder::RowRounder(const Kernels& kernels, const Format& target, std::int64_t columns,
                       const ColumnWeights& weights, std::byte* scratch)
    : kernels_(kernels), target_(target), columns_(columns), weights_(weights), scratch_(scratch) {}

double RowRounder::round(const float* values, std::int64_t rows, std::uint8_t* out) const {
  const std::int64_t count = rows * columns_;
  if (target_.id == FormatId::F16) {
    round_to_halves(kernels_, values, count, reinterpret_cast<std::uint16_t*>(out));
    return 0;
  }
  if (target_.kind == Format::Kind::dense) {
    target_.encode(values, out, count / target_.block_values);
    return 0;
  }
  return quantise_rows(kernels_, {.format = &target_,
                                  .weights = values,
                                  .rows = rows,
                                  .columns = columns_,
                                  .importance = weights_.importance,
                                  .feedback = weights_.feedback,
                                  .diagonal = weights_.diagonal,
                                  .thorough = weights_.thorough,
                                  .unbiased = weights_.feedback == nullptr,
                                  .blocks = out,
                                  .scratch = reinterpret_cast<float*>(scratch_)});
}

}  // namespace plimsoll
