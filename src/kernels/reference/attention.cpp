#define PLIMSOLL_ISA reference
#include <algorithm>
#include <cmath>
#include <limits>

#include "format/half.h"
#include "kernels/functions-inl.h"

namespace plimsoll::reference {
namespace {

double score(const AttentionTask& task, const float* q, std::int64_t position) {
  const std::uint16_t* k = task.k + position * task.kv_stride;
  double dot = 0.0;
  for (std::int32_t d = 0; d < task.head_dim; ++d)
    dot += static_cast<double>(q[d]) * half_to_float(k[d]);
  dot *= task.scale;
  return task.soft_cap > 0.0f ? task.soft_cap * std::tanh(dot / task.soft_cap) : dot;
}

}  // namespace

// Two passes: the maximum, then the weighted sums. Scores are computed anew in each, so that no
// buffer grows with the number of positions.
void attention(const AttentionTask& task) {
  constexpr std::int32_t kOutputs = 256;  // at a time
  for (std::int64_t i = 0; i < task.queries; ++i) {
    std::int64_t end = task.first_position + i + 1;
    std::int64_t begin = task.window > 0 && end > task.window ? end - task.window : 0;
    if (task.part_end > 0) {
      begin = std::max(begin, task.part_begin);
      end = std::min(end, task.part_end);
    }
    for (std::int32_t h = 0; h < task.heads; ++h) {
      const float* q = task.q + i * task.q_stride + static_cast<std::int64_t>(h) * task.head_dim;
      float* out = task.out + i * task.out_stride + static_cast<std::int64_t>(h) * task.head_dim;
      double max = -std::numeric_limits<double>::infinity();
      for (std::int64_t p = begin; p < end; ++p) {
        const double s = score(task, q, p);
        max = s > max ? s : max;
      }
      for (std::int32_t first = 0; first < task.head_dim; first += kOutputs) {
        const std::int32_t rest = task.head_dim - first;
        const std::int32_t count = rest < kOutputs ? rest : kOutputs;
        double total = 0.0;
        double sums[kOutputs] = {};
        for (std::int64_t p = begin; p < end; ++p) {
          const double weight = std::exp(score(task, q, p) - max);
          const std::uint16_t* v = task.v + p * task.kv_stride + first;
          total += weight;
          for (std::int32_t d = 0; d < count; ++d) sums[d] += weight * half_to_float(v[d]);
        }
        for (std::int32_t d = 0; d < count; ++d)
          out[first + d] = static_cast<float>(sums[d] / total);
        if (task.log_sums) task.log_sums[h] = static_cast<float>(max + std::log(total));
      }
    }
  }
}

}  // namespace plimsoll::reference
