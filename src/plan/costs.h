// Seconds from shapes, formats and what was measured of a machine: pure functions, without loading
// anything.
#pragma once

#include <cstdint>
#include <span>

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

/// Of multiplying one token with one matrix whose weights come from memory: what a choice of format
/// decides. Rises with the format's bytes where bandwidth is the limit.
double decode_seconds(const Machine& machine, const Format& format, std::int64_t rows,
                      std::int64_t columns, int threads);

/// Of one pass that gives each of `sequences` sequences a token, `depth` tokens being in each one's
/// cache. Divide `sequences` by it for tokens per second.
double decode_seconds(const Machine& machine, const ModelShape& shape, std::int64_t depth,
                      std::int64_t sequences, int threads);

/// Of `tokens` tokens of one sequence behind `depth` others, in chunks, with the last one's logits.
double prefill_seconds(const Machine& machine, const ModelShape& shape, std::int64_t depth,
                       std::int64_t tokens, std::int64_t chunk_tokens, int threads);

}  // namespace plimsoll
