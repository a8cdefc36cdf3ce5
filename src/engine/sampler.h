// From logits to the next token.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "kernels/kernels.h"
#include "text/tokenizer.h"

namespace plimsoll {

/// Applied in this order: repetition penalty, temperature, top-k, top-p, min-p.
struct SamplingOptions {
  double temperature = 0.8;  ///< 0: greedy
  std::int64_t top_k = 40;   ///< 0: all
  double top_p = 0.95;       ///< 1: all (Holtzman et al., arXiv:1904.09751)
  double min_p =
      0.05;  ///< 0: all; relative to the most likely token (Nguyen et al., arXiv:2407.01082)
  double repetition_penalty =
      1;  ///< 1: none; divides positive logits of recent tokens (Keskar et al., arXiv:1909.05858)
  std::int64_t repetition_window = 64;  ///< tokens that count as recent
  std::uint64_t seed = 0;
};

/// Throws Error(usage) naming the first option out of range.
void check(const SamplingOptions& options);

/// The same seed and logits give the same tokens. Allocates once.
class Sampler {
 public:
  Sampler(const SamplingOptions& options, std::int64_t vocabulary);

  /// `logits` are changed. `history`: the tokens so far, newest last. Ties go to the lower id.
  /// Throws Error(invalid_weights) when a logit is NaN.
  TokenId sample(std::span<float> logits, std::span<const TokenId> history);

 private:
  struct Candidate {
    float logit;
    TokenId token;
  };
  SamplingOptions options_;
  std::mt19937_64 random_;
  std::vector<Candidate> candidates_;
};

}  // namespace plimsoll
