#define PLIMSOLL_ISA neon
#include <arm_neon.h>

#include "kernels/limits-inl.h"

#if (HWY_TARGET != HWY_NEON && HWY_TARGET != HWY_NEON_WITHOUT_AES) || \
    !defined(__ARM_FEATURE_DOTPROD)
#error "the compile flags of this folder do not select the vectors it is named after"
#endif

namespace plimsoll::neon {

/// Chains of dot products. All are alike, so the compiler must not know that.
std::int64_t integer_limit(std::int64_t steps) {
  const int8x16_t x = vdupq_n_s8(3), y = vdupq_n_s8(1);
  int32x4_t sums[limit_chains];
  PLIMSOLL_UNROLL
  for (int i = 0; i < limit_chains; ++i) sums[i] = vdupq_n_s32(0);
  for (std::int64_t step = 0; step < steps; ++step) {
    PLIMSOLL_UNROLL
    for (int i = 0; i < limit_chains; ++i) {
      sums[i] = vdotq_s32(sums[i], x, y);
      __asm__ volatile("" : "+w"(sums[i]));
    }
  }
  int32x4_t all = sums[0];
  PLIMSOLL_UNROLL
  for (int i = 1; i < limit_chains; ++i) all = veorq_s32(all, sums[i]);
  return vaddvq_s32(all);
}
const std::int64_t integer_limit_macs = limit_chains * 16;

}  // namespace plimsoll::neon
