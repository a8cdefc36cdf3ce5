// Qwen 2 and 2.5 have biases on q, k and v; Qwen 3 has norms on the heads of q and k instead.
#include "model/architecture.h"

namespace plimsoll {

void describe_qwen2(const FamilyKeys&, Description& d) { d.qkv_bias = true; }

void describe_qwen3(const FamilyKeys&, Description& d) { d.query_key_norm = true; }

}  // namespace plimsoll
