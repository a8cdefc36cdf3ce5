// Products over planes of every instruction set against the reference, which reads the layout
// weight by weight.
#include "planes/planes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>

#include "kernels/guarded.h"
#include "kernels/kernels.h"
#include "support/random_blocks.h"

namespace plimsoll {
namespace {

struct Case {
  const Format* format;
  Isa isa;
};

std::vector<Case> cases() {
  std::vector<Case> result;
  for (const Isa isa : vector_isas())
    for (const Format& format : formats())
      if (format.kind == Format::Kind::coded) result.push_back({&format, isa});
  return result;
}

/// Memory with 64-byte alignment and guard bytes behind it.
class Aligned {
 public:
  explicit Aligned(std::int64_t bytes)
      : data_(static_cast<std::byte*>(
            std::aligned_alloc(64, static_cast<std::size_t>((bytes + 127) / 64 * 64)))) {}
  ~Aligned() { std::free(data_); }
  Aligned(const Aligned&) = delete;
  Aligned& operator=(const Aligned&) = delete;
  std::byte* get() const { return data_; }

 private:
  std::byte* data_;
};

std::vector<float> random_activations(std::int64_t count, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<std::size_t>(count));
  for (float& value : x) value = normal(random) * (random() % 61 == 0 ? 20.0f : 1.0f);
  return x;
}

class PlaneProduct : public ::testing::TestWithParam<Case> {};

TEST_P(PlaneProduct, EqualsTheReference) {
  const auto [format, isa] = GetParam();
  const Kernels& kernels = kernels_for(isa);
  const Kernels& oracle = kernels_for(Isa::reference);
  const int block = format->block_values;
  for (const std::int64_t rows : {16, 37}) {
    // 4352 columns are 136 tiles: more than one strip of a panel.
    for (const std::int64_t columns :
         {std::int64_t{block}, std::int64_t{3 * block}, std::int64_t{4352}}) {
      Ledger ledger;
      PlaneTensor tensor(ledger, *format, rows, columns);
      const auto blocks = test::gaussian_rows(*format, rows, columns, 7, 0.02f);
      tensor.import_rows(blocks.data(), 0, rows);
      const int last_plane = planes_of_level(format->layout.bits) - 1;
      for (int plane = last_plane; plane >= (format->layout.grid ? last_plane : 0); --plane) {
        tensor.drop(level_after_plane[plane], 0,
                    1);  // the first tile row at this level, the others above it
        if (plane + 2 <= last_plane)
          tensor.drop(level_after_plane[plane + 1], 1, tensor.view().tile_row_count());
        for (const std::int64_t tokens : {1, 2, 3, 4, 6, 7, 13}) {
          if (columns == 4352 && (rows != 16 || tokens % 4 != 1))
            continue;  // enough of the slow ones
          const std::int64_t x_stride = columns + 5, y_stride = rows + 3;
          const auto x = random_activations(tokens * x_stride, 11);
          const Aligned memory(quantised_bytes(tokens, columns)), scratch(plane_scratch_bytes);
          std::vector<float> expected(static_cast<std::size_t>(tokens * y_stride), -7.0f),
              found = expected;
          QuantisedActivations q = place_quantised(memory.get(), tokens, columns);
          oracle.quantise_activations(x.data(), x_stride, 0, tokens, q);
          oracle.matmul_planes(tensor.view(), q, 0, tensor.view().tile_row_count(), expected.data(),
                               y_stride, scratch.get());
          // What the products' terms add up to in magnitude bounds the rounding of any order of
          // summation: each of the columns / 16 group sums is rounded a few times at 2^-24 of the
          // running sum, which this bounds.
          std::vector<double> magnitude(static_cast<std::size_t>(tokens * rows));
          std::vector<float> row(static_cast<std::size_t>(columns));
          for (std::int64_t r = 0; r < rows; ++r) {
            tensor.dequantise_row(r, row.data());
            for (std::int64_t t = 0; t < tokens; ++t)
              for (std::int64_t c = 0; c < columns; ++c)
                magnitude[static_cast<std::size_t>(t * rows + r)] +=
                    std::fabs(row[static_cast<std::size_t>(c)] *
                              x[static_cast<std::size_t>(t * x_stride + c)]);
          }
          kernels.quantise_activations(x.data(), x_stride, 0, tokens, q);
          kernels.matmul_planes(tensor.view(), q, 0, tensor.view().tile_row_count(), found.data(),
                                y_stride, scratch.get());
          const double groups = static_cast<double>(columns) / 16;
          for (std::int64_t t = 0; t < tokens; ++t) {
            for (std::int64_t r = 0; r < y_stride; ++r) {
              const std::size_t at = static_cast<std::size_t>(t * y_stride + r);
              if (r >= rows) {
                ASSERT_EQ(found[at], -7.0f) << "written past the last row";
                continue;
              }
              // Mins cancel against the rest, so their own magnitude counts: twice is generous for
              // Gaussian weights.
              const double bound = (groups + 8) * 0x1p-24 * 4 *
                                   (magnitude[static_cast<std::size_t>(t * rows + r)] + 1e-3);
              ASSERT_NEAR(expected[at], found[at], bound)
                  << rows << " x " << columns << ", level " << level_after_plane[plane]
                  << ", token " << t << " of " << tokens << ", row " << r;
            }
          }
        }
      }
    }
  }
}

TEST_P(PlaneProduct, OneTokenIsTheSameAloneAndInABatch) {
  const auto [format, isa] = GetParam();
  const Kernels& kernels = kernels_for(isa);
  const std::int64_t rows = 48, columns = 4352, tokens = 31;
  Ledger ledger;
  PlaneTensor tensor(ledger, *format, rows, columns);
  const auto blocks = test::gaussian_rows(*format, rows, columns, 8);
  tensor.import_rows(blocks.data(), 0, rows);
  const auto x = random_activations(tokens * columns, 12);
  const Aligned memory(quantised_bytes(tokens, columns)), scratch(plane_scratch_bytes);
  std::vector<float> batch(static_cast<std::size_t>(tokens * rows)),
      alone(static_cast<std::size_t>(rows));
  QuantisedActivations q = place_quantised(memory.get(), tokens, columns);
  kernels.quantise_activations(x.data(), columns, 0, tokens, q);
  kernels.matmul_planes(tensor.view(), q, 0, 1, batch.data(), rows, scratch.get());
  kernels.matmul_planes(tensor.view(), q, 1, 3, batch.data(), rows, scratch.get());
  for (std::int64_t t = 0; t < tokens; ++t) {
    q = place_quantised(memory.get(), 1, columns);
    kernels.quantise_activations(x.data() + t * columns, columns, 0, 1, q);
    kernels.matmul_planes(tensor.view(), q, 0, 3, alone.data(), rows, scratch.get());
    for (std::int64_t r = 0; r < rows; ++r)
      ASSERT_EQ(alone[static_cast<std::size_t>(r)], batch[static_cast<std::size_t>(t * rows + r)])
          << "token " << t << ", row " << r;
  }
}

/// Blocks of any bytes under super scales of 1.
std::vector<std::uint8_t> random_codebook_blocks(const Format& format, std::size_t count) {
  auto blocks = test::random_bytes(count * static_cast<std::size_t>(format.block_bytes), 9);
  for (std::size_t b = 0; b < count; ++b) {
    std::uint8_t* block = blocks.data() + b * static_cast<std::size_t>(format.block_bytes);
    if (format.id == FormatId::IQ1_M) {  // the upper nibbles of four words
      for (const auto& [byte, nibble] : {std::pair{49, 0x0}, {51, 0x0}, {53, 0xc}, {55, 0x3}})
        block[byte] = static_cast<std::uint8_t>((block[byte] & 15) | nibble << 4);
    } else {
      block[0] = 0x00;
      block[1] = 0x3c;
    }
  }
  return blocks;
}

class GridProduct : public ::testing::TestWithParam<Case> {};

TEST_P(GridProduct, FindsEveryPoint) {
  const auto [format, isa] = GetParam();
  const std::int64_t rows = 128, columns = 2048;  // each of 2048 points some 16 times
  Ledger ledger;
  PlaneTensor tensor(ledger, *format, rows, columns);
  const auto blocks =
      random_codebook_blocks(*format, static_cast<std::size_t>(rows * columns / 256));
  tensor.import_rows(blocks.data(), 0, rows);
  // Ones in every 52nd column, another one for each token: no sum of 40 products of up to 31 * 62,
  // in units that activations of 127 steps have, takes more than the 24 bits of a float.
  const std::int64_t all = 52;
  std::vector<float> x(static_cast<std::size_t>(all * columns));
  for (std::int64_t c = 0; c < columns; ++c)
    x[static_cast<std::size_t>(c % all * columns + c)] = c % 5 < 2 ? -1.0f : 1.0f;
  const Aligned memory(quantised_bytes(all, columns)), scratch(plane_scratch_bytes);
  const auto product = [&](const Kernels& kernels, std::int64_t first, std::int64_t tokens) {
    std::vector<float> y(static_cast<std::size_t>(tokens * rows));
    const QuantisedActivations q = place_quantised(memory.get(), tokens, columns);
    kernels.quantise_activations(x.data() + first * columns, columns, 0, tokens, q);
    kernels.matmul_planes(tensor.view(), q, 0, rows / tile_rows, y.data(), rows, scratch.get());
    return y;
  };
  const std::vector<float> expected = product(kernels_for(Isa::reference), 0, all);
  for (const std::int64_t batch : {1, 4, 52}) {
    for (std::int64_t first = 0; first < all; first += batch) {
      const std::vector<float> found = product(kernels_for(isa), first, batch);
      for (std::size_t i = 0; i < found.size(); ++i)
        ASSERT_EQ(expected[static_cast<std::size_t>(first * rows) + i], found[i])
            << "result " << i << " of " << batch << " tokens from " << first;
    }
  }
}

std::string name_of_case(const testing::TestParamInfo<Case>& row) {
  return std::string(row.param.format->name) + "_" + std::string(name(row.param.isa));
}
INSTANTIATE_TEST_SUITE_P(Kernels, PlaneProduct, ::testing::ValuesIn(cases()), name_of_case);

std::vector<Case> cases_with_grids() {
  std::vector<Case> result = cases();
  std::erase_if(result, [](const Case& row) { return !row.format->layout.grid; });
  return result;
}
INSTANTIATE_TEST_SUITE_P(Kernels, GridProduct, ::testing::ValuesIn(cases_with_grids()),
                         name_of_case);

/// The step of a block of a single token; AVX-512 keeps its power of two apart.
float step_of(Isa isa, const QuantisedActivations& x, std::int64_t block) {
  if (isa != Isa::avx512) return x.steps[block];
  std::int32_t parts[2];
  std::memcpy(parts, reinterpret_cast<const char*>(x.steps) + block * 8, 8);
  const std::int32_t bits = parts[0] + parts[1];
  float step;
  std::memcpy(&step, &bits, 4);
  return step;
}

TEST(QuantiseActivations, EveryInstructionSetGivesTheSameBlocks) {
  const std::int64_t tokens = 9, columns = 736;  // 23 blocks: no multiple of anything
  auto x = random_activations(tokens * columns, 13);
  for (int i = 0; i < 32; ++i) x[static_cast<std::size_t>(i)] = 0.0f;     // a block of zeros
  for (int i = 32; i < 64; ++i) x[static_cast<std::size_t>(i)] *= 1e-6f;  // below every power
  for (int i = 64; i < 96; ++i) x[static_cast<std::size_t>(i)] *= 1e-3f;
  for (int i = 0; i < columns; ++i) {  // a row below the least, and one of zeros
    x[static_cast<std::size_t>(columns + i)] *= 1e-33f;
    x[static_cast<std::size_t>(2 * columns + i)] = 0.0f;
  }
  // Token by token: what belongs to several tokens may lie side by side.
  const Aligned expected_memory(quantised_bytes(1, columns)), memory(quantised_bytes(1, columns));
  const QuantisedActivations expected = place_quantised(expected_memory.get(), 1, columns);
  for (std::int64_t token = 0; token < tokens; ++token) {
    const float* row = x.data() + token * columns;
    kernels_for(Isa::reference).quantise_activations(row, columns, 0, 1, expected);
    for (const Isa isa : vector_isas()) {
      const QuantisedActivations found = place_quantised(memory.get(), 1, columns);
      kernels_for(isa).quantise_activations(row, columns, 0, 1, found);
      for (std::int64_t i = 0; i < columns; ++i) ASSERT_EQ(expected.codes[i], found.codes[i]) << i;
      for (std::int64_t i = 0; i < columns / 32; ++i) {
        ASSERT_EQ(expected.steps[i], step_of(isa, found, i)) << i;
        ASSERT_EQ(expected.weighted_sums32[i], found.weighted_sums32[i]);
      }
      ASSERT_EQ(expected.row_scales[0], found.row_scales[0]);
      for (std::int64_t i = 0; i < columns / 16; ++i) {
        ASSERT_EQ(expected.sums[i], found.sums[i]);
        ASSERT_EQ(expected.weighted_sums16[i], found.weighted_sums16[i]);
      }
    }
  }
}

/// Steps of three bits: the expected squared error of rounding is at most 1.25 times that of steps
/// of full precision (values and maxima spread over many sizes; powers of two make 2.2).
TEST(QuantiseActivations, StepsFollowTheBlocks) {
  const std::int64_t columns = 1 << 16;
  auto x = random_activations(columns, 17);
  std::mt19937 random(3);
  std::uniform_real_distribution<float> octaves(-9.0f, 0.0f);
  for (std::int64_t block = 0; block < columns / 32; ++block) {
    const float size = block == 0 ? 4.0f : std::exp2(octaves(random));
    for (int i = 0; i < 32; ++i) x[static_cast<std::size_t>(block * 32 + i)] *= size;
  }
  const Aligned memory(quantised_bytes(1, columns));
  const QuantisedActivations q = place_quantised(memory.get(), 1, columns);
  for (const Isa isa : vector_isas()) {
    kernels_for(isa).quantise_activations(x.data(), columns, 0, 1, q);
    double found = 0, full = 0;  // relative to each block's largest step
    for (std::int64_t block = 0; block < columns / 32; ++block) {
      const float* values = x.data() + block * 32;
      float largest = 0;
      for (int i = 0; i < 32; ++i) largest = std::max(largest, std::fabs(values[i]));
      const float step = step_of(isa, q, block) * q.row_scales[0], best = largest / 127;
      for (int i = 0; i < 32; ++i) {
        const float code = q.codes[block * 32 + i];
        found += std::pow((values[i] - code * step) / largest, 2);
        full += std::pow((values[i] - std::nearbyint(values[i] / best) * best) / largest, 2);
      }
    }
    EXPECT_LE(found, 1.25 * full);
  }
}

}  // namespace
}  // namespace plimsoll
