// plimsoll bench: speed of prefill and decode, beside the limits of this machine measured in the
// same run.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "app/benchmark.h"
#include "app/loading.h"
#include "app/planning.h"
#include "base/cache_folder.h"
#include "base/error.h"
#include "base/process.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "plan/speed.h"
#include "probe/reached.h"
#include "report/benchmark_report.h"
#include "terminal/json_writer.h"
#include "terminal/output.h"
#include "terminal/terminal.h"

namespace plimsoll {
namespace {

/// For coming predictions.
void note(const BenchReport& report) {
  const DepthTimings& first = report.result.depths.front();
  if (first.depth != 0) return;
  const BenchRequest& request = report.request;
  note_reached(cache_folder(), report.model->facts, *report.plan,
               {.prompt_tokens = request.prompt,
                .prefill = static_cast<double>(request.prompt) / first.prefill.median(),
                .depth = request.prompt + request.tokens / 2,
                .decode = request.tokens >= least_decoded ? 1 / first.decode.median() : 0},
               Noting::believed);
}

}  // namespace

int bench_command(const Arguments& arguments) {
  CommonOptions common;
  std::optional<std::int64_t> prompt, tokens, repeats;
  BenchReport report{};
  BenchRequest& request = report.request;
  Options options("bench", "Speed, beside the limits of this machine measured in the same run.");
  common.declare(options);
  common.declare_measuring(options);
  common.declare_kv(options);
  constexpr std::int64_t most = std::int64_t{1} << 24;
  options.count("--prompt", prompt, 1, most, "Tokens of the prompt (default 512)");
  options.count("--tokens", tokens, 1, most, "Tokens that are decoded behind it (default 64)");
  options.count("--repeats", repeats, 1, 1000, "Measurements; medians are reported (default 5)");
  options.counts("--depths", request.depths, 0, most,
                 "Tokens that are there before the prompt (default 0), as in 0,1024,4096,16384");
  options.counts("--batches", request.batches, 1, 256,
                 "Tokens in one pass, of as many sequences and of one, as in 1,2,4,8,16");
  if (!options.parse(arguments)) return 0;
  request.prompt = prompt.value_or(request.prompt);
  request.tokens = tokens.value_or(request.tokens);
  request.repeats = repeats.value_or(request.repeats);
  if (request.depths.empty()) request.depths = {0};

  choose_isa();
  Host host = common.host();
  const OpenModel model = open_model(host, common.model_path());
  PlanNeeds needs;
  needs.context = request.context();
  needs.kv = common.kv_tiers();
  needs.policy = WeightPolicy::fit;
  needs.work = Work::benchmarking;
  for (const std::int64_t batch : request.batches)
    needs.branches = needs.logit_rows = std::max(needs.logit_rows, batch);
  const PlanRequest wanted = plan_request(host, model, needs);
  const Plan plan = make_plan(model.facts, wanted);
  check_room(model, wanted, plan, request);

  const auto context = host.make_context();
  report.model = &model;
  report.plan = &plan;
  report.isa = context->kernels.isa;
  report.work = prompt_work(model, plan);
  if (!common.json) notice_rounding(model, plan);
  LoadedModel loaded = load_model(host, *context, model, plan);
  report.load_seconds = loaded.seconds;
  report.result = measure(*loaded.engine, report.work, request, host.watch);
  report.peak = process_memory().peak;
  loaded.engine.reset();  // noting takes memory too
  note(report);
  if (common.json)
    print_json_with_peak(to_json(report));
  else
    write_out(describe_benchmark(report, Terminal::of(STDOUT_FILENO)));
  return 0;
}

}  // namespace plimsoll
