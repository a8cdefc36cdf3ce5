#include "app/measuring.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "base/cache_folder.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/region.h"
#include "fit/quality_file.h"
#include "fit/quick_analysis.h"

namespace plimsoll {
namespace {

/// Below this many tokens the result would say little.
constexpr std::int64_t least_tokens = 32;

}  // namespace

Bytes measuring_bytes(const OpenModel& model, std::int64_t tokens, int threads) {
  return quick_analysis_bytes(model.facts.description, model.facts.tensors, tokens, threads);
}

std::int64_t measuring_tokens(const OpenModel& model, Bytes room, int threads) {
  std::int64_t tokens = quick_analysis_tokens(model.facts.description, model.facts.parameters);
  while (tokens >= least_tokens && measuring_bytes(model, tokens, threads) > room) tokens /= 2;
  return tokens >= least_tokens ? tokens : 0;
}

namespace {

/// Says what would do: more memory, or fewer workers.
[[noreturn]] void refuse_measuring(const OpenModel& model, Bytes held, Bytes budget, int threads) {
  /// One process and the next differ by some pages.
  constexpr Bytes slack = 256 * KiB;
  const std::int64_t most = quick_analysis_tokens(model.facts.description, model.facts.parameters);
  std::int64_t least = most;
  while (least / 2 >= least_tokens) least /= 2;
  const auto needed = [&](int workers) {
    return held - stack_bytes_per_thread * static_cast<Bytes>(threads - workers) +
           measuring_bytes(model, least, workers) + slack;
  };
  std::string hint;
  if (const Bytes all = round_up(needed(threads), page_bytes); all <= probe_limits().usable)
    hint = fmt::format("give --memory {} or more", all);
  for (int workers = threads - 1; workers > 0; --workers)
    if (needed(workers) <= budget) {
      hint += fmt::format("{} --threads {} or fewer", hint.empty() ? "give" : ", or", workers);
      break;
    }
  throw Error(ErrorCode::budget_refused,
              fmt::format("measuring takes at least {}; the budget is {}",
                          format_bytes(needed(threads)), format_bytes(budget)),
              hint.empty() ? "take a machine with more memory" : hint);
}

}  // namespace

Measured measure_model(Host& host, const OpenModel& model) {
  const auto context = host.make_context();
  const Bytes budget = host.line.budget();
  const Bytes held = host.line.declare_process(model.facts, host.threads, Work::measuring).running + model.facts.text_bytes;
  const std::int64_t tokens =
      held < budget ? measuring_tokens(model, budget - held, host.threads) : 0;
  if (tokens == 0) refuse_measuring(model, held, budget, host.threads);
  Measured measured;
  const Bytes peak = held + measuring_bytes(model, tokens, host.threads);
  measured.predicted_peak_bytes = peak + peak / 512;  // page tables
  std::vector<TokenId> text =
      quick_analysis_text(*model.tokenizer, model.facts.description, model.facts.parameters);
  text.resize(std::min(text.size(), static_cast<std::size_t>(tokens)));

  const auto start = std::chrono::steady_clock::now();
  measured.quality = analyse_quickly(
      *context, model.file, model.facts.description, model.facts.tensors, text,
      [&host](std::int64_t done, std::int64_t total) {
        host.watch.check();
        host.watch.show("measuring what rounding costs", Watch::Unit::chunks, done, total);
      });
  model.file.check_unchanged();
  const std::string folder = cache_folder(), fingerprint = model_fingerprint(model.file);
  // What took longer to measure is worth more.
  const auto known = load_quality(folder, fingerprint, model.facts.tensors);
  if (!known || known->source <= QualitySource::quick)
    save_quality(folder, fingerprint, measured.quality, model.facts.tensors);
  measured.tokens = std::ssize(text);
  measured.seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return measured;
}

}  // namespace plimsoll
