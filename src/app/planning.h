// From a path to a model that is open under the line, and to its plan.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "app/host.h"
#include "engine/engine.h"
#include "plan/machine.h"
#include "plan/plan.h"

namespace plimsoll {

/// Header and tokenizer of a file or folder, held against the line before they are read and counted
/// in it from then on. Throws Error as OpenModel::open does.
OpenModel open_model(const Host& host, const std::string& path);

/// What a command wants of its plan.
struct PlanNeeds {
  std::optional<std::int64_t> context;
  std::int64_t logit_rows = 1;
  std::int64_t branches = 1;  ///< of the context: see PlanRequest
  std::int64_t sessions = 1;
  std::optional<KvTiers> kv;  ///< see PlanRequest
  bool converses = false;  ///< see PlanRequest
  WeightPolicy policy = WeightPolicy::exact;
  std::optional<SpeedFloor> speed;
  std::optional<Bytes> budget;  ///< instead of the line's
  /// Of the process; none for the plan of a second model beside the first.
  bool counts_process = true;
  /// What rounding costs is wanted even where nothing has to be rounded.
  bool shows_losses = false;
  Work work = Work::answering;
  Bytes still_to_come = 0;  ///< that will be held, and is not yet
  Bytes held_text = 0;      ///< in the text account besides the model
};

/// Call it after everything that will be held while running (prompt, texts, headers) is in memory.
PlanRequest plan_request(Host& host, const OpenModel& model, const PlanNeeds& needs);

/// The plan for that; it may not fit.
Plan plan_model(Host& host, const OpenModel& model, const PlanNeeds& needs);

/// What is known of a model's quality: the file's own note, or what was measured before; otherwise,
/// for models that are quickly measured (fit/quick_analysis.h), it is measured now, apart. Empty
/// where there is nothing to go by: a large model, no room, no place to keep it.
std::optional<QualityModel> quality_of(const Host& host, const OpenModel& model, Bytes budget);

/// This machine as it was measured, completed by what the line leaves room for; empty where it has
/// to be measured and there is no room. Throws as choose_isa does.
std::optional<Machine> machine_for(const Host& host, std::span<const FormatId> formats,
                                   bool anew = false);
/// The same for a speed floor. Throws Error(budget_refused) instead of being empty.
Machine machine_for_floor(const Host& host, std::span<const FormatId> formats);

/// "Q4_K 512 MiB, Q6_K 61.2 MiB, F32 264 KiB".
std::string format_mix(std::span<const FormatShare> shares);
/// "prior: kind and depth of tensors".
std::string_view describe(QualitySource source);

}  // namespace plimsoll
