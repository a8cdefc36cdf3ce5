#include "fit/fit_memory.h"

#include <algorithm>
#include <map>

#include "base/bounded.h"
#include "base/region.h"
#include "fit/layer_moments.h"
#include "fit/layer_runner.h"
#include "fit/rounding.h"
#include "fit/second_moments.h"
#include "model/weights.h"

namespace plimsoll {
namespace {

constexpr Bytes chunk_bytes = 8 * MiB;
/// Rows that are looked at to compare formats (fit/analysis.cpp), and how many copies of them live
/// together: of up to three tensors with one input, and what becomes of one.
constexpr Bytes compared_rows = 128, compared_copies = 8;
/// The file that is written, tables, code touched for the first time.
constexpr Bytes besides = 4 * MiB;

Bytes bytes(std::int64_t count) { return static_cast<Bytes>(count); }

/// The matrices of the largest layer, or the model's own, and of each of their widest rows.
struct Sizes {
  Bytes layer = 0, vectors = 0, largest_matrix = 0, staging = page_bytes;
  Bytes rewriting = 0;  ///< of rows as the file has them, as f32, and rounded (f32 at most)
  std::int64_t widest = 0, largest_values = 0;

  explicit Sizes(std::span<const TensorUse> uses) {
    std::map<std::int64_t, Bytes> layers;
    for (const TensorUse& use : uses) {
      const TensorInfo& info = *use.info;
      if (use.slot.is_vector()) {
        vectors += round_up(bytes(info.columns()) * sizeof(float), 64);
        continue;
      }
      const MatrixSource source{&info, info.format};
      layers[use.slot.layer] += Matrix::memory_bytes(source);
      staging = std::max(staging, Matrix::staging_bytes(source));
      widest = std::max(widest, info.columns());
      largest_values = std::max(largest_values, info.rows() * info.columns());
      const Bytes together = bytes(std::min(info.rows(), rows_rounded_together(info)));
      rewriting = std::max(rewriting, together * (row_bytes(*info.format, info.columns()) +
                                                  bytes(info.columns()) * 2 * sizeof(float)));
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

}  // namespace

std::int64_t rows_rounded_together(const TensorInfo& info) {
  constexpr std::int64_t together = 16;  // that one worker takes at a time
  const auto fit = static_cast<std::int64_t>(chunk_bytes / sizeof(float)) / info.columns();
  return fit >= together ? fit / together * together : std::max<std::int64_t>(1, fit);
}

Bytes fitting_heap_bytes(const Description& d, std::span<const TensorUse> uses, bool thorough) {
  const Sizes sizes(uses);
  const Bytes writing = sizes.rewriting;
  if (!thorough) return writing + besides;
  const Bytes compared =
      bounded_product({compared_rows, compared_copies, bytes(sizes.widest), sizeof(float)});
  const Bytes logits =
      bounded_product({bytes(LayerRunner::logit_slice), bytes(d.vocabulary), sizeof(float)});
  return std::max(writing, bounded_sum({compared, logits})) + besides;
}

Bytes analysis_bytes(const Description& d, std::span<const TensorUse> uses,
                     const CalibrationSize& size, int workers) {
  const Sizes sizes(uses);
  const auto matrices =
      std::ranges::count_if(uses, [](const TensorUse& use) { return !use.slot.is_vector(); });
  const auto branches = static_cast<Bytes>(matrices + (d.tied_output ? 1 : 0) + 1);
  const Bytes streams = bounded_product(
      {branches, bytes(size.probes), bytes(size.probe_tokens), bytes(d.width), sizeof(float)});
  // One matrix rounded, as halves, and the rows on their way.
  constexpr std::int64_t rounded_together = 1024;
  const Bytes rounded = bounded_sum(
      {bounded_product({bytes(sizes.largest_values), sizeof(std::uint16_t)}),
       bounded_product({bytes(std::min(sizes.largest_values, rounded_together * sizes.widest)),
                        2 * sizeof(float)})});
  return bounded_sum({walk_bytes(d, sizes, size.moments, size.sequence_tokens, workers), streams,
                      rounded,
                      Rounder::memory_bytes(std::max<std::int64_t>(1, sizes.widest), workers)});
}

Bytes writing_bytes(const Description& d, std::span<const TensorUse> uses,
                    const CalibrationSize& size, bool thorough, int workers) {
  const Sizes sizes(uses);
  const Bytes rounder = Rounder::memory_bytes(std::max<std::int64_t>(1, sizes.widest), workers);
  if (!thorough) return rounder;
  return bounded_sum({rounder, walk_bytes(d, sizes, size.moments, size.sequence_tokens, workers)});
}

}  // namespace plimsoll
