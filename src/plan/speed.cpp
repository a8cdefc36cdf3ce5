#include "plan/speed.h"

#include <algorithm>

#include "plan/costs.h"

namespace plimsoll {

std::vector<const Format*> formats_held(const ModelFacts& facts, const Weights::Formats& formats) {
  if (!formats.empty()) return formats;
  std::vector<const Format*> held;
  for (const TensorUse& use : facts.tensors) held.push_back(use.info->format);
  return held;
}

void predict_speeds(const Machine& machine, const ModelFacts& facts, Plan& plan) {
  const std::vector<const Format*> formats = formats_held(facts, plan.formats);
  const ModelShape shape{facts.description, facts.tensors, formats};
  const std::int64_t prompt = std::min(usual_prompt, plan.context);
  plan.prefill_tokens_per_second =
      static_cast<double>(prompt) /
      prefill_seconds(machine, shape, 0, prompt, plan.chunk_tokens, plan.threads);
  plan.decode_tokens_per_second =
      1 / decode_seconds(machine, shape, prompt, plan.sessions, plan.threads);
}

std::vector<FormatId> formats_of(const ModelFacts& facts, const Plan& plan) {
  const std::vector<const Format*> held = formats_held(facts, plan.formats);
  std::vector<FormatId> formats;
  for (std::size_t i = 0; i < held.size(); ++i)
    if (!facts.tensors[i].slot.is_vector()) formats.push_back(held[i]->id);
  return formats;
}

std::vector<FormatId> formats_of_any_plan(const ModelFacts& facts) {
  std::vector<FormatId> formats = formats_of(facts, {});
  for (const Format* format : rounding_formats()) formats.push_back(format->id);
  for (const TensorUse& use : facts.tensors)
    for (const Format* level : levels_below(*use.info->format)) formats.push_back(level->id);
  return formats;
}

}  // namespace plimsoll
