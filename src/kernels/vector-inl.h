// What the vector kernels of every folder share: the vector type, exp and tanh, sums across lanes.
// Highway (static dispatch: the folder's compile flags decide the target) is included here only.
// Everything sits in an anonymous namespace, since the linker may not merge functions of two
// folders.
#pragma once

#include <cstdint>

#define HWY_COMPILE_ONLY_STATIC
#if defined(__aarch64__)  // or Highway prepares to dispatch at run time, and asks for cryptography
#define TOOLCHAIN_MISS_SYS_AUXV_H
#endif
#include "hwy/highway.h"

#ifndef PLIMSOLL_ISA
#error "define PLIMSOLL_ISA before including this file"
#endif

#define PLIMSOLL_UNROLL HWY_UNROLL(16)

namespace plimsoll::PLIMSOLL_ISA {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

using Tag = hn::ScalableTag<float>;
using IntTag = hn::RebindToSigned<Tag>;
using HalfTag = hn::Rebind<hwy::float16_t, Tag>;
using Bits16Tag = hn::Rebind<std::uint16_t, Tag>;
using UintTag = hn::RebindToUnsigned<Tag>;
using Vector = hn::Vec<Tag>;
using Ints = hn::Vec<IntTag>;
using Mask = hn::Mask<Tag>;

constexpr Tag kTag{};
constexpr std::int64_t kLanes = HWY_LANES(float);
/// Vector registers, for the size of register tiles.
constexpr int kRegisters = HWY_TARGET == HWY_AVX2 ? 16 : 32;

HWY_INLINE Vector load(const float* p) { return hn::LoadU(kTag, p); }
HWY_INLINE void store(Vector v, float* p) { hn::StoreU(v, kTag, p); }
HWY_INLINE Vector splat(float x) { return hn::Set(kTag, x); }

HWY_INLINE Vector load_half(const std::uint16_t* p) {
  return hn::PromoteTo(kTag, hn::LoadU(HalfTag(), reinterpret_cast<const hwy::float16_t*>(p)));
}

HWY_INLINE Vector load_bfloat(const std::uint16_t* p) {
  return hn::BitCast(kTag, hn::ShiftLeft<16>(hn::PromoteTo(UintTag(), hn::LoadU(Bits16Tag(), p))));
}

HWY_INLINE void store_half(Vector v, std::uint16_t* p) {
  hn::StoreU(hn::DemoteTo(HalfTag(), v), HalfTag(), reinterpret_cast<hwy::float16_t*>(p));
}

/// Asks for a cache line that is needed in some microseconds: into the second-level cache, since
/// the first would lose it, or what is in use, before that.
HWY_INLINE void prefetch_to_l2(const void* p) { __builtin_prefetch(p, 0, 2); }

/// Lanes [0, count).
HWY_INLINE Mask first_lanes(std::int64_t count) {
  return hn::FirstN(kTag, static_cast<std::size_t>(count));
}

/// The first `count` lanes from memory, zeros beyond; touches nothing else.
HWY_INLINE Vector load_first(const float* p, std::int64_t count) {
#if HWY_MEM_OPS_MIGHT_FAULT  // no masked loads
  float lanes[kLanes] = {};
  for (std::int64_t i = 0; i < count; ++i) lanes[i] = p[i];
  return load(lanes);
#else
  return hn::MaskedLoad(first_lanes(count), kTag, p);
#endif
}
/// The first `count` lanes to memory; touches nothing else.
HWY_INLINE void store_first(Vector v, float* p, std::int64_t count) {
#if HWY_MEM_OPS_MIGHT_FAULT
  float lanes[kLanes];
  store(v, lanes);
  for (std::int64_t i = 0; i < count; ++i) p[i] = lanes[i];
#else
  hn::BlendedStore(v, first_lanes(count), kTag, p);
#endif
}

/// 2^n * e^r = e^x with n = round(x / ln 2), for x in [-87, 88.37]; other x give any value, NaN
/// gives NaN. The polynomial is 1 + r + r^2 P(r), P the minimax fit on |r| <= 0.35 (relative error
/// 2^-28 before rounding), so that e^0 is 1 exactly. Error below 1 ulp.
HWY_INLINE Vector exp_core(Vector x) {
  // Adding 1.5 * 2^23 leaves round(x / ln 2) in the low bits; the 127 makes it a biased exponent.
  const Vector magic = splat(12582912.0f + 127.0f);
  const Vector shifted = hn::MulAdd(x, splat(0x1.715476p+0f), magic);
  const Vector n = hn::Sub(shifted, magic);
  const Vector power = hn::BitCast(kTag, hn::ShiftLeft<23>(hn::BitCast(IntTag(), shifted)));
  // ln 2 in two parts, so that r keeps its relative precision.
  const Vector r0 = hn::NegMulAdd(n, splat(0x1.62e430p-1f), x);
  const Vector r = hn::NegMulAdd(n, splat(-0x1.05c610p-29f), r0);
  Vector p = hn::MulAdd(r, splat(1.3813144702687875e-3f), splat(8.369418827065862e-3f));
  p = hn::MulAdd(r, p, splat(4.166845678422748e-2f));
  p = hn::MulAdd(r, p, splat(0.1666651479149561f));
  p = hn::MulAdd(r, p, splat(0.49999993050734093f));
  p = hn::MulAdd(r, p, splat(1.0f));
  p = hn::MulAdd(r, p, splat(1.0f));
  return hn::Mul(p, power);
}

/// e^x for x <= 0 (or up to 88.37). Below -87, where e^x nears the subnormals, 0.
HWY_INLINE Vector exp_nonpositive(Vector x) {
  return hn::IfThenZeroElse(hn::Lt(x, splat(-87.0f)), exp_core(x));
}

/// 2^x for x <= 0; 0 below -126, NaN for NaN. The polynomial is 1 + r P(r), P the minimax fit on
/// |r|
/// <= 0.5 (relative error 2^-23 before rounding), so that 2^0 is 1 exactly. Faster than e^x: only
/// its polynomial takes the ports of multiplications.
HWY_INLINE Vector exp2_nonpositive(Vector x) {
  const Vector magic = splat(12582912.0f + 127.0f);  // as in exp_core
  const Vector shifted = hn::Add(x, magic);
  const Vector r = hn::Sub(x, hn::Sub(shifted, magic));
  const Vector power = hn::BitCast(kTag, hn::ShiftLeft<23>(hn::BitCast(IntTag(), shifted)));
  Vector p = hn::MulAdd(r, splat(1.3264727e-3f), splat(9.6715127e-3f));
  p = hn::MulAdd(r, p, splat(5.5507337e-2f));
  p = hn::MulAdd(r, p, splat(2.4022242e-1f));
  p = hn::MulAdd(r, p, splat(6.9314698e-1f));
  p = hn::MulAdd(r, p, splat(1.0f));
  return hn::IfThenZeroElse(hn::Lt(x, splat(-126.0f)), hn::Mul(p, power));
}

/// e^x for any x: 0 below -87, infinity above 88.37.
HWY_INLINE Vector exp_any(Vector x) {
  const Vector y = exp_nonpositive(x);
  return hn::IfThenElse(hn::Gt(x, splat(88.37f)), splat(__builtin_inff()), y);
}

/// tanh x, error below 3 ulp: an odd minimax polynomial for |x| < 0.5, otherwise 1 - 2 / (e^2|x| +
/// 1) with x's sign.
HWY_INLINE Vector tanh_any(Vector x) {
  const Vector magnitude = hn::Abs(x);
  const Vector square = hn::Mul(x, x);
  Vector p = hn::MulAdd(square, splat(1.7241491510101084e-2f), splat(-5.304549427833013e-2f));
  p = hn::MulAdd(square, p, splat(0.13325878957582699f));
  p = hn::MulAdd(square, p, splat(-0.3333314389625853f));
  const Vector small = hn::MulAdd(hn::Mul(square, x), p, x);
  const Vector e = exp_any(hn::Add(magnitude, magnitude));
  const Vector one = splat(1.0f);
  const Vector big = hn::Sub(one, hn::Div(splat(2.0f), hn::Add(e, one)));
  return hn::IfThenElse(hn::Lt(magnitude, splat(0.5f)), small, hn::CopySign(big, x));
}

HWY_INLINE float sum_lanes(Vector v) { return hn::GetLane(hn::SumOfLanes(kTag, v)); }
HWY_INLINE float max_lanes(Vector v) { return hn::GetLane(hn::MaxOfLanes(kTag, v)); }

using Four = hn::Vec<hn::Full128<float>>;

HWY_INLINE Four sum_blocks(Four v) { return v; }
#if HWY_MAX_BYTES >= 32
HWY_INLINE Four sum_blocks(hn::Vec<hn::Full256<float>> v) {
  return hn::Add(hn::LowerHalf(v), hn::UpperHalf(hn::Full128<float>(), v));
}
#endif
#if HWY_MAX_BYTES == 64
HWY_INLINE Four sum_blocks(hn::Vec<hn::Full512<float>> v) {
  return sum_blocks(hn::Add(hn::LowerHalf(v), hn::UpperHalf(hn::Full256<float>(), v)));
}
#endif

/// The sums of the lanes of a, b, c and d, always added in the same order.
HWY_INLINE Four sum_lanes_of_four(Vector a, Vector b, Vector c, Vector d) {
  const Vector ac = hn::Add(hn::InterleaveLower(kTag, a, c), hn::InterleaveUpper(kTag, a, c));
  const Vector bd = hn::Add(hn::InterleaveLower(kTag, b, d), hn::InterleaveUpper(kTag, b, d));
  return sum_blocks(hn::Add(hn::InterleaveLower(kTag, ac, bd), hn::InterleaveUpper(kTag, ac, bd)));
}

template <int kValue>
struct Constant {
  static constexpr int value = kValue;
};

/// Calls f(Constant<min(count, kMax)>()) for count >= 1: a run-time size as a compile-time one.
template <int kMax, typename Function>
HWY_INLINE void with_constant(std::int64_t count, const Function& f) {
  if constexpr (kMax > 1) {
    if (count < kMax) {
      with_constant<kMax - 1>(count, f);
      return;
    }
  }
  f(Constant<kMax>());
}

}  // namespace
}  // namespace plimsoll::PLIMSOLL_ISA
