// plimsoll measure: what rounding costs a model, by one pass back through it; kept for every later
// plan.
#include "app/measuring.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "app/planning.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "terminal/json_writer.h"
#include "terminal/output.h"

namespace plimsoll {
namespace {

constexpr FormatId shown_formats[] = {FormatId::Q8_0, FormatId::Q6_K, FormatId::Q5_K,
                                      FormatId::Q5_0, FormatId::Q4_K, FormatId::IQ4_NL,
                                      FormatId::Q4_0, FormatId::Q3_K, FormatId::Q2_K};

/// Loss of all matrices in one format; those that its block does not divide are left out, and their
/// share of the weights is in `held`.
double loss_in(const QualityModel& quality, const OpenModel& model, const Format& format,
               double& held) {
  double loss = 0, covered = 0, all = 0;
  for (std::size_t i = 0; i < model.facts.tensors.size(); ++i) {
    const TensorSlot& slot = model.facts.tensors[i].slot;
    if (slot.is_vector()) continue;
    const double weights = static_cast<double>(slot.rows) * static_cast<double>(slot.columns);
    const double one = quality.tensors[i].loss(format, Rounding::plain, Reader::plimsoll);
    all += weights;
    if (one < 0) continue;
    covered += weights;
    loss += one;
  }
  held = covered / std::max(all, 1.0);
  return loss;
}

void report(const Measured& measured, const OpenModel& model, bool json) {
  const QualityModel& quality = measured.quality;
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
    return print_json_with_peak({{"tokens", measured.tokens},
                       {"seconds", measured.seconds},
                       {"quality", name(quality.source)},
                       {"peak_bytes", nullptr},
                       {"predicted_peak_bytes", measured.predicted_peak_bytes},
                       {"formats", losses}});
  write_out(
      fmt::format("Rounding everything to one format costs, in KL divergence per token:\n{}"
                  "Measured on {} tokens in {:.1f} s; kept for plan, run and fit.\n",
                  text, measured.tokens, measured.seconds));
}

}  // namespace

int measure_command(const Arguments& arguments) {
  CommonOptions common;
  Options options("measure",
                  "Measures what rounding costs a model, for every later plan, run and fit of it: "
                  "seconds for small models, minutes for large ones.");
  common.declare(options);
  if (!options.parse(arguments)) return 0;
  choose_isa();  // a wrong PLIMSOLL_ISA is refused before anything else
  Host host = common.host();
  const OpenModel model = open_model(host, common.model_path());
  report(measure_model(host, model), model, common.json);
  return 0;
}

}  // namespace plimsoll
