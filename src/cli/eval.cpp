// plimsoll eval: how likely a text is to models, and how far they are from a reference.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "app/evaluating.h"
#include "app/evaluation_file.h"
#include "app/model_names.h"
#include "base/error.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/models.h"
#include "file/output_file.h"
#include "report/evaluation_report.h"
#include "terminal/json_writer.h"
#include "terminal/output.h"
#include "terminal/terminal.h"

namespace plimsoll {
namespace {

constexpr std::int64_t default_chunk = 256;

struct EvalOptions {
  CommonOptions common;
  std::vector<std::string> models;
  std::vector<Bytes> budgets;  ///< none: what this machine has to give
  std::optional<std::string> text, reference;
  std::optional<OutputPath> html, resume;
  std::optional<std::int64_t> chunks;

  bool parse(const Arguments& arguments) {
    Options options("eval",
                    "Perplexity on a text, in chunks that begin with BOS and whose second half is "
                    "scored; with a reference, also the KL divergence from it. Several models and "
                    "budgets are evaluated one after the other.");
    OptionDeclaration& declared =
        options.positionals("MODEL", models, "GGUF files; without one, the bundled model");
    declared.shared = declared.reads = true;
    options
        .sizes("--memory", budgets,
               "All that this process may hold: weights that do not fit are rounded; with "
               "several sizes, each model is evaluated under each")
        .shared = true;
    common.declare_workers(options);
    common.declare_measuring(options);
    common.declare_kv(options);
    options.count("--context", common.context, 4, std::int64_t{1} << 30,
                  fmt::format("Tokens per chunk (default {})", default_chunk));
    options.input("--text", "FILE", text, "The text (required)");
    options.input("--against", "REFERENCE", reference,
                  "Another model file, to compare with; it must fit the budget beside each model");
    options.count("--chunks", chunks, 1, std::int64_t{1} << 30,
                  "Use only the first N chunks of the text");
    options.output("--html", "FILE", html, eval_page_kind,
                   "Also write a web page with the table and plots");
    options.output("--resume", "FILE", resume, ResumeFile::kind,
                   "Keep what is found in FILE and go on from there after an interruption");
    if (!options.parse(arguments)) return false;
    if (!text) throw Error(ErrorCode::usage, "there is no text to score", "give --text FILE");
    for (std::string& model : models) model = resolve_model(model);
    if (models.empty()) models.push_back(common.model_path());
    if (reference) reference = resolve_model(*reference);
    if (!common.context) common.context = default_chunk;
    if (!budgets.empty()) common.memory = *std::max_element(budgets.begin(), budgets.end());
    refuse_twins();
    return true;
  }

 private:
  static std::filesystem::path canonical(const std::string& path) {
    std::error_code ignored;
    return std::filesystem::weakly_canonical(std::filesystem::absolute(path), ignored);
  }

  void refuse_twins() const {
    std::vector<std::filesystem::path> seen;
    for (const std::string& model : models) {
      const auto path = canonical(model);
      if (std::find(seen.begin(), seen.end(), path) != seen.end())
        throw Error(ErrorCode::usage, fmt::format("{} is given twice", model),
                    "name each model once");
      seen.push_back(path);
    }
    for (auto budget = budgets.begin(); budget != budgets.end(); ++budget)
      if (std::find(budgets.begin(), budget, *budget) != budget)
        throw Error(ErrorCode::usage,
                    fmt::format("--memory has {} ({} bytes) twice", format_bytes(*budget), *budget),
                    "name each budget once");
  }
};

}  // namespace

int eval_command(const Arguments& arguments) {
  EvalOptions options;
  if (!options.parse(arguments)) return 0;
  choose_isa();
  Host host = options.common.host();
  // What a long evaluation goes on from is said beside JSON too.
  if (options.common.json) host.watch.notice = notice;
  std::optional<OutputFile> html;
  EvaluationRequest request;
  request.models = options.models;
  request.budgets = options.budgets;
  request.text = *options.text;
  request.reference = options.reference;
  request.resume = options.resume;
  request.context = *options.common.context;
  request.kv = options.common.kv_tiers();
  request.chunks = options.chunks.value_or(0);
  // Whether something is in the way is known before the work, when all that is read is known.
  if (options.html) request.opened = [&] { html.emplace(*options.html); };
  if (!options.common.json) request.planned = notice_rounding;
  EvaluationReport report = evaluate_models(host, request);
  report.models = short_names(options.models);
  report.budgets =
      budget_names(options.budgets.empty() ? std::vector{report.budget_bytes} : options.budgets);
  if (html) {
    const std::string page = report_page(report);
    html->append({reinterpret_cast<const std::uint8_t*>(page.data()), page.size()});
    html->commit();
  }
  if (options.common.json)
    print_json_with_peak(report_json(report));
  else
    write_out(describe_report(report, Terminal::of(STDOUT_FILENO)));
  return 0;
}

}  // namespace plimsoll
