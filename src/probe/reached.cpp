#include "probe/reached.h"

#include <algorithm>
#include <optional>

#include "base/file_lock.h"
#include "plan/costs.h"
#include "plan/speed.h"
#include "probe/machine_file.h"

namespace plimsoll {

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
