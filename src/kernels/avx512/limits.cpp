#define PLIMSOLL_ISA avx512
#include <immintrin.h>

#include "kernels/limits-inl.h"

#if HWY_TARGET != HWY_AVX3 && HWY_TARGET != HWY_AVX3_DL
#error "the compile flags of this folder do not select the vectors it is named after"
#endif

namespace plimsoll::avx512 {

/// Chains of VNNI dot products. All are alike, so the compiler must not know that.
std::int64_t integer_limit(std::int64_t steps) {
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
  const __m512i first = _mm512_xor_si512(_mm512_xor_si512(a, b), _mm512_xor_si512(c, d));
  const __m512i second = _mm512_xor_si512(_mm512_xor_si512(e, f), _mm512_xor_si512(g, h));
  const __m512i third = _mm512_xor_si512(_mm512_xor_si512(i, j), _mm512_xor_si512(k, l));
  return _mm512_reduce_or_epi32(_mm512_or_si512(_mm512_or_si512(first, second), third));
}
const std::int64_t integer_limit_macs = 12 * 64;

}  // namespace plimsoll::avx512
