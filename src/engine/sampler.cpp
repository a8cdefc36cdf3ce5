#include "engine/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace plimsoll {
namespace {

void require(bool good, const char* option, double value, const char* range) {
  if (!good)
    throw Error(ErrorCode::usage, fmt::format("{} must be {}, found {}", option, range, value));
}

}  // namespace

void check(const SamplingOptions& o) {
  require(o.temperature >= 0 && o.temperature <= 100, "temperature", o.temperature, "0 to 100");
  require(o.top_k >= 0, "top-k", static_cast<double>(o.top_k), "0 or more");
  require(o.top_p > 0 && o.top_p <= 1, "top-p", o.top_p, "above 0, at most 1");
  require(o.min_p >= 0 && o.min_p <= 1, "min-p", o.min_p, "0 to 1");
  require(o.repetition_penalty > 0 && o.repetition_penalty <= 100, "repeat-penalty",
          o.repetition_penalty, "above 0, at most 100");
  require(o.repetition_window >= 0, "repeat window", static_cast<double>(o.repetition_window),
          "0 or more");
}

Sampler::Sampler(const SamplingOptions& options, std::int64_t vocabulary)
    : options_(options), random_(options.seed) {
  check(options);
  if (options.temperature > 0) candidates_.reserve(static_cast<std::size_t>(vocabulary));
}

TokenId Sampler::sample(std::span<float> logits, std::span<const TokenId> history) {
  // One pass finds the best and any NaN, which compares false with everything.
  std::size_t best = 0;
  bool finite = true;
  for (std::size_t i = 0; i < logits.size(); ++i) finite &= !std::isnan(logits[i]);
  if (!finite)
    throw Error(ErrorCode::invalid_weights, "the model produced a logit that is not a number",
                "its weights are damaged or overflow");
  if (options_.repetition_penalty != 1) {
    const std::size_t window =
        std::min(history.size(), static_cast<std::size_t>(options_.repetition_window));
    std::vector<TokenId> recent(history.end() - static_cast<std::ptrdiff_t>(window), history.end());
    std::sort(recent.begin(), recent.end());
    recent.erase(std::unique(recent.begin(), recent.end()), recent.end());
    const auto penalty = static_cast<float>(options_.repetition_penalty);
    for (const TokenId token : recent) {
      float& logit = logits[static_cast<std::size_t>(token)];
      logit = logit > 0 ? logit / penalty : logit * penalty;
    }
  }
  if (options_.temperature == 0) {
    for (std::size_t i = 1; i < logits.size(); ++i)
      if (logits[i] > logits[best]) best = i;
    return static_cast<TokenId>(best);
  }

  candidates_.clear();
  for (std::size_t i = 0; i < logits.size(); ++i)
    candidates_.push_back({logits[i], static_cast<TokenId>(i)});
  const auto before = [](const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
  };
  // Only as many are put in order as can be chosen.
  std::size_t count = candidates_.size();
  if (options_.top_k > 0) count = std::min(count, static_cast<std::size_t>(options_.top_k));
  if (count < candidates_.size())
    std::partial_sort(candidates_.begin(), candidates_.begin() + static_cast<std::ptrdiff_t>(count),
                      candidates_.end(), before);
  else
    std::sort(candidates_.begin(), candidates_.end(), before);

  // Weights relative to the most likely token, so that nothing overflows.
  const double temperature = options_.temperature, top = candidates_[0].logit;
  const auto weight = [&](std::size_t i) {
    return std::exp((candidates_[i].logit - top) / temperature);
  };
  double total = 0;
  for (std::size_t i = 0; i < count; ++i) total += weight(i);
  if (options_.top_p < 1) {
    double sum = 0;
    std::size_t kept = 0;
    while (kept < count && (kept == 0 || sum < options_.top_p * total)) sum += weight(kept++);
    count = kept;
    total = sum;
  }
  if (options_.min_p > 0) {
    std::size_t kept = 1;
    double sum = weight(0);
    while (kept < count && weight(kept) >= options_.min_p) sum += weight(kept++);
    count = kept;
    total = sum;
  }
  // 53 random bits make a number in [0, 1) that is the same on every standard library.
  const double point = static_cast<double>(random_() >> 11) * 0x1p-53 * total;
  double sum = 0;
  for (std::size_t i = 0; i < count; ++i) {
    sum += weight(i);
    if (point < sum) return candidates_[i].token;
  }
  return candidates_[count - 1].token;
}

}  // namespace plimsoll
