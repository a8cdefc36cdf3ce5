// What every command that runs a model shares: its options, and how it tells what it does.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "app/host.h"
#include "engine/engine.h"
#include "options/options.h"
#include "plan/plan.h"

namespace plimsoll {

/// What MODEL may be.
constexpr const char* model_help =
    "A GGUF file, a folder with config.json and safetensors files, or a name (plimsoll list, "
    "plimsoll "
    "pull); without one, the bundled model";

/// Of --speed.
constexpr double least_speed = 0.01, most_speed = 1e6;
constexpr const char* speed_help =
    "Tokens per second that decoding must reach: weights are rounded for it too";

struct CommonOptions {
  std::string model;  ///< empty: the bundled one
  std::optional<Bytes> memory;
  std::optional<std::int64_t> context;
  std::optional<std::int64_t> threads;
  std::optional<std::string> kv;
  bool json = false;
  bool no_measure = false;  ///< plans go by what is known

  /// MODEL, --memory, --threads and --json.
  void declare(Options& options);
  /// The same without MODEL.
  void declare_running(Options& options);
  /// --threads and --json alone.
  void declare_workers(Options& options);
  /// --no-measure, for commands that plan.
  void declare_measuring(Options& options);
  void declare_context(Options& options, const std::string& help);
  /// --kv, for commands that plan.
  void declare_kv(Options& options);

  /// Of MODEL, or of the bundled model. Throws Error(file_not_found).
  std::string model_path() const;
  int thread_count() const;
  std::optional<KvTiers> kv_tiers() const;
  /// The line of --memory (or of another size), drawn now, with the workers of --threads (or so many); what is
  /// told and how far things are goes to standard error, unless there is --json. Throws
  /// Error(machine_limit) as decide_budget does.
  Host host() const { return host(memory, thread_count()); }
  Host host(std::optional<Bytes> budget) const { return host(budget, thread_count()); }
  Host host(std::optional<Bytes> budget, int workers) const;
};

/// Says on standard error what a plan rounds, if anything.
void notice_rounding(const OpenModel& model, const Plan& plan);
/// Says on a terminal what can be expected of the bundled model.
void notice_bundled_model();

}  // namespace plimsoll
