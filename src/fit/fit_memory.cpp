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
#include "rows/staging.h"

namespace plimsoll {
namespace {

/// Rows that are looked at to compare formats (fit/format_errors.cpp): of all tensors of a layer, and what becomes of
/// one tensor's, in several steps.
constexpr Bytes compared_rows = 128, compared_copies = 2;
/// The file that is written, and tables.
constexpr Bytes other_heap = 384 * KiB;

Bytes bytes(std::int64_t count) { return static_cast<Bytes>(count); }

/// Of all matrices of the largest layer, or of the model's own.
struct LayerSizes {
  Bytes matrices = 0, compared = 0;
  std::int64_t largest_values = 0;  ///< of one matrix
};

struct Sizes {
  LayerSizes layer, own;
  Bytes vectors = 0, staging = page_bytes;
  std::int64_t widest = 0;

  explicit Sizes(std::span<const TensorUse> uses) {
    std::map<std::int64_t, LayerSizes> layers;
    for (const TensorUse& use : uses) {
      const TensorInfo& info = *use.info;
      if (use.slot.is_vector()) {
        vectors += round_up(bytes(info.columns()) * sizeof(float), 64);
        continue;
      }
      const Conversion source{&info, info.format};
      LayerSizes& of_layer = layers[use.slot.layer];
      of_layer.matrices += Matrix::memory_bytes(source);
      of_layer.compared += bounded_product({compared_rows, bytes(info.columns()), sizeof(float)});
      of_layer.largest_values = std::max(of_layer.largest_values, info.rows() * info.columns());
      staging = std::max(staging, Matrix::staging_bytes(source));
      widest = std::max(widest, info.columns());
    }
    for (const auto& [index, of_layer] : layers) {
      LayerSizes& largest = index < 0 ? own : layer;
      largest.matrices = std::max(largest.matrices, of_layer.matrices);
      largest.compared = std::max(largest.compared, of_layer.compared);
      largest.largest_values = std::max(largest.largest_values, of_layer.largest_values);
    }
    vectors = round_up(vectors, page_bytes);
  }
};

/// Walking over sequences whose residual streams are held, apart from the layer that is there.
Bytes walk_bytes(const Description& d, const Sizes& sizes, std::int64_t sequences,
                 std::int64_t sequence_tokens, int workers) {
  const Bytes streams =
      bounded_product({bytes(sequences), bytes(sequence_tokens), bytes(d.width), sizeof(float)});
  return bounded_sum(
      {sizes.vectors, streams, LayerRunner::memory_bytes(d, sequence_tokens, workers)});
}

/// A layer with its moments and what else comes then. Staging lives while it is loaded, moments when it is there.
Bytes layer_bytes(const LayerSizes& layer, const Sizes& sizes, Bytes moments, Bytes besides,
                  int workers) {
  return bounded_sum({layer.matrices, std::max(bounded_sum({moments, besides}),
                                               sizes.staging * bytes(staging_slots(workers)))});
}

Bytes output_moments_bytes(const Description& d, int workers) {
  return SecondMoments::memory_bytes(d.width, workers);
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
  const Bytes copies =
      bounded_product({compared_rows, compared_copies, bytes(sizes.widest), sizeof(float)});
  const Bytes logits =
      bounded_product({bytes(LayerRunner::logit_slice), bytes(d.vocabulary), sizeof(float)});
  return bounded_sum(
      {std::max(sizes.layer.compared, bounded_sum({sizes.own.compared, logits})), copies,
       other_heap});
}

Bytes analysis_bytes(const Description& d, std::span<const TensorUse> uses,
                     const CalibrationSize& size, int workers) {
  const Sizes sizes(uses);
  const auto matrices =
      std::ranges::count_if(uses, [](const TensorUse& use) { return !use.slot.is_vector(); });
  // The base, and of each tensor; the output's is the last, when no layer is there.
  const auto streams = static_cast<Bytes>(matrices + (d.tied_output ? 1 : 0) + 1);
  const Bytes stream = round_up(
      bounded_product({bytes(size.probes), bytes(size.probe_tokens), bytes(d.width), sizeof(float)}),
      page_bytes);
  const std::int64_t widest = std::max<std::int64_t>(1, sizes.widest);
  const auto rounded = [&](const LayerSizes& layer) {
    return RoundedMatrix::memory_bytes(layer.largest_values, widest, workers);
  };
  const Bytes in_layers = bounded_sum(
      {bounded_product({streams - 1, stream}),
       layer_bytes(sizes.layer, sizes, MomentsWalk::memory_bytes(d, {}, workers),
                   rounded(sizes.layer), workers)});
  const Bytes at_last =
      bounded_sum({bounded_product({streams, stream}),
                   layer_bytes(sizes.own, sizes, output_moments_bytes(d, workers),
                               rounded(sizes.own), workers)});
  return bounded_sum({walk_bytes(d, sizes, size.moments, size.sequence_tokens, workers),
                      std::max(in_layers, at_last), Rounder::memory_bytes(widest, workers)});
}

Bytes writing_bytes(const Description& d, std::span<const TensorUse> uses,
                    const CalibrationSize& size, bool thorough,
                    std::span<const Format* const> targets, int workers) {
  const Bytes rows =
      bounded_product({rewriting_bytes(uses, thorough, targets), bytes(staging_slots(workers))});
  if (!thorough) return rows;
  const Sizes sizes(uses);
  return bounded_sum(
      {rows, walk_bytes(d, sizes, size.moments, size.sequence_tokens, workers),
       std::max(layer_bytes(sizes.layer, sizes, MomentsWalk::memory_bytes(d, {}, workers), 0,
                            workers),
                layer_bytes(sizes.own, sizes, output_moments_bytes(d, workers), 0, workers))});
}

}  // namespace plimsoll
