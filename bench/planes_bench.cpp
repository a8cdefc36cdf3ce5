// Products over planes on one core: multiply-accumulates and bytes per second of processor time, by
// format and by number of tokens. The matrix is larger than the caches, so that one token is bound
// by memory and many by arithmetic.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <random>
#include <vector>

#include "kernels/kernels.h"
#include "planes/planes.h"

namespace plimsoll {
namespace {

constexpr std::int64_t rows = 8192, columns = 2048;

void product(benchmark::State& state, const Format* format, Isa isa) {
  const std::int64_t tokens = state.range(0);
  const Kernels& kernels = kernels_for(isa);
  Ledger ledger;
  PlaneTensor tensor(ledger, *format, rows, columns);
  std::vector<float> values(static_cast<std::size_t>(columns));
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<std::uint8_t> blocks(16 * row_bytes(*format, columns));
  for (std::int64_t row = 0; row < 16; ++row) {
    for (float& value : values) value = normal(random);
    format->encode(values.data(),
                   blocks.data() + static_cast<std::size_t>(row) * row_bytes(*format, columns),
                   columns / format->block_values);
  }
  for (std::int64_t row = 0; row < rows; row += 16) tensor.import_rows(blocks.data(), row, 16);
  std::vector<float> x(static_cast<std::size_t>(tokens * columns)),
      y(static_cast<std::size_t>(tokens * rows));
  for (float& value : x) value = normal(random);
  const auto bytes = static_cast<std::size_t>((quantised_bytes(tokens, columns) + 63) / 64 * 64);
  void* memory = std::aligned_alloc(64, bytes);
  void* scratch =
      std::aligned_alloc(64, static_cast<std::size_t>((plane_scratch_bytes + 63) / 64 * 64));
  const QuantisedActivations q = place_quantised(memory, tokens, columns);
  for (auto _ : state) {
    kernels.quantise_activations(x.data(), columns, 0, tokens, q);
    kernels.matmul_planes(tensor.view(), q, 0, rows / tile_rows, y.data(), rows, scratch);
    benchmark::DoNotOptimize(y.data());
  }
  const auto runs = static_cast<double>(state.iterations());
  state.counters["MAC/s"] = benchmark::Counter(runs * static_cast<double>(rows * columns * tokens),
                                               benchmark::Counter::kIsRate);
  state.counters["B/s"] =
      benchmark::Counter(runs * static_cast<double>(tensor.bytes()), benchmark::Counter::kIsRate);
  std::free(memory);
  std::free(scratch);
}

const int registered = [] {
  for (const Isa isa : {Isa::avx512, Isa::avx2}) {
    if (!cpu_supports(isa)) continue;
    for (const char* name_of_format :
         {"Q4_0", "Q8_0", "Q4_K", "Q6_K", "Q5_0", "Q3_K", "Q2_K", "IQ4_NL", "IQ2_XXS", "IQ2_XS",
          "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ1_S", "IQ1_M"}) {
      const Format* format = find_format(name_of_format);
      auto* run = benchmark::RegisterBenchmark(
          (std::string(name(isa)) + "/" + name_of_format).c_str(),
          [format, isa](benchmark::State& state) { product(state, format, isa); });
      for (const int tokens : {1, 2, 4, 8, 240}) run->Arg(tokens);
      run->Unit(benchmark::kMillisecond);
    }
  }
  return 0;
}();

}  // namespace
}  // namespace plimsoll

BENCHMARK_MAIN();
