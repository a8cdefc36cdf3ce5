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
/// Which byte, of 16 that are in both halves, goes into the low bytes of a lane's words.
struct alignas(32) ByteOfLane {
  /// Lane i takes byte i, or of every eight the `half`-th four.
  constexpr explicit ByteOfLane(int half) : bytes{} {
    for (int i = 0; i < 32; ++i) {
      const int byte = half < 0 ? i / 4 : i / 16 * 8 + half * 4 + i / 4 % 4;
      bytes[i] = static_cast<std::uint8_t>(i % 2 == 0 ? byte : 0x80);
    }
  }
  std::uint8_t bytes[32];
};
constexpr ByteOfLane kInOrder(-1), kFirstFours(0), kSecondFours(1);

/// From bytes that `lanes` spreads, the codes of a pair: moved to words' high bytes, where their
/// levels have the words' sign.
template <KvTier kTier>
HWY_INLINE Pairs unpack(Pairs bytes, const ByteOfLane& lanes, int pair) {
  constexpr int kBits = kv_bits(kTier);
  const int shift = 8 - pair * 2 * kBits;
  const Pairs spread = _mm256_shuffle_epi8(bytes, load_pairs(lanes.bytes));
  const Pairs moved =
      _mm256_mullo_epi16(spread, _mm256_set1_epi32(1 << shift | 1 << (shift - kBits + 16)));
  const Pairs codes = _mm256_and_si256(moved, _mm256_set1_epi16(((1 << kBits) - 1) << 8));
  const Levels& levels = kTier == KvTier::four ? kLevelsOfFour : kLevelsOfTwo;
  return _mm256_srai_epi16(_mm256_shuffle_epi8(load_pairs(levels.bytes), codes), 8);
}

template <KvTier kTier>
HWY_INLINE Pairs packed_keys(const std::byte* p, int pair) {
  if constexpr (kTier == KvTier::eight) {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  } else {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    return unpack<kTier>(_mm256_broadcastq_epi64(bytes), kInOrder, pair);
  }
}

template <KvTier kTier>
HWY_INLINE void packed_values(const std::byte* p, int pair, Pairs& first, Pairs& second) {
  if constexpr (kTier == KvTier::eight) {
    const Pairs codes = load_pairs(p);
    first = _mm256_srai_epi16(_mm256_unpacklo_epi8(codes, codes), 8);
    second = _mm256_srai_epi16(_mm256_unpackhi_epi8(codes, codes), 8);
  } else {
    const Pairs bytes =
        _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    first = unpack<kTier>(bytes, kFirstFours, pair);
    second = unpack<kTier>(bytes, kSecondFours, pair);
  }
}

HWY_INLINE Vector float_sums(Pairs sums) { return Vector{_mm256_cvtepi32_ps(sums)}; }

}  // namespace
}  // namespace plimsoll::avx2

#define PLIMSOLL_PAIR_DOT
#include "kernels/attention-inl.h"

#if HWY_TARGET != HWY_AVX2
#error "the compile flags of this folder do not select the vectors it is named after"
#endif
