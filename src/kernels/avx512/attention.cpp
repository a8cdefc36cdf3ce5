#define PLIMSOLL_ISA avx512
#include <immintrin.h>

#include "kernels/kv_codes.h"
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

/// Levels by the low five bits of a word, whatever is above the code.
struct alignas(64) Levels {
  constexpr Levels(const std::int8_t* levels, int count) : words{} {
    for (int i = 0; i < 32; ++i) words[i] = levels[i % count];
  }
  std::int16_t words[32];
};
constexpr Levels kLevelsOfFour(kv_levels_four, 16), kLevelsOfTwo(kv_levels_two, 4);
/// Which byte goes into all bytes of a lane.
struct alignas(64) ByteOfLane {
  /// Lane i takes byte i, or of every eight the `half`-th four.
  constexpr explicit ByteOfLane(int half) : bytes{} {
    for (int i = 0; i < 64; ++i)
      bytes[i] = static_cast<std::uint8_t>(half < 0 ? i / 4 : i / 16 * 8 + half * 4 + i / 4 % 4);
  }
  std::uint8_t bytes[64];
};
constexpr ByteOfLane kInOrder(-1), kFirstFours(0), kSecondFours(1);

/// From bytes that `lanes` spreads, the codes of a pair.
template <KvTier kTier>
HWY_INLINE Pairs unpack(Pairs bytes, const ByteOfLane& lanes, int pair) {
  constexpr int kBits = kv_bits(kTier);
  const int shift = pair * 2 * kBits;
  const Pairs spread = _mm512_permutexvar_epi8(load_pairs(lanes.bytes), bytes);
  const Pairs codes = _mm512_srlv_epi16(spread, _mm512_set1_epi32(shift | (shift + kBits) << 16));
  const Levels& levels = kTier == KvTier::four ? kLevelsOfFour : kLevelsOfTwo;
  return _mm512_permutexvar_epi16(codes, load_pairs(levels.words));
}

template <KvTier kTier>
HWY_INLINE Pairs packed_keys(const std::byte* p, int pair) {
  if constexpr (kTier == KvTier::eight) {
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  } else {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return unpack<kTier>(_mm512_castsi128_si512(bytes), kInOrder, pair);
  }
}

template <KvTier kTier>
HWY_INLINE void packed_values(const std::byte* p, int pair, Pairs& first, Pairs& second) {
  if constexpr (kTier == KvTier::eight) {
    const Pairs codes = load_pairs(p);
    first = _mm512_srai_epi16(_mm512_unpacklo_epi8(codes, codes), 8);
    second = _mm512_srai_epi16(_mm512_unpackhi_epi8(codes, codes), 8);
  } else {
    const Pairs bytes =
        _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    first = unpack<kTier>(bytes, kFirstFours, pair);
    second = unpack<kTier>(bytes, kSecondFours, pair);
  }
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
