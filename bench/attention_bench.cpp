// Attention of one KV head on one core: GFLOP/s (4 x rows x positions x head_dim), and GB/s of K
// and V. Arguments: head_dim, heads, queries, positions. There are eight KV heads, [KV head]
// [position][head_dim] as the cache keeps them, and the runs cycle through them: with 16384
// positions, decoding reads memory rather than caches.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "base/ledger.h"
#include "base/region.h"
#include "kernels/kernels.h"

namespace plimsoll {
namespace {

constexpr std::int64_t kKvHeads = 8;

/// Huge pages, as the engine uses them.
template <typename T>
Region array(Ledger& ledger, std::int64_t count) {
  return Region(ledger, Account::runtime, static_cast<Bytes>(count) * sizeof(T));
}

/// The same every time, in [-1, 1].
float small_number(std::int64_t i) {
  return static_cast<float>((static_cast<std::uint64_t>(i) * 2654435761u >> 8) % 2001) * 1e-3f -
         1.0f;
}

void measure(benchmark::State& state, Isa isa) {
  const std::int64_t head_dim = state.range(0);
  const std::int64_t heads = state.range(1);
  const std::int64_t queries = state.range(2);
  const std::int64_t positions = state.range(3);
  const std::int64_t kv_halves = kKvHeads * positions * head_dim;  // [KV head][position][head_dim]
  const std::int64_t q_floats = queries * heads * head_dim;
  Ledger ledger;
  const Region k = array<std::int16_t>(ledger, kv_halves);
  const Region v = array<std::int16_t>(ledger, kv_halves);
  const Region units = array<std::uint16_t>(ledger, 2 * kKvHeads * positions);
  const Kernels& kernels = kernels_for(isa);
  std::vector<float> row(static_cast<std::size_t>(head_dim));
  for (std::int64_t p = 0; p < kKvHeads * positions; ++p) {
    for (std::int64_t d = 0; d < head_dim; ++d)
      row[static_cast<std::size_t>(d)] = small_number(p * head_dim + d);
    kernels.cache_row(row.data(), head_dim, key_code_limit(head_dim),
                      k.as<std::int16_t>() + p * head_dim, units.as<std::uint16_t>() + p);
    for (float& x : row) x = 1.0f - x;
    kernels.cache_row(row.data(), head_dim, value_code_limit, v.as<std::int16_t>() + p * head_dim,
                      units.as<std::uint16_t>() + kKvHeads * positions + p);
  }
  const Region q = array<float>(ledger, q_floats);
  for (std::int64_t i = 0; i < q_floats; ++i) q.as<float>()[i] = small_number(i + 3);
  const Region out = array<float>(ledger, q_floats);
  const Region scratch =
      array<float>(ledger, attention_scratch_floats(queries, static_cast<std::int32_t>(heads),
                                                    static_cast<std::int32_t>(head_dim)));

  AttentionTask task = {};
  task.q = q.as<float>();
  task.q_stride = heads * head_dim;
  task.kv_stride = head_dim;
  task.out = out.as<float>();
  task.out_stride = heads * head_dim;
  task.queries = queries;
  task.first_position = positions - queries;
  task.heads = static_cast<std::int32_t>(heads);
  task.head_dim = static_cast<std::int32_t>(head_dim);
  task.scale = 0.125f;
  task.scratch = scratch.as<float>();
  std::int64_t kv_head = 0;
  for (auto _ : state) {
    task.k = {k.as<std::int16_t>() + kv_head * positions * head_dim,
              units.as<std::uint16_t>() + kv_head * positions};
    task.v = {v.as<std::int16_t>() + kv_head * positions * head_dim,
              units.as<std::uint16_t>() + (kKvHeads + kv_head) * positions};
    kernels.attention(task);
    kv_head = (kv_head + 1) % kKvHeads;
    benchmark::ClobberMemory();
  }
  const double iterations = static_cast<double>(state.iterations());
  // Query i sees first_position + i + 1 positions.
  const double seen =
      static_cast<double>(queries) * (static_cast<double>(task.first_position) + 1.0) +
      static_cast<double>(queries * (queries - 1)) / 2.0;
  const double products = 2.0 * seen * static_cast<double>(heads * head_dim) * iterations;
  const double bytes = 4.0 * static_cast<double>(positions * head_dim) * iterations;
  state.counters["GFLOP/s"] = benchmark::Counter(2e-9 * products, benchmark::Counter::kIsRate);
  state.counters["GB/s"] = benchmark::Counter(1e-9 * bytes, benchmark::Counter::kIsRate);
}

void register_all() {
  for (const Isa isa : {Isa::avx512, Isa::avx2}) {
    if (!cpu_supports(isa)) continue;
    const std::string title = "attention/" + std::string(name(isa));
    auto* bench = benchmark::RegisterBenchmark(
        title.c_str(), [isa](benchmark::State& state) { measure(state, isa); });
    bench->Unit(benchmark::kMicrosecond)->ArgNames({"dim", "heads", "queries", "positions"});
    for (const std::int64_t head_dim : {64, 128}) {
      for (const std::int64_t heads : {1, 4, 8}) {
        for (const std::int64_t positions : {1024, 16384})
          bench->Args({head_dim, heads, 1, positions});
        bench->Args({head_dim, heads, 4, 1024});
      }
      for (const std::int64_t heads : {1, 4})
        for (const std::int64_t queries : {32, 64})
          for (const std::int64_t positions : {1024, 16384})
            bench->Args({head_dim, heads, queries, positions});
    }
    bench->Args({80, 4, 32, 1024})->Args({256, 2, 32, 1024});
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
