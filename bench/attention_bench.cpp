// Attention of one KV head on one core: GFLOP/s (4 x rows x positions x head_dim), and GB/s of K
// and V. Arguments: head_dim, heads, queries, positions, bits of K and V. There are eight KV heads
// in pages as the cache keeps them, and the runs cycle through them: with 16384 positions of 16
// bits, decoding reads memory rather than caches.
#include <benchmark/benchmark.h>

#include <algorithm>
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

/// `positions` of all KV heads, whole pages: the last in 16 bits, those before it in `tier`.
struct Pages {
  Pages(Ledger& ledger, const Kernels& kernels, std::int64_t dim, std::int64_t positions,
        KvTier tier)
      : head_dim(dim),
        page_bytes(bytes_of(tier)),
        bytes(positions / kv_page_positions * page_bytes),
        memory(array<std::byte>(ledger, bytes + 2 * bytes_of(KvTier::sixteen))) {
    std::byte* const sixteen = memory.data() + bytes;
    for (std::int64_t page = 0; page < positions / kv_page_positions; ++page) {
      const KvPageView filled = fill(kernels, page, view(sixteen, KvTier::sixteen));
      if (tier == KvTier::sixteen || (page + 1) * kv_page_positions == positions) {
        const std::int64_t size = bytes_of(KvTier::sixteen);
        std::byte* const at =
            tier == KvTier::sixteen ? memory.data() + page * size : sixteen + size;
        std::copy_n(sixteen, size, at);
        views.push_back(view(at, KvTier::sixteen));
        continue;
      }
      const KvPageView lower = view(memory.data() + page * page_bytes, tier);
      lower_half(kernels, filled.keys, lower.keys, KvSide::keys);
      lower_half(kernels, filled.values, lower.values, KvSide::values);
      views.push_back(lower);
    }
  }

  std::int64_t head_bytes(KvTier tier, KvSide side) const {
    return KvHeadLayout(tier, side, head_dim).bytes;
  }
  std::int64_t bytes_of(KvTier tier) const {
    return kKvHeads * (head_bytes(tier, KvSide::keys) + head_bytes(tier, KvSide::values));
  }
  KvPageView view(std::byte* at, KvTier tier) const {
    return {{at, tier}, {at + kKvHeads * head_bytes(tier, KvSide::keys), tier}};
  }
  KvPageView fill(const Kernels& kernels, std::int64_t page, KvPageView view) const {
    const KvHeadLayout layout(KvTier::sixteen, KvSide::keys, head_dim);  // values lie alike
    std::vector<float> row(static_cast<std::size_t>(head_dim));
    for (std::int64_t i = 0; i < kKvHeads * kv_page_positions; ++i) {
      const std::int64_t head = i / kv_page_positions, position = i % kv_page_positions;
      for (std::int64_t d = 0; d < head_dim; ++d)
        row[static_cast<std::size_t>(d)] =
            small_number((page * kKvHeads * kv_page_positions + i) * head_dim + d);
      put(kernels, row, key_code_limit(head_dim), layout, view.keys.heads + head * layout.bytes,
          position);
      for (float& x : row) x = 1.0f - x;
      put(kernels, row, value_code_limit, layout, view.values.heads + head * layout.bytes,
          position);
    }
    return view;
  }
  void lower_half(const Kernels& kernels, KvHalfPage from, KvHalfPage to, KvSide side) const {
    for (std::int64_t head = 0; head < kKvHeads; ++head)
      kernels.lower_page({from.heads + head * head_bytes(from.tier, side),
                          to.heads + head * head_bytes(to.tier, side), from.tier, to.tier, side,
                          static_cast<std::int32_t>(head_dim)});
  }
  static void put(const Kernels& kernels, const std::vector<float>& row, float limit,
                  const KvHeadLayout& layout, std::byte* head, std::int64_t position) {
    kernels.cache_row(row.data(), static_cast<std::int64_t>(row.size()), limit,
                      reinterpret_cast<std::int16_t*>(head + position * layout.row_bytes),
                      reinterpret_cast<std::uint16_t*>(head + layout.units) + position);
  }

  std::int64_t head_dim, page_bytes, bytes;
  Region memory;
  std::vector<KvPageView> views;
};

void measure(benchmark::State& state, Isa isa) {
  const std::int64_t head_dim = state.range(0);
  const std::int64_t heads = state.range(1);
  const std::int64_t queries = state.range(2);
  const std::int64_t positions = state.range(3);
  const std::int64_t q_floats = queries * heads * head_dim;
  Ledger ledger;
  const Kernels& kernels = kernels_for(isa);
  KvTier tier = KvTier::sixteen;
  while (kv_bits(tier) > state.range(4)) tier = static_cast<KvTier>(static_cast<int>(tier) + 1);
  const Pages pages(ledger, kernels, head_dim, positions, tier);
  const Region q = array<float>(ledger, q_floats);
  for (std::int64_t i = 0; i < q_floats; ++i) q.as<float>()[i] = small_number(i + 3);
  const Region out = array<float>(ledger, q_floats);
  const Region scratch =
      array<float>(ledger, attention_scratch_floats(queries, static_cast<std::int32_t>(heads),
                                                    static_cast<std::int32_t>(head_dim)));

  AttentionTask task = {};
  task.q = q.as<float>();
  task.q_stride = heads * head_dim;
  task.pages = pages.views.data();
  task.newest = pages.views.back();
  task.out = out.as<float>();
  task.out_stride = heads * head_dim;
  task.queries = queries;
  task.first_position = positions - queries;
  task.heads = static_cast<std::int32_t>(heads);
  task.head_dim = static_cast<std::int32_t>(head_dim);
  task.scale = 0.125f;
  task.scratch = scratch.as<float>();
  for (auto _ : state) {
    kernels.attention(task);
    task.kv_head = (task.kv_head + 1) % kKvHeads;
    benchmark::ClobberMemory();
  }
  const double iterations = static_cast<double>(state.iterations());
  // Query i sees first_position + i + 1 positions.
  const double seen =
      static_cast<double>(queries) * (static_cast<double>(task.first_position) + 1.0) +
      static_cast<double>(queries * (queries - 1)) / 2.0;
  const double products = 2.0 * seen * static_cast<double>(heads * head_dim) * iterations;
  const double bytes = static_cast<double>(pages.bytes / kKvHeads) * iterations;
  state.counters["GFLOP/s"] = benchmark::Counter(2e-9 * products, benchmark::Counter::kIsRate);
  state.counters["GB/s"] = benchmark::Counter(1e-9 * bytes, benchmark::Counter::kIsRate);
}

void register_all() {
  for (const Isa isa : {Isa::avx512, Isa::avx2}) {
    if (!cpu_supports(isa)) continue;
    const std::string title = "attention/" + std::string(name(isa));
    auto* bench = benchmark::RegisterBenchmark(
        title.c_str(), [isa](benchmark::State& state) { measure(state, isa); });
    bench->Unit(benchmark::kMicrosecond)
        ->ArgNames({"dim", "heads", "queries", "positions", "bits"});
    for (const std::int64_t bits : {16, 8, 4, 2}) {
      for (const std::int64_t head_dim : {64, 128}) {
        for (const std::int64_t heads : {1, 4, 8}) {
          for (const std::int64_t positions : {1024, 16384})
            bench->Args({head_dim, heads, 1, positions, bits});
          bench->Args({head_dim, heads, 4, 1024, bits});
        }
        for (const std::int64_t heads : {1, 4})
          for (const std::int64_t queries : {32, 64})
            for (const std::int64_t positions : {1024, 16384})
              bench->Args({head_dim, heads, queries, positions, bits});
      }
      bench->Args({80, 4, 32, 1024, bits})->Args({256, 2, 32, 1024, bits});
    }
    // Decoding with both of two processors, which share their memory's bandwidth.
    auto* both = benchmark::RegisterBenchmark(
        (title + "/two").c_str(), [isa](benchmark::State& state) { measure(state, isa); });
    both->Unit(benchmark::kMicrosecond)->ArgNames({"dim", "heads", "queries", "positions", "bits"});
    both->Threads(2)->UseRealTime();
    for (const std::int64_t bits : {16, 8, 4, 2})
      for (const std::int64_t heads : {1, 4, 8}) both->Args({64, heads, 1, 16384, bits});
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
