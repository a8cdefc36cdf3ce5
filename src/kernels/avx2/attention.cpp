#define PLIMSOLL_ISA avx2
#define HWY_DISABLE_PCLMUL_AES  // not needed, and AVX2 does not imply them
#include <immintrin.h>

#include "kernels/vector-inl.h"

namespace plimsoll::avx2 {
namespace {

using Pairs = __m256i;
HWY_INLINE Pairs no_pairs() { return _mm256_setzero_si256(); }
HWY_INLINE Pairs load_pairs(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}
HWY_INLINE Pairs splat_pair(const float* p) { return _mm256_castps_si256(_mm256_broadcast_ss(p)); }
HWY_INLINE Pairs pair_dot(Pairs sums, Pairs a, Pairs b) {
  return _mm256_add_epi32(sums, _mm256_madd_epi16(a, b));
}
HWY_INLINE Vector float_sums(Pairs sums) { return Vector{_mm256_cvtepi32_ps(sums)}; }

}  // namespace
}  // namespace plimsoll::avx2

#define PLIMSOLL_PAIR_DOT
#include "kernels/attention-inl.h"

#if HWY_TARGET != HWY_AVX2
#error "the compile flags of this folder do not select the vectors it is named after"
#endif
