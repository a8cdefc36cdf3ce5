// matmul_dense against reference/, which sums in doubles. Rounding errors of a sum of n terms grow
// like sqrt(n), not n, with overwhelming probability (Higham and Mary, doi:10.1137/18M1226312): an
// output may be off by lambda * sqrt(columns) * 2^-24 times the sum of |w x|, with lambda = 6.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "format/half.h"
#include "guarded.h"
#include "kernels/kernels.h"

namespace plimsoll {
namespace {

using Type = DenseView::Type;

constexpr float kUntouched = 77.0f;

/// A matrix and what it meets. Padding between tokens holds NaN, so that reading it shows.
struct Problem {
  Problem(Type type, std::int64_t rows, std::int64_t columns, std::int64_t tokens)
      : x_stride(columns + tokens % 3), y_stride(rows + tokens % 5), token_count(tokens) {
    Random random(static_cast<std::uint64_t>(rows * 1000003 + columns * 1009 + tokens));
    for (std::int64_t i = 0; i < rows * columns; ++i) {
      const float value = random.symmetric();
      if (type == Type::f32) floats.push_back(value);
      if (type == Type::f16) halves.push_back(float_to_half(value));
      if (type == Type::bf16) halves.push_back(float_to_bfloat(value));
    }
    // Ends with the last token's last column.
    x.assign(static_cast<std::size_t>((tokens - 1) * x_stride + columns), std::nanf(""));
    for (std::int64_t t = 0; t < tokens; ++t)
      for (std::int64_t k = 0; k < columns; ++k)
        x[static_cast<std::size_t>(t * x_stride + k)] = random.symmetric();
    w = {.data = type == Type::f32 ? static_cast<const void*>(floats.data()) : halves.data(),
         .type = type,
         .rows = rows,
         .columns = columns};
  }

  double weight(std::int64_t row, std::int64_t k) const {
    const auto i = static_cast<std::size_t>(row * w.columns + k);
    if (w.type == Type::f32) return floats[i];
    return w.type == Type::f16 ? half_to_float(halves[i]) : bfloat_to_float(halves[i]);
  }

  /// y of tokens [token, token + count) and rows [row_begin, row_end); everything else kUntouched.
  Guarded<float> multiply(const Kernels& kernels, std::int64_t token, std::int64_t count,
                          std::int64_t row_begin, std::int64_t row_end) const {
    Guarded<float> y(count * y_stride);
    for (std::int64_t i = 0; i < y.size(); ++i) y[i] = kUntouched;
    kernels.matmul_dense(w, x.data() + token * x_stride, x_stride, count, row_begin, row_end,
                         y.data(), y_stride);
    EXPECT_TRUE(y.intact());
    return y;
  }

  std::vector<float> floats;
  std::vector<std::uint16_t> halves;
  std::vector<float> x;
  std::int64_t x_stride;
  std::int64_t y_stride;
  std::int64_t token_count;
  DenseView w;
};

class Dense : public testing::TestWithParam<Isa> {
 protected:
  const Kernels& fast() const { return kernels_for(GetParam()); }

  void check(const Problem& problem, std::int64_t row_begin, std::int64_t row_end) const {
    const std::int64_t tokens = problem.token_count;
    const std::int64_t columns = problem.w.columns;
    const Guarded<float> got = problem.multiply(fast(), 0, tokens, row_begin, row_end);
    const Guarded<float> want =
        problem.multiply(kernels_for(Isa::reference), 0, tokens, row_begin, row_end);
    for (std::int64_t t = 0; t < tokens; ++t) {
      for (std::int64_t row = 0; row < problem.y_stride; ++row) {
        const std::int64_t i = t * problem.y_stride + row;
        if (row < row_begin || row >= row_end) {
          ASSERT_EQ(got[i], kUntouched) << "token " << t << " row " << row;
          continue;
        }
        double magnitude = 0.0;
        for (std::int64_t k = 0; k < columns; ++k) {
          const auto at = static_cast<std::size_t>(t * problem.x_stride + k);
          magnitude += std::abs(problem.weight(row, k) * problem.x[at]);
        }
        ASSERT_NEAR(got[i], want[i],
                    6 * std::sqrt(static_cast<double>(columns)) * 0x1p-24 * magnitude)
            << "token " << t << " row " << row << " of " << problem.w.rows << " x " << columns;
      }
    }
  }
};

TEST_P(Dense, Shapes) {
  for (const Type type : {Type::f32, Type::f16, Type::bf16}) {
    for (const std::int64_t rows : {1, 2, 3, 4, 5, 8, 15, 16, 17, 33}) {
      for (const std::int64_t columns : {1, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 172, 256}) {
        for (const std::int64_t tokens : {1, 2, 3, 4, 5, 6, 7, 12, 13, 19}) {
          check(Problem(type, rows, columns, tokens), 0, rows);
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

// Longer rows and more tokens, with tails of every kind.
TEST_P(Dense, LargerShapes) {
  for (const Type type : {Type::f32, Type::f16, Type::bf16}) {
    for (const std::int64_t columns : {511, 512, 513, 527, 1024, 1030, 1544}) {
      for (const std::int64_t tokens : {1, 4, 11, 24})
        check(Problem(type, 21, columns, tokens), 0, 21);
    }
    for (const std::int64_t tokens : {95, 96, 97, 108, 193})
      check(Problem(type, 19, 521, tokens), 0, 19);
    check(Problem(type, 1000, 172, 2), 0, 1000);
    if (HasFatalFailure()) return;
  }
}

TEST_P(Dense, RowRanges) {
  for (const Type type : {Type::f32, Type::f16, Type::bf16}) {
    for (const std::int64_t tokens : {1, 3, 14}) {
      const Problem problem(type, 37, 45, tokens);
      for (const std::int64_t begin : {0, 1, 4, 17, 36, 37})
        for (const std::int64_t end : {1, 2, 16, 18, 36, 37})
          if (begin <= end) check(problem, begin, end);
    }
  }
}

// Prefill in chunks, other splits among workers, decoding one token at a time: the same bits.
TEST_P(Dense, OutputsDoNotDependOnTheBatch) {
  for (const Type type : {Type::f32, Type::f16, Type::bf16}) {
    for (const std::int64_t columns : {5, 40, 172, 1100}) {
      const std::int64_t rows = 23;
      const std::int64_t tokens = 101;
      const Problem problem(type, rows, columns, tokens);
      const Guarded<float> whole = problem.multiply(fast(), 0, tokens, 0, rows);
      for (const std::int64_t chunk : {1, 2, 5, 11, 12, 50}) {
        for (std::int64_t t = 0; t < tokens; t += chunk) {
          const std::int64_t count = std::min(chunk, tokens - t);
          const std::int64_t row_begin = t % 7;
          const std::int64_t row_end = rows - t % 5;
          const Guarded<float> part = problem.multiply(fast(), t, count, row_begin, row_end);
          for (std::int64_t i = 0; i < count; ++i) {
            for (std::int64_t row = row_begin; row < row_end; ++row) {
              ASSERT_EQ(part[i * problem.y_stride + row], whole[(t + i) * problem.y_stride + row])
                  << "token " << t + i << " of chunks of " << chunk << ", row " << row;
            }
          }
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Isas, Dense, testing::ValuesIn(vector_isas()), isa_name);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Dense);

}  // namespace
}  // namespace plimsoll
