#define PLIMSOLL_ISA reference
#include <cmath>
#include <limits>

#include "format/half.h"
#include "kernels/functions-inl.h"

namespace plimsoll::reference {
namespace {

double max_of(const float* x, std::int64_t n) {
  double max = -std::numeric_limits<double>::infinity();
  for (std::int64_t i = 0; i < n; ++i) max = x[i] > max ? x[i] : max;
  return max;
}

double sum_of_exponentials(const float* x, std::int64_t n, double max) {
  double sum = 0.0;
  for (std::int64_t i = 0; i < n; ++i) sum += std::exp(x[i] - max);
  return sum;
}

}  // namespace

void rms_norm(const float* x, const float* weight, float epsilon, std::int64_t n, float* out) {
  double sum = 0.0;
  for (std::int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * x[i];
  const double factor = 1.0 / std::sqrt(sum / static_cast<double>(n) + epsilon);
  for (std::int64_t i = 0; i < n; ++i)
    out[i] = static_cast<float>(x[i] * factor * (weight != nullptr ? weight[i] : 1.0f));
}

void add(const float* y, std::int64_t n, float* x) {
  for (std::int64_t i = 0; i < n; ++i) x[i] += y[i];
}

void scale(float factor, std::int64_t n, float* x) {
  for (std::int64_t i = 0; i < n; ++i) x[i] *= factor;
}

void silu_multiply(const float* gate, const float* up, std::int64_t n, float* out) {
  for (std::int64_t i = 0; i < n; ++i) {
    const double x = gate[i];
    out[i] = static_cast<float>(x / (1.0 + std::exp(-x)) * up[i]);
  }
}

// Hendrycks and Gimpel, arXiv:1606.08415, the tanh form, written as x / (1 + e^-2u), which does not
// cancel for x < 0.
void gelu_multiply(const float* gate, const float* up, std::int64_t n, float* out) {
  const double sqrt_2_over_pi = 0.79788456080286536;
  for (std::int64_t i = 0; i < n; ++i) {
    const double x = gate[i];
    const double u = sqrt_2_over_pi * (x + 0.044715 * x * x * x);
    out[i] = static_cast<float>(x / (1.0 + std::exp(-2.0 * u)) * up[i]);
  }
}

void soft_cap(float cap, std::int64_t n, float* x) {
  for (std::int64_t i = 0; i < n; ++i)
    x[i] = static_cast<float>(cap * std::tanh(static_cast<double>(x[i]) / cap));
}

float softmax(float* x, std::int64_t n) {
  const double max = max_of(x, n);
  const double sum = sum_of_exponentials(x, n, max);
  for (std::int64_t i = 0; i < n; ++i) x[i] = static_cast<float>(std::exp(x[i] - max) / sum);
  return static_cast<float>(max + std::log(sum));
}

float log_sum_exp(const float* x, std::int64_t n) {
  const double max = max_of(x, n);
  return static_cast<float>(max + std::log(sum_of_exponentials(x, n, max)));
}

void rope(const float* cosines, const float* sines, std::int64_t pairs, bool adjacent, float* x) {
  for (std::int64_t i = 0; i < pairs; ++i) {
    float& first = adjacent ? x[2 * i] : x[i];
    float& second = adjacent ? x[2 * i + 1] : x[i + pairs];
    const double a = first;
    const double b = second;
    first = static_cast<float>(a * cosines[i] - b * sines[i]);
    second = static_cast<float>(a * sines[i] + b * cosines[i]);
  }
}

void rotate(std::int64_t head_dim, float* x) {
  const std::int64_t block = head_dim & -head_dim;
  const float factor = 1.0f / std::sqrt(static_cast<float>(block));
  for (const float* const end = x + head_dim; x != end; x += block) {
    for (std::int64_t apart = 1; apart < block; apart *= 2)
      for (std::int64_t i = 0; i < block; ++i) {
        if (i & apart) continue;
        const float a = x[i], b = x[i + apart];
        x[i] = a + b;
        x[i + apart] = a - b;
      }
    for (std::int64_t i = 0; i < block; ++i) x[i] *= factor;
  }
}

void half_from_float(const float* x, std::int64_t n, std::uint16_t* out) {
  for (std::int64_t i = 0; i < n; ++i) out[i] = float_to_half(x[i]);
}

void float_from_half(const std::uint16_t* x, std::int64_t n, float* out) {
  for (std::int64_t i = 0; i < n; ++i) out[i] = half_to_float(x[i]);
}

}  // namespace plimsoll::reference
