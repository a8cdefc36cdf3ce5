#include "cli/common.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <functional>

#include "base/bounded.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/process.h"
#include "cli/bundled.h"
#include "cli/measure.h"
#include "cli/models.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "engine/kept_weights.h"
#include "plan/machine.h"
#include "plan/quality_file.h"

namespace plimsoll {
namespace {

/// A sampler keeps the logit and id of every token of the vocabulary.
constexpr Bytes sampling_bytes_per_token = 8;

/// What one process holds and the next, with the same options (stacks and libraries lie elsewhere
/// each time), differs by up to 132 KiB, measured over 200 runs.
constexpr Bytes process_slack = 192 * KiB;

constexpr std::int64_t most_threads = 256;
constexpr std::int64_t most_context = std::int64_t{1} << 30;

/// The file with the plan's rounded weights; with `keep`, one is made where there is none. What
/// cannot be kept is told, and rounded in memory instead.
std::optional<ModelFile> kept_weights(Context& context, const OpenModel& model, const Plan& plan,
                                      bool keep, const std::function<void(std::string)>& tell) {
  try {
    if (std::optional<ModelFile> kept = find_kept(context, model, plan)) {
      tell(fmt::format("reading the weights that were kept in {} ({})", kept->path(),
                       format_bytes(kept->size())));
      return kept;
    }
  } catch (const Error& error) {
    tell("kept weights are not used: " + error.message());
  }
  if (!keep) return std::nullopt;
  try {
    ProgressBar bar("rounding", ProgressBar::Unit::bytes);
    const std::string path = keep_weights(context, model, plan, [&bar](Weights::Progress progress) {
      bar.update(progress.done, progress.total);
    });
    bar.clear();
    ModelFile kept = ModelFile::open(path);
    tell(fmt::format("kept {} of rounded weights in {}, for every run with these formats",
                     format_bytes(kept.size()), path));
    return kept;
  } catch (const Error& error) {
    // Whatever is wrong with the model itself, loading will say.
    tell("weights are not kept: " + error.message());
    return std::nullopt;
  }
}

}  // namespace

void CommonOptions::declare(Options& options) {
  OptionDeclaration& declared = options.positional("MODEL", model, model_help);
  declared.shared = declared.reads = true;
  declare_running(options);
}

void CommonOptions::declare_running(Options& options) {
  options
      .size("--memory", memory,
            "All that this process may hold: 512MiB, 1.2GiB, 800MB, plain bytes; without it, "
            "what this machine or container has to give")
      .shared = true;
  declare_workers(options);
}

void CommonOptions::declare_workers(Options& options) {
  options
      .count("--threads", threads, 1, most_threads,
             "Workers; without it, one for each processor that may be used")
      .shared = true;
  options.flag("--json", json, "Print one JSON object and nothing else").shared = true;
}

void CommonOptions::declare_measuring(Options& options) {
  options
      .flag("--no-measure", no_measure,
            "Do not measure first what rounding costs a model that nobody has measured yet: go "
            "by what is usual")
      .shared = true;
}

void CommonOptions::declare_context(Options& options, const std::string& help) {
  options.count("--context", context, 1, most_context, help).shared = true;
}

std::string CommonOptions::model_path() const {
  return model.empty() ? bundled_model_path() : resolve_model(model);
}

int CommonOptions::thread_count() const {
  return threads ? static_cast<int>(*threads) : probe_limits().default_threads;
}

Bytes header_room(Bytes budget) {
  /// Read whatever the budget, so that a refusal can say what the model needs.
  constexpr Bytes always = 4 * MiB;
  const Bytes resident = process_memory().resident;
  return std::clamp((budget - std::min(budget, resident)) / 3, always, ModelFile::any_room);
}

Bytes CommonOptions::header_room() const { return plimsoll::header_room(decide_budget(memory)); }

void refuse_beyond_budget(const std::string& what, std::optional<Bytes> needed, Bytes budget) {
  constexpr Bytes always = MiB;
  if (needed && *needed <= always) return;
  const Bytes resident = process_memory().resident;
  const Bytes room = budget > resident ? budget - resident : 0;
  if (needed && *needed <= room) return;
  // Code that is resident at this moment may be more in the next process.
  constexpr Bytes resident_slack = MiB;
  const Bytes enough = needed ? bounded_sum({resident, *needed, *needed / 64, resident_slack}) : most_bytes;
  throw Error(ErrorCode::budget_refused,
              fmt::format("{} may take {}; the budget of {} has {} left", what,
                          needed ? format_bytes(*needed) : "too much", format_bytes(budget),
                          format_bytes(room)),
              enough <= probe_limits().usable
                  ? fmt::format("give a shorter one, or --memory {} or more", enough)
                  : std::string("give a shorter one"));
}

void refuse_long_text(Bytes text_bytes, Bytes budget) {
  refuse_beyond_budget(fmt::format("tokenizing a text of {}", format_bytes(text_bytes)),
                       checked_multiply(text_bytes, bytes_per_text_byte), budget);
}

PlanRequest plan_request(const OpenModel& model, const CommonOptions& options,
                         const PlanNeeds& needs) {
  PlanRequest request;
  request.threads = options.thread_count();
  if (needs.counts_process)
    request.runtime_bytes =
        runtime_bytes(model.facts, request.threads) + needs.still_to_come - needs.counted_elsewhere;
  request.runtime_slack = process_slack;
  request.runtime_bytes +=
      sampling_bytes_per_token * static_cast<Bytes>(model.facts.description.vocabulary);
  request.budget = needs.budget ? *needs.budget : decide_budget(options.memory);
  request.context = options.context ? options.context : needs.context;
  request.logit_rows = needs.logit_rows;
  request.sessions = needs.sessions;
  request.speed = needs.speed;
  request.policy = needs.policy;
  if (request.policy == WeightPolicy::fit) {
    PlanRequest exact = request;
    exact.policy = WeightPolicy::exact;
    if (needs.shows_losses || request.speed || !make_plan(model.facts, exact).fits)
      request.quality = quality_of(model, options, request.budget);
    else
      request.quality = known_quality(model.file, model.facts.tensors, cache_folder());
  }
  return request;
}

Plan plan_model(const OpenModel& model, const CommonOptions& options, const PlanNeeds& needs) {
  return make_plan(model.facts, plan_request(model, options, needs));
}

std::unique_ptr<Context> make_context(const CommonOptions& options) {
  return std::make_unique<Context>(options.thread_count(), choose_isa());
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

namespace {

/// Of the file, what the plan holds otherwise.
struct Changed {
  Bytes rounded = 0, lowered = 0;

  Changed(const OpenModel& model, const Plan& plan) {
    for (std::size_t i = 0; i < plan.formats.size(); ++i) {
      const MatrixSource source = {model.facts.tensors[i].info, plan.formats[i]};
      if (source.is_rounded()) rounded += source.info->bytes;
      if (source.is_lowered()) lowered += source.info->bytes;
    }
  }
};

}  // namespace

void notice_rounding(const OpenModel& model, const Plan& plan) {
  const Changed changed(model, plan);
  if (changed.rounded == 0 && changed.lowered == 0) return;
  notice(fmt::format(
      "{} to fit{}: {} of the file's {}, to {:.2f} bits per weight ({})",
      changed.rounded > 0 ? "rounded" : "fewer bits", plan.speed_floor ? " bytes and time" : "",
      format_bytes(changed.rounded + changed.lowered), format_bytes(model.facts.file_tensor_bytes),
      plan.bits_per_weight, format_mix(plan.shares)));
  notice(fmt::format("quality {} nats ({})", format_nats(plan.kl_nats), describe(plan.quality)));
}

std::unique_ptr<Engine> load_engine(Context& context, const OpenModel& model, const Plan& plan,
                                    double* seconds, bool keep, std::vector<std::string>* notices) {
  const auto start = std::chrono::steady_clock::now();
  std::optional<ModelFile> kept;
  const bool rounds = Changed(model, plan).rounded > 0;
  if (rounds)
    kept = kept_weights(context, model, plan, keep, [notices](std::string text) {
      if (notices)
        notices->push_back(std::move(text));
      else
        notice(text);
    });
  ProgressBar bar(rounds && !kept ? "rounding" : "loading", ProgressBar::Unit::bytes);
  auto engine = std::make_unique<Engine>(
      context, model, plan,
      [&bar](Weights::Progress progress) { bar.update(progress.done, progress.total); },
      kept ? &*kept : nullptr);
  if (seconds)
    *seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return engine;
}

std::array<Bytes, account_count> ledger_accounts(const Ledger& ledger) {
  std::array<Bytes, account_count> accounts{};
  for (const Account account : all_accounts)
    accounts[static_cast<std::size_t>(account)] = ledger.used(account);
  return accounts;
}

std::string format_count(double count) {
  if (count >= 0.995e9) return fmt::format("{:.2f} billion", count / 1e9);
  if (count >= 0.995e6) return fmt::format("{:.2f} million", count / 1e6);
  return grouped(static_cast<std::int64_t>(count));
}

std::string format_rate(double rate) {
  return rate >= 999.5 ? grouped(static_cast<std::int64_t>(rate + 0.5))
                       : fmt::format("{:.{}f}", rate,
                                     rate >= 99.95   ? 0
                                     : rate >= 9.995 ? 1
                                                     : 2);
}

std::string grouped(std::int64_t value) {
  const std::string digits = fmt::format("{}", value);
  std::string out;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    const bool after_digit = i > 0 && digits[i - 1] != '-';
    if (after_digit && (digits.size() - i) % 3 == 0) out += ',';
    out += digits[i];
  }
  return out;
}

}  // namespace plimsoll
