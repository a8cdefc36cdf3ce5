// Calibration: the short sequences that second moments and divergences are measured on.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "fit/layer_moments.h"
#include "model/description.h"
#include "text/tokenizer.h"

namespace plimsoll {

struct Calibration {
  std::vector<Sequence> moments;  ///< for second moments
  /// For divergences: other parts of the text where it is long enough.
  std::vector<Sequence> probes;
};

/// How much of a text is worth its time on a model of this size: minutes on two cores for a billion
/// parameters. Its residual streams take at most half of `room`.
struct CalibrationSize {
  std::int64_t sequence_tokens;  ///< BOS included
  std::int64_t moments;          ///< sequences
  std::int64_t probes;           ///< sequences
  std::int64_t
      probe_tokens;  ///< of each, from its beginning: fewer where one is more than the work allows
};
CalibrationSize calibration_size(const Description& description, std::int64_t parameters,
                                 std::int64_t matrices, Bytes room);

/// Sequences spread evenly over a text's tokens, each beginning with `bos` if there is one. Throws
/// Error(invalid_text) when the text has less than least_calibration_tokens.
Calibration calibrate_on(std::span<const TokenId> text, std::optional<TokenId> bos,
                         const CalibrationSize& size);
constexpr std::int64_t least_calibration_tokens = 1024;

/// Saves sequences in a file, whole or not at all; an empty path, or that it cannot be written, is
/// no error.
void save_sequences(const std::string& path, std::span<const Sequence> sequences);
/// As many sequences of as many ids below `vocabulary` as are wanted, or none.
std::vector<Sequence> load_sequences(const std::string& path, std::int64_t count,
                                     std::int64_t tokens, std::int64_t vocabulary);

}  // namespace plimsoll
