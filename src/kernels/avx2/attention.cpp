#define PLIMSOLL_ISA avx2
#define HWY_DISABLE_PCLMUL_AES  // not needed, and AVX2 does not imply them
#include <immintrin.h>

#include "kernels/kv_codes.h"
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

/// Levels by byte, in both halves.
struct alignas(32) Levels {
  constexpr Levels(const std::int8_t* levels, int count) : bytes{} {
    for (int i = 0; i < 32; ++i) bytes[i] = levels[i % count];
  }
  std::int8_t bytes[32];
};
constexpr Levels kLevelsOfFour(kv_levels_four, 16), kLevelsOfTwo(kv_levels_two, 4);
/// Puts one byte of each lane's four into the low bytes of both its words.
struct alignas(32) ByteOfLanes {
  constexpr ByteOfLanes() : bytes{} {
    for (int byte = 0; byte < 4; ++byte)
      for (int i = 0; i < 32; ++i)
        bytes[byte][i] = static_cast<std::uint8_t>(i % 2 == 0 ? i % 16 / 4 * 4 + byte : 0x80);
  }
  std::uint8_t bytes[4][32];
};
constexpr ByteOfLanes kByteOfLanes;

/// Of lanes of groups of 32 bits, the codes of a pair: moved to words' high bytes, where their
/// levels have the words' sign.
template <KvTier kTier>
HWY_INLINE Pairs unpack(Pairs groups, int pair) {
  constexpr int kBits = kv_bits(kTier);
  const int shift = 8 - pair * 2 * kBits % 8;
  const Pairs spread =
      _mm256_shuffle_epi8(groups, load_pairs(kByteOfLanes.bytes[pair * 2 * kBits / 8]));
  const Pairs moved =
      _mm256_mullo_epi16(spread, _mm256_set1_epi32(1 << shift | 1 << (shift - kBits + 16)));
  const Pairs codes = _mm256_and_si256(moved, _mm256_set1_epi16(((1 << kBits) - 1) << 8));
  const Levels& levels = kTier == KvTier::four ? kLevelsOfFour : kLevelsOfTwo;
  return _mm256_srai_epi16(_mm256_shuffle_epi8(load_pairs(levels.bytes), codes), 8);
}

template <KvTier kTier>
HWY_INLINE Pairs packed_keys(const std::byte* p, int pair) {
  if constexpr (kTier == KvTier::eight)
    return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  else
    return unpack<kTier>(load_pairs(p), pair);
}

struct ValuePairs {
  ValuePairs() = default;
  HWY_INLINE ValuePairs(Pairs first_vector, Pairs second_vector)
      : first(first_vector), second(second_vector) {}
  HWY_INLINE ValuePairs(const std::int16_t* low_row, const std::int16_t* high_row) {
    const Pairs low = load_pairs(low_row), high = load_pairs(high_row);
    first = _mm256_unpacklo_epi16(low, high);
    second = _mm256_unpackhi_epi16(low, high);
  }
  Pairs first, second;
};

template <KvTier kTier>
HWY_INLINE ValuePairs load_values(const std::byte* p) {
  const Pairs low = load_pairs(p);
  if constexpr (kTier == KvTier::eight) {
    return {_mm256_unpacklo_epi8(low, low), _mm256_unpackhi_epi8(low, low)};
  } else {
    const Pairs high = load_pairs(p + 32);
    return {_mm256_permute2x128_si256(low, high, 0x20), _mm256_permute2x128_si256(low, high, 0x31)};
  }
}
template <KvTier kTier>
HWY_INLINE ValuePairs unpack_values(const ValuePairs& groups, int pair) {
  if constexpr (kTier == KvTier::eight)
    return {_mm256_srai_epi16(groups.first, 8), _mm256_srai_epi16(groups.second, 8)};
  else
    return {unpack<kTier>(groups.first, pair), unpack<kTier>(groups.second, pair)};
}

HWY_INLINE Vector float_sums(Pairs sums) { return Vector{_mm256_cvtepi32_ps(sums)}; }

}  // namespace
}  // namespace plimsoll::avx2

#define PLIMSOLL_PAIR_DOT
#include "kernels/attention-inl.h"

#if HWY_TARGET != HWY_AVX2
#error "the compile flags of this folder do not select the vectors it is named after"
#endif
