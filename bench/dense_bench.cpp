// matmul_dense on one core: GFLOP/s, and GB/s of weights. Arguments: rows, columns, tokens. One
// token is decoding, and bound by memory where the weights exceed the caches (the first shape: 64
// to 128 MiB); hundreds are prefill, and bound by fused multiply-adds (2 x 16 lanes a cycle on Zen
// 4 with AVX-512).
#include <benchmark/benchmark.h>

#include <cstdint>
#include <string>

#include "base/cpu.h"
#include "base/ledger.h"
#include "base/region.h"
#include "format/half.h"
#include "kernels/kernels.h"

namespace plimsoll {
namespace {

/// Huge pages, as the engine uses them.
Region floats(Ledger& ledger, std::int64_t count) {
  return Region(ledger, Account::runtime, static_cast<Bytes>(count) * sizeof(float));
}

/// The same every time, in [-1, 1].
float small_number(std::int64_t i) {
  return static_cast<float>((static_cast<std::uint64_t>(i) * 2654435761u >> 8) % 2001) * 1e-3f -
         1.0f;
}

void measure(benchmark::State& state, Isa isa, DenseView::Type type) {
  const std::int64_t rows = state.range(0);
  const std::int64_t columns = state.range(1);
  const std::int64_t tokens = state.range(2);
  const std::int64_t element = type == DenseView::Type::f32 ? 4 : 2;
  Ledger ledger;
  const Region weights = floats(ledger, (rows * columns * element + 3) / 4);
  for (std::int64_t i = 0; i < rows * columns; ++i) {
    const float value = small_number(i);
    if (type == DenseView::Type::f32) {
      weights.as<float>()[i] = value;
    } else {
      weights.as<std::uint16_t>()[i] =
          type == DenseView::Type::f16 ? float_to_half(value) : float_to_bfloat(value);
    }
  }
  const Region x = floats(ledger, tokens * columns);
  for (std::int64_t i = 0; i < tokens * columns; ++i) x.as<float>()[i] = small_number(i + 7);
  const Region y = floats(ledger, tokens * rows);

  const Kernels& kernels = kernels_for(isa);
  const DenseView w = {.data = weights.as<void>(), .type = type, .rows = rows, .columns = columns};
  for (auto _ : state) {
    kernels.matmul_dense(w, x.as<float>(), columns, tokens, 0, rows, y.as<float>(), rows);
    benchmark::ClobberMemory();
  }
  const double iterations = static_cast<double>(state.iterations());
  const double products = static_cast<double>(rows * columns * tokens) * iterations;
  const double bytes = static_cast<double>(rows * columns * element) * iterations;
  state.counters["GFLOP/s"] = benchmark::Counter(2e-9 * products, benchmark::Counter::kIsRate);
  state.counters["GB/s"] = benchmark::Counter(1e-9 * bytes, benchmark::Counter::kIsRate);
}

void register_all() {
  struct Named {
    const char* name;
    DenseView::Type type;
  };
  for (const Isa isa : {Isa::avx512, Isa::avx2}) {
    if (!cpu_supports(isa)) continue;
    for (const Named& type :
         {Named{"f32", DenseView::Type::f32}, Named{"f16", DenseView::Type::f16},
          Named{"bf16", DenseView::Type::bf16}}) {
      const std::string title = "dense/" + std::string(name(isa)) + "/" + type.name;
      auto* bench = benchmark::RegisterBenchmark(
          title.c_str(), [isa, type](benchmark::State& state) { measure(state, isa, type.type); });
      bench->Unit(benchmark::kMicrosecond)->ArgNames({"rows", "columns", "tokens"});
      for (const std::int64_t tokens : {1, 2, 4, 8}) bench->Args({16384, 2048, tokens});
      for (const std::int64_t tokens : {1, 4, 12, 48, 96, 512}) bench->Args({512, 2048, tokens});
      bench->Args({512, 8192, 96})->Args({1000, 172, 1})->Args({1000, 172, 96});
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
