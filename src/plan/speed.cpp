#include "plan/speed.h"

#include <algorithm>
#include <optional>

#include "base/file_lock.h"
#include "plan/candidates.h"
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
    for (const Format* level :
         allowed_formats(*use.info->format, {.rounded = false, .levels = true}))
      formats.push_back(level->id);
  return formats;
}

void note_reached(const std::string& folder, const ModelFacts& facts, const Plan& plan,
                  const ReachedSeconds& reached, Noting noting) {
  /// Fewer say little.
  constexpr std::int64_t least_prompt = 128;
  const std::vector<FormatId> needed = formats_of(facts, plan);
  const MachineKey key = machine_key(plan.threads);
  if (!load_machine(folder, key)) return;
  const FileLock lock(machine_lock_path(folder, key));
  if (!lock.is_held()) return;
  std::optional<Machine> machine = load_machine(folder, key);
  if (!machine || std::ranges::any_of(needed, [&](FormatId id) { return !machine->find(id); }))
    return;
  // Held against what the measurements alone say.
  Machine bare = *machine;
  bare.reached.clear();
  const std::vector<const Format*> formats = formats_held(facts, plan.formats);
  const ModelShape shape{facts.description, facts.tensors, formats};
  ReachedSpeed speed{.workers = plan.threads, .place = weight_place(bare, shape)};
  if (reached.prefill > 0 && reached.prompt_tokens >= least_prompt)
    speed.prefill =
        prefill_seconds(bare, shape, 0, reached.prompt_tokens, plan.chunk_tokens, plan.threads) /
        reached.prefill;
  if (reached.decode > 0)
    speed.decode = decode_seconds(bare, shape, reached.depth, 1, plan.threads) / reached.decode;
  if (speed.prefill == 0 && speed.decode == 0) return;
  std::vector<ReachedSpeed> notes = load_notes(folder, *machine);
  add_note(notes, speed);
  if (noting == Noting::aside) return save_notes(folder, *machine, notes);
  for (const ReachedSpeed& note : notes) machine->note(note);
  save_machine(folder, *machine);
  save_notes(folder, *machine, {});
}

}  // namespace plimsoll
