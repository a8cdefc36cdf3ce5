#include "plan/format_choices.h"

#include <algorithm>

namespace plimsoll {
bool FormatChoices::has_levels(const ModelFacts& facts) {
  return std::ranges::any_of(facts.tensors, [](const TensorUse& use) {
    return !use.slot.is_vector() && !levels_below(*use.info->format).empty();
  });
}

FormatChoices::FormatChoices(const ModelFacts& facts, const QualityModel& quality,
                             Rounding rounding, Lowering lowering)
    : facts_(facts),
      candidates_(
          find_candidates(facts.tensors, quality,
                          {.place = CandidateRules::Place::memory,
                           .rounding = rounding,
                           .engine = ProductEngine::plimsoll,
                           .rounded = lowering == Lowering::any,
                           .levels = true,
                           // Too slow to be found while loading; with feedback, a file is written.
                           .codebooks = rounding != Rounding::plain})),
      vector_bytes_(Weights::memory_bytes(facts.tensors)) {
  for (std::size_t i = 0; i < facts.tensors.size(); ++i) {
    if (facts.tensors[i].slot.is_vector()) continue;
    const TensorInfo& info = *facts.tensors[i].info;
    vector_bytes_ -= candidates_.choices[i].front().bytes;
    for (const Format* format : candidates_.formats[i])
      most_staging_ = std::max(most_staging_, Matrix::staging_bytes({&info, format}));
  }
}

HeldWeights FormatChoices::held(const std::vector<int>& choices) const {
  HeldWeights weights;
  weights.bytes = vector_bytes_;
  for (std::size_t i = 0; i < choices.size(); ++i) {
    const auto choice = static_cast<std::size_t>(choices[i]);
    weights.formats.push_back(candidates_.formats[i][choice]);
    weights.bytes += candidates_.choices[i][choice].bytes;
    weights.kl_nats += candidates_.choices[i][choice].loss;
  }
  weights.staging_bytes_per_worker = Weights::staging_bytes(facts_.tensors, 1, weights.formats);
  return weights;
}

std::optional<HeldWeights> FormatChoices::weigh(const Weights::Formats& formats) const {
  std::vector<int> choices;
  for (std::size_t i = 0; i < candidates_.formats.size(); ++i) {
    const auto found = std::ranges::find(candidates_.formats[i], formats[i]);
    if (found == candidates_.formats[i].end()) return {};
    choices.push_back(static_cast<int>(found - candidates_.formats[i].begin()));
  }
  return held(choices);
}

HeldWeights FormatChoices::smallest() const {
  std::vector<int> choices;
  for (const std::vector<Choice>& of_tensor : candidates_.choices) {
    const auto least = std::ranges::min_element(of_tensor, [](const Choice& a, const Choice& b) {
      return a.bytes != b.bytes ? a.bytes < b.bytes : a.loss < b.loss;
    });
    choices.push_back(static_cast<int>(least - of_tensor.begin()));
  }
  return held(choices);
}

HeldWeights FormatChoices::best(Bytes limit) const {
  if (limit < vector_bytes_) return smallest();
  const std::optional<Selection> selection = solve(candidates_.choices, limit - vector_bytes_);
  return selection ? held(selection->choices) : smallest();
}

std::optional<HeldWeights> FormatChoices::best(Bytes limit, const DecodeClock& clock,
                                               double most_seconds) const {
  if (limit < vector_bytes_) return {};
  const std::optional<Selection> selection =
      solve(timed(clock), limit - vector_bytes_, most_seconds);
  return selection ? std::optional(held(selection->choices)) : std::nullopt;
}

std::optional<HeldWeights> FormatChoices::fastest(Bytes limit, const DecodeClock& clock) const {
  if (limit < vector_bytes_) return {};
  std::vector<std::vector<Choice>> choices = timed(clock);
  for (std::vector<Choice>& of_tensor : choices)
    for (Choice& choice : of_tensor) choice.loss = choice.seconds;
  const std::optional<Selection> selection = solve(choices, limit - vector_bytes_);
  return selection ? std::optional(held(selection->choices)) : std::nullopt;
}

std::vector<std::vector<Choice>> FormatChoices::timed(const DecodeClock& clock) const {
  std::vector<std::vector<Choice>> choices = candidates_.choices;
  const std::vector<bool> is_product = find_products(facts_.tensors);
  for (std::size_t i = 0; i < choices.size(); ++i) {
    if (!is_product[i]) continue;
    const TensorSlot& slot = facts_.tensors[i].slot;
    for (std::size_t c = 0; c < choices[i].size(); ++c)
      choices[i][c].seconds =
          decode_seconds(clock.machine, *candidates_.formats[i][c], slot.rows, slot.columns,
                         clock.threads, clock.sequences, clock.place);
  }
  return choices;
}

std::vector<FormatShare> format_shares(const std::vector<TensorUse>& tensors,
                                       const Weights::Formats& formats) {
  std::vector<FormatShare> shares;
  const auto add = [&shares](const Format& format, std::int64_t count, std::int64_t parameters,
                             Bytes bytes) {
    auto share = std::ranges::find(shares, &format, &FormatShare::format);
    if (share == shares.end()) share = shares.insert(share, {&format, 0, 0, 0});
    share->tensors += count;
    share->parameters += parameters;
    share->bytes += bytes;
  };
  Bytes vector_bytes = Weights::memory_bytes(tensors, formats);
  std::int64_t vectors = 0, vector_parameters = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const TensorInfo& info = *tensors[i].info;
    const std::int64_t parameters = info.rows() * info.columns();
    if (tensors[i].slot.is_vector()) {
      ++vectors;
      vector_parameters += parameters;
      continue;
    }
    const Format& format = formats.empty() ? *info.format : *formats[i];
    const Bytes bytes = Matrix::memory_bytes({&info, &format});
    add(format, 1, parameters, bytes);
    vector_bytes -= bytes;
  }
  if (vectors) add(format(FormatId::F32), vectors, vector_parameters, vector_bytes);
  std::ranges::sort(shares, std::greater<>(), &FormatShare::bytes);
  return shares;
}

}  // namespace plimsoll
