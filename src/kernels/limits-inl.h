// The loops that measure what the processor can do at best, as far as every vector width shares
// them. To be included by a folder's limits.cpp after PLIMSOLL_ISA is set; the folder adds
// integer_limit.
#include "kernels/functions-inl.h"
#include "kernels/vector-inl.h"

namespace plimsoll::PLIMSOLL_ISA {
namespace {

/// As many independent chains as a processor's latency times its throughput, or more.
constexpr int limit_chains = kRegisters == 32 ? 16 : 12;

}  // namespace

std::uint64_t read_limit(const void* data, std::int64_t bytes) {
  constexpr std::int64_t vectors = 4;
  const auto* at = static_cast<const float*>(data);
  const IntTag tag;
  using IntVector = hn::Vec<IntTag>;
  IntVector sums[vectors] = {hn::Zero(tag), hn::Zero(tag), hn::Zero(tag), hn::Zero(tag)};
  for (std::int64_t i = 0; i < bytes / 4; i += vectors * kLanes)
    for (std::int64_t v = 0; v < vectors; ++v)
      sums[v] = hn::Xor(sums[v], hn::BitCast(tag, load(at + i + v * kLanes)));
  const IntVector sum = hn::Xor(hn::Xor(sums[0], sums[1]), hn::Xor(sums[2], sums[3]));
  alignas(64) std::int32_t lanes[kLanes];
  hn::Store(sum, tag, lanes);
  std::uint64_t result = 0;
  for (const std::int32_t lane : lanes) result = result * 31 + static_cast<std::uint32_t>(lane);
  return result;
}

float float_limit(std::int64_t steps) {
  Vector a[limit_chains];
  PLIMSOLL_UNROLL
  for (int i = 0; i < limit_chains; ++i) a[i] = splat(static_cast<float>(i));
  const Vector x = splat(0.5f), y = splat(1.0f);
  for (std::int64_t step = 0; step < steps; ++step) {
    PLIMSOLL_UNROLL
    for (int i = 0; i < limit_chains; ++i) a[i] = hn::MulAdd(a[i], x, y);
  }
  Vector sum = a[0];
  PLIMSOLL_UNROLL
  for (int i = 1; i < limit_chains; ++i) sum = hn::Add(sum, a[i]);
  return sum_lanes(sum);
}
const std::int64_t float_limit_macs = limit_chains * kLanes;

}  // namespace plimsoll::PLIMSOLL_ISA
