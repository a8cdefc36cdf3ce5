#include "plan/decisions.h"

#include <fmt/format.h>

#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "plan/candidates.h"

namespace plimsoll {
namespace {

[[noreturn]] void refuse(const std::string& what) {
  throw Error(ErrorCode::file_corrupt, "the plan's decisions: " + what,
              "write it again with plimsoll plan --json");
}

std::int64_t count(const nlohmann::json& json, const char* key, std::int64_t most) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_number_integer())
    refuse(fmt::format("{} is no number", key));
  // Beyond 63 bits it is unsigned, and negative here.
  const auto value = found->get<std::int64_t>();
  if (value < 1 || value > most)
    refuse(fmt::format("{} is {}, wanted 1 to {}", key, found->dump(), most));
  return value;
}

/// By layer.
std::vector<KvTiers> parse_kv(const nlohmann::json& json, std::int64_t layers) {
  const auto found = json.find("kv");
  if (found == json.end() || !found->is_array()) refuse("kv is no array");
  if (!found->empty() && std::ssize(*found) != layers)
    refuse(fmt::format("kv has {} layers, the model {}", found->size(), layers));
  std::vector<KvTiers> kv;
  for (const nlohmann::json& layer : *found) {
    const auto tiers = layer.is_string()
                           ? parse_kv_tiers(layer.get_ref<const std::string&>())
                           : std::nullopt;
    if (!tiers) refuse(fmt::format("kv is {}, wanted bits of keys and values as 8/4", layer.dump()));
    kv.push_back(*tiers);
  }
  return kv;
}

nlohmann::json kv_names(const std::vector<KvTiers>& kv) {
  nlohmann::json names = nlohmann::json::array();
  for (const KvTiers& tiers : kv) names.push_back(name(tiers));
  return names;
}

}  // namespace

Decisions decisions_of(const Plan& plan) {
  return {plan.budget_bytes, plan.context,    plan.sessions, plan.branches,
          plan.chunk_tokens, plan.logit_rows, plan.threads, plan.kv,
          plan.formats};
}

nlohmann::json to_json(const Decisions& decisions, const ModelFacts& facts) {
  nlohmann::json formats = nlohmann::json::object();
  for (std::size_t i = 0; i < decisions.formats.size(); ++i) {
    const TensorInfo& info = *facts.tensors[i].info;
    if (decisions.formats[i] != info.format)
      formats[std::string(info.name)] = decisions.formats[i]->name;
  }
  return {{"budget_bytes", decisions.budget_bytes},
          {"context", decisions.context},
          {"sessions", decisions.sessions},
          {"branches", decisions.branches},
          {"chunk_tokens", decisions.chunk_tokens},
          {"logit_rows", decisions.logit_rows},
          {"threads", decisions.threads},
          {"kv", kv_names(decisions.kv)},
          {"formats", formats}};
}

Decisions parse_decisions(const nlohmann::json& json, const ModelFacts& facts) {
  if (!json.is_object()) refuse("they are no object");
  constexpr std::int64_t most = std::int64_t{1} << 40;
  Decisions decisions;
  decisions.budget_bytes =
      static_cast<Bytes>(count(json, "budget_bytes", std::numeric_limits<std::int64_t>::max()));
  decisions.context = count(json, "context", most);
  decisions.sessions = count(json, "sessions", 1 << 20);
  decisions.branches = count(json, "branches", 1 << 20);
  decisions.chunk_tokens = count(json, "chunk_tokens", most);
  decisions.logit_rows = count(json, "logit_rows", most);
  decisions.threads = static_cast<int>(count(json, "threads", 1 << 16));
  decisions.kv = parse_kv(json, facts.description.layers);
  const auto formats = json.find("formats");
  if (formats == json.end() || !formats->is_object()) refuse("formats are no object");
  if (formats->empty()) return decisions;
  std::map<std::string_view, std::size_t> positions;
  for (std::size_t i = 0; i < facts.tensors.size(); ++i) {
    positions[facts.tensors[i].info->name] = i;
    decisions.formats.push_back(facts.tensors[i].info->format);
  }
  for (const auto& [name, value] : formats->items()) {
    const auto position = positions.find(name);
    if (position == positions.end()) refuse(fmt::format("this model has no tensor {}", name));
    const Format* found = value.is_string()
                              ? find_format(std::string_view(value.get_ref<const std::string&>()))
                              : nullptr;
    if (found == nullptr) refuse(fmt::format("{} has no format {}", name, value.dump()));
    const TensorUse& use = facts.tensors[position->second];
    if (use.slot.is_vector() || !can_hold(*found, use.info->columns()))
      refuse(fmt::format("{} cannot be {}", name, found->name));
    decisions.formats[position->second] = found;
  }
  return decisions;
}

}  // namespace plimsoll
