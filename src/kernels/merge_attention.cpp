#include <cmath>
#include <limits>

#include "kernels/kernels.h"

namespace plimsoll {

void merge_attention(const float* outputs, std::int64_t stride, const float* log_sums,
                     std::int64_t log_stride, std::int64_t parts, std::int32_t heads,
                     std::int32_t head_dim, float* out) {
  for (std::int32_t h = 0; h < heads; ++h) {
    float largest = -std::numeric_limits<float>::infinity();
    for (std::int64_t part = 0; part < parts; ++part)
      largest = std::fmax(largest, log_sums[part * log_stride + h]);
    float total = 0;
    for (std::int64_t part = 0; part < parts; ++part)
      total += std::exp(log_sums[part * log_stride + h] - largest);
    float* const head = out + static_cast<std::int64_t>(h) * head_dim;
    for (std::int32_t d = 0; d < head_dim; ++d) head[d] = 0;
    for (std::int64_t part = 0; part < parts; ++part) {
      const float share = std::exp(log_sums[part * log_stride + h] - largest) / total;
      if (share == 0) continue;  // what was not seen was not written
      const float* const of_part =
          outputs + part * stride + static_cast<std::int64_t>(h) * head_dim;
      for (std::int32_t d = 0; d < head_dim; ++d) head[d] += share * of_part[d];
    }
  }
}

}  // namespace plimsoll
