// Perplexity and KL divergence on a text: chunks of `context` tokens, each starting with BOS, the
// second half scored.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "engine/engine.h"
#include "engine/statistics.h"

namespace plimsoll {

/// How a text falls into chunks.
struct Chunks {
  std::int64_t context = 0;  ///< tokens in each, BOS included
  std::int64_t text = 0;     ///< tokens of text in each: one less where there is a BOS
  std::int64_t count = 0;

  /// The first position whose prediction is scored; the last token of a chunk predicts nothing.
  std::int64_t first_scored() const { return (context + 1) / 2 - 1; }
  std::int64_t scored() const { return context - 1 - first_scored(); }  ///< in each
  std::int64_t scored_tokens() const { return count * scored(); }
  /// As many of the largest values as reach down to the 99th percentile (nearest rank).
  std::int64_t tail() const { return scored_tokens() / 100 + 1; }
};

/// Of a text of `tokens`; `most` chunks, 0 for as many as there are. Throws Error(usage) for a
/// context under 4, Error(invalid_text) when the text has less than one chunk.
Chunks cut(const Tokenizer& tokenizer, std::int64_t tokens, std::int64_t context,
           std::int64_t most = 0);

/// What the chunks so far have shown. A plain value: saved and given back, evaluating goes on where
/// it stopped.
struct Scores {
  ClusterMean nll;                          ///< nats per token
  ClusterMean reference_nll, kl, same_top;  ///< without clusters where there is no reference
  std::vector<double> kl_tail;              ///< the Chunks::tail() largest KLs, a min-heap

  std::int64_t chunks() const { return nll.clusters; }
  /// Of kl_tail when it is full.
  static Bytes memory_bytes(const Chunks& chunks) {
    return static_cast<Bytes>(chunks.tail()) * sizeof(double);
  }
};

/// Scores the chunks that `scores` has not seen yet; `scores` changes by whole chunks, after each
/// of which `done` is called. `ids` are the whole text's tokens. Throws Error(context_exceeded)
/// when a session has less room than a chunk, Error(invalid_model) when model and reference have
/// vocabularies of different sizes, Error(invalid_weights) when a logit is not a number.
void evaluate(const Engine& engine, Session& session, Session* reference,
              std::span<const TokenId> ids, const Chunks& chunks, Scores& scores,
              const std::function<void()>& done = {});

/// Of a model's distributions from a reference's.
struct Distance {
  double reference_nll = 0;
  double kl = 0;  ///< mean KL(reference || model), nats per token
  std::optional<double> kl_error;
  std::optional<Interval> kl_interval;
  double kl_p99 = 0, kl_max = 0;  ///< of single tokens: 99th percentile (nearest rank), largest
  double same_top = 0;            ///< share of positions with the same most likely token
  std::optional<Interval> same_top_interval;
};

/// Means over all scored tokens. Errors are standard errors, intervals hold 95 %, both with the
/// chunk as the unit (statistics.h): empty with a single chunk.
struct Evaluation {
  std::int64_t scored_tokens = 0;
  std::int64_t chunks = 0;
  double nll = 0;  ///< negative log-likelihood, nats per token
  std::optional<double> nll_error;
  std::optional<Interval> nll_interval;
  double perplexity() const;
  std::optional<Interval> perplexity_interval() const;

  std::optional<Distance> distance;  ///< from the reference, where there is one
};

/// `scores` have seen all of `chunks`.
Evaluation summarise(const Scores& scores, const Chunks& chunks);

}  // namespace plimsoll
