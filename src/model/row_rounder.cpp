#include "model/row_rounder.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/region.h"

namespace plimsoll {
namespace {

/// Of file data read at a time by one worker: large enough for full disk speed; in small tensors a
/// part of them, so that staging stays small beside what is loaded.
constexpr Bytes most_chunk_bytes = 2 * MiB;
constexpr Bytes least_chunks = 8;
constexpr Bytes alignment = 64;
constexpr float largest_half = 65504.0f;

Bytes value_bytes(std::int64_t columns) {
  return round_up(static_cast<Bytes>(RowRounder::rows_together * columns) * sizeof(float),
                  alignment);
}

Bytes scratch_bytes(const Format& target, std::int64_t columns) {
  if (target.kind == Format::Kind::dense) return 0;
  return round_up(static_cast<Bytes>(quantise_scratch_floats(columns)) * sizeof(float), alignment);
}

}  // namespace

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

std::int64_t chunk_rows(const TensorInfo& info) {
  constexpr std::int64_t step = RowRounder::rows_together;
  const Bytes step_bytes = row_bytes(*info.format, info.columns()) * static_cast<Bytes>(step);
  const auto steps =
      static_cast<std::int64_t>(std::min(most_chunk_bytes, info.bytes / least_chunks) / step_bytes);
  return std::max<std::int64_t>(steps, 1) * step;
}

Bytes chunk_staging_bytes(const TensorInfo& info) {
  const std::int64_t rows = std::min(chunk_rows(info), info.rows());
  return round_up(static_cast<Bytes>(rows) * row_bytes(*info.format, info.columns()) + page_bytes,
                  page_bytes);
}

const std::uint8_t* read_chunk(const ModelFile& file, const TensorInfo& info, std::int64_t begin,
                               std::int64_t end, std::byte* staging) {
  const Bytes row = row_bytes(*info.format, info.columns());
  const std::uint64_t from = info.offset + static_cast<Bytes>(begin) * row;
  std::byte* const target = staging + from % page_bytes;
  file.read(from, static_cast<Bytes>(end - begin) * row, target);
  return reinterpret_cast<const std::uint8_t*>(target);
}

Bytes RowRounder::staging_bytes(const Format& target, std::int64_t columns) {
  return value_bytes(columns) + scratch_bytes(target, columns) +
         round_up(static_cast<Bytes>(rows_together) * row_bytes(target, columns), alignment);
}

RowRounder::RowRounder(const Kernels& kernels, const Format& source, const Format& target,
                       std::int64_t columns, std::byte* staging)
    : kernels_(kernels), source_(source), target_(target), columns_(columns) {
  values_ = reinterpret_cast<float*>(staging);
  scratch_ = reinterpret_cast<float*>(staging + value_bytes(columns));
  room_ = reinterpret_cast<std::uint8_t*>(staging + value_bytes(columns) +
                                          scratch_bytes(target, columns));
}

void RowRounder::decode(const std::uint8_t* rows, std::int64_t count) {
  const std::int64_t values = count * columns_;
  if (source_.id == FormatId::F16)
    kernels_.float_from_half(reinterpret_cast<const std::uint16_t*>(rows), values, values_);
  else
    source_.decode(rows, values_, values / source_.block_values);
}

bool RowRounder::round(const std::uint8_t* rows, std::int64_t count, std::uint8_t* out) {
  decode(rows, count);
  const std::int64_t values = count * columns_;
  if (!all_finite(format(FormatId::F32), values_, values)) return false;
  if (is_level_of(source_, target_)) {
    lower(source_, target_, rows, out, values / source_.block_values);
    return true;
  }
  if (target_.id == FormatId::F16) {
    for (std::int64_t i = 0; i < values; ++i)
      values_[i] = std::clamp(values_[i], -largest_half, largest_half);
    kernels_.half_from_float(values_, values, reinterpret_cast<std::uint16_t*>(out));
    return true;
  }
  if (target_.kind == Format::Kind::dense) {
    target_.encode(values_, out, values / target_.block_values);
    return true;
  }
  quantise_rows(kernels_, {.format = &target_,
                           .weights = values_,
                           .rows = count,
                           .columns = columns_,
                           .importance = nullptr,
                           .feedback = nullptr,
                           .thorough = false,
                           .unbiased = true,
                           .blocks = out,
                           .scratch = scratch_});
  return true;
}

}  // namespace plimsoll
