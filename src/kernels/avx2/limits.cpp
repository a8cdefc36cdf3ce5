#define PLIMSOLL_ISA avx2
#define HWY_DISABLE_PCLMUL_AES  // not needed, and AVX2 does not imply them
#include <immintrin.h>

#include "kernels/limits-inl.h"

#if HWY_TARGET != HWY_AVX2
#error "the compile flags of this folder do not select the vectors it is named after"
#endif

namespace plimsoll::avx2 {

/// Chains of multiply, add in 16 bits eight times, widen, add: the best that AVX2 has for bytes,
/// and only for small ones. All are alike, so the compiler must not know that.
std::int64_t integer_limit(std::int64_t steps) {
  __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
  __m256i x = _mm256_set1_epi8(3), y = x, z = x, w = x;
  const __m256i by = _mm256_set1_epi8(1), ones = _mm256_set1_epi16(1);
  for (std::int64_t step = 0; step < steps; ++step) {
    __m256i e = _mm256_setzero_si256(), f = e, g = e, h = e;
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      __asm__ volatile(""
                       : "+x"(x), "+x"(y), "+x"(z), "+x"(w), "+x"(e), "+x"(f), "+x"(g), "+x"(h));
      e = _mm256_add_epi16(e, _mm256_maddubs_epi16(x, by));
      f = _mm256_add_epi16(f, _mm256_maddubs_epi16(y, by));
      g = _mm256_add_epi16(g, _mm256_maddubs_epi16(z, by));
      h = _mm256_add_epi16(h, _mm256_maddubs_epi16(w, by));
    }
    a = _mm256_add_epi32(a, _mm256_madd_epi16(e, ones));
    b = _mm256_add_epi32(b, _mm256_madd_epi16(f, ones));
    c = _mm256_add_epi32(c, _mm256_madd_epi16(g, ones));
    d = _mm256_add_epi32(d, _mm256_madd_epi16(h, ones));
  }
  const __m256i sum = _mm256_xor_si256(_mm256_xor_si256(a, b), _mm256_xor_si256(c, d));
  return _mm256_extract_epi32(sum, 0);
}
const std::int64_t integer_limit_macs = 4 * 8 * 32;

}  // namespace plimsoll::avx2
