#include "fit/second_moments.h"

#include <algorithm>
#include <cmath>

namespace plimsoll {
namespace {

/// Tokens that are gathered before they are multiplied: long enough sums for the product kernel.
constexpr std::int64_t panel_depth = 1024;
/// Rows of H that one worker computes at a time.
constexpr std::int64_t strip = 32;
/// Columns that are factored at a time.
constexpr std::int64_t factor_block = 128;

Bytes floats(std::int64_t count) { return static_cast<Bytes>(count) * sizeof(float); }

/// A = R R^T in place, R upper triangular, for the block [0, n) of a row-major matrix: Cholesky's
/// method from the last row up. A pivot is never below `least`.
void factor_small(float* a, std::int64_t stride, std::int64_t n, double least) {
  for (std::int64_t k = n - 1; k >= 0; --k) {
    double pivot = a[k * stride + k];
    for (std::int64_t j = k + 1; j < n; ++j)
      pivot -= static_cast<double>(a[k * stride + j]) * a[k * stride + j];
    const double root = std::sqrt(std::max(pivot, least));
    a[k * stride + k] = static_cast<float>(root);
    for (std::int64_t i = 0; i < k; ++i) {
      double sum = a[i * stride + k];
      for (std::int64_t j = k + 1; j < n; ++j)
        sum -= static_cast<double>(a[i * stride + j]) * a[k * stride + j];
      a[i * stride + k] = static_cast<float>(sum / root);
    }
  }
}

/// Solves y R^T = x for one row in place, R upper triangular as factor_small leaves it.
void solve_row(const float* r, std::int64_t stride, std::int64_t n, float* x) {
  for (std::int64_t k = n - 1; k >= 0; --k) {
    float sum = x[k];
    const float* row = r + k * stride;
    for (std::int64_t j = k + 1; j < n; ++j) sum -= x[j] * row[j];
    x[k] = sum / row[k];
  }
}

}  // namespace

Bytes SecondMoments::memory_bytes(std::int64_t size, int workers) {
  return round_up(floats(size * size), page_bytes) +
         round_up(floats(size * panel_depth), page_bytes) +
         round_up(floats(strip * size) * static_cast<Bytes>(workers), page_bytes);
}

SecondMoments::SecondMoments(Context& context, std::int64_t size)
    : context_(context),
      size_(size),
      matrix_(context.ledger, Account::io, floats(size * size)),
      panel_(context.ledger, Account::io, floats(size * panel_depth)),
      products_(context.ledger, Account::io,
                floats(strip * size) * static_cast<Bytes>(context.threads.size())) {}

void SecondMoments::add_product(const float* panel, std::int64_t depth, std::int64_t rows,
                                float sign) {
  // Every element is one dot product over `depth`, counted in f32 from block to block: the order
  // does not depend on the workers.
  context_.threads.parallel_for(
      (rows + strip - 1) / strip, 1, [&](std::int64_t begin, std::int64_t end, int worker) {
        float* const products = products_.as<float>() + worker * strip * size_;
        for (std::int64_t s = begin; s < end; ++s) {
          const std::int64_t first = s * strip, count = std::min(strip, rows - first);
          const DenseView all = {panel, DenseView::Type::f32, rows, depth};
          context_.kernels.matmul_dense(all, panel + first * depth, depth, count, first, rows,
                                        products, size_);
          for (std::int64_t j = 0; j < count; ++j) {
            float* const target = row(first + j);
            const float* const source = products + j * size_;
            for (std::int64_t i = first + j; i < rows; ++i) target[i] += sign * source[i];
          }
        }
      });
}

void SecondMoments::add(const float* x, std::int64_t x_stride, std::int64_t tokens) {
  constexpr std::int64_t square = 16;
  while (tokens > 0) {
    const std::int64_t count = std::min(tokens, panel_depth - gathered_);
    float* const panel = panel_.as<float>() + gathered_;
    context_.threads.parallel_for(
        (size_ + square - 1) / square, 8, [&](std::int64_t begin, std::int64_t end, int) {
          for (std::int64_t i = begin * square; i < std::min(end * square, size_); i += square)
            for (std::int64_t t = 0; t < count; ++t)
              for (std::int64_t k = i; k < std::min(i + square, size_); ++k)
                panel[k * panel_depth + t] = x[t * x_stride + k];
        });
    gathered_ += count;
    tokens_ += count;
    x += count * x_stride;
    tokens -= count;
    if (gathered_ == panel_depth) settle();
  }
}

void SecondMoments::settle() {
  if (gathered_ == 0) return;
  if (gathered_ < panel_depth) {
    // The columns not filled hold older tokens.
    for (std::int64_t i = 0; i < size_; ++i)
      std::fill_n(panel_.as<float>() + i * panel_depth + gathered_, panel_depth - gathered_, 0.0f);
  }
  add_product(panel_.as<float>(), panel_depth, size_, 1);
  gathered_ = 0;
}

std::vector<float> SecondMoments::mean_squares() const {
  std::vector<float> result(static_cast<std::size_t>(size_));
  for (std::int64_t i = 0; i < size_; ++i)
    result[static_cast<std::size_t>(i)] = row(i)[i] / static_cast<float>(tokens_);
  return result;
}

std::vector<double> SecondMoments::powers(const float* w, std::int64_t rows) {
  // With H = T + T^T - diagonal, T its upper triangle (below it are zeros):
  // w H w^T = 2 w T w^T - the diagonal's part.
  std::vector<double> result(static_cast<std::size_t>(rows));
  const DenseView triangle = {row(0), DenseView::Type::f32, size_, size_};
  for (std::int64_t first = 0; first < rows; first += strip) {
    const std::int64_t count = std::min(strip, rows - first);
    const float* const x = w + first * size_;
    float* const products = products_.as<float>();  // [count][size]
    context_.threads.parallel_for(size_, 16, [&](std::int64_t begin, std::int64_t end, int) {
      context_.kernels.matmul_dense(triangle, x, size_, count, begin, end, products, size_);
    });
    for (std::int64_t r = 0; r < count; ++r) {
      const float* const values = x + r * size_;
      const float* const product = products + r * size_;
      double sum = 0;
      for (std::int64_t i = 0; i < size_; ++i)
        sum += values[i] * (2.0 * product[i] - static_cast<double>(row(i)[i]) * values[i]);
      result[static_cast<std::size_t>(first + r)] =
          std::max(0.0, sum) / static_cast<double>(tokens_);
    }
  }
  return result;
}

void SecondMoments::add_to_diagonal(double value) {
  const auto added = static_cast<float>(value * static_cast<double>(tokens_));
  for (std::int64_t i = 0; i < size_; ++i) row(i)[i] += added;
}

void SecondMoments::factor(double damping) {
  double trace = 0;
  for (std::int64_t i = 0; i < size_; ++i) trace += row(i)[i];
  const double mean = trace / static_cast<double>(size_);
  const auto added = static_cast<float>(mean > 0 ? damping * mean : 1);
  for (std::int64_t i = 0; i < size_; ++i) row(i)[i] += added;
  // Rounding of f32 sums can take a pivot below what the damping guarantees.
  const double least = added * 0.1;

  for (std::int64_t end = size_; end > 0;) {
    const std::int64_t begin = std::max<std::int64_t>(0, end - factor_block), count = end - begin;
    float* const corner = row(begin) + begin;
    factor_small(corner, size_, count, least);
    if (begin > 0) {
      float* const panel = panel_.as<float>();
      context_.threads.parallel_for(begin, 16, [&](std::int64_t from, std::int64_t to, int) {
        for (std::int64_t i = from; i < to; ++i) {
          float* const x = row(i) + begin;
          solve_row(corner, size_, count, x);
          std::copy_n(x, count, panel + i * count);
        }
      });
      add_product(panel, count, begin, -1);
    }
    end = begin;
  }

  // R = U sqrt(D).
  diagonal_.resize(static_cast<std::size_t>(size_));
  for (std::int64_t k = 0; k < size_; ++k)
    diagonal_[static_cast<std::size_t>(k)] = row(k)[k] / std::sqrt(static_cast<float>(tokens_));
  context_.threads.parallel_for(size_, 16, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t i = begin; i < end; ++i) {
      float* const values = row(i);
      for (std::int64_t k = i + 1; k < size_; ++k)
        values[k] /=
            diagonal_[static_cast<std::size_t>(k)] * std::sqrt(static_cast<float>(tokens_));
      values[i] = 1;
    }
  });
  for (float& d : diagonal_) d *= d;
}

}  // namespace plimsoll
