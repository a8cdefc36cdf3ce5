// A plan as JSON: written by `plimsoll plan --json`, carried out by whoever reads it.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "app/planning.h"
#include "plan/decisions.h"

namespace plimsoll {

/// What to_json() of plan/plan.h gives, with the decisions and what they are for: the model's and
/// this machine's identity.
nlohmann::ordered_json plan_json(const OpenModel& model, const Plan& plan);

/// Decisions that were read, for whatever model they are.
struct SavedPlan {
  std::string path;
  nlohmann::json decisions;
  nlohmann::json made_for;

  /// Of the budget and the workers that were decided; needed before any model is opened.
  Bytes budget_bytes() const;
  int threads() const;
};

/// Throws Error(file_corrupt) for what is no such file, and as read_text_file and Line::hold_text
/// do.
SavedPlan read_plan(const Line& line, const std::string& path);

/// The same of a text; `what` stands in its errors.
SavedPlan parse_plan(std::string_view text, const std::string& what);

/// Exactly those decisions, for a model that is open under their budget; `request` says what the
/// process holds besides. Throws Error(plan_mismatch) where they were made for another model or
/// another machine, and as parse_decisions does. Where the process holds more than was planned, the
/// plan does not fit.
Plan carry_out(const OpenModel& model, PlanRequest request, const SavedPlan& saved);

}  // namespace plimsoll
