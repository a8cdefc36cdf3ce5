// plimsoll fit: a model rewritten to a number of bytes, with the loss said beforehand.
#include "fit/fit.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/process.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/input.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "fit/analysis.h"
#include "model/architecture.h"
#include "plan/facts.h"

namespace plimsoll {
namespace {

struct FitCommand {
  CommonOptions common;
  std::optional<Bytes> size;
  double bits = 0;
  std::optional<std::string> output, text, effort;

  bool parse(Arguments arguments) {
    Options options("fit",
                    "Rewrites a model's weights so that they take no more than a number of bytes "
                    "and lose as little as these allow; the result is a standard GGUF file.");
    common.declare(options);
    options.size("--size", size, "Bytes of the file");
    options.number("--bits", bits, 1, 32, "Bytes of the file, as bits for each weight");
    options.text("-o,--output", "OUT.gguf", output, "The file to write (required)");
    options.text("--text", "FILE", text,
                 "A text to measure on; without one, text that the model writes itself");
    options.text("--effort", "fast|thorough", effort, "");
    if (!options.parse(arguments)) return false;
    if (!output) throw Error(ErrorCode::usage, "there is no file to write", "give -o OUT.gguf");
    return true;
  }
};

}  // namespace

int fit_command(Arguments arguments) {
  FitCommand command;
  if (!command.parse(arguments)) return 0;
  const CommonOptions& common = command.common;
  choose_isa();
  const Bytes budget = decide_budget(std::nullopt);
  const OpenModel model = OpenModel::open(common.model_path());
  const Description& description = model.facts.description;
  const std::vector<TensorUse> uses = find_tensors(model.file, description);
  const Bytes target = command.size ? *command.size : static_cast<Bytes>(command.bits / 8 * static_cast<double>(model.facts.parameters));
  FittedFile fitted(*command.output, model.file, uses);

  const std::string text = read_text_file(*command.text);
  const std::vector<TokenId> ids = model.tokenizer->encode(text);
  const auto context = make_context(common);
  context->ledger.set_budget(budget);
  const Weights weights(*context, model.file, description);
  std::int64_t matrices = 0;
  for (const TensorUse& use : uses) matrices += !use.slot.is_vector();
  const CalibrationSize size = calibration_size(description, model.facts.parameters, matrices);
  const Calibration calibration = calibrate_on(
      ids, model.tokenizer->adds_bos() ? model.tokenizer->bos() : std::nullopt, size);
  const auto start = std::chrono::steady_clock::now();
  QualityModel quality;
  {
    ProgressBar bar("measuring", ProgressBar::Unit::chunks);
    quality = analyse(*context, description, uses, weights, calibration.moments, calibration.probes, {},
                      [&](std::int64_t done, std::int64_t total) {
                        bar.update(static_cast<std::uint64_t>(done), static_cast<std::uint64_t>(total));
                      });
  }
  const double analysed = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (getenv("FIT_DUMP"))
    for (std::size_t i = 0; i < uses.size(); ++i) {
      if (uses[i].slot.is_vector()) continue;
      fmt::print(stderr, "{:<28} a={:.5f} lookup={:.3f}", uses[i].slot.name, quality.tensors[i].sensitivity, quality.tensors[i].lookup_share);
      for (const Format* f : rounding_formats())
        fmt::print(stderr, " {}={:.6f}", f->name, quality.tensors[i].errors[static_cast<std::size_t>(f - formats().data())]);
      fmt::print(stderr, " inputs {:.7f} {:.7f} {:.7f}", quality.tensors[i].input_errors[1], quality.tensors[i].input_errors[2], quality.tensors[i].input_errors[3]);
      fmt::print(stderr, "\n");
    }
  const FileChoices choices = file_choices(uses, quality, Reader::llama_cpp, rounding_formats());
  const std::optional<Selection> selection = solve(choices.choices, target - fitted.header_bytes());
  if (!selection) throw Error(ErrorCode::budget_refused, "no such plan");
  std::vector<const Format*> formats;
  std::map<std::string, Bytes> mix;
  for (std::size_t i = 0; i < uses.size(); ++i) {
    formats.push_back(choices.formats[i][static_cast<std::size_t>(selection->choices[i])]);
    mix[std::string(formats.back()->name)] += choices.choices[i][static_cast<std::size_t>(selection->choices[i])].bytes;
  }
  const std::size_t longest = static_cast<std::size_t>(size.sequence_tokens);
  LayerRunner runner(*context, description, weights, static_cast<std::int64_t>(longest));
  MomentsWalk walk(*context, description, runner, calibration.moments);
  fitted.write(*context, formats, {&walk, &quality}, {});
  print_json({{"predicted", selection->loss}, {"bytes", selection->bytes + fitted.header_bytes()}, {"target", target}, {"mix", mix}, {"analysis_seconds", analysed},
     {"seconds", std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count()},
     {"probes", calibration.probes.size()}, {"moments", calibration.moments.size()}});
  return 0;
}

}  // namespace plimsoll
