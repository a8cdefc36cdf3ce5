#include "cli/bench_probe.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>

#include "base/region.h"

namespace plimsoll {
namespace {

using Clock = std::chrono::steady_clock;

constexpr Bytes most_streamed = 256 * MiB;
constexpr int stream_passes = 20;
constexpr int compute_passes = 30;
constexpr double pass_macs = 8e8;  // of a worker, whatever its instruction set

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
  const Kernels& kernels = context.kernels;
  const auto workers = static_cast<Bytes>(context.threads.size());
  std::atomic<std::uint64_t> kept{0};  // results are used, so that the loops stay
  const auto operations = [&](std::int64_t macs_per_step, auto&& loop) {
    const auto steps =
        static_cast<std::int64_t>(pass_macs / 4 / static_cast<double>(macs_per_step));
    const double seconds = best_seconds(context.threads, compute_passes, [&](int) {
      kept += static_cast<std::uint64_t>(loop(steps));
    });
    return 2.0 * static_cast<double>(steps * macs_per_step) * static_cast<double>(workers) /
           seconds;
  };
  speed.integer_operations_per_second =
      operations(*kernels.integer_limit_macs, kernels.integer_limit);
  speed.float_operations_per_second = operations(*kernels.float_limit_macs, kernels.float_limit);

  // Whole pages for every worker.
  const Bytes each = round_down(std::min(room, most_streamed) / workers, page_bytes);
  if (each == 0) return speed;
  Ledger ledger;
  Region block(ledger, Account::runtime, each * workers);
  block.prefault();
  const double stream_seconds = best_seconds(context.threads, stream_passes, [&](int worker) {
    kept += kernels.read_limit(block.data() + static_cast<Bytes>(worker) * each,
                               static_cast<std::int64_t>(each));
  });
  speed.streamed_bytes = each * workers;
  speed.bytes_per_second = static_cast<double>(speed.streamed_bytes) / stream_seconds;
  return speed;
}

}  // namespace plimsoll
