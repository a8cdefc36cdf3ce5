#include "model/weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "format/half.h"

namespace plimsoll {
namespace {

/// Of file data read at a time by one worker: large enough for full disk speed, small enough not to
/// matter.
constexpr Bytes chunk_bytes = 2 * MiB;
constexpr std::int64_t vector_alignment = 16;  // floats

DenseView::Type dense_type(const Format& format) {
  return format.id == FormatId::F32   ? DenseView::Type::f32
         : format.id == FormatId::F16 ? DenseView::Type::f16
                                      : DenseView::Type::bf16;
}

/// True if all values are finite: no exponent has all its bits set.
bool all_finite(const void* data, std::int64_t count, DenseView::Type type) {
  bool finite = true;
  if (type == DenseView::Type::f32) {
    const auto* values = static_cast<const std::uint32_t*>(data);
    for (std::int64_t i = 0; i < count; ++i) finite &= (values[i] & 0x7f800000u) != 0x7f800000u;
  } else {
    const std::uint16_t mask = type == DenseView::Type::f16 ? 0x7c00 : 0x7f80;
    const auto* values = static_cast<const std::uint16_t*>(data);
    for (std::int64_t i = 0; i < count; ++i) finite &= (values[i] & mask) != mask;
  }
  return finite;
}

[[noreturn]] void not_finite(const TensorInfo& info, std::int64_t begin, std::int64_t end) {
  throw Error(
      ErrorCode::invalid_weights,
      fmt::format("tensor {} has NaN or infinity in rows {} to {}", info.name, begin, end - 1),
      "the file is damaged, or its conversion overflowed");
}

std::int64_t vector_floats(const TensorUse& use) {
  return (use.slot.columns + vector_alignment - 1) / vector_alignment * vector_alignment;
}

}  // namespace

Bytes Matrix::memory_bytes(const TensorInfo& info) {
  if (info.format->kind == Format::Kind::coded)
    return PlaneTensor::memory_bytes(info.format->layout, info.rows(), info.columns());
  return round_up(info.offset % page_bytes + info.bytes, page_bytes);
}

Matrix::Matrix(Ledger& ledger, const TensorInfo& info)
    : coded_(info.format->kind == Format::Kind::coded) {
  if (coded_) {
    planes_ = PlaneTensor(ledger, *info.format, info.rows(), info.columns());
    return;
  }
  // The first byte keeps its place within a page, so that the file can be read straight into place.
  memory_ = Region(ledger, Account::weights, info.offset % page_bytes + info.bytes);
  dense_ = {memory_.data() + info.offset % page_bytes, dense_type(*info.format), info.rows(),
            info.columns()};
}

MatmulOp Matrix::op(float* y, std::int64_t y_stride) const {
  MatmulOp op;
  if (coded_)
    op.planes = &planes_.view();
  else
    op.dense = &dense_;
  op.y = y;
  op.y_stride = y_stride;
  return op;
}

void Matrix::append_spans(std::vector<std::span<const std::byte>>& spans) const {
  if (coded_) {
    planes_.append_spans(spans);
  } else {
    const Bytes element = dense_.type == DenseView::Type::f32 ? 4 : 2;
    spans.push_back({static_cast<const std::byte*>(dense_.data),
                     static_cast<Bytes>(dense_.rows * dense_.columns) * element});
  }
}

void Matrix::dequantise_row(std::int64_t row, float* values) const {
  if (coded_) return planes_.dequantise_row(row, values);
  const std::int64_t at = row * dense_.columns;
  switch (dense_.type) {
    case DenseView::Type::f32:
      std::memcpy(values, static_cast<const float*>(dense_.data) + at,
                  static_cast<std::size_t>(dense_.columns) * sizeof(float));
      break;
    case DenseView::Type::f16:
      for (std::int64_t i = 0; i < dense_.columns; ++i)
        values[i] = half_to_float(static_cast<const std::uint16_t*>(dense_.data)[at + i]);
      break;
    case DenseView::Type::bf16:
      for (std::int64_t i = 0; i < dense_.columns; ++i)
        values[i] = bfloat_to_float(static_cast<const std::uint16_t*>(dense_.data)[at + i]);
      break;
  }
}

std::int64_t Matrix::chunk_rows(const TensorInfo& info) {
  const auto tiles = static_cast<std::int64_t>(
      chunk_bytes / (row_bytes(*info.format, info.columns()) * tile_rows));
  return std::max<std::int64_t>(tiles, 1) * tile_rows;
}

Bytes Matrix::staging_bytes(const TensorInfo& info) {
  if (info.format->kind == Format::Kind::dense) return 0;
  const std::int64_t rows = std::min(chunk_rows(info), info.rows());
  return round_up(static_cast<Bytes>(rows) * row_bytes(*info.format, info.columns()) + page_bytes,
                  page_bytes);
}

void Matrix::load_rows(const ModelFile& file, const TensorInfo& info, std::int64_t begin,
                       std::int64_t end, std::byte* staging) {
  const Bytes row = row_bytes(*info.format, info.columns());
  const std::uint64_t from = info.offset + static_cast<Bytes>(begin) * row;
  const Bytes bytes = static_cast<Bytes>(end - begin) * row;
  // The file's place within a page is kept in memory, so that most of the read can go around the
  // file cache.
  std::byte* const target = coded_
                                ? staging + from % page_bytes
                                : memory_.data() + (from - info.offset) + info.offset % page_bytes;
  file.read(from, bytes, target);
  if (coded_) {
    if (!planes_.import_rows(reinterpret_cast<const std::uint8_t*>(target), begin, end - begin))
      not_finite(info, begin, end);
  } else if (!all_finite(target, (end - begin) * info.columns(), dense_.type)) {
    not_finite(info, begin, end);
  }
}

std::size_t Weights::place(Role role, std::int64_t layer) {
  return static_cast<std::size_t>(layer + 1) * role_count + static_cast<std::size_t>(role);
}

Bytes Weights::memory_bytes(const std::vector<TensorUse>& uses) {
  Bytes total = 0;
  std::int64_t floats = 0;
  for (const TensorUse& use : uses) {
    if (use.slot.is_vector())
      floats += vector_floats(use);
    else
      total += Matrix::memory_bytes(*use.info);
  }
  return total + round_up(static_cast<Bytes>(floats) * sizeof(float), page_bytes);
}

Bytes Weights::staging_bytes(const std::vector<TensorUse>& uses, int workers) {
  Bytes largest = page_bytes;
  for (const TensorUse& use : uses)
    if (!use.slot.is_vector()) largest = std::max(largest, Matrix::staging_bytes(*use.info));
  return largest * static_cast<Bytes>(workers);
}

Bytes Weights::heap_bytes(const std::vector<TensorUse>& uses, std::int64_t layers) {
  // Per tensor: the matrix with its levels (one byte per 16 rows), the slot with its name, chunks
  // to load.
  constexpr Bytes slot_bytes = sizeof(Matrix) + sizeof(TensorUse) + 64;
  Bytes total = place(Role::token_embedding, layers) * (sizeof(std::int32_t) + sizeof(float*));
  for (const TensorUse& use : uses)
    total += slot_bytes + static_cast<Bytes>(use.slot.rows / tile_rows) +
             40 * (use.info->bytes / chunk_bytes + 1);
  return total;
}

Weights::Weights(Context& context, const ModelFile& file, const Description& description,
                 const std::function<void(Progress)>& progress) {
  const std::vector<TensorUse> uses = find_tensors(file, description);
  const std::size_t places = place(Role::token_embedding, description.layers);
  matrix_index_.assign(places, -1);
  vectors_.assign(places, nullptr);

  std::int64_t floats = 0;
  Progress state{0, 0};
  for (const TensorUse& use : uses) {
    state.total += use.info->bytes;
    if (use.slot.is_vector()) floats += vector_floats(use);
  }
  vector_memory_ =
      Region(context.ledger, Account::weights, static_cast<Bytes>(floats) * sizeof(float));
  auto* next = vector_memory_.as<float>();

  struct Chunk {
    const TensorInfo* info;
    Matrix* matrix;
    std::int64_t begin, end;
  };
  matrices_.reserve(static_cast<std::size_t>(std::count_if(
      uses.begin(), uses.end(), [](const TensorUse& use) { return !use.slot.is_vector(); })));
  std::vector<Chunk> chunks;
  for (const TensorUse& use : uses) {
    const TensorInfo& info = *use.info;
    if (use.slot.is_vector()) {
      std::vector<std::byte> raw(info.bytes);
      file.read(info.offset, info.bytes, raw.data());
      if (!all_finite(raw.data(), info.columns(), dense_type(*info.format))) not_finite(info, 0, 1);
      info.format->decode(reinterpret_cast<const std::uint8_t*>(raw.data()), next, info.columns());
      vectors_[place(use.slot.role, use.slot.layer)] = next;
      next += vector_floats(use);
      state.done += info.bytes;
      continue;
    }
    matrix_index_[place(use.slot.role, use.slot.layer)] =
        static_cast<std::int32_t>(matrices_.size());
    Matrix& matrix = matrices_.emplace_back(context.ledger, info);
    const std::int64_t step = Matrix::chunk_rows(info);
    for (std::int64_t row = 0; row < info.rows(); row += step)
      chunks.push_back({&info, &matrix, row, std::min(row + step, info.rows())});
  }

  const int workers = context.threads.size();
  const Region staging(context.ledger, Account::io, staging_bytes(uses, workers),
                       Region::Pages::normal);
  const Bytes staging_stride = staging.size() / static_cast<Bytes>(workers);
  std::atomic<Bytes> done = state.done;
  context.threads.parallel_for(
      static_cast<std::int64_t>(chunks.size()), 1,
      [&](std::int64_t begin, std::int64_t end, int worker) {
        for (std::int64_t i = begin; i < end; ++i) {
          const Chunk& chunk = chunks[static_cast<std::size_t>(i)];
          chunk.matrix->load_rows(file, *chunk.info, chunk.begin, chunk.end,
                                  staging.data() + static_cast<Bytes>(worker) * staging_stride);
          done += static_cast<Bytes>(chunk.end - chunk.begin) *
                  row_bytes(*chunk.info->format, chunk.info->columns());
          if (worker == 0 && progress) progress({done.load(), state.total});
        }
      });
  if (progress) progress({state.total, state.total});
  file.check_unchanged();
}

const Matrix& Weights::matrix(Role role, std::int64_t layer) const {
  static const Matrix none;
  const std::int32_t index = matrix_index_[place(role, layer)];
  return index < 0 ? none : matrices_[static_cast<std::size_t>(index)];
}

const float* Weights::vector(Role role, std::int64_t layer) const {
  return vectors_[place(role, layer)];
}

std::vector<std::span<const std::byte>> Weights::decode_spans() const {
  std::vector<std::span<const std::byte>> spans;
  const Matrix* const embedding = &matrix(Role::token_embedding);
  for (const Matrix& m : matrices_)
    if (&m != embedding || &output() == embedding) m.append_spans(spans);
  return spans;
}

const Matrix& Weights::output() const {
  const Matrix& own = matrix(Role::output);
  return own.empty() ? matrix(Role::token_embedding) : own;
}

}  // namespace plimsoll
