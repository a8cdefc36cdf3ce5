// quantise on one core: millions of weights per second. Arguments: columns. Without feedback the
// speed does not depend on them; with it every weight meets half of the columns before it, and the
// counter GFLOP/s counts those products alone (2 x 16 lanes a cycle on Zen 4 with AVX-512).
#include <benchmark/benchmark.h>

#include <cmath>
#include <cstdint>
#include <random>
#include <string>

#include "base/cpu.h"
#include "base/ledger.h"
#include "base/region.h"
#include "kernels/kernels.h"

namespace plimsoll {
namespace {

enum class Way { fast, thorough, feedback };

Region floats(Ledger& ledger, std::int64_t count) {
  return Region(ledger, Account::runtime, static_cast<Bytes>(count) * sizeof(float));
}

void measure(benchmark::State& state, Isa isa, const Format& format, Way way) {
  const std::int64_t columns = state.range(0);
  const std::int64_t rows = 4 * quantise_rows_together;
  Ledger ledger;
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0.0f, 0.02f);
  const Region weights = floats(ledger, rows * columns);
  for (std::int64_t i = 0; i < rows * columns; ++i) weights.as<float>()[i] = normal(random);
  const Region importance = floats(ledger, columns);
  for (std::int64_t i = 0; i < columns; ++i)
    importance.as<float>()[i] = std::exp(50 * normal(random));
  const Region feedback = floats(ledger, way == Way::feedback ? columns * columns : 1);
  if (way == Way::feedback)
    for (std::int64_t i = 0; i < columns * columns; ++i)
      feedback.as<float>()[i] = static_cast<float>(i % 7 - 3) * 1e-3f;
  const Region scratch = floats(ledger, quantise_scratch_floats(columns));
  const Region blocks(ledger, Account::runtime,
                      static_cast<Bytes>(rows) * row_bytes(format, columns));
  const QuantiseTask task = {.format = &format,
                             .weights = weights.as<float>(),
                             .rows = rows,
                             .columns = columns,
                             .importance = importance.as<float>(),
                             .feedback = way == Way::feedback ? feedback.as<float>() : nullptr,
                             .thorough = way == Way::thorough,
                             .blocks = blocks.as<std::uint8_t>(),
                             .scratch = scratch.as<float>()};
  double cost = 0;
  for (auto _ : state) cost = quantise_rows(kernels_for(isa), task);
  const double count =
      static_cast<double>(rows * columns) * static_cast<double>(state.iterations());
  state.counters["M/s"] = benchmark::Counter(1e-6 * count, benchmark::Counter::kIsRate);
  if (way == Way::feedback)
    state.counters["GFLOP/s"] = benchmark::Counter(1e-9 * count * static_cast<double>(columns),
                                                   benchmark::Counter::kIsRate);
  // Relative to the weights' own power.
  state.counters["cost"] = cost / static_cast<double>(rows * columns) / (0.02 * 0.02);
}

void register_all() {
  struct Named {
    const char* name;
    Way way;
  };
  for (const Isa isa : {Isa::avx512, Isa::avx2}) {
    if (!cpu_supports(isa)) continue;
    for (const Named& way : {Named{"fast", Way::fast}, Named{"thorough", Way::thorough},
                             Named{"feedback", Way::feedback}}) {
      for (const Format& format : formats()) {
        if (format.kind != Format::Kind::coded) continue;
        const std::string title =
            "quantise/" + std::string(name(isa)) + "/" + way.name + "/" + std::string(format.name);
        auto* bench = benchmark::RegisterBenchmark(
            title.c_str(),
            [isa, &format, way](benchmark::State& state) { measure(state, isa, format, way.way); });
        bench->Unit(benchmark::kMillisecond)->Arg(2048);
        if (way.way == Way::feedback) bench->Arg(8192);
      }
    }
  }
}

}  // namespace
}  // namespace plimsoll

int main(int argc, char** argv) {
  plimsoll::register_all();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
