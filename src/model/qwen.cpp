// Qwen 2 and 2.5 have biases on q, k and v; Qwen 3 has norms on the heads of q and k instead.
// Windows, which few models have, are in the upper layers.
#include "model/architecture.h"

namespace plimsoll {

void describe_qwen2(const FamilyKeys& keys, Description& d) {
  d.qkv_bias = true;
  describe_windows(keys, d, 0, 0);
}

void describe_qwen3(const FamilyKeys& keys, Description& d) {
  d.query_key_norm = true;
  describe_windows(keys, d, 0, 0);
}

}  // namespace plimsoll
