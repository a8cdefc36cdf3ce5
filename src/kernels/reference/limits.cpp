// Plain loops: what scalar code, or what the compiler makes of it, can do.
#define PLIMSOLL_ISA reference
#include "kernels/functions-inl.h"

namespace plimsoll::reference {

std::uint64_t read_limit(const void* data, std::int64_t bytes) {
  const auto* words = static_cast<const std::uint64_t*>(data);
  std::uint64_t a = 0, b = 0, c = 0, d = 0;
  for (std::int64_t i = 0; i < bytes / 8; i += 4) {
    a ^= words[i];
    b ^= words[i + 1];
    c ^= words[i + 2];
    d ^= words[i + 3];
  }
  return a ^ b ^ c ^ d;
}

std::int64_t integer_limit(std::int64_t steps) {
  std::uint32_t sums[64] = {};  // may wrap
  std::int8_t x[64];
  for (std::int8_t& value : x) value = 3;
  for (std::int64_t step = 0; step < steps; ++step) {
    __asm__ volatile("" : "+m"(x));
    for (int i = 0; i < 64; ++i) sums[i] += static_cast<std::uint32_t>(x[i] * x[i]);
  }
  return sums[0];
}
const std::int64_t integer_limit_macs = 64;

float float_limit(std::int64_t steps) {
  float a[48] = {};
  for (std::int64_t step = 0; step < steps; ++step) {
    __asm__ volatile("" : "+m"(a));
    for (float& value : a) value = value * 0.5f + 1.0f;
  }
  return a[0];
}
const std::int64_t float_limit_macs = 48;

}  // namespace plimsoll::reference
