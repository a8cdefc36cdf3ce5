// plimsoll measure: what rounding costs a model, by one pass back through it; kept for every later
// plan.
#include "cli/measure.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/process.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "fit/quick_analysis.h"
#include "plan/machine.h"
#include "plan/quality_file.h"

namespace plimsoll {
namespace {

/// Below this many tokens the result would say little.
constexpr std::int64_t least_tokens = 32;
/// What another process of this program holds before it measures anything.
constexpr Bytes bare_process = 12 * MiB;

constexpr FormatId shown_formats[] = {FormatId::Q8_0, FormatId::Q6_K,   FormatId::Q5_K,
                                      FormatId::Q5_0, FormatId::Q4_K,   FormatId::IQ4_NL,
                                      FormatId::Q4_0, FormatId::Q3_K,   FormatId::Q2_K};

Bytes room_for_measuring(const OpenModel& model, std::int64_t tokens, int threads) {
  return quick_analysis_bytes(model.facts.description, model.facts.tensors, tokens, threads);
}

/// As many tokens as `room` allows, halved until they do; 0 where too few are left.
std::int64_t tokens_within(const OpenModel& model, Bytes room, int threads) {
  std::int64_t tokens =
      quick_analysis_tokens(model.facts.description, model.facts.parameters);
  while (tokens >= least_tokens && room_for_measuring(model, tokens, threads) > room) tokens /= 2;
  return tokens >= least_tokens ? tokens : 0;
}

/// Loss of all matrices in one format; those that its block does not divide are left out, and their
/// share of the weights is in `held`.
double loss_in(const QualityModel& quality, const OpenModel& model, const Format& format,
               double& held) {
  double loss = 0, covered = 0, all = 0;
  for (std::size_t i = 0; i < model.facts.tensors.size(); ++i) {
    const TensorSlot& slot = model.facts.tensors[i].slot;
    if (slot.is_vector()) continue;
    const double weights = static_cast<double>(slot.rows) * static_cast<double>(slot.columns);
    const double one = quality.tensors[i].loss(format, Rounding::plain, ProductEngine::plimsoll);
    all += weights;
    if (one < 0) continue;
    covered += weights;
    loss += one;
  }
  held = covered / std::max(all, 1.0);
  return loss;
}

void report(const QualityModel& quality, const OpenModel& model, std::int64_t tokens,
            double seconds, bool json) {
  nlohmann::ordered_json losses = nlohmann::ordered_json::object();
  std::string text;
  for (const FormatId id : shown_formats) {
    double held = 0;
    const Format& f = format(id);
    const double loss = loss_in(quality, model, f, held);
    if (held < 0.5) continue;
    losses[std::string(f.name)] = {{"kl_nats", loss}, {"share_of_weights", held}};
    text += fmt::format("  {:<8}{:>9} nats{}\n", f.name, format_nats(loss),
                        held < 0.995 ? fmt::format("   ({:.0f} % of the weights; its blocks do not "
                                                   "divide the others)",
                                                   100 * held)
                                     : "");
  }
  if (json)
    return print_json({{"tokens", tokens},
                       {"seconds", seconds},
                       {"quality", name(quality.source)},
                       {"peak_bytes", process_memory().peak},
                       {"formats", losses}});
  write_out(fmt::format("Rounding everything to one format costs, in KL divergence per token:\n{}"
                        "Measured on {} tokens in {:.1f} s; kept for plan, run and fit.\n",
                        text, tokens, seconds));
}

/// The measuring of another process; false where it did not come to its end.
bool measure_apart(const std::string& path, Bytes budget, int threads, bool quiet) {
  const std::vector<std::string> words = {"plimsoll",  "measure",   path,
                                          "--memory",  std::to_string(budget),
                                          "--threads", std::to_string(threads)};
  std::vector<char*> pointers;
  for (const std::string& word : words) pointers.push_back(const_cast<char*>(word.c_str()));
  pointers.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  if (::posix_spawn_file_actions_init(&actions) != 0) return false;
  ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  if (quiet) ::posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  pid_t child = 0;
  const int spawned =
      ::posix_spawn(&child, "/proc/self/exe", &actions, nullptr, pointers.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (spawned != 0) return false;
  int status = 0;
  while (::waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return false;
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace

std::optional<QualityModel> quality_of(const OpenModel& model, const CommonOptions& options,
                                       Bytes budget) {
  const std::string folder = cache_folder();
  if (auto known = known_quality(model.file, model.facts.tensors, folder)) return known;
  if (options.no_measure || folder.empty() ||
      !is_quickly_analysed(model.facts.description, model.facts.parameters))
    return {};
  const Bytes beside = process_memory().resident + bare_process + model.facts.text_bytes;
  const int threads = options.thread_count();
  if (beside >= budget || tokens_within(model, budget - beside, threads) == 0) return {};
  const bool quiet = options.json || !Terminal::of(STDERR_FILENO).is_terminal;
  if (!options.json)
    notice("measuring what rounding costs this model, once (--no-measure goes without)");
  std::optional<QualityModel> found;
  if (measure_apart(model.file.path(), budget - process_memory().resident, threads, quiet))
    found = known_quality(model.file, model.facts.tensors, folder);
  if (!found && !options.json)
    notice("what rounding costs could not be measured or kept: going by what is usual");
  return found;
}

int measure_command(const Arguments& arguments) {
  CommonOptions common;
  Options options("measure",
                  "Measures what rounding costs a model, for every later plan, run and fit of it: "
                  "seconds for small models, minutes for large ones.");
  common.declare(options);
  if (!options.parse(arguments)) return 0;
  choose_isa();  // a wrong PLIMSOLL_ISA is refused before anything else
  const OpenModel model = OpenModel::open(common.model_path(), common.header_room());
  const auto context = make_context(common);
  const Bytes budget = decide_budget(common.memory);
  const int threads = context->threads.size();
  const Bytes held = runtime_bytes(model.facts, threads) + model.facts.text_bytes;
  const std::int64_t tokens = held < budget ? tokens_within(model, budget - held, threads) : 0;
  if (tokens == 0)
    throw Error(
        ErrorCode::budget_refused,
        fmt::format("measuring takes at least {}; the budget is {}",
                    format_bytes(held + room_for_measuring(model, least_tokens, threads)),
                    format_bytes(budget)),
        "give a larger --memory");
  context->ledger.set_budget(budget);
  const Reservation runtime = context->ledger.reserve(Account::runtime, held);
  std::vector<TokenId> text = quick_analysis_text(*model.tokenizer, model.facts.description,
                                                  model.facts.parameters);
  text.resize(std::min(text.size(), static_cast<std::size_t>(tokens)));

  const auto start = std::chrono::steady_clock::now();
  QualityModel quality;
  {
    ProgressBar bar("measuring what rounding costs", ProgressBar::Unit::chunks);
    quality = analyse_quickly(*context, model.file, model.facts.description, model.facts.tensors,
                              text, [&bar](std::int64_t done, std::int64_t total) {
                                bar.update(static_cast<std::uint64_t>(done),
                                           static_cast<std::uint64_t>(total));
                              });
  }
  model.file.check_unchanged();
  const std::string folder = cache_folder(), fingerprint = model_fingerprint(model.file);
  // What took longer to measure is worth more.
  const auto known = load_quality(folder, fingerprint, model.facts.tensors);
  if (!known || known->source <= QualitySource::quick)
    save_quality(folder, fingerprint, quality, model.facts.tensors);
  report(quality, model, std::ssize(text),
         std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(),
         common.json);
  return 0;
}

}  // namespace plimsoll
