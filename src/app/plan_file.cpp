#include "app/plan_file.h"

#include <fmt/format.h>

#include <limits>

#include "base/cpu.h"
#include "base/error.h"
#include "file/text_input.h"
#include "fit/quality_file.h"
#include "probe/machine_file.h"

namespace plimsoll {
namespace {

using Json = nlohmann::json;

constexpr int version = 1;
/// Room that reading takes for each byte: small values in nested objects.
constexpr Bytes bytes_per_json_byte = 16;

[[noreturn]] void refuse(const std::string& path, const std::string& what) {
  throw Error(ErrorCode::file_corrupt, fmt::format("{}: {}", path, what),
              "name a file that plimsoll plan --json has written");
}

Json identity(const OpenModel& model, int threads) {
  const MachineKey key = machine_key(threads);
  return {
      {"version", version},
      {"model",
       {{"name", model.facts.description.name}, {"fingerprint", model_fingerprint(model.file)}}},
      {"machine", {{"processor", key.processor}, {"isa", name(key.isa)}}}};
}

std::string text_of(const Json& json, const char* outer, const char* inner) {
  const Json part = json.value(outer, Json::object());
  const auto found = part.is_object() ? part.find(inner) : part.end();
  return part.is_object() && found != part.end() && found->is_string() ? found->get<std::string>()
                                                                       : std::string();
}

std::int64_t number(const SavedPlan& saved, const char* key, std::int64_t most) {
  const auto found = saved.decisions.find(key);
  if (found == saved.decisions.end() || !found->is_number_integer() ||
      found->get<std::int64_t>() < 1 || found->get<std::int64_t>() > most)
    refuse(saved.path, fmt::format("its decisions have no {} from 1 to {}", key, most));
  return found->get<std::int64_t>();
}

}  // namespace

nlohmann::ordered_json plan_json(const OpenModel& model, const Plan& plan) {
  nlohmann::ordered_json json = to_json(plan);
  json["decisions"] = to_json(decisions_of(plan), model.facts);
  json["made_for"] = identity(model, plan.threads);
  return json;
}

SavedPlan read_plan(const Line& line, const std::string& path) {
  Reservation held;
  const std::string text = read_text_file(path, [&](Bytes bytes) {
    held = Reservation();
    held = line.hold_text(fmt::format("reading {}", path),
                          checked_multiply(bytes, bytes_per_json_byte));
  });
  return parse_plan(text, path);
}

SavedPlan parse_plan(std::string_view text, const std::string& path) {
  const Json json = Json::parse(text, nullptr, false);
  SavedPlan saved{path, {}, {}};
  if (!json.is_object() || !json.contains("decisions") || !json.contains("made_for"))
    refuse(path, "that is no plan");
  saved.decisions = json["decisions"];
  saved.made_for = json["made_for"];
  if (!saved.decisions.is_object() || !saved.made_for.is_object()) refuse(path, "that is no plan");
  const Json found = saved.made_for.value("version", Json());
  if (found != version)
    throw Error(
        ErrorCode::unsupported_version,
        fmt::format("{}: a plan of version {}, this program knows {}", path, found.dump(), version),
        "write it again with plimsoll plan --json");
  return saved;
}

Bytes SavedPlan::budget_bytes() const {
  return static_cast<Bytes>(
      number(*this, "budget_bytes", std::numeric_limits<std::int64_t>::max()));
}

int SavedPlan::threads() const { return static_cast<int>(number(*this, "threads", 256)); }

Plan carry_out(const OpenModel& model, PlanRequest request, const SavedPlan& saved) {
  const Json own = identity(model, request.threads);
  const auto require = [&](const char* outer, const char* inner, const char* what) {
    const std::string wanted = text_of(saved.made_for, outer, inner);
    const std::string here = text_of(own, outer, inner);
    if (wanted == here) return;
    throw Error(
        ErrorCode::plan_mismatch,
        fmt::format("{} was made for {} \"{}\", this is \"{}\"", saved.path, what, wanted, here),
        "plan again: plimsoll plan --json writes one for this model on this machine");
  };
  if (text_of(saved.made_for, "model", "fingerprint") != text_of(own, "model", "fingerprint")) {
    require("model", "name", "the model");
    require("model", "fingerprint", "the weights");
  }
  require("machine", "processor", "the processor");
  require("machine", "isa", "the kernels");
  const Decisions decisions = parse_decisions(saved.decisions, model.facts);
  request.context = decisions.context;
  const Plan plan = forecast_plan(model.facts, request, decisions);
  if (decisions_of(plan) != decisions)
    throw Error(ErrorCode::file_corrupt,
                fmt::format("{}: its decisions contradict each other", saved.path),
                "write it again with plimsoll plan --json");
  return plan;
}

}  // namespace plimsoll
