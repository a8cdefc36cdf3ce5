// Elementwise operations, norms and softmax, for every vector width. Any length: the last lanes are
// masked, so nothing outside the arrays is read or written, and the result may overwrite the input.
#include "kernels/functions-inl.h"
#include "kernels/vector-inl.h"

extern "C" double log(double);  // the C library's; <cmath> would bring inline functions along

namespace plimsoll::PLIMSOLL_ISA {
namespace {

using DoubleTag = hn::ScalableTag<double>;
using DoubleVector = hn::Vec<DoubleTag>;
using HalfVectorTag = hn::Rebind<float, DoubleTag>;

/// Calls operation(offset, load, store) for each vector of [0, n); load and store are masked in the
/// last one.
template <typename Operation>
HWY_INLINE void for_each_vector(std::int64_t n, const Operation& operation) {
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    operation(
        i, [](const float* p) HWY_ATTR { return load(p); },
        [](Vector v, float* p) HWY_ATTR { store(v, p); });
  }
  if (i < n) {
    const std::int64_t count = n - i;
    operation(
        i, [count](const float* p) HWY_ATTR { return load_first(p, count); },
        [count](Vector v, float* p) HWY_ATTR { store_first(v, p, count); });
  }
}

HWY_INLINE DoubleVector lower_doubles(Vector v) {
  return hn::PromoteTo(DoubleTag(), hn::LowerHalf(HalfVectorTag(), v));
}
HWY_INLINE DoubleVector upper_doubles(Vector v) {
  return hn::PromoteTo(DoubleTag(), hn::UpperHalf(HalfVectorTag(), v));
}

HWY_INLINE double sum_doubles(DoubleVector a, DoubleVector b) {
  const DoubleTag tag;
  return hn::GetLane(hn::SumOfLanes(tag, hn::Add(a, b)));
}

float max_of(const float* x, std::int64_t n) {
  const Vector lowest = splat(-__builtin_inff());
  Vector a = lowest;
  Vector b = lowest;
  std::int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    a = hn::Max(a, load(x + i));
    b = hn::Max(b, load(x + i + kLanes));
  }
  if (i + kLanes <= n) {
    a = hn::Max(a, load(x + i));
    i += kLanes;
  }
  if (i < n) {
    const Mask mask = first_lanes(n - i);
    a = hn::Max(a, hn::IfThenElse(mask, load_first(x + i, n - i), lowest));
  }
  return max_lanes(hn::Max(a, b));
}

/// Sum of e^(x - max), in doubles: a vocabulary has 10^5 terms. Stores the terms at `out` if that
/// is not null.
template <bool kStore>
double sum_of_exponentials(const float* x, std::int64_t n, float max, float* out) {
  const DoubleTag tag;
  const Vector shift = splat(max);
  DoubleVector low = hn::Zero(tag);
  DoubleVector high = hn::Zero(tag);
  for (std::int64_t i = 0; i < n; i += kLanes) {
    Vector e;
    if (i + kLanes <= n) {
      e = exp_nonpositive(hn::Sub(load(x + i), shift));
      if (kStore) store(e, out + i);
    } else {
      e = exp_nonpositive(hn::Sub(load_first(x + i, n - i), shift));
      e = hn::IfThenElseZero(first_lanes(n - i), e);
      if (kStore) store_first(e, out + i, n - i);
    }
    low = hn::Add(low, lower_doubles(e));
    high = hn::Add(high, upper_doubles(e));
  }
  return sum_doubles(low, high);
}

}  // namespace

// The squares are summed in doubles, where no float overflows.
void rms_norm(const float* x, const float* weight, float epsilon, std::int64_t n, float* out) {
  if (n == 0) return;
  const DoubleTag tag;
  DoubleVector low = hn::Zero(tag);
  DoubleVector high = hn::Zero(tag);
  for_each_vector(n, [&](std::int64_t i, auto get, auto) HWY_ATTR {
    const Vector v = get(x + i);
    const DoubleVector a = lower_doubles(v);
    const DoubleVector b = upper_doubles(v);
    low = hn::MulAdd(a, a, low);
    high = hn::MulAdd(b, b, high);
  });
  const double mean = sum_doubles(low, high) / static_cast<double>(n);
  const Vector factor = splat(static_cast<float>(1.0 / __builtin_sqrt(mean + epsilon)));
  if (weight == nullptr) {
    for_each_vector(n, [&](std::int64_t i, auto get, auto put)
                           HWY_ATTR { put(hn::Mul(get(x + i), factor), out + i); });
  } else {
    for_each_vector(n, [&](std::int64_t i, auto get, auto put) HWY_ATTR {
      put(hn::Mul(hn::Mul(get(x + i), factor), get(weight + i)), out + i);
    });
  }
}

void add(const float* y, std::int64_t n, float* x) {
  for_each_vector(n, [&](std::int64_t i, auto get, auto put)
                         HWY_ATTR { put(hn::Add(get(x + i), get(y + i)), x + i); });
}

void scale(float factor, std::int64_t n, float* x) {
  const Vector f = splat(factor);
  for_each_vector(
      n, [&](std::int64_t i, auto get, auto put) HWY_ATTR { put(hn::Mul(get(x + i), f), x + i); });
}

void silu_multiply(const float* gate, const float* up, std::int64_t n, float* out) {
  for_each_vector(n, [&](std::int64_t i, auto get, auto put) HWY_ATTR {
    const Vector x = get(gate + i);
    const Vector silu = hn::Div(x, hn::Add(splat(1.0f), exp_any(hn::Neg(x))));
    put(hn::Mul(silu, get(up + i)), out + i);
  });
}

// (1 + tanh u) / 2 = 1 / (1 + e^-2u), with u = sqrt(2 / pi) (x + 0.044715 x^3) (Hendrycks and
// Gimpel, arXiv:1606.08415). The second form keeps its precision where the first cancels.
void gelu_multiply(const float* gate, const float* up, std::int64_t n, float* out) {
  for_each_vector(n, [&](std::int64_t i, auto get, auto put) HWY_ATTR {
    const Vector x = get(gate + i);
    const Vector cubic = hn::MulAdd(hn::Mul(x, x), splat(0.044715f), splat(1.0f));
    const Vector minus_2u = hn::Mul(hn::Mul(x, cubic), splat(-1.5957691216057308f));
    const Vector gelu = hn::Div(x, hn::Add(splat(1.0f), exp_any(minus_2u)));
    put(hn::Mul(gelu, get(up + i)), out + i);
  });
}

void soft_cap(float cap, std::int64_t n, float* x) {
  const Vector c = splat(cap);
  for_each_vector(n, [&](std::int64_t i, auto get, auto put)
                         HWY_ATTR { put(hn::Mul(c, tanh_any(hn::Div(get(x + i), c))), x + i); });
}

float softmax(float* x, std::int64_t n) {
  const float max = max_of(x, n);
  const double sum = sum_of_exponentials<true>(x, n, max, x);
  scale(static_cast<float>(1.0 / sum), n, x);
  return static_cast<float>(max + ::log(sum));
}

float log_sum_exp(const float* x, std::int64_t n) {
  const float max = max_of(x, n);
  return static_cast<float>(max + ::log(sum_of_exponentials<false>(x, n, max, nullptr)));
}

void rope(const float* cosines, const float* sines, std::int64_t pairs, bool adjacent, float* x) {
  if (!adjacent) {
    for_each_vector(pairs, [&](std::int64_t i, auto get, auto put) HWY_ATTR {
      const Vector a = get(x + i);
      const Vector b = get(x + pairs + i);
      const Vector c = get(cosines + i);
      const Vector s = get(sines + i);
      put(hn::NegMulAdd(b, s, hn::Mul(a, c)), x + i);
      put(hn::MulAdd(a, s, hn::Mul(b, c)), x + pairs + i);
    });
    return;
  }
  std::int64_t i = 0;
  for (; i + kLanes <= pairs; i += kLanes) {
    Vector a;
    Vector b;
    hn::LoadInterleaved2(kTag, x + 2 * i, a, b);
    const Vector c = load(cosines + i);
    const Vector s = load(sines + i);
    hn::StoreInterleaved2(hn::NegMulAdd(b, s, hn::Mul(a, c)), hn::MulAdd(a, s, hn::Mul(b, c)), kTag,
                          x + 2 * i);
  }
  for (; i < pairs; ++i) {
    const float a = x[2 * i];
    const float b = x[2 * i + 1];
    x[2 * i] = a * cosines[i] - b * sines[i];
    x[2 * i + 1] = a * sines[i] + b * cosines[i];
  }
}

namespace {

/// Sums of lanes whose numbers differ in one bit, `kApart`, where it is 0, differences where it is
/// 1, exactly as when each is one addition.
template <int kApart>
HWY_INLINE Vector butterfly(Vector x) {
  const auto bit = hn::And(hn::Iota(IntTag(), 0), hn::Set(IntTag(), kApart));
  const Vector sign = hn::IfThenElse(hn::RebindMask(kTag, hn::Eq(bit, hn::Zero(IntTag()))),
                                     splat(1.0f), splat(-1.0f));
  Vector other = x;
  if constexpr (kApart == 1) other = hn::Shuffle2301(x);
  if constexpr (kApart == 2) other = hn::Shuffle1032(x);
  if constexpr (kApart == 4) other = hn::SwapAdjacentBlocks(x);
  if constexpr (kApart == 8) other = hn::ConcatLowerUpper(kTag, x, x);
  return hn::MulAdd(x, sign, other);
}

/// The butterflies within vectors, of blocks of `block` lanes at most.
HWY_INLINE Vector butterflies(Vector x, std::int64_t block) {
  if (block > 1) x = butterfly<1>(x);
  if (block > 2) x = butterfly<2>(x);
  if constexpr (kLanes > 4)
    if (block > 4) x = butterfly<4>(x);
  if constexpr (kLanes > 8)
    if (block > 8) x = butterfly<8>(x);
  return x;
}

}  // namespace

void rotate(std::int64_t head_dim, float* x) {
  const std::int64_t block = head_dim & -head_dim;
  const Vector factor = splat(1.0f / __builtin_sqrtf(static_cast<float>(block)));
  for (const float* const end = x + head_dim; x != end; x += block) {
    if (block <= kLanes) {
      store_first(hn::Mul(butterflies(load_first(x, block), block), factor), x, block);
      continue;
    }
    for (std::int64_t i = 0; i < block; i += kLanes) store(butterflies(load(x + i), block), x + i);
    for (std::int64_t apart = kLanes; apart < block; apart *= 2) {
      const Vector last = 2 * apart == block ? factor : splat(1.0f);
      for (std::int64_t first = 0; first < block; first += 2 * apart)
        for (std::int64_t i = first; i < first + apart; i += kLanes) {
          const Vector a = load(x + i), b = load(x + i + apart);
          store(hn::Mul(hn::Add(a, b), last), x + i);
          store(hn::Mul(hn::Sub(a, b), last), x + i + apart);
        }
    }
  }
}

void half_from_float(const float* x, std::int64_t n, std::uint16_t* out) {
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store_half(load(x + i), out + i);
  if (i < n) {
    std::uint16_t tail[kLanes];
    store_half(load_first(x + i, n - i), tail);
    for (std::int64_t j = 0; i + j < n; ++j) out[i + j] = tail[j];
  }
}

void float_from_half(const std::uint16_t* x, std::int64_t n, float* out) {
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(load_half(x + i), out + i);
  if (i < n) {
    std::uint16_t tail[kLanes] = {};
    for (std::int64_t j = 0; i + j < n; ++j) tail[j] = x[i + j];
    store_first(load_half(tail), out + i, n - i);
  }
}

}  // namespace plimsoll::PLIMSOLL_ISA
