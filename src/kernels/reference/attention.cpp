#define PLIMSOLL_ISA reference
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "kernels/functions-inl.h"
#include "kernels/kv_codes.h"

namespace plimsoll::reference {
namespace {

constexpr std::int32_t outputs_at_a_time = 256;

/// The task's head at one position.
struct Row {
  Row(const AttentionTask& task, KvSide side_, std::int64_t position)
      : side(side_), head_dim(task.head_dim) {
    const std::int64_t page = position / kv_page_positions, row = position % kv_page_positions;
    at = row;
    const KvPageView& view =
        page == task.first_position / kv_page_positions ? task.newest : task.pages[page];
    const KvHalfPage& half = side == KvSide::keys ? view.keys : view.values;
    const KvHeadLayout layout(half.tier, side, head_dim);
    tier = half.tier;
    codes = half.heads + task.kv_head * layout.bytes;
    unit = kv_float_from_bfloat(reinterpret_cast<const std::uint16_t*>(codes + layout.units)[row]);
    if (side == KvSide::keys && tier != KvTier::sixteen) {
      mean = reinterpret_cast<const std::int16_t*>(codes + layout.mean);
      mean_unit = kv_float_from_bfloat(static_cast<std::uint16_t>(mean[head_dim]));
    }
  }
  /// What is times `unit`.
  int level(std::int64_t d) const {
    if (tier == KvTier::sixteen)
      return reinterpret_cast<const std::int16_t*>(codes)[at * head_dim + d];
    return kv_level(tier, kv_read_code(tier, codes, kv_code_at(tier, side, head_dim, at, d)));
  }

  KvSide side;
  KvTier tier;
  std::int64_t head_dim, at;
  const std::byte* codes;
  double unit, mean_unit = 0;
  const std::int16_t* mean = nullptr;  // keys only
};

double score(const AttentionTask& task, const float* q, std::int64_t position) {
  const Row k(task, KvSide::keys, position);
  double dot = 0.0;
  for (std::int32_t d = 0; d < task.head_dim; ++d)
    dot += q[d] * (k.level(d) * k.unit + (k.mean ? k.mean[d] * k.mean_unit : 0.0));
  dot *= task.scale;
  return task.soft_cap > 0.0f ? task.soft_cap * std::tanh(dot / task.soft_cap) : dot;
}

/// `count` outputs of one head over some positions: sums of e^(score - maximum) v, and of
/// e^(score - maximum).
struct Part {
  float outputs[outputs_at_a_time];
  float maximum;
  float sum;
};

/// Of positions [begin, end), outputs from `first` on. Two passes: the maximum, then the weighted
/// sums. Scores are computed anew in each, so that no buffer grows with the number of positions.
Part attend_part(const AttentionTask& task, const float* q, std::int64_t begin, std::int64_t end,
                 std::int32_t first, std::int32_t count) {
  double max = -std::numeric_limits<double>::infinity();
  for (std::int64_t p = begin; p < end; ++p) {
    const double s = score(task, q, p);
    max = s > max ? s : max;
  }
  Part part{};
  part.maximum = static_cast<float>(max);
  double total = 0.0;
  double sums[outputs_at_a_time] = {};
  for (std::int64_t p = begin; p < end; ++p) {
    const double weight = std::exp(score(task, q, p) - part.maximum);
    const Row v(task, KvSide::values, p);
    const double scaled = weight * v.unit;
    total += weight;
    for (std::int32_t d = 0; d < count; ++d) sums[d] += scaled * v.level(first + d);
  }
  for (std::int32_t d = 0; d < count; ++d) part.outputs[d] = static_cast<float>(sums[d]);
  part.sum = static_cast<float>(total);
  return part;
}

/// Parts added up in doubles.
class Total {
 public:
  void add(const float* outputs, float maximum, float sum, std::int32_t count) {
    const double new_maximum = std::max(maximum_, static_cast<double>(maximum));
    const double earlier = std::exp(maximum_ - new_maximum),
                 later = std::exp(maximum - new_maximum);
    maximum_ = new_maximum;
    sum_ = sum_ * earlier + sum * later;
    for (std::int32_t d = 0; d < count; ++d)
      outputs_[d] = outputs_[d] * earlier + outputs[d] * later;
  }
  void write(std::int32_t count, float* out) const {
    for (std::int32_t d = 0; d < count; ++d) out[d] = static_cast<float>(outputs_[d] / sum_);
  }

 private:
  double maximum_ = -std::numeric_limits<double>::infinity(), sum_ = 0;
  double outputs_[outputs_at_a_time] = {};
};

/// Calls f(first, count) for all outputs of a head.
template <class Function>
void in_pieces(std::int32_t head_dim, const Function& f) {
  for (std::int32_t first = 0; first < head_dim; first += outputs_at_a_time)
    f(first, std::min(head_dim - first, outputs_at_a_time));
}

}  // namespace

void cache_row(const float* x, std::int64_t n, float limit, std::int16_t* codes,
               std::uint16_t* unit) {
  float largest = 0;
  bool finite = true;
  for (std::int64_t i = 0; i < n; ++i) {
    largest = std::max(largest, std::fabs(x[i]));
    finite = finite && std::isfinite(x[i]);
  }
  std::fill_n(codes, n, std::int16_t{0});
  *unit = finite ? 0 : 0x7fc0;
  if (!finite || largest < least_activation) return;
  // The next bf16 from largest / limit up.
  const std::uint32_t bits = (std::bit_cast<std::uint32_t>(largest / limit) + 0xffff) >> 16;
  *unit = static_cast<std::uint16_t>(bits);
  const float inverse = 1.0f / std::bit_cast<float>(bits << 16);
  for (std::int64_t i = 0; i < n; ++i)
    codes[i] = static_cast<std::int16_t>(std::nearbyint(x[i] * inverse));
}

void attention(const AttentionTask& task) {
  for (std::int64_t i = 0; i < task.queries; ++i) {
    const std::int64_t end = task.first_position + i + 1;
    const std::int64_t begin = task.window > 0 && end > task.window ? end - task.window : 0;
    for (std::int32_t h = 0; h < task.heads; ++h) {
      const float* q = task.q + i * task.q_stride + static_cast<std::int64_t>(h) * task.head_dim;
      float* out = task.out + i * task.out_stride + static_cast<std::int64_t>(h) * task.head_dim;
      const auto part = [&](std::int64_t index, std::int32_t first, std::int32_t count) {
        return attend_part(task, q, std::max(begin, index * attention_part),
                           std::min(end, (index + 1) * attention_part), first, count);
      };
      in_pieces(task.head_dim, [&](std::int32_t first, std::int32_t count) {
        if (task.part_states) {
          const Part one = part(task.part, first, count);
          std::copy_n(one.outputs, count, out + first);
          float* const state = task.part_states + i * task.part_state_stride + 2 * h;
          state[0] = one.maximum;
          state[1] = one.sum;
          return;
        }
        Total total;
        for (std::int64_t index = begin / attention_part; index * attention_part < end; ++index) {
          const Part one = part(index, first, count);
          total.add(one.outputs, one.maximum, one.sum, count);
        }
        total.write(count, out + first);
      });
    }
  }
}

void merge_attention(const float* outputs, std::int64_t stride, const float* states,
                     std::int64_t state_stride, std::int64_t parts, std::int32_t heads,
                     std::int32_t head_dim, float* out) {
  for (std::int64_t h = 0; h < heads; ++h) {
    in_pieces(head_dim, [&](std::int32_t first, std::int32_t count) {
      Total total;
      for (std::int64_t part = 0; part < parts; ++part) {
        const float* const state = states + part * state_stride + 2 * h;
        total.add(outputs + part * stride + h * head_dim + first, state[0], state[1], count);
      }
      total.write(count, out + h * head_dim + first);
    });
  }
}

}  // namespace plimsoll::reference
