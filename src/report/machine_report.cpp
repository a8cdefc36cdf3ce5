#include "report/machine_report.h"

#include <fmt/format.h>

namespace plimsoll {

std::string describe_machine(const Machine& machine, const Terminal& terminal) {
  const auto heading = [&](const std::string& text) {
    return fmt::format("\n{}\n", terminal.styled(Style::dim, text));
  };
  std::string out =
      fmt::format("{}: {}, {} thread{}\n", terminal.styled(Style::strong, machine.key.processor),
                  name(machine.key.isa), machine.key.threads, machine.key.threads == 1 ? "" : "s");
  out += heading(fmt::format("{:<10}{:>12}{:>12}{:>12}{:>14}{:>13}", "threads", "read, GB/s",
                             "cached", "compute", "dispatch, µs", "product, µs"));
  for (const WorkerSpeeds& s : machine.speeds)
    out += fmt::format("{:<10}{:>12.1f}{:>12.1f}{:>12.2f}{:>13.2f}{:>12.2f}\n", s.workers,
                       s.read_bytes_per_second / 1e9, s.cached_read_bytes_per_second / 1e9,
                       s.compute_factor, s.dispatch_seconds * 1e6, s.product_start_seconds * 1e6);
  out += heading(fmt::format("{:<28}{:>9}", "one thread", "ns"));
  for (const auto& [what, seconds] :
       {std::pair("norms and activations", machine.element_seconds),
        std::pair("rounding of inputs", machine.quantise_seconds),
        std::pair("attention, a key", machine.key_seconds),
        std::pair("attention, a query", machine.query_seconds),
        std::pair("attention, one of many", machine.prefill_query_seconds)})
    out += fmt::format("{:<28}{:>9.4f}\n", what, seconds * 1e9);
  std::string columns = "products";
  columns.resize(10, ' ');
  for (const int batch : measured_batches) columns += fmt::format("{:>8}", batch);
  columns += " tokens, ns per weight; of the bandwidth";
  for (const WorkerSpeeds& s : machine.speeds) columns += fmt::format("{:>6}", s.workers);
  out += heading(columns);
  for (const FormatSpeed& f : machine.formats) {
    out += fmt::format("{:<10}", format(f.format).name);
    for (const double seconds : f.weight_seconds) out += fmt::format("{:>8.4f}", seconds * 1e9);
    out += std::string(40, ' ');
    for (const double fraction : f.bandwidth_fractions)
      out += fmt::format("{:>4.0f} %", 100 * fraction);
    out += "\n";
  }
  return out;
}

}  // namespace plimsoll
