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
/// Which eight bits of 64 go into each byte: two lanes' groups of 32 bits, of which words take the
/// codes of a pair into their lowest bits.
struct alignas(64) BitsOfPairs {
  constexpr explicit BitsOfPairs(int bits) : first{} {
    for (int pair = 0; pair < 16 / bits; ++pair)
      for (int i = 0; i < 64; ++i)
        first[pair][i] =
            static_cast<std::uint8_t>(i / 4 % 2 * 32 + pair * 2 * bits + i / 2 % 2 * bits);
  }
  std::uint8_t first[8][64];
};
constexpr BitsOfPairs kBitsOfFour(4), kBitsOfTwo(2);

/// Of lanes of groups, the codes of a pair.
template <KvTier kTier>
HWY_INLINE Pairs unpack(Pairs groups, int pair) {
  const Pairs bits = load_pairs((kTier == KvTier::four ? kBitsOfFour : kBitsOfTwo).first[pair]);
  const Levels& levels = kTier == KvTier::four ? kLevelsOfFour : kLevelsOfTwo;
  return _mm512_permutexvar_epi16(_mm512_multishift_epi64_epi8(bits, groups),
                                  load_pairs(levels.words));
}

template <KvTier kTier>
HWY_INLINE Pairs packed_keys(const std::byte* p, int pair) {
  if constexpr (kTier == KvTier::eight)
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  else
    return unpack<kTier>(load_pairs(p), pair);
}

struct ValuePairs {
  ValuePairs() = default;
  HWY_INLINE ValuePairs(Pairs first_vector, Pairs second_vector)
      : first(first_vector), second(second_vector) {}
  HWY_INLINE ValuePairs(const std::int16_t* low_row, const std::int16_t* high_row) {
    const Pairs low = load_pairs(low_row), high = load_pairs(high_row);
    first = _mm512_unpacklo_epi16(low, high);
    second = _mm512_unpackhi_epi16(low, high);
  }
  Pairs first, second;
};

template <KvTier kTier>
HWY_INLINE ValuePairs load_values(const std::byte* p) {
  const Pairs low = load_pairs(p);
  if constexpr (kTier == KvTier::eight) {
    return {_mm512_unpacklo_epi8(low, low), _mm512_unpackhi_epi8(low, low)};
  } else {
    const Pairs high = load_pairs(p + 64);
    return {_mm512_shuffle_i32x4(low, high, 0x88), _mm512_shuffle_i32x4(low, high, 0xdd)};
  }
}
template <KvTier kTier>
HWY_INLINE ValuePairs unpack_values(const ValuePairs& groups, int pair) {
  if constexpr (kTier == KvTier::eight)
    return {_mm512_srai_epi16(groups.first, 8), _mm512_srai_epi16(groups.second, 8)};
  else
    return {unpack<kTier>(groups.first, pair), unpack<kTier>(groups.second, pair)};
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
