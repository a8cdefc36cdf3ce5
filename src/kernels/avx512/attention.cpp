#define PLIMSOLL_ISA avx512
#include <immintrin.h>

#include "kernels/vector-inl.h"

namespace plimsoll::avx512 {
namespace {

using Pairs = __m512i;
HWY_INLINE Pairs no_pairs() { return _mm512_setzero_si512(); }
HWY_INLINE Pairs load_pairs(const void* p) { return _mm512_loadu_si512(p); }
HWY_INLINE Pairs splat_pair(const float* p) { return _mm512_castps_si512(_mm512_set1_ps(*p)); }
HWY_INLINE Pairs pair_dot(Pairs sums, Pairs a, Pairs b) {
  sums = _mm512_dpwssd_epi32(sums, a, b);
  __asm__("" : "+v"(sums));  // GCC 12 would keep a copy of every sum on the stack
  return sums;
}
HWY_INLINE Vector float_sums(Pairs sums) { return Vector{_mm512_cvtepi32_ps(sums)}; }

}  // namespace
}  // namespace plimsoll::avx512

#define PLIMSOLL_PAIR_DOT
#include "kernels/attention-inl.h"

// Highway 1.0.3 asks for AVX-VNNI, which Zen 4 lacks, before it calls a target AVX3_DL. Float code
// gains nothing from it.
#if HWY_TARGET != HWY_AVX3 && HWY_TARGET != HWY_AVX3_DL
#error "the compile flags of this folder do not select the vectors it is named after"
#endif
