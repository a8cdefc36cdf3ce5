// Attention against reference/, which works in doubles.
//
// Tolerance, with u = 2^-24 and sums of n roundings counted as 6 sqrt(n) (Higham and Mary,
// doi:10.1137/18M1226312): a score is off by ds = (6 sqrt(head_dim) + 4) u scale |q| |k|, its
// difference from the maximum by another |s - max| u <= 87 u, the soft cap (whose slope is at most
// 1) by 9 u cap; so a probability is off relatively by 2 ds + 90 u. The weighted sum of n values
// adds 6 sqrt(n) u, and one rescaling per tile 2 u each. All of that times the largest |v|.
//
// Vector families may compute in pairs of 16-bit integers (kernels/attention_pairs-inl.h): codes of
// queries are off by 0.29 / L of the largest (a uniform step), with L^2 head_dim < 2^31, those of
// probabilities by 0.29 / 8191 of the largest in a tile of 64. Again six times what independent
// errors add up to. Keys and values are codes for all.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "guarded.h"
#include "kernels/kernels.h"
#include "kv_half.h"

namespace plimsoll {
namespace {

struct Shape {
  std::int32_t head_dim = 64;
  std::int32_t heads = 1;
  std::int64_t queries = 1;
  std::int64_t positions = 1;  // after the last query
  std::int64_t window = 0;
  float soft_cap = 0.0f;
  float q_magnitude = 1.0f;
  std::int64_t extra_stride = 0;
  // Of pages that are before a query's own.
  KvTier keys = KvTier::sixteen, values = KvTier::sixteen;
  bool mixed = false;  // every page its own tiers
};

constexpr float kUntouched = 55.0f;

bool in_pairs(Isa isa) { return isa == Isa::avx2 || isa == Isa::avx512; }
const std::uint16_t kNanUnit = 0x7fc0;

/// What may not be looked at (positions before the first window and after the last query, other
/// heads, between queries) is NaN, or a null page.
struct Problem {
  explicit Problem(const Shape& s)
      : shape(s),
        row_stride(s.heads * s.head_dim + s.extra_stride),
        first_position(s.positions - s.queries) {
    Random random(static_cast<std::uint64_t>(s.head_dim * 31 + s.heads * 7 + s.queries) * 1009 +
                  static_cast<std::uint64_t>(s.positions));
    const std::int64_t first =
        s.window > 0 ? std::max<std::int64_t>(0, first_position - s.window + 1) : 0;
    for (std::int64_t page = 0; page * kv_page_positions < s.positions; ++page) {
      keys.emplace_back(KvTier::sixteen, KvSide::keys, s.head_dim);
      values.emplace_back(KvTier::sixteen, KvSide::values, s.head_dim);
    }
    std::vector<float> key(static_cast<std::size_t>(s.head_dim)), value(key);
    for (std::int64_t p = first; p < s.positions; ++p) {
      // Keys grow along the way, so that maxima rise in later tiles too.
      const float growth = 0.2f + static_cast<float>(p % 150) / 150.0f;
      for (std::size_t d = 0; d < key.size(); ++d) {
        key[d] = growth * random.symmetric();
        value[d] = random.symmetric();
      }
      half(keys, p).set(p % kv_page_positions, key);
      half(values, p).set(p % kv_page_positions, value);
    }
    for (std::int64_t page = 0; page * kv_page_positions < s.positions; ++page) {
      seen.push_back((page + 1) * kv_page_positions > first);
      const auto at = static_cast<std::size_t>(page);
      lower_keys.push_back(keys[at].lowered(s.mixed ? tier(page * 7 + 3) : s.keys));
      lower_values.push_back(values[at].lowered(s.mixed ? tier(page * 5 + 1) : s.values));
    }
    q.assign(static_cast<std::size_t>((s.queries - 1) * row_stride + s.heads * s.head_dim),
             std::nanf(""));
    for (std::int64_t i = 0; i < s.queries; ++i)
      for (std::int64_t d = 0; d < s.heads * s.head_dim; ++d)
        q[static_cast<std::size_t>(i * row_stride + d)] = s.q_magnitude * random.symmetric();
  }

  static KvTier tier(std::int64_t number) { return static_cast<KvTier>(number % kv_tiers); }
  void set_key(std::int64_t position, const std::vector<float>& key) {
    set(keys, lower_keys, position, key);
  }
  void set_value(std::int64_t position, const std::vector<float>& value) {
    set(values, lower_values, position, value);
  }
  static void set(std::vector<Half>& halves, std::vector<Half>& lower, std::int64_t position,
                  const std::vector<float>& x) {
    half(halves, position).set(position % kv_page_positions, x);
    half(lower, position) = half(halves, position).lowered(half(lower, position).tier());
  }
  /// As a query in that page sees it.
  double value(std::int64_t position, std::int64_t d) const {
    return values[static_cast<std::size_t>(position / kv_page_positions)].value(
        position % kv_page_positions, d);
  }
  static Half& half(std::vector<Half>& halves, std::int64_t position) {
    return halves[static_cast<std::size_t>(position / kv_page_positions)];
  }

  /// Queries [first, first + count), those of each page in a task.
  Guarded<float> attend(const Kernels& kernels, std::int64_t first, std::int64_t count) const {
    Guarded<float> out(count * row_stride);
    for (std::int64_t i = 0; i < out.size(); ++i) out[i] = kUntouched;
    for (std::int64_t at = first, next = 0; at < first + count; at = next) {
      next = std::min(first + count,
                      at + kv_page_positions - (first_position + at) % kv_page_positions);
      attend(kernels, task(at, next - at, out.data() + (at - first) * row_stride));
    }
    EXPECT_TRUE(out.intact());
    return out;
  }
  AttentionTask task(std::int64_t first, std::int64_t count, float* out) const {
    return {.q = q.data() + first * row_stride,
            .q_stride = row_stride,
            .kv_head = kv_head,
            .out = out,
            .out_stride = row_stride,
            .queries = count,
            .first_position = first_position + first,
            .window = shape.window,
            .heads = shape.heads,
            .head_dim = shape.head_dim,
            .scale = scale(),
            .soft_cap = shape.soft_cap};
  }
  /// With pages and scratch; `newest` only where the task may look at it.
  void attend(const Kernels& kernels, AttentionTask task) const {
    const std::int64_t page = task.first_position / kv_page_positions;
    const bool sees_newest =
        !task.part_states || (task.part + 1) * attention_part > page * kv_page_positions;
    std::vector<KvPageView> earlier;
    for (std::size_t i = 0; i < lower_keys.size() && static_cast<std::int64_t>(i) < page; ++i)
      earlier.push_back(seen[i] ? KvPageView{lower_keys[i].view(), lower_values[i].view()}
                                : KvPageView{});
    task.pages = earlier.data();
    if (sees_newest)
      task.newest = {keys[static_cast<std::size_t>(page)].view(),
                     values[static_cast<std::size_t>(page)].view()};
    AlignedFloats scratch(attention_scratch_floats(task.queries, shape.heads, shape.head_dim));
    task.scratch = scratch.data();
    kernels.attention(task);
    EXPECT_TRUE(scratch.intact());
  }

  float scale() const { return 1.0f / std::sqrt(static_cast<float>(shape.head_dim)); }

  double tolerance(Isa isa) const {
    const double u = 0x1p-24;
    const double dim = shape.head_dim;
    // |q| <= magnitude sqrt(dim / 3) and |k| <= 1.2 sqrt(dim / 3), nearly; half as much again for
    // luck.
    const double product = 1.5 * scale() * shape.q_magnitude * 1.2 * dim / 3.0;
    const double score = (6 * std::sqrt(dim) + 4) * u * product + 9 * u * shape.soft_cap;
    const double n = static_cast<double>(shape.positions);
    const double in_floats = 2 * score + (90 + 6 * std::sqrt(n) + n / 32 + 4) * u;
    if (!in_pairs(isa)) return in_floats;
    const double limit = std::min(32767.0, std::sqrt(0x1p31 / dim));
    // Keys are 0.58 times the largest on average.
    const double code =
        1.5 * scale() * 6 * std::sqrt(dim) * shape.q_magnitude * 1.2 * 0.58 * 0.29 / limit;
    return in_floats + 2 * code + 6 * std::sqrt(64.0) * 0.29 / 8191;
  }

  Shape shape;
  std::int64_t row_stride;
  std::int64_t first_position;
  std::vector<Half> keys, values, lower_keys, lower_values;
  std::vector<bool> seen;  // by page
  std::vector<float> q;
};

std::string describe(const Shape& s) {
  return "head_dim " + std::to_string(s.head_dim) + " heads " + std::to_string(s.heads) +
         " queries " + std::to_string(s.queries) + " positions " + std::to_string(s.positions) +
         " window " + std::to_string(s.window) + " cap " + std::to_string(s.soft_cap) +
         (s.mixed ? " mixed"
                  : " bits " + std::to_string(kv_bits(s.keys)) + " and " +
                        std::to_string(kv_bits(s.values)));
}

class Attention : public testing::TestWithParam<Isa> {
 protected:
  const Kernels& fast() const { return kernels_for(GetParam()); }

  void check(const Shape& shape) const {
    const Problem problem(shape);
    const Guarded<float> got = problem.attend(fast(), 0, shape.queries);
    const Guarded<float> want = problem.attend(kernels_for(Isa::reference), 0, shape.queries);
    for (std::int64_t i = 0; i < got.size(); ++i) {
      if (i % problem.row_stride >= shape.heads * shape.head_dim) {
        ASSERT_EQ(got[i], kUntouched) << describe(shape);
      } else {
        ASSERT_NEAR(got[i], want[i], problem.tolerance(GetParam()))
            << describe(shape) << " query " << i / problem.row_stride << " at "
            << i % problem.row_stride;
      }
    }
  }
};

/// What a query comes to does not depend on how it is computed; nor with the plain kernels.
class Determinism : public testing::TestWithParam<Isa> {
 protected:
  const Kernels& kernels() const { return kernels_for(GetParam()); }

  void check_chunks(const Shape& shape, std::initializer_list<std::int64_t> chunks) const {
    const Problem problem(shape);
    const Guarded<float> whole = problem.attend(kernels(), 0, shape.queries);
    for (const std::int64_t chunk : chunks) {
      for (std::int64_t first = 0; first < shape.queries; first += chunk) {
        const Guarded<float> some =
            problem.attend(kernels(), first, std::min(chunk, shape.queries - first));
        for (std::int64_t i = 0; i < some.size(); ++i)
          ASSERT_EQ(some[i], whole[first * problem.row_stride + i])
              << describe(shape) << " chunk " << chunk << " from " << first << " at " << i;
      }
    }
  }

  /// Every part of all queries together, merged.
  void check_parts(const Shape& shape) const {
    const Problem problem(shape);
    const std::int64_t stride = 11;  // of states
    std::vector<std::vector<float>> outputs, states;
    for (std::int64_t part = 0; part * attention_part < shape.positions; ++part) {
      outputs.emplace_back(static_cast<std::size_t>(shape.queries * problem.row_stride));
      states.emplace_back(static_cast<std::size_t>(shape.queries * stride));
      if (first_part(problem, 0) > part) continue;
      for (std::int64_t at = 0, next = 0; at < shape.queries; at = next) {
        next = std::min(shape.queries,
                        at + kv_page_positions - (problem.first_position + at) % kv_page_positions);
        while (first_part(problem, at) > part && at < next) ++at;
        std::int64_t count = 0;
        while (at + count < next && first_part(problem, at + count) <= part) ++count;
        if (count == 0) continue;
        AttentionTask task =
            problem.task(at, count, outputs.back().data() + at * problem.row_stride);
        task.part_states = states.back().data() + at * stride;
        task.part_state_stride = stride;
        task.part = part;
        problem.attend(kernels(), task);
      }
    }
    const Guarded<float> whole = problem.attend(kernels(), 0, shape.queries);
    const Guarded<float> want = problem.attend(kernels_for(Isa::reference), 0, shape.queries);
    const std::int64_t row = shape.heads * shape.head_dim;
    for (std::int64_t i = 0; i < shape.queries; ++i) {
      std::vector<float> of_parts, their_states;
      std::int64_t parts = 0;
      for (auto part = static_cast<std::size_t>(first_part(problem, i)); part < outputs.size();
           ++part, ++parts) {
        const float* const output = outputs[part].data() + i * problem.row_stride;
        const float* const state = states[part].data() + i * stride;
        of_parts.insert(of_parts.end(), output, output + problem.row_stride);
        their_states.insert(their_states.end(), state, state + stride);
      }
      Guarded<float> got(row);
      kernels().merge_attention(of_parts.data(), problem.row_stride, their_states.data(), stride,
                                parts, shape.heads, shape.head_dim, got.data());
      EXPECT_TRUE(got.intact());
      for (std::int64_t d = 0; d < row; ++d) {
        ASSERT_EQ(got[d], whole[i * problem.row_stride + d]) << describe(shape);
        if (GetParam() != Isa::reference) {
          ASSERT_NEAR(got[d], want[i * problem.row_stride + d], problem.tolerance(GetParam()))
              << describe(shape);
        }
      }
    }
  }
  static std::int64_t first_part(const Problem& problem, std::int64_t query) {
    const std::int64_t end = problem.first_position + query + 1, window = problem.shape.window;
    return (window > 0 ? std::max<std::int64_t>(0, end - window) : 0) / attention_part;
  }
};

TEST_P(Attention, Shapes) {
  const std::int64_t positions[] = {1, 2, 15, 63, 64, 65, 100, 127, 128, 129, 192, 300};
  const std::int64_t windows[] = {0, 1, 7, 64};
  std::size_t turn = 0;
  for (const std::int32_t head_dim : {4, 8, 20, 64, 80, 128, 256}) {
    for (const std::int32_t heads : {1, 2, 3, 4, 7, 8, 16}) {
      for (const std::int64_t queries : {1, 2, 5, 33}) {
        for (int repeat = 0; repeat < 3; ++repeat, ++turn) {
          const std::int64_t wanted = positions[turn % 12];
          check({.head_dim = head_dim,
                 .heads = heads,
                 .queries = queries,
                 .positions = std::max(wanted, queries),
                 .window = windows[turn / 3 % 4],
                 .soft_cap = turn % 5 == 0 ? 20.0f : 0.0f,
                 .q_magnitude = turn % 7 == 0 ? 30.0f : 3.0f,
                 .extra_stride = static_cast<std::int64_t>(turn % 3) * 4});
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

TEST_P(Attention, Tiers) {
  std::size_t turn = 0;
  for (const std::int32_t head_dim : {4, 8, 20, 32, 64, 80, 96, 128, 256}) {
    for (const std::int32_t heads : {1, 4, 5, 7}) {
      for (const std::int64_t queries : {1, 5, 30}) {
        for (int tiers = 16 - static_cast<int>(turn % 5); tiers >= 0; tiers -= 5, ++turn) {
          check({.head_dim = head_dim,
                 .heads = heads,
                 .queries = queries,
                 .positions = static_cast<std::int64_t>(130 + turn * 37 % 200),
                 .window = turn % 3 == 0 ? 99 : 0,
                 .soft_cap = turn % 5 == 0 ? 20.0f : 0.0f,
                 .q_magnitude = 3.0f,
                 .keys = static_cast<KvTier>(tiers % 4),
                 .values = static_cast<KvTier>(tiers / 4 % 4),
                 .mixed = tiers == 16});
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

// The reference itself, against what pages are said to hold.
TEST(AttentionOfPages, IsThatOfTheirValues) {
  for (const std::int32_t head_dim : {8, 80}) {
    const Problem problem(
        {.head_dim = head_dim, .heads = 2, .positions = 300, .q_magnitude = 5.0f, .mixed = true});
    const Guarded<float> out = problem.attend(kernels_for(Isa::reference), 0, 1);
    const auto key = [&](std::size_t p, std::int64_t d) {
      const std::size_t page = p / 64;
      const Half& half = page == 4 ? problem.keys[page] : problem.lower_keys[page];
      return half.value(static_cast<std::int64_t>(p % 64), d);
    };
    for (std::int64_t h = 0; h < 2; ++h) {
      std::vector<double> weights(300);
      double sum = 0;
      for (std::size_t p = 0; p < 300; ++p) {
        double dot = 0;
        for (std::int64_t d = 0; d < head_dim; ++d)
          dot += problem.q[static_cast<std::size_t>(h * head_dim + d)] * key(p, d);
        sum += weights[p] = std::exp(dot * problem.scale());
      }
      for (std::int64_t d = 0; d < head_dim; ++d) {
        double want = 0;
        for (std::size_t p = 0; p < 300; ++p) {
          const std::size_t page = p / 64;
          const Half& half = page == 4 ? problem.values[page] : problem.lower_values[page];
          want += weights[p] / sum * half.value(static_cast<std::int64_t>(p % 64), d);
        }
        ASSERT_NEAR(out[h * head_dim + d], want, 1e-6);
      }
    }
  }
}

TEST_P(Attention, EveryLengthAroundTileBorders) {
  for (const std::int64_t queries : {1, 2, 6, 9}) {
    for (const std::int64_t window : {0, 1, 7, 64}) {
      for (std::int64_t positions = queries; positions <= 300;
           positions += positions > 135 ? 41 : 1) {
        check({.head_dim = 16,
               .heads = 2,
               .queries = queries,
               .positions = positions,
               .window = window,
               .q_magnitude = 4.0f});
        if (HasFatalFailure()) return;
      }
    }
  }
}

// One visible position: its value, whatever the score.
TEST_P(Attention, WindowOfOneReturnsTheValue) {
  const Shape shape = {.head_dim = 32,
                       .heads = 3,
                       .queries = 7,
                       .positions = 70,
                       .window = 1,
                       .q_magnitude = 1000.0f};
  const Problem problem(shape);
  const Guarded<float> out = problem.attend(fast(), 0, shape.queries);
  for (std::int64_t i = 0; i < shape.queries; ++i) {
    for (std::int64_t d = 0; d < 3 * 32; ++d) {
      ASSERT_NEAR(out[i * problem.row_stride + d],
                  problem.value(problem.first_position + i, d % 32), 4 * 0x1p-24);
    }
  }
}

// Equal scores, however negative: the plain mean.
TEST_P(Attention, VeryNegativeScores) {
  for (const std::int64_t queries : {1, 3, 7}) {
    Problem problem({.head_dim = 16, .heads = 1, .queries = queries, .positions = 90});
    for (float& x : problem.q) x = -1e30f;
    for (std::int64_t p = 0; p < 90; ++p) problem.set_key(p, std::vector<float>(16, 4.0f));
    const Guarded<float> out = problem.attend(fast(), 0, queries);
    for (std::int64_t d = 0; d < 16; ++d) {
      double mean = 0.0;
      for (std::int64_t p = 0; p < 90; ++p) mean += problem.value(p, d) / 90.0;
      ASSERT_NEAR(out[(queries - 1) * problem.row_stride + d], mean,
                  in_pairs(GetParam()) ? 6 * 0.29 / 8191 : 6 * std::sqrt(90.0) * 0x1p-24);
    }
  }
}

TEST_P(Attention, NanPropagates) {
  for (const std::int64_t queries : {1, 4, 8}) {
    Problem problem({.head_dim = 16, .heads = 2, .queries = queries, .positions = 80});
    problem.set_key(70, std::vector<float>(16, std::nanf("")));
    const Guarded<float> out = problem.attend(fast(), 0, queries);
    for (std::int64_t i = 0; i < out.size(); ++i) ASSERT_TRUE(std::isnan(out[i]));
  }
}

// Rows without numbers stay so in pages below 16 bits, and reach who sees them alone.
TEST_P(Attention, NanInPagesBelowSixteenBits) {
  for (const KvTier tier : {KvTier::eight, KvTier::four, KvTier::two}) {
    for (const bool in_keys : {false, true}) {
      for (const std::int64_t queries : {1, 4, 30}) {
        Problem problem({.head_dim = 16,
                         .heads = 2,
                         .queries = queries,
                         .positions = 150,
                         .window = 90,
                         .keys = tier,
                         .values = tier});
        const std::int64_t at = 150 - queries / 2 - 90;  // that later queries do not see
        const std::vector<float> nan(16, std::nanf(""));
        in_keys ? problem.set_key(at, nan) : problem.set_value(at, nan);
        const Guarded<float> out = problem.attend(fast(), 0, queries);
        for (std::int64_t i = 0; i < out.size(); ++i) {
          const std::int64_t position = problem.first_position + i / problem.row_stride;
          ASSERT_EQ(std::isnan(out[i]), position - 90 < at) << queries << " at " << position;
        }
      }
    }
  }
}

// Any number of queries in a task, for few and for many rows: the same bits as all at once.
TEST_P(Determinism, OutputsDoNotDependOnTheChunk) {
  for (const std::int32_t head_dim : {4, 20, 64, 80, 128}) {
    for (const std::int32_t heads : {1, 3, 8}) {
      for (const std::int64_t window : {0, 50}) {
        const Shape shape = {.head_dim = head_dim,
                             .heads = heads,
                             .queries = 48,
                             .positions = 200,
                             .window = window,
                             .soft_cap = heads == 3 ? 15.0f : 0.0f,
                             .q_magnitude = 10.0f};
        check_chunks(shape, {1, 2, 3, 5, 6, 7, 12, 16, 31});
        if (GetParam() == Isa::reference) continue;  // has one way only, and takes its time
        for (const KvTier tier : {KvTier::eight, KvTier::four, KvTier::two}) {
          Shape lower = shape;
          lower.keys = lower.values = tier;
          check_chunks(lower, {1, 2, 5, 7, 31});
        }
        if (HasFatalFailure()) return;
      }
    }
  }
}

// Across the borders of parts, in one task and in several.
TEST_P(Determinism, OutputsDoNotDependOnTheChunkAcrossParts) {
  for (const std::int64_t window : {std::int64_t{0}, std::int64_t{3}, attention_part - 2,
                                    attention_part, attention_part + 90, 2 * attention_part + 5}) {
    for (const std::int64_t last :
         {attention_part + 2, 2 * attention_part, 3 * attention_part + 9}) {
      const Shape shape = {.head_dim = window == 3 ? 20 : 32,
                           .heads = 2,
                           .queries = 40,
                           .positions = last,
                           .window = window,
                           .soft_cap = window == 3 ? 15.0f : 0.0f,
                           .q_magnitude = 10.0f,
                           .mixed = true};
      check_chunks(shape, {1, 7, 13});
      if (HasFatalFailure()) return;
    }
  }
}

// Codes within half a unit, units no larger than need be, the same in every family; what no code
// stands for.
TEST_P(Determinism, RowsOfTheCache) {
  Random random(5);
  for (const std::int64_t n : {4, 8, 20, 64, 80, 100, 256}) {
    for (const float magnitude : {1e-28f, 3e-5f, 1.0f, 7e4f, 1e30f}) {
      for (const float limit : {value_code_limit, key_code_limit(n)}) {
        std::vector<float> x(static_cast<std::size_t>(n));
        float largest = 0;
        for (float& value : x) {
          value = magnitude * random.symmetric();
          largest = std::max(largest, std::fabs(value));
        }
        Guarded<std::int16_t> codes(n), expected(n);
        std::uint16_t unit = 0, expected_unit = 0;
        kernels().cache_row(x.data(), n, limit, codes.data(), &unit);
        kernels_for(Isa::reference).cache_row(x.data(), n, limit, expected.data(), &expected_unit);
        EXPECT_TRUE(codes.intact());
        EXPECT_EQ(unit, expected_unit);
        const double step = float_of_bfloat(unit);
        EXPECT_GE(step * (1 + 1e-6), largest / limit);
        EXPECT_LE(step, largest / limit * (1 + 0x1p-7));
        for (std::int64_t i = 0; i < n; ++i) {
          EXPECT_NEAR(codes[i] * step, x[static_cast<std::size_t>(i)], 0.5001 * step);
          EXPECT_EQ(codes[i], expected[i]);
          EXPECT_LE(std::abs(codes[i]), limit);
        }
      }
    }
    for (const float odd : {0.0f, 1e-35f, std::nanf(""), INFINITY, -INFINITY}) {
      std::vector<float> x(static_cast<std::size_t>(n), 0.0f);
      x[static_cast<std::size_t>(n - 1)] = odd;
      Guarded<std::int16_t> codes(n);
      std::uint16_t unit = 1;
      kernels().cache_row(x.data(), n, value_code_limit, codes.data(), &unit);
      for (std::int64_t i = 0; i < n; ++i) EXPECT_EQ(codes[i], 0);
      EXPECT_EQ(unit, std::isfinite(odd) ? 0 : kNanUnit);
    }
  }
}

// A NaN in what later queries see reaches no earlier one, however they are put together.
TEST_P(Determinism, LaterNanReachesNoEarlierQuery) {
  for (const bool in_keys : {false, true}) {
    for (const std::int64_t at : {52, 60, 63, 64, 70, 85}) {
      Problem problem({.head_dim = 32, .heads = 2, .queries = 40, .positions = 90});
      const std::vector<float> nan(32, std::nanf(""));
      in_keys ? problem.set_key(at, nan) : problem.set_value(at, nan);
      const Guarded<float> out = problem.attend(kernels(), 0, 40);
      for (std::int64_t i = 0; i < out.size(); ++i)
        ASSERT_EQ(std::isnan(out[i]), problem.first_position + i / problem.row_stride >= at)
            << at << " at " << i;
    }
  }
}

// Parts computed apart and merged: the same bits as whole, with keys that grow and those that fall.
TEST_P(Determinism, PartsMakeTheWhole) {
  for (const std::int32_t head_dim : {20, 64}) {
    for (const std::int64_t window : {std::int64_t{0}, std::int64_t{70}, attention_part + 150}) {
      for (const std::int64_t positions : {std::int64_t{1}, std::int64_t{65}, attention_part,
                                           attention_part + 1, 3 * attention_part + 40}) {
        for (const std::int64_t queries : {1, 5, 9, 40}) {
          if (queries > positions ||
              (positions - queries) / attention_part != (positions - 1) / attention_part)
            continue;
          const Shape shape = {.head_dim = head_dim,
                               .heads = 3,
                               .queries = queries,
                               .positions = positions,
                               .window = window,
                               .soft_cap = window == 70 ? 15.0f : 0.0f,
                               .q_magnitude = 10.0f,
                               .extra_stride = 4,
                               .mixed = queries != 5};
          check_parts(shape);
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

// Queries of several sequences read a part together that all of them see: the bits that each has
// alone.
TEST_P(Determinism, SharedPartsAreAsAlone) {
  for (const std::int32_t head_dim : {20, 64}) {
    for (const std::int64_t queries : {1, 2, 3, 17}) {
      const Problem problem({.head_dim = head_dim,
                             .heads = 3,
                             .queries = queries,
                             .positions = attention_part + 300,
                             .q_magnitude = 10.0f,
                             .mixed = true});
      const auto part_of = [&](std::int64_t first, std::int64_t count, std::int64_t position) {
        Guarded<float> result(count * (problem.row_stride + 7));  // outputs, then states
        AttentionTask task = problem.task(first, count, result.data());
        task.first_position = position;
        task.part_states = result.data() + count * problem.row_stride;
        task.part_state_stride = 7;
        problem.attend(kernels(), task);
        EXPECT_TRUE(result.intact());
        return result;
      };
      // Any position will do from which the part is seen whole.
      const Guarded<float> together = part_of(0, queries, 40 * attention_part + 60);
      for (std::int64_t i = 0; i < queries; ++i) {
        const Guarded<float> alone = part_of(i, 1, attention_part - 1 + 77 * i);
        for (std::int64_t d = 0; d < problem.row_stride; ++d)
          ASSERT_EQ(together[i * problem.row_stride + d], alone[d]);
        for (std::int64_t j = 0; j < 6; ++j)
          ASSERT_EQ(together[queries * problem.row_stride + 7 * i + j],
                    alone[problem.row_stride + j]);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Isas, Attention, testing::ValuesIn(vector_isas()), isa_name);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Attention);
INSTANTIATE_TEST_SUITE_P(Isas, Determinism, testing::ValuesIn(supported_isas()), isa_name);

}  // namespace
}  // namespace plimsoll
