// Phi-3 and 3.5: q, k and v in one matrix, gate and up in another, LongRoPE factors
// (arXiv:2402.13753), in some models a window in every layer.
#include "model/architecture.h"

namespace plimsoll {

void describe_phi3(const FamilyKeys& keys, Description& d) {
  d.fused_qkv = true;
  d.fused_gate_up = true;
  d.ropes[0].factors_tensor = "rope_factors_short.weight";
  d.ropes[0].long_factors_tensor = "rope_factors_long.weight";
  describe_windows(keys, d, 0, 0);
}

}  // namespace plimsoll
