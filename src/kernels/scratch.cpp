#include "kernels/scratch.h"

#include <cmath>

#include "kernels/kernels.h"

namespace plimsoll {

float key_code_limit(std::int64_t head_dim) {
  const double limit = std::floor(std::sqrt(2147483000.0 / static_cast<double>(head_dim)));
  return static_cast<float>(std::fmin(limit, 32767.0));
}

std::int64_t attention_scratch_floats(std::int64_t queries, std::int32_t heads,
                                      std::int32_t head_dim) {
  const std::int64_t rows = queries * heads;
  const std::int64_t padded_dim =
      (head_dim + kAttentionPadding - 1) / kAttentionPadding * kAttentionPadding;
  const std::int64_t keys_and_values = 2 * kAttentionTile * padded_dim;
  const std::int64_t scores = kAttentionScoreRows * kAttentionTile;
  const std::int64_t outputs = rows * padded_dim;
  const std::int64_t sums = rows * kWidestVector;
  const std::int64_t query_pairs = rows * (padded_dim / 2);
  const std::int64_t scales = 2 * kAttentionTile;
  const std::int64_t by_row = (rows + kWidestVector - 1) / kWidestVector * kWidestVector;
  return keys_and_values + scores + outputs + sums + query_pairs + scales + 5 * by_row;
}

}  // namespace plimsoll
