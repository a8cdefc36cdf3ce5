#include "app/loading.h"

#include <fmt/format.h>

#include <chrono>

#include "base/error.h"
#include "engine/kept_weights.h"

namespace plimsoll {
namespace {

std::function<void(Weights::Progress)> progress_of(const Watch& watch, std::string_view what) {
  return [&watch, what](Weights::Progress at) {
    watch.check();
    watch.show(what, Watch::Unit::bytes, static_cast<std::int64_t>(at.done),
               static_cast<std::int64_t>(at.total));
  };
}

/// The file with the plan's rounded weights; with `keep`, one is made where there is none.
std::optional<ModelFile> kept_weights(Context& context, const OpenModel& model, const Plan& plan,
                                      bool keep, const Watch& watch) {
  try {
    if (std::optional<ModelFile> kept = find_kept(context, model, plan)) {
      watch.tell(fmt::format("reading the weights that were kept in {} ({})", kept->path(),
                             format_bytes(kept->size())));
      return kept;
    }
  } catch (const Error& error) {
    watch.tell("kept weights are not used: " + error.message());
  }
  if (!keep) return std::nullopt;
  try {
    const std::string path = keep_weights(context, model, plan, progress_of(watch, "rounding"));
    watch.show("rounding", Watch::Unit::bytes, 0, 0);
    ModelFile kept = ModelFile::open(path);
    watch.tell(fmt::format("kept {} of rounded weights in {}, for every run with these formats",
                           format_bytes(kept.size()), path));
    return kept;
  } catch (const Error& error) {
    if (error.code() == ErrorCode::interrupted) throw;
    // Whatever is wrong with the model itself, loading will say.
    watch.tell("weights are not kept: " + error.message());
    return std::nullopt;
  }
}

}  // namespace

ChangedBytes changed_bytes(const OpenModel& model, const Plan& plan) {
  ChangedBytes changed;
  for (std::size_t i = 0; i < plan.formats.size(); ++i) {
    const Conversion source = {model.facts.tensors[i].info, plan.formats[i]};
    if (source.is_rounded()) changed.rounded += source.info->bytes;
    if (source.is_lowered()) changed.lowered += source.info->bytes;
  }
  return changed;
}

LoadedModel load_model(Host& host, Context& context, const OpenModel& model, const Plan& plan,
                       bool keep) {
  const auto start = std::chrono::steady_clock::now();
  refuse_unless_it_fits(plan);
  const bool rounds = changed_bytes(model, plan).rounded > 0;
  std::optional<ModelFile> kept;
  if (rounds) kept = kept_weights(context, model, plan, keep, host.watch);
  LoadedModel loaded;
  if (plan.counts_process)
    host.line.settle_loading(plan);
  else
    loaded.runtime = host.line.ledger().reserve(Account::runtime, plan.loading_runtime_bytes);
  loaded.engine = std::make_unique<Engine>(
      context, model, plan, progress_of(host.watch, rounds && !kept ? "rounding" : "loading"),
      kept ? &*kept : nullptr, Engine::Accounts::held_by_caller);
  if (plan.counts_process)
    host.line.settle(plan);
  else
    loaded.runtime.resize(plan.account(Account::runtime));
  loaded.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return loaded;
}

}  // namespace plimsoll
