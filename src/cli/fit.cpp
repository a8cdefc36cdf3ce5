// plimsoll fit: a model rewritten to a number of bytes, with the loss said beforehand.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "app/fitting.h"
#include "app/planning.h"
#include "base/error.h"
#include "base/process.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "file/input_files.h"
#include "fit/recipes.h"
#include "plan/plan.h"
#include "terminal/json_writer.h"
#include "terminal/output.h"

namespace plimsoll {
namespace {

struct FitCommand {
  CommonOptions common;
  std::optional<Bytes> size;
  double bits = 0;
  std::optional<std::string> output, text, effort, format_name;
  const Format* format = nullptr;  ///< that of the name

  bool parse(const Arguments& arguments) {
    Options options("fit",
                    "Rewrites a model's weights so that they take no more than a number of bytes "
                    "and lose as little as these allow. The result is a standard GGUF file.");
    common.declare(options);
    common.declare_measuring(options);
    options.size("--size", size, "Bytes of the file to write");
    options.number("--bits", bits, 1, 32, "The same, as bits for each weight");
    options.choice(
        "--format", "NAME", format_names(), format_name,
        "Instead of a size: every matrix in this format (Q4_K, IQ4_XS, F16, ...), or in Q8_0 "
        "or as it is where no block divides its rows. NEST8, for this program only, is one "
        "file for many budgets: the leading 4 and 6 bits of its codes are codes of their "
        "own, and loading takes as many of them as --memory allows. The name of a mix of "
        "llama.cpp's (Q4_K_M, ...) means the size: as many bits for each weight as that "
        "takes, in the formats that lose least");
    options.text("-o,--output", "OUT.gguf", output, "The file to write (required)");
    options.text("--text", "FILE", text,
                 "A text like those that the model is for, to measure on; without one, text that "
                 "the model writes itself");
    options.choice("--effort", "", {"fast", "thorough"}, effort,
                   "thorough measures the model and rounds with error feedback; fast does neither "
                   "(default thorough)");
    options.exclusive("--size", "--bits");
    for (const char* other : {"--size", "--bits"}) options.exclusive("--format", other);
    if (!options.parse(arguments)) return false;
    if (!output) throw Error(ErrorCode::usage, "there is no file to write", "give -o OUT.gguf");
    if (format_name) {
      format = find_format(std::string_view(*format_name));
      if (!format) bits = recipe_bits(*format_name).value();
    }
    if (!has_target() && !common.memory)
      throw Error(ErrorCode::usage, "nothing says how large the file may be",
                  "give --size SIZE, --bits B, --memory SIZE for what running it may take, or "
                  "--format NAME");
    const bool is_dense = format && format->kind == Format::Kind::dense;
    if (text && (is_dense || !wants_thorough()))
      throw Error(ErrorCode::usage,
                  fmt::format("--text is measured on, and {} measures nothing",
                              is_dense ? "--format " + *format_name : "--effort fast"),
                  "leave one of them out");
    return true;
  }
  /// Of the file; otherwise --memory says how large it may be.
  bool has_target() const { return size || bits > 0 || format; }
  bool wants_thorough() const { return !effort || *effort == "thorough"; }

  FitRequest request() const {
    FitRequest request;
    request.model = common.model_path();
    request.output = *output;
    request.size = size;
    request.bits = bits;
    request.format = format;
    if (!has_target()) request.running_memory = common.memory;
    request.text = text;
    request.thorough = wants_thorough();
    request.check_inputs = [this](std::span<const std::string> inputs) {
      refuse_to_overwrite("-o", *output, inputs);
    };
    return request;
  }

 private:
  static std::vector<std::string> format_names() {
    std::vector<std::string> names;
    for (const Format& f : formats()) names.emplace_back(f.name);
    for (const Recipe& recipe : recipes()) names.emplace_back(recipe.name);
    return names;
  }
};

std::string describe_choice(const FitReport& report) {
  if (report.is_copy)
    return fmt::format("the file's own weights take {}: copying them",
                       format_bytes(report.source_bytes));
  std::string formats;
  for (const auto& [name, bytes] : report.formats)
    formats += fmt::format("{}{} {}", formats.empty() ? "" : ", ", name, format_bytes(bytes));
  return fmt::format("{} at {:.2f} bits per weight: {}", format_bytes(report.file_bytes),
                     report.bits_per_weight, formats);
}

nlohmann::ordered_json to_json(const FitCommand& command, const FitReport& report,
                               Bytes budget) {
  nlohmann::ordered_json json = {
      {"output", *command.output},
      {"file_bytes", report.file_bytes},
      {"target_bytes",
       report.target_bytes ? nlohmann::ordered_json(*report.target_bytes) : nullptr},
      {"bits_per_weight", report.bits_per_weight},
      {"kl_nats", report.kl_nats ? nlohmann::ordered_json(*report.kl_nats) : nullptr},
      {"quality", report.is_copy ? "exact" : name(report.quality)},
      {"formats", report.formats},
      {"kept_tensors", report.kept_tensors},
      {"seconds", report.seconds},
      {"peak_bytes", nullptr},
      {"predicted_peak_bytes", report.predicted_peak_bytes},
      {"budget_bytes", budget}};
  if (report.tensors_without_format > 0)
    json["tensors_without_format"] = report.tensors_without_format;
  if (report.resumed_layers > 0) json["resumed_layers"] = report.resumed_layers;
  if (report.has_levels) json["kl_nats_of_leading_bits"] = report.kl_nats_of_leading_bits;
  if (!report.has_named_tokenizer) json["tokenizer_has_gguf_name"] = false;
  return json;
}

std::string describe(const FitCommand& command, const FitReport& report) {
  std::string out = fmt::format("{}  {}, {:.2f} bits per weight\n", *command.output,
                                format_bytes(report.file_bytes), report.bits_per_weight);
  out += report.is_copy   ? "loses nothing: the source's own weights\n"
         : report.kl_nats ? fmt::format("loses {} nats per token, predicted ({})\n",
                                        format_nats(*report.kl_nats), describe(report.quality))
                          : "loses what nobody has measured in this format: see eval --against\n";
  if (report.has_levels)
    out += fmt::format("with the leading four bits alone {} nats; give run --memory SIZE\n",
                       format_nats(report.kl_nats_of_leading_bits));
  if (report.tensors_without_format > 0)
    out +=
        fmt::format("{} tensors are in Q8_0 or as they were: no block of {} divides their rows\n",
                    report.tensors_without_format, command.format->name);
  if (report.kept_tensors > 0)
    out += fmt::format("{} tensors stay as they were: no format's blocks divide their rows\n",
                       report.kept_tensors);
  if (!report.has_named_tokenizer)
    out +=
        "GGUF has no name for this model's way of cutting text: Plimsoll reads the file, other "
        "programs refuse it\n";
  return out + fmt::format("took {:.0f} s, peak {}\n", report.seconds,
                           format_bytes(process_memory().peak));
}

}  // namespace

int fit_command(const Arguments& arguments) {
  FitCommand command;
  if (!command.parse(arguments)) return 0;
  choose_isa();  // a wrong PLIMSOLL_ISA is refused as run would
  // Alone, --memory is for running the result.
  Host host = command.common.host(command.has_target() ? command.common.memory : std::nullopt);
  const FitReport report = fit_model(host, command.request(), [&](const FitReport& decided) {
    if (command.common.json) return;
    if (command.format_name && !command.format)
      notice(
          fmt::format("{} as a size: {:.2f} bits for each weight, as llama.cpp's mix of that "
                      "name takes in a model of 8 billion",
                      *command.format_name, command.bits));
    notice(describe_choice(decided));
  });
  if (command.common.json)
    print_json_with_peak(to_json(command, report, host.line.budget()));
  else
    write_out(describe(command, report));
  return 0;
}

}  // namespace plimsoll
