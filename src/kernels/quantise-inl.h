// quantise for every vector width: a lane is a row, so that rows never wait for each other.
//
// Columns are taken in chunks of 256. At a chunk's begin the errors of all columns before it are
// charged to its targets, as a product of matrices whose panels of U are copied into the cache;
// within the chunk, each 16 or 32 columns charge the rest of it the same way, and each column those
// few beside it. Super scales are chosen from the targets at their block's begin, group scales anew
// when their turn comes.
#include <cstring>

#include "kernels/functions-inl.h"
#include "kernels/quantise_grid.h"
#include "kernels/quantise_search-inl.h"
#include "kernels/vector-inl.h"

namespace plimsoll::PLIMSOLL_ISA {
namespace {

constexpr std::int64_t kRows = quantise_rows_together;
constexpr std::int64_t kMaxStep = 32;

// --- error feedback: targets += errors^T U ---

/// Register tile: vectors of rows x columns.
constexpr int kTileVectors = kRegisters == 32 ? 4 : 2;
constexpr int kTileColumns = kRegisters == 32 ? 6 : 5;

template <int kColumns>
void charge_tile(const float* errors, const float* panel, std::int64_t count, float* targets) {
  Vector sums[kColumns][kTileVectors];
  PLIMSOLL_UNROLL
  for (int c = 0; c < kColumns; ++c) {
    PLIMSOLL_UNROLL
    for (int v = 0; v < kTileVectors; ++v) sums[c][v] = load(targets + c * kRows + v * kLanes);
  }
  for (std::int64_t j = 0; j < count; ++j) {
    Vector e[kTileVectors];
    PLIMSOLL_UNROLL
    for (int v = 0; v < kTileVectors; ++v) e[v] = load(errors + j * kRows + v * kLanes);
    PLIMSOLL_UNROLL
    for (int c = 0; c < kColumns; ++c) {
      const Vector u = splat(panel[j * quantise_panel_stride + c]);
      PLIMSOLL_UNROLL
      for (int v = 0; v < kTileVectors; ++v) sums[c][v] = hn::MulAdd(e[v], u, sums[c][v]);
    }
  }
  PLIMSOLL_UNROLL
  for (int c = 0; c < kColumns; ++c) {
    PLIMSOLL_UNROLL
    for (int v = 0; v < kTileVectors; ++v) store(sums[c][v], targets + c * kRows + v * kLanes);
  }
}

/// targets[c][row] += sum over j < count of errors[j][row] * u[j * stride + c], for `width` columns
/// c, a multiple of 16. The rows of u are `stride` apart, so far that no processor foresees them:
/// those after a panel, of the `rows` that there are, are asked for while it is multiplied.
void charge(const float* errors, const float* u, std::int64_t stride, std::int64_t rows,
            std::int64_t count, float* targets, std::int64_t width, float* panel) {
  for (std::int64_t j = 0; j < count; j += quantise_panel) {
    const std::int64_t depth = count - j < quantise_panel ? count - j : quantise_panel;
    for (std::int64_t i = 0; i < depth; ++i)
      for (std::int64_t c = 0; c < width; c += kLanes)
        store(load(u + (j + i) * stride + c), panel + i * quantise_panel_stride + c);
    std::int64_t asked = j + depth;
    const std::int64_t end = rows - asked < depth ? rows : asked + depth;
    for (std::int64_t row = 0; row < kRows; row += kTileVectors * kLanes)
      for (std::int64_t c = 0; c < width; c += kTileColumns) {
        for (; asked < end && (asked - j - depth) * width <= c * depth; ++asked)
          for (std::int64_t k = 0; k < width; k += 16) prefetch_to_l2(u + asked * stride + k);
        with_constant<kTileColumns>(width - c, [&](auto columns) HWY_ATTR {
          charge_tile<decltype(columns)::value>(errors + j * kRows + row, panel + c, depth,
                                                targets + c * kRows + row);
        });
      }
  }
}

// --- blocks ---

/// The whole task, by kind of values; kRefines: the blocks have the scales and the leading bits of
/// the codes, and the other bits are added. A strip is as many rows as a vector has lanes.
template <typename Values, bool kMin, bool kRefines = false>
class Quantiser {
 public:
  Quantiser(const QuantiseTask& task, const CodeGrid& grid, const SearchEffort& effort)
      : task_(task),
        layout_(task.format->layout),
        effort_(effort),
        search_(layout_, grid, effort),
        groups_(task.format->block_values / layout_.scale_width),
        has_super_(layout_.has_super && layout_.scale != ScaleKind::none),
        step_(layout_.scale_width < kMaxStep ? layout_.scale_width : kMaxStep),
        errors_(task.scratch),
        targets_(errors_ + task.columns * kRows),
        panel_(targets_ + quantise_chunk * kRows),
        ones_(panel_ + quantise_panel * quantise_panel_stride),
        state_(*reinterpret_cast<QuantiseState*>(ones_ + quantise_chunk)) {
    for (std::int64_t c = 0; c < quantise_chunk; ++c) ones_[c] = 1;
    if constexpr (kRefines) {
      const int children = 1 << (layout_.bits - 4);
      for (int parent = 0; parent < 16; ++parent)
        first_child_[parent] = layout_.values[children * parent];
      children_ = static_cast<float>(children);
      child_step_ = static_cast<float>(layout_.values[1] - layout_.values[0]);
    }
  }

  double run() {
    double cost = 0;
    for (row_ = 0; row_ < task_.rows; row_ += kRows) {
      rows_ = task_.rows - row_ < kRows ? task_.rows - row_ : kRows;
      for (chunk_ = 0; chunk_ < task_.columns; chunk_ += quantise_chunk) {
        const std::int64_t left = task_.columns - chunk_;
        cost += round_chunk(left < quantise_chunk ? left : quantise_chunk);
      }
    }
    return cost;
  }

 private:
  double round_chunk(std::int64_t width) {
    load_targets(width);
    if (task_.feedback) {
      std::memcpy(errors_ + chunk_ * kRows, targets_, width * kRows * sizeof(float));
      charge(errors_, task_.feedback + chunk_, task_.columns, task_.columns, chunk_, targets_,
             width, panel_);
    }
    double cost = 0;
    const int block = task_.format->block_values;
    for (std::int64_t c = 0; c < width; c += step_) {
      if (c % block == 0)
        for (std::int64_t strip = 0; strip < rows_; strip += kLanes) begin_block(c, strip);
      const std::int64_t g = c % block / layout_.scale_width;
      for (std::int64_t strip = 0; strip < rows_; strip += kLanes) {
        if (!kRefines && c % layout_.scale_width == 0) begin_group(c, g, strip);
        round_step(c, g, strip);
      }
      const std::int64_t next = c + step_;
      if (task_.feedback && next < width)
        charge(errors_ + (chunk_ + c) * kRows,
               task_.feedback + (chunk_ + c) * task_.columns + chunk_ + next, task_.columns,
               task_.columns - chunk_ - c, step_, targets_ + next * kRows, width - next, panel_);
      if (next % block != 0) continue;
      if (task_.unbiased && !task_.feedback && (search_.free() || has_super_))
        for (std::int64_t strip = 0; strip < rows_; strip += kLanes)
          remove_bias(next - block, strip);
      cost += finish_block(next - block);
    }
    return cost;
  }

  /// The chunk's weights, transposed. Rows that do not exist repeat the last one.
  void load_targets(std::int64_t width) {
    const hn::Full128<float> tag;
    for (std::int64_t r = 0; r < kRows; r += 4) {
      const float* rows[4];
      for (std::int64_t i = 0; i < 4; ++i) {
        const std::int64_t row = r + i < rows_ ? r + i : rows_ - 1;
        rows[i] = task_.weights + (row_ + row) * task_.columns + chunk_;
      }
      for (std::int64_t c = 0; c < width; c += 4) {
        const auto w0 = hn::LoadU(tag, rows[0] + c), w1 = hn::LoadU(tag, rows[1] + c);
        const auto w2 = hn::LoadU(tag, rows[2] + c), w3 = hn::LoadU(tag, rows[3] + c);
        const auto low02 = hn::InterleaveLower(tag, w0, w2);
        const auto low13 = hn::InterleaveLower(tag, w1, w3);
        const auto high02 = hn::InterleaveUpper(tag, w0, w2);
        const auto high13 = hn::InterleaveUpper(tag, w1, w3);
        float* out = targets_ + c * kRows + r;
        hn::StoreU(hn::InterleaveLower(tag, low02, low13), tag, out);
        hn::StoreU(hn::InterleaveUpper(tag, low02, low13), tag, out + kRows);
        hn::StoreU(hn::InterleaveLower(tag, high02, high13), tag, out + 2 * kRows);
        hn::StoreU(hn::InterleaveUpper(tag, high02, high13), tag, out + 3 * kRows);
      }
    }
  }

  const float* importance(std::int64_t c) const {
    return task_.importance ? task_.importance + chunk_ + c : ones_;
  }

  /// The targets of one group of a strip, in its units, written to `units`.
  Group load_group(std::int64_t c, std::int64_t strip, float* units) const {
    const Vector up = load(state_.up + strip);
    Group group = {units, importance(c), layout_.scale_width, 0};
    for (int i = 0; i < group.columns; ++i) {
      store(hn::Mul(load(targets_ + (c + i) * kRows + strip), up), units + i * kLanes);
      group.total += group.importance[i];
    }
    return group;
  }

  Scales scales_of(std::int64_t strip) const {
    return Scales(layout_, load(state_.up + strip), load(state_.down + strip),
                  load(state_.super_scale + strip), load(state_.super_min + strip));
  }

  /// Units, and where there are super scales, those that suit the groups as they are now.
  void begin_block(std::int64_t c, std::int64_t strip) {
    Vector greatest = hn::Zero(kTag);
    if constexpr (kRefines) {
      read_block(c, strip);
      greatest = hn::Abs(load(state_.super_scale + strip));
    }
    for (std::int64_t i = 0; i < task_.format->block_values; ++i)
      greatest = hn::Max(greatest, hn::Abs(load(targets_ + (c + i) * kRows + strip)));
    const IntTag tag;
    const Ints biased = hn::ShiftRight<23>(hn::BitCast(tag, greatest));
    const Ints exponent =
        hn::Min(hn::Max(hn::Sub(biased, hn::Set(tag, 127)), hn::Set(tag, -126)), hn::Set(tag, 126));
    store(power_of_two(exponent), state_.down + strip);
    store(power_of_two(hn::Neg(exponent)), state_.up + strip);
    store(hn::Zero(kTag), state_.cost + strip);
    if constexpr (kRefines) return take_scales(strip);
    store(hn::Zero(kTag), state_.super_scale + strip);
    store(hn::Zero(kTag), state_.super_min + strip);
    if (has_super_) choose_super(c, strip);
  }

  /// The strip's parts of the block that begins at column c of the chunk; super scales not in units
  /// yet.
  void read_block(std::int64_t c, std::int64_t strip) {
    const Format& format = *task_.format;
    const std::int64_t row_blocks = task_.columns / format.block_values;
    for (std::int64_t r = strip; r < strip + kLanes; ++r) {
      const std::int64_t row = row_ + (r < rows_ ? r : rows_ - 1);
      BlockParts& parts = state_.parts[r];
      format.leading->split(task_.blocks + (row * row_blocks + (chunk_ + c) / format.block_values) *
                                               format.block_bytes,
                            &parts, 1);
      state_.super_scale[r] = parts.super_scale;
      for (int g = 0; g < groups_; ++g)
        state_.raw_scale[g][r] = static_cast<float>(layout_.scale == ScaleKind::i8
                                                        ? static_cast<std::int8_t>(parts.scales[g])
                                                        : parts.scales[g]);
      for (int i = 0; i < format.block_values; ++i) state_.codes[c + i][r] = parts.codes[i];
    }
    store(hn::Mul(half_of_bits(load(state_.super_scale + strip)), splat(layout_.unit)),
          state_.super_scale + strip);
  }

  /// What read_block() has found, in units.
  void take_scales(std::int64_t strip) {
    store(hn::Mul(load(state_.super_scale + strip), load(state_.up + strip)),
          state_.super_scale + strip);
    const Scales scales = scales_of(strip);
    for (int g = 0; g < groups_; ++g) {
      store(scales.of_raw(load(state_.raw_scale[g] + strip)), state_.scale[g] + strip);
      store(hn::Zero(kTag), state_.raw_min[g] + strip);
      store(hn::Zero(kTag), state_.min[g] + strip);
    }
    store(hn::Zero(kTag), state_.super_min + strip);
  }

  /// Of the children, which count up in even steps from the first.
  HWY_INLINE Nearest nearest_child(const std::uint8_t* parents, Vector quotient) const {
    const hn::Rebind<std::uint8_t, IntTag> byte_tag;
    const Ints parent = hn::PromoteTo(IntTag(), hn::LoadU(byte_tag, parents));
    const Vector first = look_up(first_child_, parent), step = splat(child_step_);
    const Vector beyond = hn::Max(hn::Div(hn::Sub(quotient, first), step), hn::Zero(kTag));
    const Vector child = hn::Round(hn::Min(beyond, splat(children_ - 1)));
    return {hn::MulAdd(child, step, first),
            hn::MulAdd(hn::ConvertTo(kTag, parent), splat(children_), child)};
  }

  /// Super scales that suit the groups as they are now.
  void choose_super(std::int64_t c, std::int64_t strip) {
    const Scales scales = scales_of(strip);
    HWY_ALIGN float units[kMaxStep * kLanes];
    for (int g = 0; g < groups_; ++g) {
      const Group group = load_group(c + g * layout_.scale_width, strip, units);
      const Choice wanted = search_.best(group, scales);
      store(wanted.scale, state_.wanted_scale[g] + strip);
      store(wanted.min, state_.wanted_min[g] + strip);
      store(search_.curvature(group, wanted), state_.scale_weight[g] + strip);
      store(splat(group.total), state_.min_weight[g] + strip);
    }
    store(best_super(scales, state_.wanted_scale[0] + strip, state_.scale_weight[0] + strip,
                     static_cast<float>(layout_.scale_low), static_cast<float>(layout_.scale_high)),
          state_.super_scale + strip);
    if constexpr (kMin)
      store(best_super(scales, state_.wanted_min[0] + strip, state_.min_weight[0] + strip,
                       -static_cast<float>(layout_.scale_high), 0),
            state_.super_min + strip);
    if (effort_.super_rounds > 0) refine_super(c, strip);
  }

  /// The half whose products with integers from `low` to `high` are nearest to `wanted`; that and
  /// `weights` are [groups][kRows].
  Vector best_super(const Scales& scales, const float* wanted, const float* weights, float low,
                    float high) const {
    Vector extreme = hn::Zero(kTag);
    for (int g = 0; g < groups_; ++g) {
      const Vector w = load(wanted + g * kRows);
      extreme = hn::IfThenElse(hn::Gt(hn::Abs(w), hn::Abs(extreme)), w, extreme);
    }
    const float bound = -low > high ? low : high;
    Vector best = hn::Zero(kTag), least = splat(__builtin_inff());
    for (int i = 0; i < super_candidates; ++i) {
      const float at = bound * (1 - static_cast<float>(i - 1) / 32);
      const Vector super = scales.nearest_half_scale(hn::Mul(extreme, splat(1 / at)));
      const Vector per_super = reciprocal_or_zero(super);
      Vector cost = hn::Zero(kTag);
      for (int g = 0; g < groups_; ++g) {
        const Vector w = load(wanted + g * kRows);
        const Vector raw = hn::Round(hn::Mul(w, per_super));
        const Vector clamped = hn::Min(hn::Max(raw, splat(low)), splat(high));
        const Vector error = hn::NegMulAdd(clamped, super, w);
        cost = hn::MulAdd(hn::Mul(error, error), load(weights + g * kRows), cost);
      }
      const Mask less = hn::Lt(cost, least);
      best = hn::IfThenElse(less, super, best);
      least = hn::IfThenElse(less, cost, least);
    }
    return best;
  }

  /// Coordinate descent: stored scales, mins and codes for the super scales, then super scales
  /// fitted to those by least squares. The best that was met is kept.
  void refine_super(std::int64_t c, std::int64_t strip) {
    HWY_ALIGN float units[kMaxStep * kLanes];
    Vector super_scale = load(state_.super_scale + strip);
    Vector super_min = load(state_.super_min + strip);
    Vector least = splat(__builtin_inff());
    for (int round = 0; round <= effort_.super_rounds; ++round) {
      const Scales scales(layout_, load(state_.up + strip), load(state_.down + strip), super_scale,
                          super_min);
      // Normal equations of the changes of both super scales.
      Vector cost = hn::Zero(kTag), ss = cost, sm = cost, mm = cost, s = cost, m = cost;
      for (int g = 0; g < groups_; ++g) {
        const Group group = load_group(c + g * layout_.scale_width, strip, units);
        const auto stored = search_.stored(group, scales, load(state_.wanted_scale[g] + strip),
                                           load(state_.wanted_min[g] + strip));
        const Sums sums = search_.measure(group, stored.choice.scale, stored.choice.min);
        cost = hn::Add(cost, sums.cost);
        const Vector raw = stored.raw_scale;
        ss = hn::MulAdd(hn::Mul(raw, raw), sums.value_square, ss);
        s = hn::MulAdd(raw, sums.error_value, s);
        if constexpr (kMin) {
          const Vector raw_min = stored.raw_min;
          sm = hn::NegMulAdd(hn::Mul(raw, raw_min), sums.value, sm);
          mm = hn::MulAdd(hn::Mul(raw_min, raw_min), splat(group.total), mm);
          m = hn::NegMulAdd(raw_min, sums.error, m);
        }
      }
      const Mask less = hn::Lt(cost, least);
      least = hn::IfThenElse(less, cost, least);
      store(hn::IfThenElse(less, super_scale, load(state_.super_scale + strip)),
            state_.super_scale + strip);
      store(hn::IfThenElse(less, super_min, load(state_.super_min + strip)),
            state_.super_min + strip);
      if constexpr (kMin) {
        // The mins' change follows from the scales'.
        const Vector share = quotient_or_zero(sm, mm);
        const Vector determinant = hn::NegMulAdd(share, sm, ss);
        const Mask solvable = hn::Gt(determinant, hn::Mul(splat(1e-5f), ss));
        const Vector change =
            hn::IfThenElseZero(solvable, hn::Div(hn::NegMulAdd(share, m, s), determinant));
        super_scale = hn::Add(super_scale, change);
        super_min = hn::Add(super_min, hn::NegMulAdd(change, share, quotient_or_zero(m, mm)));
        super_min = scales.nearest_half_scale(super_min);
      } else {
        super_scale = hn::Add(super_scale, quotient_or_zero(s, ss));
      }
      super_scale = scales.nearest_half_scale(super_scale);
    }
  }

  /// The group's scale and min as they will be stored. With feedback they are sought anew, since
  /// errors of its block have been charged to it.
  void begin_group(std::int64_t c, std::int64_t g, std::int64_t strip) {
    HWY_ALIGN float units[quantise_chunk * kLanes];
    const Scales scales = scales_of(strip);
    const Group group = load_group(c, strip, units);
    Vector scale = load(state_.wanted_scale[g] + strip);
    Vector min = load(state_.wanted_min[g] + strip);
    if (task_.feedback || !has_super_) {
      const Choice wanted = search_.best(group, scales);
      scale = wanted.scale;
      min = wanted.min;
    }
    const auto stored = search_.stored(group, scales, scale, min);
    store(stored.raw_scale, state_.raw_scale[g] + strip);
    store(stored.raw_min, state_.raw_min[g] + strip);
    store(stored.choice.scale, state_.scale[g] + strip);
    store(stored.choice.min, state_.min[g] + strip);
  }

  /// Codes of columns [c, c + step), each column's error charged to those after it.
  void round_step(std::int64_t c, std::int64_t g, std::int64_t strip) {
    const Vector up = load(state_.up + strip), down = load(state_.down + strip);
    const Vector scale = load(state_.scale[g] + strip), min = load(state_.min[g] + strip);
    const Vector per_scale = reciprocal_or_zero(scale);
    const float* const importances = importance(c);
    HWY_ALIGN float units[kMaxStep * kLanes];
    for (std::int64_t i = 0; i < step_; ++i)
      store(hn::Mul(load(targets_ + (c + i) * kRows + strip), up), units + i * kLanes);
    Vector cost = load(state_.cost + strip);
    for (std::int64_t i = 0; i < step_; ++i) {
      const Vector target = load(units + i * kLanes);
      const Nearest nearest =
          kRefines ? nearest_child(state_.codes[c + i] + strip, hn::Mul(target, per_scale))
                   : search_.nearest(target, per_scale, min);
      const Vector rest = search_.error(target, nearest.value, scale, min);
      cost = hn::MulAdd(hn::Mul(rest, rest), splat(importances[i]), cost);
      const hn::Rebind<std::uint8_t, IntTag> byte_tag;
      hn::StoreU(hn::DemoteTo(byte_tag, hn::ConvertTo(IntTag(), nearest.code)), byte_tag,
                 state_.codes[c + i] + strip);
      if (!task_.feedback) continue;
      float* const kept = errors_ + (chunk_ + c + i) * kRows + strip;
      const Vector error = hn::NegMulAdd(hn::Sub(target, rest), down, load(kept));
      store(error, kept);
      const Vector error_units = hn::Mul(error, up);
      const float* const u = task_.feedback + (chunk_ + c + i) * task_.columns + chunk_ + c;
      for (std::int64_t k = i + 1; k < step_; ++k)
        store(hn::MulAdd(error_units, splat(u[k]), load(units + k * kLanes)), units + k * kLanes);
    }
    store(cost, state_.cost + strip);
  }

  /// Multiplies the block's scales and mins, as far as their rounding allows, so that targets times
  /// decoded values sum up to the targets' squares. The codes stay.
  void remove_bias(std::int64_t c, std::int64_t strip) {
    HWY_ALIGN float units[quantise_chunk * kLanes];
    Sums sums[QuantiseState::groups];
    float totals[QuantiseState::groups];
    Vector product = hn::Zero(kTag), square = hn::Zero(kTag);
    for (int g = 0; g < groups_; ++g) {
      const Group group = load_group(c + g * layout_.scale_width, strip, units);
      const Vector scale = load(state_.scale[g] + strip), min = load(state_.min[g] + strip);
      const Sums& s = sums[g] = search_.measure(group, scale, min);
      totals[g] = group.total;
      // Of decoded values with errors, and of decoded values squared.
      const Vector with_error = hn::MulAdd(scale, s.error_value, hn::Mul(min, s.error));
      const Vector crossed = hn::MulAdd(scale, s.value, hn::Mul(min, splat(group.total)));
      const Vector scaled = hn::MulAdd(scale, s.value_square, hn::Mul(min, s.value));
      const Vector decoded_square = hn::MulAdd(scale, scaled, hn::Mul(min, crossed));
      product = hn::Add(product, hn::Add(with_error, decoded_square));
      square = hn::Add(square,
                       hn::Add(hn::Add(s.cost, with_error), hn::Add(with_error, decoded_square)));
    }
    const Vector one = splat(1.0f);
    const Vector ratio =
        hn::IfThenElse(hn::Gt(product, hn::Zero(kTag)), hn::Div(square, product), one);
    const Vector gain = hn::Min(hn::Max(ratio, splat(1 / most_gain)), splat(most_gain));
    const Scales before = scales_of(strip);
    store(before.nearest_half_scale(hn::Mul(gain, load(state_.super_scale + strip))),
          state_.super_scale + strip);
    store(before.nearest_half_scale(hn::Mul(gain, load(state_.super_min + strip))),
          state_.super_min + strip);
    const Scales scales = scales_of(strip);
    Vector cost = hn::Zero(kTag);
    for (int g = 0; g < groups_; ++g) {
      const Vector scale = load(state_.scale[g] + strip), min = load(state_.min[g] + strip);
      if (!has_super_) {
        store(scales.nearest_raw(hn::Mul(gain, scale)), state_.raw_scale[g] + strip);
        store(scales.nearest_raw_min(hn::Mul(gain, min)), state_.raw_min[g] + strip);
      }
      const Vector scale_change = hn::Sub(scales.of_raw(load(state_.raw_scale[g] + strip)), scale);
      const Vector min_change = hn::Sub(scales.of_raw_min(load(state_.raw_min[g] + strip)), min);
      cost = hn::Add(cost, search_.cost_after(totals[g], sums[g], scale_change, min_change));
    }
    store(cost, state_.cost + strip);
  }

  /// Writes the block that begins at column c of the chunk; its cost.
  double finish_block(std::int64_t c) {
    transpose_codes(c);
    HWY_ALIGN float super_scales[kRows], super_mins[kRows];
    for (std::int64_t strip = 0; strip < rows_; strip += kLanes) {
      const Vector down = hn::Mul(load(state_.down + strip), splat(1 / layout_.unit));
      store(half_bits(hn::Mul(load(state_.super_scale + strip), down)), super_scales + strip);
      store(half_bits(hn::Mul(load(state_.super_min + strip), down)), super_mins + strip);
    }
    const Format& format = *task_.format;
    const std::int64_t blocks_before = (chunk_ + c) / format.block_values;
    const std::int64_t row_blocks = task_.columns / format.block_values;
    double cost = 0;
    for (std::int64_t r = 0; r < rows_; ++r) {
      const double unit = state_.down[r];
      cost += state_.cost[r] * unit * unit;
      BlockParts& parts = state_.parts[r];
      for (int g = 0; g < groups_; ++g) {
        const int scale = static_cast<int>(state_.raw_scale[g][r]);
        const int min = static_cast<int>(state_.raw_min[g][r]);
        parts.scales[g] =
            static_cast<std::uint16_t>(layout_.scale == ScaleKind::u4   ? scale | min << 4
                                       : layout_.scale == ScaleKind::i8 ? scale & 255
                                                                        : scale);
        parts.mins[g] = static_cast<std::uint16_t>(min);
      }
      parts.super_scale = layout_.scale == ScaleKind::none
                              ? parts.scales[0]
                              : static_cast<std::uint16_t>(super_scales[r]);
      parts.super_min = static_cast<std::uint16_t>(super_mins[r]);
      format.join(&parts,
                  task_.blocks + ((row_ + r) * row_blocks + blocks_before) * format.block_bytes, 1);
    }
    return cost;
  }

  /// The codes of a block from [column][row] to their rows' parts, in squares of 16.
  void transpose_codes(std::int64_t c) {
    const hn::Full128<std::uint8_t> tag;
    using Bytes16 = hn::Vec<hn::Full128<std::uint8_t>>;
    for (std::int64_t i = 0; i < task_.format->block_values; i += 16)
      for (std::int64_t r = 0; r < rows_; r += 16) {
        Bytes16 square[16], next[16];
        for (int k = 0; k < 16; ++k) square[k] = hn::LoadU(tag, state_.codes[c + i + k] + r);
        for (int round = 0; round < 4; ++round) {
          for (int k = 0; k < 8; ++k) {
            next[2 * k] = hn::InterleaveLower(tag, square[k], square[k + 8]);
            next[2 * k + 1] = hn::InterleaveUpper(tag, square[k], square[k + 8]);
          }
          for (int k = 0; k < 16; ++k) square[k] = next[k];
        }
        for (int k = 0; k < 16; ++k) hn::StoreU(square[k], tag, state_.parts[r + k].codes + i);
      }
  }

  const QuantiseTask& task_;
  const CodeLayout& layout_;
  const SearchEffort& effort_;
  Search<Values, kMin> search_;
  int groups_;         // of a block
  bool has_super_;     // beside group scales
  std::int64_t step_;  // columns
  float* errors_;      // [columns][kRows]: weights until they are rounded
  float* targets_;     // [quantise_chunk][kRows]
  float* panel_;
  float* ones_;
  QuantiseState& state_;
  HWY_ALIGN float first_child_[16] = {};  // values, by parent
  float children_ = 0, child_step_ = 0;   // of each parent, and between their values
  std::int64_t row_ = 0, rows_ = 0;       // first of the rows at work, and how many are real
  std::int64_t chunk_ = 0;                // first column of the chunk at work
};

}  // namespace

double quantise(const QuantiseTask& task) {
  const CodeLayout& layout = task.format->layout;
  const Format* const leading = task.format->leading;
  const CodeGrid grid = code_grid(leading ? leading->layout : layout);
  const SearchEffort& effort = task.thorough ? thorough_search : fast_search;
  if (leading) return Quantiser<UnevenValues, false, true>(task, grid, effort).run();
  if (!grid.consecutive) return Quantiser<UnevenValues, false>(task, grid, effort).run();
  if (layout.has_min) return Quantiser<ConsecutiveValues, true>(task, grid, effort).run();
  return Quantiser<ConsecutiveValues, false>(task, grid, effort).run();
}

}  // namespace plimsoll::PLIMSOLL_ISA
