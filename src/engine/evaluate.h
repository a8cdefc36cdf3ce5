// Perplexity and KL divergence on a text: chunks of `context` tokens, each starting with BOS, the
// second half scored.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "engine/engine.h"

namespace plimsoll {

struct Evaluation {
  std::int64_t scored_tokens = 0;
  double nll = 0;        ///< mean negative log-likelihood, nats per token
  double nll_error = 0;  ///< standard error of that mean
  double perplexity() const;
  bool has_reference = false;
  double kl = 0;  ///< mean KL(reference || model), nats per token
  double kl_error = 0;
  double same_top = 0;  ///< share of positions with the same most likely token
};

struct EvaluateOptions {
  std::int64_t context = 256;  ///< tokens per chunk, BOS included
  std::int64_t chunks = 0;     ///< 0: as many as the text has
};

/// `ids` are the whole text's tokens. Throws Error(invalid_text) when the text has less than one
/// chunk, Error(context_exceeded) when a session has less room than a chunk, Error(invalid_model)
/// when model and reference have different vocabularies.
Evaluation evaluate(
    const Engine& engine, Session& session, Session* reference, std::span<const TokenId> ids,
    const EvaluateOptions& options,
    const std::function<void(std::int64_t chunk, std::int64_t chunks)>& progress = {});

}  // namespace plimsoll
