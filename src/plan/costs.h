// Seconds from shapes, formats and what was measured of a machine: pure functions, without loading
// anything.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "format/format.h"
#include "model/description.h"
#include "model/tensors.h"
#include "plan/machine.h"

namespace plimsoll {

/// A model as it would be held in memory. Owns nothing.
struct ModelShape {
  const Description& description;
  std::span<const TensorUse> uses;         ///< as find_tensors() gives them
  std::span<const Format* const> formats;  ///< of each in memory
};

/// Where a pass through the model reads its weights from.
WeightPlace weight_place(const Machine& machine, const ModelShape& shape);

/// Of multiplying one token of each of `sequences` sequences with one matrix: what a choice of
/// format decides. Rises with the format's bytes where bandwidth is the limit.
double decode_seconds(const Machine& machine, const Format& format, std::int64_t rows,
                      std::int64_t columns, int threads, std::int64_t sequences = 1,
                      WeightPlace place = WeightPlace::memory);

/// Of one pass that gives each of `sequences` sequences a token, `depth` tokens being in each one's
/// cache. Divide `sequences` by it for tokens per second.
double decode_seconds(const Machine& machine, const ModelShape& shape, std::int64_t depth,
                      std::int64_t sequences, int threads);

/// The same pass without its products: what no choice of formats changes.
double decode_seconds_without_products(const Machine& machine, const Description& description,
                                       std::int64_t depth, std::int64_t sequences, int threads,
                                       WeightPlace place);

/// Of `tokens` tokens of one sequence behind `depth` others, in chunks, with the last one's logits.
double prefill_seconds(const Machine& machine, const ModelShape& shape, std::int64_t depth,
                       std::int64_t tokens, std::int64_t chunk_tokens, int threads);

}  // namespace plimsoll
