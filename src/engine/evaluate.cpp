#include "engine/evaluate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "base/error.h"

namespace plimsoll {
namespace {

/// Sums over the scored tokens of one chunk.
struct Sums {
  double nll = 0, reference_nll = 0, kl = 0, same_top = 0;
};

std::size_t top(std::span<const float> row) {
  return static_cast<std::size_t>(std::max_element(row.begin(), row.end()) - row.begin());
}

/// Keeps the `most` largest, the least of them in front.
void keep_largest(std::vector<double>& heap, double value, std::int64_t most) {
  if (static_cast<std::int64_t>(heap.size()) < most) {
    heap.push_back(value);
    std::push_heap(heap.begin(), heap.end(), std::greater<>());
  } else if (value > heap.front()) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    heap.back() = value;
    std::push_heap(heap.begin(), heap.end(), std::greater<>());
  }
}

/// Throws Error(invalid_weights).
float log_sum(const Kernels& kernels, std::span<const float> logits, const char* whose) {
  const float total = kernels.log_sum_exp(logits.data(), static_cast<std::int64_t>(logits.size()));
  if (std::isnan(total))
    throw Error(ErrorCode::invalid_weights,
                fmt::format("the {} produced a logit that is not a number", whose),
                "its weights are damaged or overflow");
  return total;
}

/// KL(P || Q) in nats from log-probabilities and from logits with the logarithm of their sum.
double divergence(std::span<const float> log_p, std::span<const float> logits, float total) {
  double sum = 0;
  for (std::size_t v = 0; v < log_p.size(); ++v)
    sum += std::exp(static_cast<double>(log_p[v])) * (log_p[v] - (logits[v] - total));
  return sum;
}

}  // namespace

Chunks cut(const Tokenizer& tokenizer, std::int64_t tokens, std::int64_t context,
           std::int64_t most) {
  if (context < 4)
    throw Error(ErrorCode::usage,
                fmt::format("--context must be 4 or more to evaluate, found {}", context),
                "give --context 4 or more");
  Chunks chunks;
  chunks.context = context;
  chunks.text = tokenizer.bos() ? context - 1 : context;
  chunks.count = tokens / chunks.text;
  if (chunks.count == 0)
    throw Error(ErrorCode::invalid_text,
                fmt::format("the text has {} tokens, one chunk needs {}", tokens, chunks.text),
                tokens < 4 - (context - chunks.text)
                    ? std::string("give a longer text")
                    : fmt::format("give a longer text, or --context {} or less",
                                  tokens + (context - chunks.text)));
  if (most > 0) chunks.count = std::min(chunks.count, most);
  return chunks;
}

void evaluate(const Engine& engine, Session& session, Session* reference,
              std::span<const TokenId> ids, const Chunks& chunks, Scores& scores,
              const std::function<void()>& done) {
  const Kernels& kernels = engine.context().kernels;
  const std::optional<TokenId> bos = engine.tokenizer().bos();
  const std::int64_t vocabulary = engine.description().vocabulary;
  if (reference && reference->engine().description().vocabulary != vocabulary)
    throw Error(ErrorCode::invalid_model,
                fmt::format("the reference has a vocabulary of {}, the model one of {}",
                            reference->engine().description().vocabulary, vocabulary),
                "compare models of the same vocabulary");

  std::vector<TokenId> chunk;
  // By position in a piece: the reference's log-probabilities, which stay in its own buffer of
  // logits until it moves on.
  std::vector<std::span<float>> reference_rows;
  // Both models see the same few tokens in turn.
  const std::int64_t piece_tokens =
      reference ? std::min(engine.plan().logit_rows, reference->engine().plan().logit_rows)
                : chunks.context;
  const double scored = static_cast<double>(chunks.scored());
  while (scores.chunks() < chunks.count) {
    chunk.clear();
    if (bos) chunk.push_back(*bos);
    const auto begin = ids.begin() + scores.chunks() * chunks.text;
    chunk.insert(chunk.end(), begin, begin + chunks.text);
    session.clear();
    if (reference) reference->clear();
    Sums sums;
    std::vector<double> tail = scores.kl_tail;
    for (std::int64_t at = 0; at < chunks.context - 1;) {
      const std::int64_t count = std::min(piece_tokens, chunks.context - 1 - at);
      const std::span<const TokenId> piece(chunk.data() + at, static_cast<std::size_t>(count));
      const std::int64_t wanted = std::max<std::int64_t>(0, chunks.first_scored() - at);
      const auto next = [&](std::int64_t i) {
        return static_cast<std::size_t>(chunk[static_cast<std::size_t>(at + i + 1)]);
      };
      if (reference) {
        reference_rows.assign(static_cast<std::size_t>(count), {});
        reference->append_scored(piece, wanted, [&](std::int64_t i, std::span<float> row) {
          const float total = log_sum(kernels, row, "reference");
          for (float& logit : row) logit -= total;
          sums.reference_nll -= row[next(i)];
          reference_rows[static_cast<std::size_t>(i)] = row;
        });
      }
      session.append_scored(piece, wanted, [&](std::int64_t i, std::span<float> row) {
        const float total = log_sum(kernels, row, "model");
        sums.nll += total - row[next(i)];
        if (!reference) return;
        const std::span<const float> log_p = reference_rows[static_cast<std::size_t>(i)];
        const double kl = divergence(log_p, row, total);
        sums.kl += kl;
        sums.same_top += top(row) == top(log_p);
        keep_largest(tail, kl, chunks.tail());
      });
      at += count;
    }
    scores.nll.add(sums.nll / scored);
    if (reference) {
      scores.reference_nll.add(sums.reference_nll / scored);
      scores.kl.add(sums.kl / scored);
      scores.same_top.add(sums.same_top / scored);
      scores.kl_tail = std::move(tail);
    }
    if (done) done();
  }
}

double Evaluation::perplexity() const { return std::exp(nll); }

std::optional<Interval> Evaluation::perplexity_interval() const {
  if (!nll_interval) return std::nullopt;
  return Interval{std::exp(nll_interval->low), std::exp(nll_interval->high)};
}

Evaluation summarise(const Scores& scores, const Chunks& chunks) {
  Evaluation result;
  result.scored_tokens = chunks.scored_tokens();
  result.chunks = chunks.count;
  result.nll = scores.nll.mean;
  result.nll_error = scores.nll.error();
  result.nll_interval = interval_of_mean(scores.nll);
  if (scores.kl.clusters == 0) return result;
  Distance& distance = result.distance.emplace();
  distance.reference_nll = scores.reference_nll.mean;
  distance.kl = scores.kl.mean;
  distance.kl_error = scores.kl.error();
  distance.kl_interval = interval_of_mean(scores.kl);
  distance.kl_p99 = scores.kl_tail.front();
  distance.kl_max = *std::max_element(scores.kl_tail.begin(), scores.kl_tail.end());
  distance.same_top = scores.same_top.mean;
  distance.same_top_interval = interval_of_share(scores.same_top, result.scored_tokens);
  return result;
}

}  // namespace plimsoll
