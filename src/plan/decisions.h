// What a plan decides, apart from what follows from it: read and written, and carried out again.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>

#include "plan/plan.h"

namespace plimsoll {

struct Decisions {
  Bytes budget_bytes = 0;
  std::int64_t context = 0;  ///< of each session
  std::int64_t sessions = 1;
  std::int64_t branches = 1;
  std::int64_t chunk_tokens = 0;
  std::int64_t logit_rows = 1;
  int threads = 1;
  std::vector<KvTiers> kv;  ///< by layer; empty: 16 bits
  /// By position in the facts' tensors; empty: as the file has them.
  std::vector<const Format*> formats;

  bool operator==(const Decisions&) const = default;
};

Decisions decisions_of(const Plan& plan);

/// Formats by tensor name, of those tensors that are held otherwise than the file has them.
nlohmann::json to_json(const Decisions& decisions, const ModelFacts& facts);
/// What to_json() gave. Throws Error(file_corrupt) for anything else, naming what is wrong: also
/// for tensors that the model does not have, and for formats that its tensors cannot have.
Decisions parse_decisions(const nlohmann::json& json, const ModelFacts& facts);

/// What to do when `now` has to go on with another budget: the same context and chunk, with the
/// weights of least loss that leave room for moving to them, tensor by tensor, while everything else
/// is in use. Does not fit where there are none: peak_bytes is the least that would do then. The
/// request is the one that `now` was made for. Pure.
Plan plan_move(const ModelFacts& facts, const PlanRequest& request, const Plan& now, Bytes budget);

/// What follows from decisions: accounts, peak, loss. The request says what the process holds, what
/// rounding costs, and whether the plan may be another one: what it asks for besides is not looked
/// at. Pure. For the decisions of make_plan() with the same request, that plan without its speeds.
Plan forecast_plan(const ModelFacts& facts, const PlanRequest& request, const Decisions& decisions);

}  // namespace plimsoll
