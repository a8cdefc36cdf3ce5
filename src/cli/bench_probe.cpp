#include "cli/bench_probe.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>

#include "base/region.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace plimsoll {
namespace {

using Clock = std::chrono::steady_clock;

constexpr Bytes most_streamed = 256 * MiB;
constexpr int stream_passes = 20;
constexpr int integer_passes = 40;
constexpr std::int64_t integer_steps = 1 << 20;

/// Sum of a block, a multiple of 512 bytes, 64-byte aligned.
using StreamFunction = std::uint64_t (*)(const std::byte* data, Bytes bytes);
/// Dot products in registers; `operations_per_step` counts its 8-bit products and sums.
struct IntegerLoop {
  std::int64_t (*run)(std::int64_t steps);
  double operations_per_step;
};

std::uint64_t stream_plain(const std::byte* data, Bytes bytes) {
  const auto* words = reinterpret_cast<const std::uint64_t*>(data);
  std::uint64_t a = 0, b = 0, c = 0, d = 0;
  for (Bytes i = 0; i < bytes / 8; i += 4) {
    a += words[i];
    b += words[i + 1];
    c += words[i + 2];
    d += words[i + 3];
  }
  return a + b + c + d;
}

std::int64_t integer_plain(std::int64_t steps) {
  std::array<std::uint32_t, 64> sums{};  // may wrap
  std::array<std::int8_t, 64> x;
  x.fill(3);
  for (std::int64_t step = 0; step < steps; ++step) {
    __asm__ volatile("" : "+m"(x));
    for (std::size_t i = 0; i < x.size(); ++i) sums[i] += static_cast<std::uint32_t>(x[i] * x[i]);
  }
  return sums[0];
}

#if defined(__x86_64__)

__attribute__((target("avx2"))) std::uint64_t stream_avx2(const std::byte* data, Bytes bytes) {
  const auto* words = reinterpret_cast<const __m256i*>(data);
  __m256i sums[4] = {};
  for (Bytes i = 0; i < bytes / 32; i += 4)
    for (Bytes j = 0; j < 4; ++j)
      sums[j] = _mm256_add_epi64(sums[j], _mm256_load_si256(words + i + j));
  const __m256i sum =
      _mm256_add_epi64(_mm256_add_epi64(sums[0], sums[1]), _mm256_add_epi64(sums[2], sums[3]));
  alignas(32) std::uint64_t lanes[4];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), sum);
  return lanes[0] + lanes[1] + lanes[2] + lanes[3];
}

/// Four independent chains of multiply, widen, add: the best that AVX2 has for bytes. All are
/// alike, so the compiler must not know that.
__attribute__((target("avx2"))) std::int64_t integer_avx2(std::int64_t steps) {
  __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
  __m256i x = _mm256_set1_epi8(3), y = x, z = x, w = x;
  const __m256i by = _mm256_set1_epi8(1), ones = _mm256_set1_epi16(1);
  for (std::int64_t step = 0; step < steps; ++step) {
    __asm__ volatile("" : "+x"(x), "+x"(y), "+x"(z), "+x"(w));
    a = _mm256_add_epi32(a, _mm256_madd_epi16(_mm256_maddubs_epi16(x, by), ones));
    b = _mm256_add_epi32(b, _mm256_madd_epi16(_mm256_maddubs_epi16(y, by), ones));
    c = _mm256_add_epi32(c, _mm256_madd_epi16(_mm256_maddubs_epi16(z, by), ones));
    d = _mm256_add_epi32(d, _mm256_madd_epi16(_mm256_maddubs_epi16(w, by), ones));
  }
  const __m256i sum = _mm256_add_epi32(_mm256_add_epi32(a, b), _mm256_add_epi32(c, d));
  return _mm256_extract_epi32(sum, 0);
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12 warns of its own AVX-512 headers
#pragma GCC diagnostic ignored "-Wuninitialized"

__attribute__((target("avx512f"))) std::uint64_t stream_avx512(const std::byte* data, Bytes bytes) {
  __m512i sums[4] = {};
  for (Bytes i = 0; i < bytes; i += 256)
    for (Bytes j = 0; j < 4; ++j)
      sums[j] = _mm512_add_epi64(sums[j], _mm512_load_si512(data + i + 64 * j));
  const __m512i sum =
      _mm512_add_epi64(_mm512_add_epi64(sums[0], sums[1]), _mm512_add_epi64(sums[2], sums[3]));
  return static_cast<std::uint64_t>(_mm512_reduce_or_epi64(sum));
}

/// Twelve independent chains of VNNI dot products: more than latency times throughput on every such
/// processor. All are alike, so the compiler must not know that.
__attribute__((target("avx512f,avx512vnni"))) std::int64_t integer_avx512(std::int64_t steps) {
  const __m512i x = _mm512_set1_epi8(3), y = _mm512_set1_epi8(1);
  __m512i a = _mm512_setzero_si512(), b = a, c = a, d = a, e = a, f = a;
  __m512i g = a, h = a, i = a, j = a, k = a, l = a;
  for (std::int64_t step = 0; step < steps; ++step) {
    a = _mm512_dpbusd_epi32(a, x, y);
    b = _mm512_dpbusd_epi32(b, x, y);
    c = _mm512_dpbusd_epi32(c, x, y);
    d = _mm512_dpbusd_epi32(d, x, y);
    e = _mm512_dpbusd_epi32(e, x, y);
    f = _mm512_dpbusd_epi32(f, x, y);
    g = _mm512_dpbusd_epi32(g, x, y);
    h = _mm512_dpbusd_epi32(h, x, y);
    i = _mm512_dpbusd_epi32(i, x, y);
    j = _mm512_dpbusd_epi32(j, x, y);
    k = _mm512_dpbusd_epi32(k, x, y);
    l = _mm512_dpbusd_epi32(l, x, y);
    __asm__ volatile(""
                     : "+v"(a), "+v"(b), "+v"(c), "+v"(d), "+v"(e), "+v"(f), "+v"(g), "+v"(h),
                       "+v"(i), "+v"(j), "+v"(k), "+v"(l));
  }
  const __m512i first = _mm512_add_epi32(_mm512_add_epi32(a, b), _mm512_add_epi32(c, d));
  const __m512i second = _mm512_add_epi32(_mm512_add_epi32(e, f), _mm512_add_epi32(g, h));
  const __m512i third = _mm512_add_epi32(_mm512_add_epi32(i, j), _mm512_add_epi32(k, l));
  return _mm512_reduce_or_epi32(  // adding lanes may overflow
      _mm512_add_epi32(_mm512_add_epi32(first, second), third));
}

#pragma GCC diagnostic pop

#endif  // __x86_64__

StreamFunction stream_function(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::avx512) return stream_avx512;
  if (isa == Isa::avx2) return stream_avx2;
#endif
  (void)isa;
  return stream_plain;
}

IntegerLoop integer_loop(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::avx512) return {integer_avx512, 12 * 64 * 2};
  if (isa == Isa::avx2) return {integer_avx2, 4 * 32 * 2};
#endif
  (void)isa;
  return {integer_plain, 64 * 2};
}

/// The shortest of several runs on all workers, in seconds.
template <class Body>
double best_seconds(ThreadPool& threads, int passes, Body&& body) {
  double best = 0;
  for (int pass = 0; pass < passes; ++pass) {
    const auto start = Clock::now();
    threads.run(body);
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    if (pass == 0 || seconds < best) best = seconds;
  }
  return best;
}

}  // namespace

MachineSpeed measure_machine(Context& context, Bytes room) {
  MachineSpeed speed;
  const Isa isa = context.kernels.isa;
  const auto workers = static_cast<Bytes>(context.threads.size());
  std::atomic<std::uint64_t> kept{0};  // results are used, so that the loops stay

  const IntegerLoop loop = integer_loop(isa);
  const double integer_seconds = best_seconds(context.threads, integer_passes, [&](int) {
    kept += static_cast<std::uint64_t>(loop.run(integer_steps));
  });
  speed.integer_operations_per_second = loop.operations_per_step *
                                        static_cast<double>(integer_steps) *
                                        static_cast<double>(workers) / integer_seconds;

  // Whole pages for every worker.
  const Bytes each = round_down(std::min(room, most_streamed) / workers, page_bytes);
  if (each == 0) return speed;
  Ledger ledger;
  Region block(ledger, Account::runtime, each * workers);
  block.prefault();
  const StreamFunction stream = stream_function(isa);
  const double stream_seconds = best_seconds(context.threads, stream_passes, [&](int worker) {
    kept += stream(block.data() + static_cast<Bytes>(worker) * each, each);
  });
  speed.streamed_bytes = each * workers;
  speed.bytes_per_second = static_cast<double>(speed.streamed_bytes) / stream_seconds;
  return speed;
}

}  // namespace plimsoll
