#include "gradient/layer_pass.h"

#include <algorithm>
#include <cmath>

#include "model/rope.h"

namespace plimsoll {
namespace {

/// Floats of all buffers for one token.
std::int64_t floats_of_token(const Description& d) {
  return 8 * d.width + 3 * d.qkv_rows() + 2 * d.heads * d.head_dim + 6 * d.feed_forward;
}

struct ValueAndSlope {
  float value, slope;
};

ValueAndSlope silu(float x) {
  const float sigmoid = 1 / (1 + std::exp(-x));
  return {x * sigmoid, sigmoid * (1 + x * (1 - sigmoid))};
}

/// The tanh approximation (Hendrycks and Gimpel, arXiv:1606.08415).
ValueAndSlope gelu(float x) {
  constexpr float root = 0.7978845608f, cubic = 0.044715f;
  const float t = std::tanh(root * (x + cubic * x * x * x));
  return {0.5f * x * (1 + t),
          0.5f * (1 + t) + 0.5f * x * (1 - t * t) * root * (1 + 3 * cubic * x * x)};
}

float dot(const float* a, const float* b, std::int64_t n) {
  float sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

void add_scaled(float factor, const float* x, std::int64_t n, float* out) {
  for (std::int64_t i = 0; i < n; ++i) out[i] += factor * x[i];
}

}  // namespace

void add_norm_gradient(const float* x, const float* weight, float epsilon, std::int64_t n,
                       const float* gradient, float* out) {
  double squares = 0, inner = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const double w = weight ? weight[i] : 1.0;
    squares += static_cast<double>(x[i]) * x[i];
    inner += w * gradient[i] * x[i];
  }
  const double count = static_cast<double>(n), inverse = 1 / std::sqrt(squares / count + epsilon);
  const auto scale = static_cast<float>(inverse),
             back = static_cast<float>(inner * inverse * inverse * inverse / count);
  for (std::int64_t i = 0; i < n; ++i)
    out[i] += gradient[i] * (weight ? weight[i] : 1.0f) * scale - x[i] * back;
}

Bytes LayerPass::memory_bytes(const Description& d, std::int64_t tokens) {
  return round_up(static_cast<Bytes>(floats_of_token(d) * tokens) * sizeof(float), page_bytes);
}

LayerPass::LayerPass(Context& context, const Description& d, const Weights& weights,
                     Products& products, std::int64_t tokens)
    : context_(context),
      description_(d),
      weights_(weights),
      products_(products),
      memory_(context.ledger, Account::io, memory_bytes(d, tokens)),
      tokens_(tokens) {
  float* next = memory_.as<float>();
  const auto take = [&](std::int64_t floats) {
    float* const taken = next;
    next += floats * tokens;
    return taken;
  };
  const std::int64_t q_rows = d.heads * d.head_dim;
  for (float** buffer : {&entered_, &normed_, &attention_block_, &between_, &normed2_,
                         &down_block_, &normed_gradient_, &block_gradient_})
    *buffer = take(d.width);
  for (float** buffer : {&qkv_, &turned_, &qkv_gradient_}) *buffer = take(d.qkv_rows());
  for (float** buffer : {&attended_, &attended_gradient_}) *buffer = take(q_rows);
  for (float** buffer : {&gate_up_, &gate_up_gradient_}) *buffer = take(2 * d.feed_forward);
  for (float** buffer : {&activated_, &activated_gradient_}) *buffer = take(d.feed_forward);

  const std::int64_t pairs = d.rope_dim / 2;
  for (const RopeDescription& rope : d.ropes) {
    const float* factors = nullptr;
    if (tokens > rope.original_context && !rope.long_factors_tensor.empty())
      factors = weights.vector({Role::rope_long_factors});
    if (!factors && !rope.factors_tensor.empty()) factors = weights.vector({Role::rope_factors});
    const RopeFrequencies frequencies = rope_frequencies(rope, d.rope_dim, factors, tokens);
    std::vector<float>& cosines = cosines_.emplace_back(static_cast<std::size_t>(tokens * pairs));
    std::vector<float>& sines = sines_.emplace_back(cosines.size());
    for (std::int64_t t = 0; t < tokens; ++t)
      for (std::int64_t i = 0; i < pairs; ++i) {
        const float angle = static_cast<float>(t) *
                            frequencies.radians_per_position[static_cast<std::size_t>(i)];
        cosines[static_cast<std::size_t>(t * pairs + i)] = std::cos(angle) * frequencies.magnitude;
        sines[static_cast<std::size_t>(t * pairs + i)] = std::sin(angle) * frequencies.magnitude;
      }
  }
}

const Matrix& LayerPass::matrix(Role role, std::int64_t layer) const {
  if (replacement_.by && replacement_.role == role && replacement_.layer == layer)
    return *replacement_.by;
  return weights_.matrix({role, layer});
}

void LayerPass::for_tokens(std::int64_t tokens,
                           const std::function<void(std::int64_t)>& body) const {
  context_.threads.parallel_for(tokens, 4, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t t = begin; t < end; ++t) body(t);
  });
}

void LayerPass::multiply(Role role, Role bias, std::int64_t layer, std::int64_t tokens,
                         const float* x, std::int64_t x_stride, float* y, std::int64_t y_stride) {
  const Matrix& w = matrix(role, layer);
  products_.multiply(w, x, x_stride, tokens, y, y_stride);
  if (bias == role || !vector(bias, layer)) return;
  for_tokens(tokens, [&](std::int64_t t) {
    context_.kernels.add(vector(bias, layer), w.rows(), y + t * y_stride);
  });
}

void LayerPass::norm(const float* weight, std::int64_t tokens, const float* x, float* y) const {
  const std::int64_t width = description_.width;
  for_tokens(tokens, [&](std::int64_t t) {
    context_.kernels.rms_norm(x + t * width, weight, description_.norm_epsilon, width,
                              y + t * width);
  });
}

void LayerPass::norm_back(const float* weight, std::int64_t tokens, const float* x,
                          float* gradient) {
  const std::int64_t width = description_.width;
  for_tokens(tokens, [&](std::int64_t t) {
    add_norm_gradient(x + t * width, weight, description_.norm_epsilon, width,
                      normed_gradient_ + t * width, gradient + t * width);
  });
}

void LayerPass::add_block(const float* post_norm, std::int64_t tokens, const float* block,
                          const float* x, float* y) const {
  const std::int64_t width = description_.width;
  for_tokens(tokens, [&](std::int64_t t) {
    std::vector<float> normed(static_cast<std::size_t>(width));
    const float* added = block + t * width;
    if (post_norm) {
      context_.kernels.rms_norm(added, post_norm, description_.norm_epsilon, width, normed.data());
      added = normed.data();
    }
    for (std::int64_t i = 0; i < width; ++i) y[t * width + i] = x[t * width + i] + added[i];
  });
}

void LayerPass::add_block_back(const float* post_norm, std::int64_t tokens, const float* block,
                               const float* gradient) {
  const std::int64_t width = description_.width;
  for_tokens(tokens, [&](std::int64_t t) {
    std::vector<float> result(static_cast<std::size_t>(width));
    if (post_norm)
      add_norm_gradient(block + t * width, post_norm, description_.norm_epsilon, width,
                        gradient + t * width, result.data());
    else
      std::copy_n(gradient + t * width, width, result.data());
    std::ranges::copy(result, block_gradient_ + t * width);
  });
}

void LayerPass::turn_heads(std::int64_t layer, std::int64_t tokens) {
  const Description& d = description_;
  const std::int64_t stride = d.qkv_rows(), pairs = d.rope_dim / 2;
  const auto rope = static_cast<std::size_t>(d.per_layer[static_cast<std::size_t>(layer)].rope);
  for_tokens(tokens, [&](std::int64_t t) {
    std::copy_n(qkv_ + t * stride, stride, turned_ + t * stride);
    for (std::int64_t head = 0; head < d.heads + d.kv_heads; ++head) {
      float* const x = turned_ + t * stride + head * d.head_dim;
      if (d.query_key_norm)
        context_.kernels.rms_norm(x, vector(head < d.heads ? Role::q_norm : Role::k_norm, layer),
                                  d.norm_epsilon, d.head_dim, x);
      context_.kernels.rope(cosines_[rope].data() + t * pairs, sines_[rope].data() + t * pairs,
                            pairs, d.rope_adjacent, x);
    }
  });
}

/// qkv_gradient_, of turned_ before, of qkv_ after.
void LayerPass::turn_back(std::int64_t layer, std::int64_t tokens) {
  const Description& d = description_;
  const std::int64_t stride = d.qkv_rows(), pairs = d.rope_dim / 2;
  const auto rope = static_cast<std::size_t>(d.per_layer[static_cast<std::size_t>(layer)].rope);
  for_tokens(tokens, [&](std::int64_t t) {
    // The transpose of a rotation turns the other way.
    std::vector<float> sines(sines_[rope].begin() + t * pairs,
                             sines_[rope].begin() + (t + 1) * pairs);
    for (float& sine : sines) sine = -sine;
    std::vector<float> result(static_cast<std::size_t>(d.head_dim));
    for (std::int64_t head = 0; head < d.heads + d.kv_heads; ++head) {
      float* const gradient = qkv_gradient_ + t * stride + head * d.head_dim;
      context_.kernels.rope(cosines_[rope].data() + t * pairs, sines.data(), pairs,
                            d.rope_adjacent, gradient);
      if (!d.query_key_norm) continue;
      std::ranges::fill(result, 0.0f);
      add_norm_gradient(qkv_ + t * stride + head * d.head_dim,
                        vector(head < d.heads ? Role::q_norm : Role::k_norm, layer),
                        d.norm_epsilon, d.head_dim, gradient, result.data());
      std::ranges::copy(result, gradient);
    }
  });
}

std::int64_t LayerPass::weigh(std::int64_t layer, std::int64_t head, std::int64_t query,
                              float* weights) const {
  const Description& d = description_;
  const std::int64_t stride = d.qkv_rows(), kv_head = head / (d.heads / d.kv_heads),
                     window = d.per_layer[static_cast<std::size_t>(layer)].window;
  const std::int64_t first = window > 0 ? std::max<std::int64_t>(0, query + 1 - window) : 0;
  const float* const q = turned_ + query * stride + head * d.head_dim;
  for (std::int64_t p = first; p <= query; ++p)
    weights[p] = d.attention_scale *
                 dot(q, turned_ + p * stride + (d.heads + kv_head) * d.head_dim, d.head_dim);
  if (d.attention_soft_cap != 0)
    context_.kernels.soft_cap(d.attention_soft_cap, query + 1 - first, weights + first);
  context_.kernels.softmax(weights + first, query + 1 - first);
  return first;
}

void LayerPass::attend(std::int64_t layer, std::int64_t tokens) {
  const Description& d = description_;
  const std::int64_t stride = d.qkv_rows(), q_rows = d.heads * d.head_dim;
  context_.threads.parallel_for(
      d.heads * tokens, 16, [&](std::int64_t begin, std::int64_t end, int) {
        std::vector<float> weights(static_cast<std::size_t>(tokens));
        for (std::int64_t i = begin; i < end; ++i) {
          const std::int64_t head = i / tokens, query = i % tokens;
          const std::int64_t v_offset =
              (d.heads + d.kv_heads + head / (d.heads / d.kv_heads)) * d.head_dim;
          const std::int64_t first = weigh(layer, head, query, weights.data());
          float* const out = attended_ + query * q_rows + head * d.head_dim;
          std::fill_n(out, d.head_dim, 0.0f);
          for (std::int64_t p = first; p <= query; ++p)
            add_scaled(weights[static_cast<std::size_t>(p)], turned_ + p * stride + v_offset,
                       d.head_dim, out);
        }
      });
}

void LayerPass::attend_back(std::int64_t layer, std::int64_t tokens) {
  const Description& d = description_;
  const std::int64_t stride = d.qkv_rows(), q_rows = d.heads * d.head_dim,
                     group = d.heads / d.kv_heads;
  std::fill_n(qkv_gradient_, tokens * stride, 0.0f);
  // The heads of a group add to the same keys and values: one worker for all of them.
  context_.threads.parallel_for(d.kv_heads, 1, [&](std::int64_t begin, std::int64_t end, int) {
    std::vector<float> weights(static_cast<std::size_t>(tokens)), slopes(weights.size());
    for (std::int64_t i = begin * group * tokens; i < end * group * tokens; ++i) {
      const std::int64_t head = i / tokens, query = i % tokens, kv_head = head / group;
      const std::int64_t q_offset = query * stride + head * d.head_dim,
                         k_offset = (d.heads + kv_head) * d.head_dim,
                         v_offset = k_offset + d.kv_heads * d.head_dim;
      const float* const gradient = attended_gradient_ + query * q_rows + head * d.head_dim;
      const std::int64_t first = weigh(layer, head, query, weights.data());
      float inner = 0;
      for (std::int64_t p = first; p <= query; ++p) {
        const auto at = static_cast<std::size_t>(p);
        add_scaled(weights[at], gradient, d.head_dim, qkv_gradient_ + p * stride + v_offset);
        slopes[at] = dot(gradient, turned_ + p * stride + v_offset, d.head_dim);
        inner += weights[at] * slopes[at];
      }
      for (std::int64_t p = first; p <= query; ++p) {
        const auto at = static_cast<std::size_t>(p);
        const float* const k = turned_ + p * stride + k_offset;
        float slope = weights[at] * (slopes[at] - inner) * d.attention_scale;
        if (d.attention_soft_cap != 0) {
          const float t = std::tanh(d.attention_scale * dot(turned_ + q_offset, k, d.head_dim) /
                                    d.attention_soft_cap);
          slope *= 1 - t * t;
        }
        add_scaled(slope, k, d.head_dim, qkv_gradient_ + q_offset);
        add_scaled(slope, turned_ + q_offset, d.head_dim, qkv_gradient_ + p * stride + k_offset);
      }
    }
  });
}

void LayerPass::activate(std::int64_t tokens) {
  const std::int64_t inner = description_.feed_forward;
  const auto multiply = description_.activation == Activation::silu
                            ? context_.kernels.silu_multiply
                            : context_.kernels.gelu_multiply;
  for_tokens(tokens, [&](std::int64_t t) {
    const float* const gate = gate_up_ + t * 2 * inner;
    multiply(gate, gate + inner, inner, activated_ + t * inner);
  });
}

void LayerPass::activate_back(std::int64_t tokens) {
  const std::int64_t inner = description_.feed_forward;
  const auto slope_of = description_.activation == Activation::silu ? silu : gelu;
  for_tokens(tokens, [&](std::int64_t t) {
    const float* const gate = gate_up_ + t * 2 * inner;
    const float* const gradient = activated_gradient_ + t * inner;
    float* const out = gate_up_gradient_ + t * 2 * inner;
    for (std::int64_t i = 0; i < inner; ++i) {
      const ValueAndSlope g = slope_of(gate[i]);
      out[i] = gradient[i] * gate[inner + i] * g.slope;
      out[inner + i] = gradient[i] * g.value;
    }
  });
}

void LayerPass::forward(std::int64_t layer, std::int64_t tokens, const float* x, float* y) {
  const Description& d = description_;
  const std::int64_t stride = d.qkv_rows(), q_rows = d.heads * d.head_dim,
                     kv_rows = d.kv_heads * d.head_dim;
  std::copy_n(x, tokens * d.width, entered_);
  norm(vector(Role::attention_norm, layer), tokens, entered_, normed_);
  if (d.fused_qkv) {
    multiply(Role::qkv, Role::qkv_bias, layer, tokens, normed_, d.width, qkv_, stride);
  } else {
    multiply(Role::q, Role::q_bias, layer, tokens, normed_, d.width, qkv_, stride);
    multiply(Role::k, Role::k_bias, layer, tokens, normed_, d.width, qkv_ + q_rows, stride);
    multiply(Role::v, Role::v_bias, layer, tokens, normed_, d.width, qkv_ + q_rows + kv_rows,
             stride);
  }
  turn_heads(layer, tokens);
  attend(layer, tokens);
  multiply(Role::attention_output, Role::attention_output_bias, layer, tokens, attended_, q_rows,
           attention_block_, d.width);
  add_block(vector(Role::attention_post_norm, layer), tokens, attention_block_, entered_, between_);
  feed_forward(layer, tokens);
  add_block(vector(Role::feed_forward_post_norm, layer), tokens, down_block_, between_, y);
}

void LayerPass::feed_forward(std::int64_t layer, std::int64_t tokens) {
  const Description& d = description_;
  const std::int64_t stride = 2 * d.feed_forward;
  norm(vector(Role::feed_forward_norm, layer), tokens, between_, normed2_);
  if (d.fused_gate_up) {
    multiply(Role::gate_up, Role::gate_up, layer, tokens, normed2_, d.width, gate_up_, stride);
  } else {
    multiply(Role::gate, Role::gate_bias, layer, tokens, normed2_, d.width, gate_up_, stride);
    multiply(Role::up, Role::up_bias, layer, tokens, normed2_, d.width, gate_up_ + d.feed_forward,
             stride);
  }
  activate(tokens);
  multiply(Role::down, Role::down_bias, layer, tokens, activated_, d.feed_forward, down_block_,
           d.width);
}

void LayerPass::backward(std::int64_t layer, std::int64_t tokens, float* gradient,
                         const VisitProduct& visit) {
  const Description& d = description_;
  // Shows a product, and adds its input's gradient to `x_gradient`.
  const auto back = [&](Role role, Role bias, const float* x, std::int64_t columns, const float* y,
                        const float* y_gradient, std::int64_t stride, float* x_gradient) {
    const Matrix& w = matrix(role, layer);
    visit({role, layer, &w, tokens, x, columns, y, y_gradient, stride,
           bias == role ? nullptr : vector(bias, layer)});
    products_.add_transposed(w, y_gradient, stride, tokens, x_gradient, columns);
  };
  const auto clear = [&](float* buffer, std::int64_t floats) {
    std::fill_n(buffer, tokens * floats, 0.0f);
  };

  const std::int64_t ff_stride = 2 * d.feed_forward;
  add_block_back(vector(Role::feed_forward_post_norm, layer), tokens, down_block_, gradient);
  clear(activated_gradient_, d.feed_forward);
  back(Role::down, Role::down_bias, activated_, d.feed_forward, down_block_, block_gradient_, d.width,
       activated_gradient_);
  activate_back(tokens);
  clear(normed_gradient_, d.width);
  if (d.fused_gate_up) {
    back(Role::gate_up, Role::gate_up, normed2_, d.width, gate_up_, gate_up_gradient_, ff_stride,
         normed_gradient_);
  } else {
    back(Role::gate, Role::gate_bias, normed2_, d.width, gate_up_, gate_up_gradient_, ff_stride,
         normed_gradient_);
    back(Role::up, Role::up_bias, normed2_, d.width, gate_up_ + d.feed_forward,
         gate_up_gradient_ + d.feed_forward, ff_stride, normed_gradient_);
  }
  norm_back(vector(Role::feed_forward_norm, layer), tokens, between_, gradient);

  const std::int64_t stride = d.qkv_rows(), q_rows = d.heads * d.head_dim,
                     kv_rows = d.kv_heads * d.head_dim;
  add_block_back(vector(Role::attention_post_norm, layer), tokens, attention_block_, gradient);
  clear(attended_gradient_, q_rows);
  back(Role::attention_output, Role::attention_output_bias, attended_, q_rows, attention_block_,
       block_gradient_, d.width, attended_gradient_);
  attend_back(layer, tokens);
  turn_back(layer, tokens);
  clear(normed_gradient_, d.width);
  if (d.fused_qkv) {
    back(Role::qkv, Role::qkv_bias, normed_, d.width, qkv_, qkv_gradient_, stride,
         normed_gradient_);
  } else {
    back(Role::q, Role::q_bias, normed_, d.width, qkv_, qkv_gradient_, stride, normed_gradient_);
    back(Role::k, Role::k_bias, normed_, d.width, qkv_ + q_rows, qkv_gradient_ + q_rows, stride,
         normed_gradient_);
    back(Role::v, Role::v_bias, normed_, d.width, qkv_ + q_rows + kv_rows,
         qkv_gradient_ + q_rows + kv_rows, stride, normed_gradient_);
  }
  norm_back(vector(Role::attention_norm, layer), tokens, entered_, gradient);
}

}  // namespace plimsoll
