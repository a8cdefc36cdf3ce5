// Codebook formats: the grids, decode() against the fields' places written down bit by bit, and the
// encoder against a search of everything that a block can say.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <random>
#include <set>
#include <vector>

#include "format/codebook_grids.h"
#include "format/format.h"
#include "format/half.h"

namespace plimsoll {
namespace {

using namespace codecs;

template <class Grid>
void expect_sound(const Grid& grid) {
  std::int64_t previous = -1;
  std::set<int> levels;
  for (int point = 0; point < Grid::count; ++point) {
    std::int64_t number = 0;
    for (int i = Grid::coordinates - 1; i >= 0; --i) {
      ASSERT_LT(grid.levels_of[point][i], Grid::levels);
      number = number * Grid::levels + grid.levels_of[point][i];
      levels.insert(grid.levels_of[point][i]);
    }
    ASSERT_GT(number, previous) << point;  // ascending, so distinct
    previous = number;
    EXPECT_EQ(grid.low[point], number % Grid::half_states);
    EXPECT_EQ(grid.high[point], number / Grid::half_states);
    EXPECT_GE(point, grid.begin[grid.high[point]]);
    EXPECT_LT(point, grid.begin[grid.high[point] + 1]);
    for (int i = 0; i < Grid::coordinates; ++i) {
      constexpr int bits = 16 / Grid::coordinates;
      EXPECT_EQ(
          (grid.packed[0][point] | grid.packed[1][point] << 8) >> bits * i & ((1 << bits) - 1),
          grid.levels_of[point][i]);
    }
  }
  EXPECT_EQ(grid.begin[0], 0);
  EXPECT_EQ(grid.begin[Grid::half_states], Grid::count);
  EXPECT_EQ(levels.size(), static_cast<std::size_t>(Grid::levels));
}

/// FNV-1a of all levels in order.
template <class Grid>
std::uint64_t checksum(const Grid& grid) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const auto& point : grid.levels_of)
    for (const std::uint8_t level : point) hash = (hash ^ level) * 0x100000001b3;
  return hash;
}

TEST(Grids, AreAscendingSetsOfTheirSize) {
  expect_sound(iq2_xxs_grid);
  expect_sound(iq2_xs_grid);
  expect_sound(iq2_s_grid);
  expect_sound(iq3_xxs_grid);
  expect_sound(iq3_s_grid);
  expect_sound(iq1_grid);
}

// Of tables taken from decoded blocks of an independent implementation.
TEST(Grids, AreTheFormats) {
  EXPECT_EQ(checksum(iq2_xxs_grid), 0xab05d880babe6823u);
  EXPECT_EQ(checksum(iq2_xs_grid), 0x6853eeeddb7ea013u);
  EXPECT_EQ(checksum(iq2_s_grid), 0x2c1955b62f3d75bdu);
  EXPECT_EQ(checksum(iq3_xxs_grid), 0xe94d0633d4024cd5u);
  EXPECT_EQ(checksum(iq3_s_grid), 0x5d10ecbdf51ec43bu);
  EXPECT_EQ(checksum(iq1_grid), 0xec28b6368f0c62e0u);
}

/// What the specification says of a column: where its point's and its mark's bits are, and its
/// scale's.
struct Field {
  int bit, count;
};
struct Column {
  std::vector<Field> point;  ///< from the lowest bits up
  int coordinate;
  std::vector<Field> signs;  ///< all of its octet, one to eight bits
  Field scale;
};
/// A format as its description has it. Bits count from the lowest of the first byte.
struct Description {
  FormatId id;
  std::vector<Field> super;
  std::function<Column(int)> column;
  std::function<const std::uint8_t*(int point)> levels;
  int points;
  std::vector<double> magnitudes;  ///< of levels, times the unit
  int scale_width;
};

std::uint32_t read(const std::uint8_t* block, const std::vector<Field>& fields) {
  std::uint32_t value = 0;
  int place = 0;
  for (const Field& field : fields)
    for (int i = 0; i < field.count; ++i, ++place)
      value |= static_cast<std::uint32_t>(block[(field.bit + i) / 8] >> (field.bit + i) % 8 & 1)
               << place;
  return value;
}

template <class Grid>
auto levels_of(const Grid& grid) {
  return [&grid](int point) { return grid.levels_of[point]; };
}

std::vector<Description> descriptions() {
  const std::vector<double> iq2 = {1.0, 3.125, 5.375};
  const std::vector<double> iq1 = {-1, 0, 1};
  const std::vector<Field> first = {{0, 16}};
  return {
      {FormatId::IQ2_XXS, first,
       [](int c) {
         const int group = 16 + c / 32 * 64, octet = c / 8 % 4;
         return Column{
             {{group + 8 * octet, 8}}, c % 8, {{group + 32 + 7 * octet, 7}}, {group + 60, 4}};
       },
       levels_of(iq2_xxs_grid), 256, iq2, 32},
      {FormatId::IQ2_XS, first,
       [](int c) {
         const int octet = 16 + c / 8 * 16;
         return Column{{{octet, 9}}, c % 8, {{octet + 9, 7}}, {16 + 512 + c / 16 * 4, 4}};
       },
       levels_of(iq2_xs_grid), 512, iq2, 16},
      {FormatId::IQ2_S, first,
       [](int c) {
         const int octet = c / 8;
         return Column{{{16 + 8 * octet, 8}, {16 + 512 + 2 * octet, 2}},
                       c % 8,
                       {{16 + 256 + 8 * octet, 8}},
                       {16 + 512 + 64 + c / 16 * 4, 4}};
       },
       levels_of(iq2_s_grid), 1024, iq2, 16},
      {FormatId::IQ3_XXS,
       first,
       [](int c) {
         const int word = 16 + 512 + c / 32 * 32;
         return Column{{{16 + c / 4 * 8, 8}}, c % 4, {{word + 7 * (c / 8 % 4), 7}}, {word + 28, 4}};
       },
       levels_of(iq3_xxs_grid),
       256,
       {1, 3, 5, 7, 9, 11, 13, 15.5},
       32},
      {FormatId::IQ3_S,
       first,
       [](int c) {
         return Column{{{16 + c / 4 * 8, 8}, {16 + 512 + c / 4, 1}},
                       c % 4,
                       {{16 + 512 + 64 + c / 8 * 8, 8}},
                       {16 + 512 + 64 + 256 + c / 32 * 4, 4}};
       },
       levels_of(iq3_s_grid),
       512,
       {1, 3, 5, 7, 9, 11, 13, 15},
       32},
      {FormatId::IQ1_S, first,
       [](int c) {
         const int word = 16 + 256 + c / 32 * 16;
         return Column{{{16 + c / 8 * 8, 8}, {word + 3 * (c / 8 % 4), 3}},
                       c % 8,
                       {{word + 15, 1}},
                       {word + 12, 3}};
       },
       levels_of(iq1_grid), 2048, iq1, 32},
      {FormatId::IQ1_M,
       {{384 + 12, 4}, {384 + 28, 4}, {384 + 44, 4}, {384 + 60, 4}},
       [](int c) {
         const int nibble = 256 + c / 8 * 4;
         return Column{{{c / 8 * 8, 8}, {nibble, 3}},
                       c % 8,
                       {{nibble + 3, 1}},
                       {384 + c / 64 * 16 + c / 16 % 4 * 3, 3}};
       },
       levels_of(iq1_grid),
       2048,
       iq1,
       16},
  };
}

/// Value of a level under a mark, before scales.
double value_of(const Description& d, int level, bool mark) {
  const double magnitude = d.magnitudes[static_cast<std::size_t>(level)];
  const bool shift = d.magnitudes[0] < 0;
  return shift ? magnitude + (mark ? -0.125 : 0.125) : mark ? -magnitude : magnitude;
}

/// Eight marks from the one, seven or eight bits that are stored.
int marks_of(std::uint32_t stored, int bits) {
  if (bits == 1) return stored ? 0xff : 0;
  if (bits == 7 && std::popcount(stored) % 2) stored |= 128;
  return static_cast<int>(stored);
}

/// What magnitudes are multiplied with: the super scale and an odd number.
double step_of(const Description& d, const std::uint8_t* block, const Column& column) {
  const double super = half_to_float(static_cast<std::uint16_t>(read(block, d.super)));
  const double scale = 2 * read(block, {column.scale}) + 1;
  return super * scale;
}

class Codebook : public ::testing::TestWithParam<Description> {
 protected:
  const Format& f() const { return format(GetParam().id); }
  std::vector<float> decode(const std::vector<std::uint8_t>& bytes) const {
    const auto blocks = static_cast<std::int64_t>(bytes.size()) / f().block_bytes;
    std::vector<float> values(static_cast<std::size_t>(blocks) * 256);
    f().decode(bytes.data(), values.data(), blocks);
    return values;
  }
  std::vector<std::uint8_t> encode(const std::vector<float>& values,
                                   const std::vector<float>& importance) const {
    const auto blocks = static_cast<std::int64_t>(values.size()) / 256;
    std::vector<std::uint8_t> bytes(static_cast<std::size_t>(blocks * f().block_bytes));
    f().encode_weighted(values.data(), importance.empty() ? nullptr : importance.data(),
                        bytes.data(), blocks);
    return bytes;
  }
};

TEST_P(Codebook, DecodesTheFieldsOfItsDescription) {
  const Description& d = GetParam();
  std::mt19937 random(1);
  for (int round = 0; round < 300; ++round) {
    std::vector<std::uint8_t> block(static_cast<std::size_t>(f().block_bytes));
    for (auto& byte : block) byte = static_cast<std::uint8_t>(random());
    const std::vector<float> found = decode(block);
    for (int c = 0; c < 256; ++c) {
      const Column column = d.column(c);
      const int point = static_cast<int>(read(block.data(), column.point));
      const int marks = marks_of(read(block.data(), column.signs), column.signs[0].count);
      const double value = value_of(d, d.levels(point)[column.coordinate], marks >> c % 8 & 1);
      const auto wanted = static_cast<float>(step_of(d, block.data(), column) * value);
      if (std::isnan(wanted)) {
        ASSERT_TRUE(std::isnan(found[static_cast<std::size_t>(c)])) << c;
      } else {
        ASSERT_EQ(found[static_cast<std::size_t>(c)], wanted) << "column " << c;
      }
    }
  }
}

// Under the scales that the encoder chose, no other points and marks cost less.
TEST_P(Codebook, NothingThatABlockCanSayIsNearer) {
  const Description& d = GetParam();
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  std::uniform_real_distribution<float> uniform(0, 2);
  std::vector<float> values(256), importance(256);
  for (int c = 0; c < 256; ++c) {
    values[static_cast<std::size_t>(c)] = normal(random);
    importance[static_cast<std::size_t>(c)] = uniform(random);
  }
  const std::vector<std::uint8_t> block = encode(values, importance);
  const std::vector<float> found = decode(block);
  // A mark that a whole group shares is settled before: IQ1_S keeps it.
  const bool shared = d.id == FormatId::IQ1_S;
  for (int octet = 0; octet < 32; ++octet) {
    double cost = 0;
    for (int i = 0; i < 8; ++i) {
      const auto c = static_cast<std::size_t>(8 * octet + i);
      cost += importance[c] * std::pow(values[c] - found[c], 2);
    }
    const Column column = d.column(8 * octet);
    const double step = step_of(d, block.data(), column);
    const int bits = column.signs[0].count;
    const int coordinates = d.magnitudes.size() == 8 ? 4 : 8;
    double least = std::numeric_limits<double>::infinity();
    for (std::uint32_t stored = 0; stored < 1u << bits; ++stored) {
      if (shared && stored != read(block.data(), column.signs)) continue;
      const int marks = marks_of(stored, bits);
      double cost_of_marks = 0;
      for (int first = 0; first < 8; first += coordinates) {
        double error[8][8];
        for (int i = 0; i < coordinates; ++i) {
          const auto c = static_cast<std::size_t>(8 * octet + first + i);
          for (std::size_t level = 0; level < d.magnitudes.size(); ++level)
            error[i][level] =
                importance[c] * std::pow(values[c] - step * value_of(d, static_cast<int>(level),
                                                                     marks >> (first + i) & 1),
                                         2);
        }
        double least_of_points = std::numeric_limits<double>::infinity();
        for (int point = 0; point < d.points; ++point) {
          double sum = 0;
          for (int i = 0; i < coordinates; ++i) sum += error[i][d.levels(point)[i]];
          least_of_points = std::min(least_of_points, sum);
        }
        cost_of_marks += least_of_points;
      }
      least = std::min(least, cost_of_marks);
    }
    EXPECT_LE(cost, least * (1 + 1e-4) + 1e-5) << "octet " << octet;
  }
}

TEST_P(Codebook, ImportanceIsWhatTheErrorIsWeightedBy) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal(0, 0.02f);
  std::vector<float> values(256 * 16), importance(values.size());
  for (float& value : values) value = normal(random);
  for (float& weight : importance) weight = std::exp(50 * normal(random));
  const auto error = [&](const std::vector<std::uint8_t>& bytes) {
    const std::vector<float> found = decode(bytes);
    double sum = 0;
    for (std::size_t i = 0; i < values.size(); ++i)
      sum += importance[i] * std::pow(values[i] - found[i], 2);
    return sum;
  };
  const std::vector<std::uint8_t> plain = encode(values, {});
  EXPECT_LT(error(encode(values, importance)), 0.95 * error(plain));
  EXPECT_EQ(encode(values, std::vector<float>(values.size(), 3.0f)), plain);
  // Nothing matters: still a block.
  for (const float value : decode(encode(values, std::vector<float>(values.size(), 0.0f))))
    EXPECT_TRUE(std::isfinite(value));
}

INSTANTIATE_TEST_SUITE_P(Formats, Codebook, ::testing::ValuesIn(descriptions()),
                         [](const auto& row) { return std::string(format(row.param.id).name); });

}  // namespace
}  // namespace plimsoll
