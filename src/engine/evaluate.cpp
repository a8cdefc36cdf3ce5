#include "engine/evaluate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace plimsoll {
namespace {

/// Mean and its standard error, from sums.
struct Mean {
  double sum = 0, squares = 0;
  std::int64_t count = 0;
  void add(double value) {
    sum += value;
    squares += value * value;
    ++count;
  }
  double mean() const { return count ? sum / static_cast<double>(count) : 0; }
  double error() const {
    if (count < 2) return 0;
    const double n = static_cast<double>(count);
    return std::sqrt(std::max(0.0, squares / n - mean() * mean()) / (n - 1));
  }
};

std::size_t top(std::span<const float> row) {
  return static_cast<std::size_t>(std::max_element(row.begin(), row.end()) - row.begin());
}

}  // namespace

double Evaluation::perplexity() const { return std::exp(nll); }

Evaluation evaluate(const Engine& engine, Session& session, Session* reference,
                    std::span<const TokenId> ids, const EvaluateOptions& options,
                    const std::function<void(std::int64_t, std::int64_t)>& progress) {
  const Kernels& kernels = engine.context().kernels;
  const std::int64_t context = options.context;
  if (context < 4)
    throw Error(ErrorCode::usage,
                fmt::format("--context must be 4 or more to evaluate, found {}", context));
  const std::optional<TokenId> bos = engine.tokenizer().bos();
  // A chunk is BOS and context - 1 tokens of text; without a BOS, context tokens of text.
  const std::int64_t body = bos ? context - 1 : context;
  std::int64_t chunks = static_cast<std::int64_t>(ids.size()) / body;
  if (chunks == 0)
    throw Error(ErrorCode::invalid_text,
                fmt::format("the text has {} tokens, one chunk needs {}", ids.size(), body),
                "give a longer text or a smaller --context");
  if (options.chunks > 0) chunks = std::min(chunks, options.chunks);
  const std::int64_t vocabulary = engine.description().vocabulary;
  if (reference && reference->engine().description().vocabulary != vocabulary)
    throw Error(ErrorCode::invalid_model,
                fmt::format("the reference has a vocabulary of {}, the model one of {}",
                            reference->engine().description().vocabulary, vocabulary),
                "compare models of the same vocabulary");

  // Position i predicts token i + 1; the second half of the chunk is scored.
  const std::int64_t first = (context + 1) / 2 - 1;
  Mean nll, kl;
  std::int64_t same = 0;
  std::vector<TokenId> chunk;
  // By position in a piece: the reference's log-probabilities, which stay in its own buffer of
  // logits until it moves on.
  std::vector<std::span<float>> reference_rows;
  const std::int64_t piece_tokens =
      reference ? std::min(engine.plan().logit_rows, reference->engine().plan().logit_rows)
                : context;
  for (std::int64_t c = 0; c < chunks; ++c) {
    chunk.clear();
    if (bos) chunk.push_back(*bos);
    chunk.insert(chunk.end(), ids.begin() + c * body, ids.begin() + (c + 1) * body);
    session.clear();
    if (reference) reference->clear();
    // The last token predicts nothing that is scored. Both models see the same few tokens in turn.
    for (std::int64_t done = 0; done < context - 1;) {
      const std::int64_t count = std::min(piece_tokens, context - 1 - done);
      const std::span<const TokenId> piece(chunk.data() + done, static_cast<std::size_t>(count));
      const std::int64_t wanted = std::max<std::int64_t>(0, first - done);
      if (reference) {
        reference_rows.assign(static_cast<std::size_t>(count), {});
        reference->append_scored(piece, wanted, [&](std::int64_t i, std::span<float> row) {
          const float total = kernels.log_sum_exp(row.data(), vocabulary);
          for (float& logit : row) logit -= total;
          reference_rows[static_cast<std::size_t>(i)] = row;
        });
      }
      session.append_scored(piece, wanted, [&](std::int64_t i, std::span<float> row) {
        const float total = kernels.log_sum_exp(row.data(), vocabulary);
        if (std::isnan(total))
          throw Error(ErrorCode::invalid_weights, "the model produced a logit that is not a number",
                      "its weights are damaged or overflow");
        nll.add(total -
                row[static_cast<std::size_t>(chunk[static_cast<std::size_t>(done + i + 1)])]);
        if (!reference) return;
        const std::span<const float> log_p = reference_rows[static_cast<std::size_t>(i)];
        double divergence = 0;
        for (std::size_t v = 0; v < log_p.size(); ++v)
          divergence += std::exp(static_cast<double>(log_p[v])) * (log_p[v] - (row[v] - total));
        kl.add(divergence);
        same += top(row) == top(log_p);
      });
      done += count;
    }
    if (progress) progress(c + 1, chunks);
  }

  Evaluation result;
  result.scored_tokens = nll.count;
  result.nll = nll.mean();
  result.nll_error = nll.error();
  result.has_reference = reference != nullptr;
  result.kl = kl.mean();
  result.kl_error = kl.error();
  result.same_top = kl.count ? static_cast<double>(same) / static_cast<double>(kl.count) : 0;
  return result;
}

}  // namespace plimsoll
