// Attention against reference/, which works in doubles.
//
// Tolerance, with u = 2^-24 and sums of n roundings counted as 6 sqrt(n) (Higham and Mary,
// doi:10.1137/18M1226312): a score is off by ds = (6 sqrt(head_dim) + 4) u scale |q| |k|, its
// difference from the maximum by another |s - max| u <= 87 u, the soft cap (whose slope is at most
// 1) by 9 u cap; so a probability is off relatively by 2 ds + 90 u. The weighted sum of n values
// adds 6 sqrt(n) u, and one rescaling per tile 2 u each. All of that times the largest |v|.
//
// Several queries may be computed in pairs of 16-bit integers (kernels/attention_pairs-inl.h):
// codes of queries and keys are off by 0.29 / L of the largest (a uniform step), with L^2 head_dim
// < 2^31; those of values by 0.29 / 4095, those of probabilities by 0.29 / 8191 of the largest in a
// tile of
// 64. Again six times what independent errors add up to.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "format/half.h"
#include "guarded.h"
#include "kernels/kernels.h"

namespace plimsoll {
namespace {

struct Shape {
  std::int32_t head_dim = 64;
  std::int32_t heads = 1;
  std::int64_t queries = 1;
  std::int64_t positions = 1;  // after the last query
  std::int64_t window = 0;
  float soft_cap = 0.0f;
  float q_magnitude = 1.0f;
  std::int64_t extra_stride = 0;
};

constexpr float kUntouched = 55.0f;

bool in_pairs(Isa isa) { return isa == Isa::avx2 || isa == Isa::avx512; }
const std::uint16_t kHalfNan = 0x7e00;

/// K and V end with the last position that may be read. What may not be read (before the first
/// window, between positions) is NaN.
struct Problem {
  explicit Problem(const Shape& s)
      : shape(s),
        kv_stride(s.head_dim + s.extra_stride),
        row_stride(s.heads * s.head_dim + s.extra_stride),
        first_position(s.positions - s.queries) {
    Random random(static_cast<std::uint64_t>(s.head_dim * 31 + s.heads * 7 + s.queries) * 1009 +
                  static_cast<std::uint64_t>(s.positions));
    const auto kv_size = static_cast<std::size_t>((s.positions - 1) * kv_stride + s.head_dim);
    k.assign(kv_size, kHalfNan);
    v.assign(kv_size, kHalfNan);
    const std::int64_t first =
        s.window > 0 ? std::max<std::int64_t>(0, first_position - s.window + 1) : 0;
    for (std::int64_t p = first; p < s.positions; ++p) {
      // Keys grow along the way, so that maxima rise in later tiles too.
      const float growth = 0.2f + static_cast<float>(p % 150) / 150.0f;
      for (std::int64_t d = 0; d < s.head_dim; ++d) {
        const auto at = static_cast<std::size_t>(p * kv_stride + d);
        k[at] = float_to_half(growth * random.symmetric());
        v[at] = float_to_half(random.symmetric());
      }
    }
    q.assign(static_cast<std::size_t>((s.queries - 1) * row_stride + s.heads * s.head_dim),
             std::nanf(""));
    for (std::int64_t i = 0; i < s.queries; ++i)
      for (std::int64_t d = 0; d < s.heads * s.head_dim; ++d)
        q[static_cast<std::size_t>(i * row_stride + d)] = s.q_magnitude * random.symmetric();
  }

  /// Queries [first, first + count).
  Guarded<float> attend(const Kernels& kernels, std::int64_t first, std::int64_t count) const {
    return attend(kernels, first, count, 0, 0, nullptr);
  }
  Guarded<float> attend(const Kernels& kernels, std::int64_t first, std::int64_t count,
                        std::int64_t part_begin, std::int64_t part_end, float* log_sums) const {
    Guarded<float> out(count * row_stride);
    for (std::int64_t i = 0; i < out.size(); ++i) out[i] = kUntouched;
    AlignedFloats scratch(attention_scratch_floats(count, shape.heads, shape.head_dim));
    kernels.attention({.q = q.data() + first * row_stride,
                       .q_stride = row_stride,
                       .k = k.data(),
                       .v = v.data(),
                       .kv_stride = kv_stride,
                       .out = out.data(),
                       .out_stride = row_stride,
                       .queries = count,
                       .first_position = first_position + first,
                       .window = shape.window,
                       .heads = shape.heads,
                       .head_dim = shape.head_dim,
                       .scale = scale(),
                       .soft_cap = shape.soft_cap,
                       .part_begin = part_begin,
                       .part_end = part_end,
                       .log_sums = log_sums,
                       .scratch = scratch.data()});
    EXPECT_TRUE(out.intact());
    EXPECT_TRUE(scratch.intact());
    return out;
  }

  float scale() const { return 1.0f / std::sqrt(static_cast<float>(shape.head_dim)); }

  double tolerance(Isa isa) const {
    const double u = 0x1p-24;
    const double dim = shape.head_dim;
    // |q| <= magnitude sqrt(dim / 3) and |k| <= 1.2 sqrt(dim / 3), nearly; half as much again for
    // luck.
    const double product = 1.5 * scale() * shape.q_magnitude * 1.2 * dim / 3.0;
    const double score = (6 * std::sqrt(dim) + 4) * u * product + 9 * u * shape.soft_cap;
    const double n = static_cast<double>(shape.positions);
    const double in_floats = 2 * score + (90 + 6 * std::sqrt(n) + n / 32 + 4) * u;
    if ((shape.queries <= 5 && shape.head_dim % 16 == 0) || !in_pairs(isa)) return in_floats;
    const double limit = std::min(32767.0, std::sqrt(0x1p31 / dim));
    // Both factors have values of 0.58 times the largest on average.
    const double code =
        1.5 * scale() * 6 * std::sqrt(2 * dim) * shape.q_magnitude * 1.2 * 0.58 * 0.29 / limit;
    return in_floats + 2 * code + 6 * std::sqrt(64.0) * 0.29 / 8191 + 6 * 0.29 / 4095;
  }

  Shape shape;
  std::int64_t kv_stride;
  std::int64_t row_stride;
  std::int64_t first_position;
  std::vector<std::uint16_t> k;
  std::vector<std::uint16_t> v;
  std::vector<float> q;
};

std::string describe(const Shape& s) {
  return "head_dim " + std::to_string(s.head_dim) + " heads " + std::to_string(s.heads) +
         " queries " + std::to_string(s.queries) + " positions " + std::to_string(s.positions) +
         " window " + std::to_string(s.window) + " cap " + std::to_string(s.soft_cap);
}

class Attention : public testing::TestWithParam<Isa> {
 protected:
  const Kernels& fast() const { return kernels_for(GetParam()); }

  void check(const Shape& shape) const {
    const Problem problem(shape);
    const Guarded<float> got = problem.attend(fast(), 0, shape.queries);
    const Guarded<float> want = problem.attend(kernels_for(Isa::reference), 0, shape.queries);
    for (std::int64_t i = 0; i < got.size(); ++i) {
      if (i % problem.row_stride >= shape.heads * shape.head_dim) {
        ASSERT_EQ(got[i], kUntouched) << describe(shape);
      } else {
        ASSERT_NEAR(got[i], want[i], problem.tolerance(GetParam()))
            << describe(shape) << " query " << i / problem.row_stride << " at "
            << i % problem.row_stride;
      }
    }
  }
};

TEST_P(Attention, Shapes) {
  const std::int64_t positions[] = {1, 2, 15, 63, 64, 65, 100, 127, 128, 129, 192, 300};
  const std::int64_t windows[] = {0, 1, 7, 64};
  std::size_t turn = 0;
  for (const std::int32_t head_dim : {4, 8, 20, 64, 80, 128, 256}) {
    for (const std::int32_t heads : {1, 2, 3, 4, 7, 8, 16}) {
      for (const std::int64_t queries : {1, 2, 5, 33}) {
        for (int repeat = 0; repeat < 3; ++repeat, ++turn) {
          const std::int64_t wanted = positions[turn % 12];
          check({.head_dim = head_dim,
                 .heads = heads,
                 .queries = queries,
                 .positions = std::max(wanted, queries),
                 .window = windows[turn / 3 % 4],
                 .soft_cap = turn % 5 == 0 ? 20.0f : 0.0f,
                 .q_magnitude = turn % 7 == 0 ? 30.0f : 3.0f,
                 .extra_stride = static_cast<std::int64_t>(turn % 3) * 4});
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

TEST_P(Attention, EveryLengthAroundTileBorders) {
  for (const std::int64_t queries : {1, 2, 6, 9}) {
    for (const std::int64_t window : {0, 1, 7, 64}) {
      for (std::int64_t positions = queries; positions <= 300;
           positions += positions > 135 ? 41 : 1) {
        check({.head_dim = 16,
               .heads = 2,
               .queries = queries,
               .positions = positions,
               .window = window,
               .q_magnitude = 4.0f});
        if (HasFatalFailure()) return;
      }
    }
  }
}

// One visible position: its value, whatever the score; exactly, where it is not made a code.
TEST_P(Attention, WindowOfOneReturnsTheValue) {
  const Shape shape = {.head_dim = 32,
                       .heads = 3,
                       .queries = 7,
                       .positions = 70,
                       .window = 1,
                       .q_magnitude = 1000.0f};
  const Problem problem(shape);
  const Guarded<float> out = problem.attend(fast(), 0, shape.queries);
  for (std::int64_t i = 0; i < shape.queries; ++i) {
    for (std::int64_t d = 0; d < 3 * 32; ++d) {
      const std::int64_t at = (problem.first_position + i) * problem.kv_stride + d % 32;
      ASSERT_NEAR(out[i * problem.row_stride + d],
                  half_to_float(problem.v[static_cast<std::size_t>(at)]),
                  in_pairs(GetParam()) ? 0.51 / 4095 : 0.0);
    }
  }
}

// Equal scores, however negative: the plain mean.
TEST_P(Attention, VeryNegativeScores) {
  for (const std::int64_t queries : {1, 3, 7}) {
    Problem problem({.head_dim = 16, .heads = 1, .queries = queries, .positions = 90});
    for (float& x : problem.q) x = -1e30f;
    for (std::uint16_t& x : problem.k) x = float_to_half(4.0f);
    const Guarded<float> out = problem.attend(fast(), 0, queries);
    for (std::int64_t d = 0; d < 16; ++d) {
      double mean = 0.0;
      for (std::int64_t p = 0; p < 90; ++p)
        mean +=
            half_to_float(problem.v[static_cast<std::size_t>(p * problem.kv_stride + d)]) / 90.0;
      ASSERT_NEAR(
          out[(queries - 1) * problem.row_stride + d], mean,
          queries > 5 && in_pairs(GetParam()) ? 6 * 0.29 / 4095 : 6 * std::sqrt(90.0) * 0x1p-24);
    }
  }
}

TEST_P(Attention, NanPropagates) {
  for (const std::int64_t queries : {1, 4, 8}) {
    Problem problem({.head_dim = 16, .heads = 2, .queries = queries, .positions = 80});
    problem.k[static_cast<std::size_t>(70 * problem.kv_stride + 3)] = kHalfNan;
    const Guarded<float> out = problem.attend(fast(), 0, queries);
    for (std::int64_t i = 0; i < out.size(); ++i) ASSERT_TRUE(std::isnan(out[i]));
  }
}

// Chunks of many queries: the same bits as all at once.
TEST_P(Attention, OutputsDoNotDependOnTheChunk) {
  for (const std::int32_t head_dim : {20, 64}) {
    for (const std::int64_t window : {0, 50}) {
      const Shape shape = {.head_dim = head_dim,
                           .heads = 3,
                           .queries = 48,
                           .positions = 200,
                           .window = window,
                           .soft_cap = 15.0f,
                           .q_magnitude = 10.0f};
      const Problem problem(shape);
      const Guarded<float> whole = problem.attend(fast(), 0, shape.queries);
      for (const std::int64_t chunk : {6, 12, 16}) {
        for (std::int64_t first = 0; first < shape.queries; first += chunk) {
          const Guarded<float> part = problem.attend(fast(), first, chunk);
          for (std::int64_t i = 0; i < part.size(); ++i)
            ASSERT_EQ(part[i], whole[first * problem.row_stride + i]) << chunk << " " << first;
        }
      }
    }
  }
}

// A query's positions in parts, merged: what the reference makes of all of them.
TEST_P(Attention, PartsAddUpToTheWhole) {
  for (const std::int32_t head_dim : {20, 64}) {
    for (const std::int64_t part : {64, 100}) {
      for (const std::int64_t window : {0, 70, 150}) {
        for (const std::int64_t positions : {1, 64, 65, 200, 300}) {
          const Shape shape = {.head_dim = head_dim,
                               .heads = 3,
                               .positions = positions,
                               .window = window,
                               .soft_cap = window == 70 ? 15.0f : 0.0f,
                               .q_magnitude = 10.0f,
                               .extra_stride = 4};
          const Problem problem(shape);
          const std::int64_t parts = (positions + part - 1) / part;
          std::vector<float> outputs, log_sums, expected_sums(3);
          for (std::int64_t i = 0; i < parts; ++i) {
            float sums[3] = {};
            const std::int64_t end = (i + 1) * part;
            if (window > 0 && end <= positions - window) {
              for (float& sum : sums) sum = -INFINITY;
              outputs.insert(outputs.end(), static_cast<std::size_t>(problem.row_stride),
                             std::nanf(""));
            } else {
              const Guarded<float> out = problem.attend(fast(), 0, 1, i * part, end, sums);
              problem.attend(kernels_for(Isa::reference), 0, 1, i * part, end,
                             expected_sums.data());
              for (std::size_t h = 0; h < 3; ++h)
                ASSERT_NEAR(sums[h], expected_sums[h], problem.tolerance(GetParam()));
              outputs.insert(outputs.end(), out.data(), out.data() + problem.row_stride);
            }
            log_sums.insert(log_sums.end(), sums, sums + 3);
          }
          Guarded<float> got(3 * head_dim);
          merge_attention(outputs.data(), problem.row_stride, log_sums.data(), 3, parts, 3,
                          head_dim, got.data());
          EXPECT_TRUE(got.intact());
          const Guarded<float> want = problem.attend(kernels_for(Isa::reference), 0, 1);
          for (std::int64_t i = 0; i < got.size(); ++i)
            ASSERT_NEAR(got[i], want[i], 2 * problem.tolerance(GetParam())) << describe(shape);
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Isas, Attention, testing::ValuesIn(vector_isas()), isa_name);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Attention);

}  // namespace
}  // namespace plimsoll
