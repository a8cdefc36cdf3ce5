#include "app/planning.h"

#include <fmt/format.h>

#include <algorithm>

#include "app/measuring.h"
#include "base/cache_folder.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/process.h"
#include "fit/quality_file.h"
#include "fit/quick_analysis.h"
#include "probe/machine_file.h"
#include "probe/probe.h"
#include "probe/process_envelope.h"

namespace plimsoll {
namespace {

/// A sampler keeps the logit and id of every token of the vocabulary.
constexpr Bytes sampling_bytes_per_token = 8;

/// What one process holds and the next, with the same options (stacks and libraries lie elsewhere
/// each time), differs by up to 132 KiB, measured over 200 runs.
constexpr Bytes process_slack = 192 * KiB;

/// What another process of this program holds before it measures anything.
constexpr Bytes bare_process = 12 * MiB;

/// What this process may still touch beside measuring the machine.
constexpr Bytes kept_back = 1 * MiB;

}  // namespace

OpenModel open_model(const Host& host, const std::string& path) {
  OpenModel model = host.line.read_header(
      [&path](Bytes room) { return OpenModel::open(path, room); });
  model.held = host.line.ledger().count_held(Account::text, model.facts.text_bytes);
  return model;
}

PlanRequest plan_request(Host& host, const OpenModel& model, const PlanNeeds& needs) {
  PlanRequest request;
  request.threads = host.threads;
  request.processors = allowed_processors();
  request.counts_process = needs.counts_process;
  if (needs.counts_process) {
    const Declared declared = host.line.declare_process(model.facts, host.threads, needs.work);
    request.runtime_bytes = declared.running + needs.still_to_come;
    request.after_loading = declared.after_loading;
    request.of_rounding = declared.of_rounding;
  }
  request.runtime_slack = process_slack;
  if (needs.work == Work::answering) {
    const Bytes sampling =
        sampling_bytes_per_token * static_cast<Bytes>(model.facts.description.vocabulary);
    request.runtime_bytes += sampling;
    request.after_loading += sampling;
  }
  request.held_text = needs.held_text;
  request.budget = needs.budget ? *needs.budget : host.line.budget();
  request.context = needs.context;
  request.logit_rows = needs.logit_rows;
  request.branches = needs.branches;
  if (needs.kv && *needs.kv != KvTiers{})
    request.kv.assign(static_cast<std::size_t>(model.facts.description.layers), *needs.kv);
  request.sessions = needs.sessions;
  request.converses = needs.converses;
  request.speed = needs.speed;
  request.policy = needs.policy;
  if (request.policy == WeightPolicy::fit) {
    PlanRequest exact = request;
    exact.policy = WeightPolicy::exact;
    if (needs.shows_losses || request.speed || !make_plan(model.facts, exact).fits)
      request.quality = quality_of(host, model, request.budget);
    else
      request.quality = known_quality(model.file, model.facts.tensors, cache_folder());
  }
  return request;
}

Plan plan_model(Host& host, const OpenModel& model, const PlanNeeds& needs) {
  return make_plan(model.facts, plan_request(host, model, needs));
}

std::optional<QualityModel> quality_of(const Host& host, const OpenModel& model, Bytes budget) {
  const std::string folder = cache_folder();
  if (auto known = known_quality(model.file, model.facts.tensors, folder)) return known;
  if (!host.measure_apart || folder.empty() ||
      !is_quickly_analysed(model.facts.description, model.facts.parameters))
    return {};
  const Bytes held = process_memory().resident;
  const Bytes apart = bare_process + model.facts.text_bytes, beside = held + apart;
  const std::int64_t tokens =
      beside < budget ? measuring_tokens(model, budget - beside, host.threads) : 0;
  if (tokens == 0) return {};
  host.watch.tell("measuring what rounding costs this model, once (--no-measure goes without)");
  std::optional<QualityModel> found;
  // No more than it needs: all that the machine had to give when this began, it may not have now.
  if (host.measure_apart(model.file.path(), apart + measuring_bytes(model, tokens, host.threads)))
    found = known_quality(model.file, model.facts.tensors, folder);
  if (!found)
    host.watch.tell("what rounding costs could not be measured or kept: going by what is usual");
  return found;
}

std::optional<Machine> machine_for(const Host& host, std::span<const FormatId> formats, bool anew) {
  // Code comes and goes with what runs: three quarters of it are the most that was seen.
  const Bytes budget = host.line.budget();
  const Bytes held = host.line.process() == Whose::own
                         ? process_memory().anonymous + program_bytes() / 4 * 3 + kept_back
                         : host.line.held() + kept_back;
  const Bytes room = budget > held ? budget - held : 0;
  return find_machine(cache_folder(), machine_key(host.threads), formats, room, anew);
}

Machine machine_for_floor(const Host& host, std::span<const FormatId> formats) {
  if (std::optional<Machine> machine = machine_for(host, formats)) return *machine;
  throw Error(ErrorCode::budget_refused,
              fmt::format("--speed: this machine was not measured yet, and {} leave no room for it",
                          format_bytes(host.line.budget())),
              fmt::format("run \"plimsoll plan --probe --threads {}\" once, without --memory",
                          host.threads));
}

std::string format_mix(std::span<const FormatShare> shares) {
  std::string out;
  for (const FormatShare& share : shares)
    out += fmt::format("{}{} {}", out.empty() ? "" : ", ", share.format->name,
                       format_bytes(share.bytes));
  return out;
}

std::string_view describe(QualitySource source) {
  switch (source) {
    case QualitySource::prior:
      return "prior: kind and depth of tensors";
    case QualitySource::quick:
      return "measured quickly";
    case QualitySource::own_text:
      return "measured on the model's own text";
    default:
      return "measured on a text";
  }
}

}  // namespace plimsoll
