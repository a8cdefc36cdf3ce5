#include "model/weights.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "format/half.h"
#include "rows/row_converter.h"
#include "rows/staging.h"

namespace plimsoll {
namespace {

constexpr std::int64_t vector_alignment = 16;  // floats

Conversion matrix_source(std::span<const TensorUse> uses, const Weights::Formats& formats,
                         std::size_t i) {
  return {uses[i].info, formats.empty() ? uses[i].info->format : formats[i]};
}

std::int64_t vector_floats(const TensorUse& use) {
  return (use.slot.columns + vector_alignment - 1) / vector_alignment * vector_alignment;
}

/// A matrix on its way into memory, in chunks that are counted over all matrices.
struct Loading {
  Conversion source;
  Matrix* matrix;
  std::int64_t first_chunk;
};

/// Of a dense matrix within its first page: where the file has it, so that the file can be read
/// straight into place.
Bytes place_in_page(const Conversion& source) {
  return source.is_rounded() ? 0 : source.info->offset % page_bytes;
}

/// `values`: [columns].
void load_vector(Context& context, const ModelFile& file, const TensorInfo& info, float* values) {
  const Conversion conversion{&info, &format(FormatId::F32)};
  const FilePieces pieces(conversion, false);
  const Piece largest = pieces.largest();
  const Region staging(context.ledger, Account::io,
                       RowConverter::staging_bytes(conversion, largest.rows, largest.columns),
                       Region::Pages::normal);
  RowConverter converter(context.kernels, file, conversion, largest.rows, largest.columns,
                         staging.data());
  for (std::int64_t i = 0; i < pieces.count(); ++i)
    converter.convert(pieces[i], converter.read(pieces[i]),
                      [&](std::int64_t, std::int64_t, const std::uint8_t* numbers) {
                        std::memcpy(values + pieces[i].column, numbers,
                                    static_cast<Bytes>(pieces[i].columns) * sizeof(float));
                      });
  if (!all_finite(*conversion.format, values, info.columns())) throw_not_finite(info, 0, 1);
}

}  // namespace

DenseView::Type dense_type(const Format& format) {
  return format.id == FormatId::F32   ? DenseView::Type::f32
         : format.id == FormatId::F16 ? DenseView::Type::f16
                                      : DenseView::Type::bf16;
}

Bytes Matrix::memory_bytes(const Conversion& source) {
  const TensorInfo& info = *source.info;
  if (source.format->kind == Format::Kind::coded)
    return PlaneTensor::memory_bytes(source.format->layout, info.rows(), info.columns());
  return round_up(place_in_page(source) +
                      static_cast<Bytes>(info.rows()) * row_bytes(*source.format, info.columns()),
                  page_bytes);
}

Matrix::Matrix(Ledger& ledger, const Conversion& source, RegionSpace* space)
    : format_(source.format) {
  const TensorInfo& info = *source.info;
  if (is_coded()) {
    const Format& held = source.is_lowered() ? *info.format : *format_;
    planes_ = PlaneTensor(ledger, held, info.rows(), info.columns(), format_->layout.bits, space);
    return;
  }
  memory_ = space ? Region(ledger, Account::weights, memory_bytes(source), *space)
                  : Region(ledger, Account::weights, memory_bytes(source));
  dense_ = {memory_.data() + place_in_page(source), dense_type(*format_), info.rows(),
            info.columns()};
}

MatmulOp Matrix::op(float* y, std::int64_t y_stride) const {
  MatmulOp op;
  if (is_coded())
    op.planes = &planes_.view();
  else
    op.dense = &dense_;
  op.y = y;
  op.y_stride = y_stride;
  return op;
}

Bytes Matrix::bytes() const { return is_coded() ? planes_.bytes() : memory_.size(); }

bool Matrix::is_whole(const Format& format) const {
  if (format_ != &format) return false;
  if (!is_coded()) return true;
  for (std::int64_t tile = 0; tile * tile_rows < planes_.rows(); ++tile)
    if (planes_.level(tile) < format.layout.bits) return false;
  return true;
}

Bytes Matrix::drop_planes(Bytes most, int least_bits) {
  Bytes given = 0;
  if (!is_coded()) return 0;
  const std::int64_t tiles = (planes_.rows() + tile_rows - 1) / tile_rows;
  for (const int level : {6, 5, 4, 3, 2}) {
    if (level < least_bits || bytes() <= most) break;
    if (level < format_->layout.bits) given += planes_.drop(level, 0, tiles);
  }
  return given;
}

void Matrix::append_spans(std::vector<std::span<const std::byte>>& spans) const {
  if (is_coded()) {
    planes_.append_spans(spans);
  } else {
    const Bytes element = dense_.type == DenseView::Type::f32 ? 4 : 2;
    spans.push_back({static_cast<const std::byte*>(dense_.data),
                     static_cast<Bytes>(dense_.rows * dense_.columns) * element});
  }
}

void Matrix::dequantise_row(std::int64_t row, float* values) const {
  if (is_coded()) return planes_.dequantise_row(row, values);
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

namespace {

/// What goes through staging: planes take lower levels from the file's own codes.
Conversion staged(const Conversion& source) {
  return source.is_lowered() ? Conversion{source.info, source.info->format} : source;
}

}  // namespace

Bytes Matrix::staging_bytes(const Conversion& source) {
  if (source.is_as_in_file() && source.format->kind == Format::Kind::dense) return 0;
  const TensorInfo& info = *source.info;
  return RowConverter::staging_bytes(staged(source), std::min(chunk_rows(info), info.rows()),
                                     std::min(most_piece_columns, info.columns()));
}

void Matrix::load_rows(const Kernels& kernels, const ModelFile& file, const Conversion& source,
                       std::int64_t begin, std::int64_t end, std::byte* staging) {
  const TensorInfo& info = *source.info;
  if (source.is_as_in_file() && !is_coded()) return read_in_place(file, info, begin, end);
  const std::int64_t columns = std::min(most_piece_columns, info.columns());
  RowConverter converter(kernels, file, staged(source), std::min(chunk_rows(info), info.rows()),
                         columns, staging);
  for (std::int64_t column = 0; column < info.columns(); column += columns) {
    const Piece piece{begin, end - begin, column, std::min(columns, info.columns() - column)};
    converter.convert(piece, converter.read(piece),
                      [&](std::int64_t row, std::int64_t count, const std::uint8_t* rows) {
                        if (!put({row, count, column, piece.columns}, rows))
                          throw_not_finite(info, row, row + count);
                      });
  }
}

bool Matrix::put(const Piece& piece, const std::uint8_t* rows) {
  if (is_coded())
    return planes_.import_rows(rows, piece.row, piece.rows, piece.column, piece.columns);
  const Bytes row = row_bytes(*format_, columns()), part = row_bytes(*format_, piece.columns);
  std::byte* const target =
      memory_.data() + static_cast<Bytes>(piece.row) * row + row_bytes(*format_, piece.column);
  for (Bytes r = 0; r < static_cast<Bytes>(piece.rows); ++r)
    std::memcpy(target + r * row, rows + r * part, part);
  return true;
}

void Matrix::read_in_place(const ModelFile& file, const TensorInfo& info, std::int64_t begin,
                           std::int64_t end) {
  const Bytes row = row_bytes(*format_, info.columns());
  const Bytes from = static_cast<Bytes>(begin) * row;
  std::byte* const target = memory_.data() + info.offset % page_bytes + from;
  file.read(info.offset + from, static_cast<Bytes>(end - begin) * row, target);
  if (!all_finite(*format_, target, (end - begin) * info.columns()))
    throw_not_finite(info, begin, end);
}

std::size_t Weights::place(const TensorId& id) {
  return static_cast<std::size_t>(id.layer + 1) * role_count + static_cast<std::size_t>(id.role);
}

std::size_t Weights::matrix_place(const TensorId& id) const {
  return static_cast<std::size_t>(matrix_index_[place(id)] + std::max<std::int64_t>(id.expert, 0));
}

Bytes Weights::memory_bytes(std::span<const TensorUse> uses, const Formats& formats) {
  Bytes total = 0;
  std::int64_t floats = 0;
  for (std::size_t i = 0; i < uses.size(); ++i) {
    if (uses[i].slot.is_vector())
      floats += vector_floats(uses[i]);
    else
      total += Matrix::memory_bytes(matrix_source(uses, formats, i));
  }
  return total + round_up(static_cast<Bytes>(floats) * sizeof(float), page_bytes);
}

Bytes Weights::staging_bytes(std::span<const TensorUse> uses, int workers, const Formats& formats) {
  Bytes largest = page_bytes;
  for (std::size_t i = 0; i < uses.size(); ++i)
    if (!uses[i].slot.is_vector())
      largest = std::max(largest, Matrix::staging_bytes(matrix_source(uses, formats, i)));
  return largest * static_cast<Bytes>(workers);
}

Bytes Weights::heap_bytes(std::span<const TensorUse> uses, std::int64_t layers) {
  // Per tensor: the matrix with its levels (one byte per 16 rows), the slot with its name, what is
  // to be loaded.
  constexpr Bytes slot_bytes = sizeof(Matrix) + sizeof(TensorUse) + sizeof(Loading) + 64;
  Bytes total = place({Role::token_embedding, layers}) * (sizeof(std::int32_t) + sizeof(float*));
  for (const TensorUse& use : uses)
    total += slot_bytes + static_cast<Bytes>(use.slot.rows / tile_rows);
  return total;
}

Weights::Weights(Context& context, const ModelFile& file, const Description& description,
                 const Formats& formats, const std::function<void(Progress)>& progress) {
  declare(context, file, description);
  Bytes bytes = 0;
  for (std::size_t i = 0; i < uses_.size(); ++i)
    if (!uses_[i].slot.is_vector()) bytes += Matrix::memory_bytes(matrix_source(uses_, formats, i));
  space_ = RegionSpace(bytes);
  load(
      context, file, formats, [](const TensorUse&) { return true; }, progress);
  file.check_unchanged();
}

Weights Weights::without_matrices(Context& context, const ModelFile& file,
                                  const Description& description) {
  Weights weights;
  weights.declare(context, file, description);
  return weights;
}

void Weights::take_layer(Context& context, const ModelFile& file, std::int64_t layer) {
  for (const TensorUse& use : uses_)
    if (!use.slot.is_vector() && use.slot.layer != layer)
      matrices_[matrix_place(use.slot.id())] = {};
  load(context, file, {}, [layer](const TensorUse& use) { return use.slot.layer == layer; }, {});
}

/// Tables and vectors; a place for every matrix.
void Weights::declare(Context& context, const ModelFile& file, const Description& description) {
  uses_ = find_tensors(file, description);
  const std::size_t places = place({Role::token_embedding, description.layers});
  matrix_index_.assign(places, -1);
  vectors_.assign(places, nullptr);
  std::int64_t floats = 0, matrices = 0;
  for (const TensorUse& use : uses_) {
    if (use.slot.is_vector()) {
      floats += vector_floats(use);
      continue;
    }
    std::int32_t& first = matrix_index_[place(use.slot.id())];
    if (first < 0) first = static_cast<std::int32_t>(matrices);
    ++matrices;
  }
  matrices_.resize(static_cast<std::size_t>(matrices));
  vector_memory_ =
      Region(context.ledger, Account::weights, static_cast<Bytes>(floats) * sizeof(float));
  auto* next = vector_memory_.as<float>();
  for (const TensorUse& use : uses_) {
    if (!use.slot.is_vector()) continue;
    load_vector(context, file, *use.info, next);
    vectors_[place(use.slot.id())] = next;
    next += vector_floats(use);
  }
}

void Weights::load(Context& context, const ModelFile& file, const Formats& formats,
                   const std::function<bool(const TensorUse&)>& wanted,
                   const std::function<void(Progress)>& progress) {
  Progress state{0, 0};
  std::vector<Loading> loadings;
  std::int64_t chunks = 0;
  for (std::size_t i = 0; i < uses_.size(); ++i) {
    const TensorUse& use = uses_[i];
    const TensorInfo& info = *use.info;
    if (!wanted(use)) continue;
    state.total += info.bytes;
    if (use.slot.is_vector()) {
      state.done += info.bytes;
      continue;
    }
    const Conversion source = matrix_source(uses_, formats, i);
    Matrix& matrix = matrices_[matrix_place(use.slot.id())];
    matrix = Matrix(context.ledger, source, &space_);
    loadings.push_back({source, &matrix, chunks});
    const std::int64_t step = chunk_rows(info);
    chunks += (info.rows() + step - 1) / step;
  }

  const Staging staging(context.ledger, staging_bytes(uses_, 1, formats), context.threads.size());
  std::atomic<Bytes> done = state.done;
  staging.parallel_for(context.threads, chunks, [&](std::int64_t chunk, int worker, auto* slot) {
    const Loading& loading =
        *std::prev(std::ranges::upper_bound(loadings, chunk, {}, &Loading::first_chunk));
    const TensorInfo& info = *loading.source.info;
    const std::int64_t step = chunk_rows(info);
    const std::int64_t row = (chunk - loading.first_chunk) * step;
    const std::int64_t row_end = std::min(row + step, info.rows());
    loading.matrix->load_rows(context.kernels, file, loading.source, row, row_end, slot);
    done += static_cast<Bytes>(row_end - row) * row_bytes(*info.format, info.columns());
    if (worker == 0 && progress) progress({done.load(), state.total});
  });
  if (progress) progress({state.total, state.total});
}

Bytes Weights::held_bytes(std::size_t use) const {
  return uses_[use].slot.is_vector() ? 0 : matrix(uses_[use].slot.id()).bytes();
}

bool Weights::is_held_as(std::size_t use, const Format& format) const {
  return uses_[use].slot.is_vector() || matrix(uses_[use].slot.id()).is_whole(format);
}

bool Weights::is_held(std::size_t use) const {
  return uses_[use].slot.is_vector() || !matrix(uses_[use].slot.id()).empty();
}

Bytes Weights::drop_planes(std::size_t use, Bytes most, int least_bits) {
  if (uses_[use].slot.is_vector()) return 0;
  return matrices_[matrix_place(uses_[use].slot.id())].drop_planes(most, least_bits);
}

void Weights::hold_as(Context& context, const ModelFile& file, std::size_t use,
                      const Conversion& source) {
  Matrix& matrix = matrices_[matrix_place(uses_[use].slot.id())];
  const TensorInfo& info = *source.info;
  const std::int64_t step = chunk_rows(info), chunks = (info.rows() + step - 1) / step;
  const Bytes slot = std::max(page_bytes, Matrix::staging_bytes(source)),
              added = Matrix::memory_bytes(source), given = matrix.bytes();
  Ledger& ledger = context.ledger;
  // While the old one is still there: what the new one and its staging take beyond it, on as many
  // workers as there is room for.
  Reservation ahead;
  int workers = staging_slots(context.threads.size());
  for (;; --workers) try {
      const Bytes wanted = added + static_cast<Bytes>(workers) * slot;
      ahead = ledger.reserve(Account::io, wanted - std::min(wanted, given));
      break;
    } catch (const Error&) {
      if (workers == 1) throw;
    }
  matrix = {};
  ahead = {};
  const Staging staging(ledger, slot, workers);
  matrix = Matrix(ledger, source);
  try {
    staging.parallel_for(context.threads, chunks, [&](std::int64_t chunk, int, auto* memory) {
      matrix.load_rows(context.kernels, file, source, chunk * step,
                       std::min((chunk + 1) * step, info.rows()), memory);
    });
  } catch (...) {
    matrix = {};  // not half of one
    throw;
  }
}

const Matrix& Weights::matrix(const TensorId& id) const {
  static const Matrix none;
  return matrix_index_[place(id)] < 0 ? none : matrices_[matrix_place(id)];
}

const float* Weights::vector(const TensorId& id) const { return vectors_[place(id)]; }

std::vector<std::span<const std::byte>> Weights::decode_spans() const {
  std::vector<std::span<const std::byte>> spans;
  const std::vector<bool> is_product = find_products(uses_);
  for (std::size_t i = 0; i < uses_.size(); ++i)
    if (is_product[i]) matrix(uses_[i].slot.id()).append_spans(spans);
  return spans;
}

const Matrix& Weights::output() const {
  const Matrix& own = matrix({Role::output});
  return own.empty() ? matrix({Role::token_embedding}) : own;
}

}  // namespace plimsoll
