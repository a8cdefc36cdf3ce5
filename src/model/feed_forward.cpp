#include "model/feed_forward.h"

namespace plimsoll {

void FeedForward::run(std::int64_t tokens) {
  const Description& d = workspace_.description();
  const Weights& weights = workspace_.weights();
  const Kernels& kernels = workspace_.context().kernels;
  const std::int64_t stride = 2 * d.feed_forward;
  float* const gate_up = workspace_.at(workspace_.layout().gate_up);
  const float* const norm = weights.vector({Role::feed_forward_norm, layer_});
  if (d.fused_gate_up) {
    const Product both = {Role::gate_up, Role::gate_up, gate_up, stride};
    workspace_.multiply_normed(layer_, {&both, 1}, norm, tokens);
  } else {
    const Product each[2] = {{Role::gate, Role::gate_bias, gate_up, stride},
                             {Role::up, Role::up_bias, gate_up + d.feed_forward, stride}};
    workspace_.multiply_normed(layer_, each, norm, tokens);
  }
  const auto activate =
      d.activation == Activation::silu ? kernels.silu_multiply : kernels.gelu_multiply;
  const Product down = {Role::down, Role::down_bias, workspace_.normed(), d.width};
  workspace_.multiply(layer_, {&down, 1}, gate_up, stride, tokens, [&](std::int64_t t) {
    float* gate = gate_up + t * stride;
    activate(gate, gate + d.feed_forward, d.feed_forward, gate);
  });
  workspace_.add_block(weights.vector({Role::feed_forward_post_norm, layer_}), tokens);
}

}  // namespace plimsoll
