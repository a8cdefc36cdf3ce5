#include "probe/hardware.h"

#include <atomic>
#include <chrono>
#include <cstdint>

#include "base/bytes.h"

namespace plimsoll {
namespace {

using Clock = std::chrono::steady_clock;

constexpr Bytes piece_bytes = 512 * KiB;
constexpr double pass_macs = 2e8;  // of a worker
constexpr int passes = 5;          // of which the best counts: a limit, not a mean

/// Keeps results, so that the loops stay.
std::atomic<std::uint64_t> kept{0};

template <class Body>
double seconds_of(Body&& body) {
  const auto start = Clock::now();
  body();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

template <class Loop>
double measure_loop(Context& context, std::int64_t macs_per_step, Loop loop) {
  const auto steps = static_cast<std::int64_t>(pass_macs / static_cast<double>(macs_per_step));
  double best = 0;
  for (int pass = 0; pass < passes; ++pass) {
    const double seconds = seconds_of([&] {
      context.threads.run([&](int) { kept += static_cast<std::uint64_t>(loop(steps)); });
    });
    if (pass == 0 || seconds < best) best = seconds;
  }
  return 2.0 * static_cast<double>(steps * macs_per_step) *
         static_cast<double>(context.threads.size()) / best;
}

}  // namespace

double measure_read(Context& context, const std::vector<std::span<const std::byte>>& spans) {
  std::vector<std::span<const std::byte>> pieces;
  Bytes total = 0;
  for (const auto& span : spans) {
    // The loop takes whole lines, four at a time.
    for (Bytes at = 0; at < round_down(span.size(), 256); at += piece_bytes)
      pieces.push_back(span.subspan(at, std::min(piece_bytes, round_down(span.size(), 256) - at)));
    total += round_down(span.size(), 256);
  }
  const double seconds = seconds_of([&] {
    context.threads.parallel_for(static_cast<std::int64_t>(pieces.size()), 1,
                                 [&](std::int64_t begin, std::int64_t end, int) {
                                   for (std::int64_t i = begin; i < end; ++i) {
                                     const auto& piece = pieces[static_cast<std::size_t>(i)];
                                     kept += context.kernels.read_limit(
                                         piece.data(), static_cast<std::int64_t>(piece.size()));
                                   }
                                 });
  });
  return static_cast<double>(total) / seconds;
}

double measure_integer(Context& context) {
  return measure_loop(context, *context.kernels.integer_limit_macs, context.kernels.integer_limit);
}

double measure_float(Context& context) {
  return measure_loop(context, *context.kernels.float_limit_macs, context.kernels.float_limit);
}

}  // namespace plimsoll
