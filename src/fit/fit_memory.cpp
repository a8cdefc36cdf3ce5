#include "fit/fit_memory.h"

#include <algorithm>
#include <map>

#include "base/bounded.h"
#include "base/region.h"
#include "fit/layer_moments.h"
#include "fit/layer_runner.h"
#include "fit/rounded_matrix.h"
#include "fit/rounding.h"
#include "fit/second_moments.h"
#include "model/weights.h"
#include "plan/candidates.h"
#include "rows/ordered_rows.h"

namespace plimsoll {
namespace {

/// Rows that are looked at to compare formats (fit/format_errors.cpp), and how many copies of them
/// live together: of up to three tensors with one input, and what becomes of one.
constexpr Bytes compared_rows = 128, compared_copies = 8;
/// The file that is written, tables, code touched for the first time.
constexpr Bytes other_heap = 1 * MiB;

Bytes bytes(std::int64_t count) { return static_cast<Bytes>(count); }

/// The matrices of the largest layer, or the model's own, and of each of their widest rows.
struct Sizes {
  Bytes layer = 0, vectors = 0, largest_matrix = 0, staging = page_bytes;
  std::int64_t widest = 0, largest_values = 0;

  explicit Sizes(std::span<const TensorUse> uses) {
    std::map<std::int64_t, Bytes> layers;
    for (const TensorUse& use : uses) {
      const TensorInfo& info = *use.info;
      if (use.slot.is_vector()) {
        vectors += round_up(bytes(info.columns()) * sizeof(float), 64);
        continue;
      }
      const Conversion source{&info, info.format};
      layers[use.slot.layer] += Matrix::memory_bytes(source);
      staging = std::max(staging, Matrix::staging_bytes(source));
      widest = std::max(widest, info.columns());
      largest_values = std::max(largest_values, info.rows() * info.columns());
    }
    for (const auto& [_, of_layer] : layers) layer = std::max(layer, of_layer);
    vectors = round_up(vectors, page_bytes);
  }
};

/// One layer after the other with its moments, over sequences whose residual streams are held.
Bytes walk_bytes(const Description& d, const Sizes& sizes, std::int64_t sequences,
                 std::int64_t sequence_tokens, int workers) {
  const Bytes streams =
      bounded_product({bytes(sequences), bytes(sequence_tokens), bytes(d.width), sizeof(float)});
  const Bytes moments = MomentsWalk::memory_bytes(d, {}, workers);
  // Staging lives while a layer is loaded, moments when it is there.
  return bounded_sum({sizes.vectors, sizes.layer, streams,
                      std::max(moments, sizes.staging * static_cast<Bytes>(workers)),
                      LayerRunner::memory_bytes(d, sequence_tokens, workers)});
}

/// Of each worker, for rows on their way into a file in any of the formats that they can have
/// there.
Bytes rewriting_bytes(std::span<const TensorUse> uses, bool thorough,
                      std::span<const Format* const> targets) {
  const std::vector<bool> is_product = find_products(uses);
  Bytes most = page_bytes;
  for (std::size_t i = 0; i < uses.size(); ++i) {
    const auto consider = [&](const Format& f) {
      if (!can_hold(f, uses[i].info->columns())) return;
      const Conversion conversion{uses[i].info, &f};
      const FilePieces pieces(conversion, thorough && is_product[i]);
      most = std::max(most, OrderedRows::staging_bytes(conversion, pieces));
    };
    consider(*uses[i].info->format);
    for (const Format* f : targets) consider(*f);
  }
  return most;
}

}  // namespace

Bytes fitting_heap_bytes(const Description& d, std::span<const TensorUse> uses, bool thorough) {
  if (!thorough) return other_heap;
  const Sizes sizes(uses);
  const Bytes compared =
      bounded_product({compared_rows, compared_copies, bytes(sizes.widest), sizeof(float)});
  const Bytes logits =
      bounded_product({bytes(LayerRunner::logit_slice), bytes(d.vocabulary), sizeof(float)});
  return bounded_sum({compared, logits, other_heap});
}

Bytes analysis_bytes(const Description& d, std::span<const TensorUse> uses,
                     const CalibrationSize& size, int workers) {
  const Sizes sizes(uses);
  const auto matrices =
      std::ranges::count_if(uses, [](const TensorUse& use) { return !use.slot.is_vector(); });
  const auto branches = static_cast<Bytes>(matrices + (d.tied_output ? 1 : 0) + 1);
  const Bytes streams = bounded_product(
      {branches, bytes(size.probes), bytes(size.probe_tokens), bytes(d.width), sizeof(float)});
  const Bytes rounded = RoundedMatrix::memory_bytes(
      sizes.largest_values, std::max<std::int64_t>(1, sizes.widest), workers);
  return bounded_sum({walk_bytes(d, sizes, size.moments, size.sequence_tokens, workers), streams,
                      rounded,
                      Rounder::memory_bytes(std::max<std::int64_t>(1, sizes.widest), workers)});
}

Bytes writing_bytes(const Description& d, std::span<const TensorUse> uses,
                    const CalibrationSize& size, bool thorough,
                    std::span<const Format* const> targets, int workers) {
  const Bytes rows = bounded_product({rewriting_bytes(uses, thorough, targets), bytes(workers)});
  if (!thorough) return rows;
  return bounded_sum(
      {rows, walk_bytes(d, Sizes(uses), size.moments, size.sequence_tokens, workers)});
}

}  // namespace plimsoll
