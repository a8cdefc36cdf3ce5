// What every command that runs a model shares: its options, and the way from a file to a plan to a
// loaded engine.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/cpu.h"
#include "cli/options.h"
#include "engine/engine.h"
#include "plan/plan.h"

namespace plimsoll {

/// What MODEL may be.
constexpr const char* model_help =
    "A GGUF file, a folder with config.json and safetensors files, or a name (plimsoll list, plimsoll "
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

  /// Of MODEL, or of the bundled model. Throws Error(file_not_found).
  std::string model_path() const;
  int thread_count() const;
  /// Of --memory, what the header of a model may take: with the tokenizer made of it, it is held two
  /// to three times. Throws as decide_budget does.
  Bytes header_room() const;
};

/// What a header may take of a budget; see CommonOptions::header_room.
Bytes header_room(Bytes budget);

/// Room that tokenizing may take for each byte of text: an id for every byte in a vector that has
/// just grown, and the tokenizer's own notes (measured: 2 to 4 on prose).
constexpr Bytes bytes_per_text_byte = 16;

/// Throws Error(budget_refused) when `what` ("reading a file of 3 MiB") needs more bytes than this
/// process has left of `budget`; without a number it needs too many. 1 MiB always passes.
void refuse_beyond_budget(const std::string& what, std::optional<Bytes> needed, Bytes budget);

/// Throws Error(budget_refused) when tokenizing `text_bytes` could take this process over `budget`.
/// Texts up to 64 KiB always pass.
void refuse_long_text(Bytes text_bytes, Bytes budget);

/// What a command wants of its plan, beyond the options.
struct PlanNeeds {
  std::optional<std::int64_t> context;  ///< where the options have none
  std::int64_t logit_rows = 1;
  std::int64_t sessions = 1;
  bool converses = false;
  WeightPolicy policy = WeightPolicy::exact;
  std::optional<SpeedFloor> speed;
  std::optional<Bytes> budget;  ///< instead of the options' one
  /// Of the process; none for the plan of a second model beside the first.
  bool counts_process = true;
  /// What rounding costs is wanted even where nothing has to be rounded.
  bool shows_losses = false;
  Bytes still_to_come =
      0;  ///< that the run itself will hold before it plans, and this process does not
  /// That this process holds already, but other accounts or another plan count.
  Bytes counted_elsewhere = 0;
};

/// Measures this process. Call it after everything that will be held while running (prompt, texts,
/// headers) is in memory.
PlanRequest plan_request(const OpenModel& model, const CommonOptions& options,
                         const PlanNeeds& needs);

/// The plan for that; it may not fit.
Plan plan_model(const OpenModel& model, const CommonOptions& options, const PlanNeeds& needs);

/// Workers and kernels as the options and the environment say. Throws as choose_isa does.
std::unique_ptr<Context> make_context(const CommonOptions& options);

/// "Q4_K 512 MiB, Q6_K 61.2 MiB, F32 264 KiB".
std::string format_mix(std::span<const FormatShare> shares);
/// "prior: kind and depth of tensors".
std::string_view describe(QualitySource source);
/// Says on standard error what a plan rounds, if anything.
void notice_rounding(const OpenModel& model, const Plan& plan);

/// Loads with a progress bar on a terminal; `seconds`, if given, becomes the time it took. Rounded
/// weights come from a file that was kept of them, if there is one; with `keep`, one is made. What
/// there is to say about that goes into `notices`, or to standard error without.
std::unique_ptr<Engine> load_engine(Context& context, const OpenModel& model, const Plan& plan,
                                    double* seconds = nullptr, bool keep = false,
                                    std::vector<std::string>* notices = nullptr);

/// What the Ledger holds by account, as the line shows it.
std::array<Bytes, account_count> ledger_accounts(const Ledger& ledger);

/// "4.26 million", "1.24 billion", "2,304".
std::string format_count(double count);
/// "12,345" from 1,000 on, three significant digits below.
std::string format_rate(double rate);
/// "1,234".
std::string grouped(std::int64_t value);

}  // namespace plimsoll
