#include "cli/common.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "app/bundled.h"
#include "app/loading.h"
#include "app/model_names.h"
#include "app/planning.h"
#include "base/limits.h"
#include "terminal/output.h"
#include "terminal/terminal.h"

namespace plimsoll {
namespace {

constexpr std::int64_t most_threads = 256;
constexpr std::int64_t most_context = std::int64_t{1} << 30;

/// Progress as bars, one after the other, and notices between them.
Watch terminal_watch() {
  struct Shown {
    std::string what;
    std::optional<ProgressBar> bar;
  };
  const auto shown = std::make_shared<Shown>();
  Watch watch;
  watch.progress = [shown](std::string_view what, Watch::Unit unit, std::uint64_t done,
                           std::uint64_t total) {
    if (done == total) return shown->bar.reset();
    if (!shown->bar || shown->what != what)
      shown->bar.emplace(shown->what = what, unit == Watch::Unit::bytes ? ProgressBar::Unit::bytes
                                             : unit == Watch::Unit::tokens
                                                 ? ProgressBar::Unit::tokens
                                                 : ProgressBar::Unit::chunks);
    shown->bar->update(done, total);
  };
  watch.notice = [shown](const std::string& text) {
    shown->bar.reset();
    notice(text);
  };
  return watch;
}

/// `plimsoll measure` of another process; false where it did not come to its end.
bool measure_apart(const std::string& path, Bytes budget, int threads, bool quiet) {
  const std::vector<std::string> words = {"plimsoll",
                                          "measure",
                                          path,
                                          "--memory",
                                          std::to_string(budget),
                                          "--threads",
                                          std::to_string(threads)};
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

void CommonOptions::declare_kv(Options& options) {
  options
      .choice("--kv", "", {"16", "8", "8/4", "4", "4/2", "2"}, kv,
              "Bits that keys and values of full pages of the KV cache are kept in; 8/4: keys 8, "
              "values 4 (default 16)")
      .shared = true;
}

std::optional<KvTiers> CommonOptions::kv_tiers() const {
  return kv ? parse_kv_tiers(*kv) : std::nullopt;
}

std::string CommonOptions::model_path() const {
  return model.empty() ? bundled_model_path() : resolve_model(model);
}

int CommonOptions::thread_count() const {
  return threads ? static_cast<int>(*threads) : probe_limits().default_threads;
}

Host CommonOptions::host(std::optional<Bytes> budget, int workers) const {
  Host host(budget, workers);
  if (!json) host.watch = terminal_watch();
  if (!no_measure) {
    const bool quiet = json || !Terminal::of(STDERR_FILENO).is_terminal;
    host.measure_apart = [threads = host.threads, quiet](const std::string& path, Bytes room) {
      return measure_apart(path, room, threads, quiet);
    };
  }
  return host;
}

void notice_rounding(const OpenModel& model, const Plan& plan) {
  const ChangedBytes changed = changed_bytes(model, plan);
  if (changed.rounded == 0 && changed.lowered == 0) return;
  notice(fmt::format(
      "{} to fit{}: {} of the file's {}, to {:.2f} bits per weight ({})",
      changed.rounded > 0 ? "rounded" : "fewer bits", plan.speed_floor ? " bytes and time" : "",
      format_bytes(changed.rounded + changed.lowered), format_bytes(model.facts.file_tensor_bytes),
      plan.bits_per_weight, format_mix(plan.shares)));
  notice(fmt::format("quality {} nats ({})", format_nats(plan.kl_nats), describe(plan.quality)));
}

void notice_bundled_model() {
  if (!Terminal::of(STDERR_FILENO).is_terminal) return;
  notice(
      fmt::format("the bundled model has 4.2 million parameters: it writes like documentation, and "
                  "knows nothing; a real one: {} smollm2",
                  is_in_source_tree() ? "./run" : "plimsoll run"));
}

}  // namespace plimsoll
