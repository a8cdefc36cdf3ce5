#include "planes/planes.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>

#include "base/error.h"
#include "base/process.h"
#include "support/random_blocks.h"

namespace plimsoll {
namespace {

std::vector<const Format*> coded_formats() {
  std::vector<const Format*> result;
  for (const Format& format : formats())
    if (format.kind == Format::Kind::coded) result.push_back(&format);
  return result;
}

std::vector<float> decoded(const Format& format, const std::vector<std::uint8_t>& blocks,
                           std::int64_t row, std::int64_t columns) {
  std::vector<float> values(static_cast<std::size_t>(columns));
  format.decode(blocks.data() + static_cast<std::size_t>(row) * row_bytes(format, columns),
                values.data(), columns / format.block_values);
  return values;
}

/// Equal bits, except that any NaN equals any NaN.
::testing::AssertionResult same_bits(const std::vector<float>& expected,
                                     const std::vector<float>& found) {
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (std::isnan(expected[i]) && std::isnan(found[i])) continue;
    if (std::memcmp(&expected[i], &found[i], sizeof(float)) != 0)
      return ::testing::AssertionFailure()
             << "column " << i << ": " << expected[i] << " against " << found[i];
  }
  return ::testing::AssertionSuccess();
}

/// What a product reads.
std::vector<std::byte> memory_of(const PlaneTensor& tensor) {
  std::vector<std::span<const std::byte>> spans;
  tensor.append_spans(spans);
  std::vector<std::byte> bytes;
  for (const std::span<const std::byte> span : spans)
    bytes.insert(bytes.end(), span.begin(), span.end());
  return bytes;
}

class EveryFormat : public ::testing::TestWithParam<const Format*> {};

TEST_P(EveryFormat, ColumnsThatComeApartAreThoseThatComeTogether) {
  const Format& format = *GetParam();
  Ledger ledger;
  for (const std::int64_t columns : {std::int64_t{768}, 512 + std::int64_t{format.block_values}}) {
    const std::int64_t rows = 40;
    const std::vector<std::uint8_t> blocks = test::gaussian_rows(format, rows, columns, 1);
    PlaneTensor together(ledger, format, rows, columns), apart(ledger, format, rows, columns);
    ASSERT_TRUE(together.import_rows(blocks.data(), 0, rows));
    const Bytes row = row_bytes(format, columns);
    for (std::int64_t column = 0; column < columns; column += 512) {
      const std::int64_t count = std::min<std::int64_t>(512, columns - column);
      const Bytes part = row_bytes(format, count);
      for (std::int64_t begin = 0; begin < rows; begin += 16) {
        std::vector<std::uint8_t> piece;
        const std::int64_t end = std::min(begin + 16, rows);
        for (std::int64_t r = begin; r < end; ++r) {
          const auto* const from =
              blocks.data() + static_cast<Bytes>(r) * row + row_bytes(format, column);
          piece.insert(piece.end(), from, from + part);
        }
        ASSERT_TRUE(apart.import_rows(piece.data(), begin, end - begin, column, count));
      }
    }
    EXPECT_EQ(memory_of(apart), memory_of(together)) << columns;
  }
}

TEST_P(EveryFormat, DequantisesToTheFilesOwnValues) {
  const Format& format = *GetParam();
  Ledger ledger;
  for (const std::int64_t rows : {1, 15, 16, 17, 40}) {
    for (const std::int64_t blocks_per_row : {1, 3, 8}) {
      const std::int64_t columns = blocks_per_row * format.block_values;
      for (int kind = 0; kind < 4; ++kind) {
        const std::size_t bytes = static_cast<std::size_t>(rows) * row_bytes(format, columns);
        const std::vector<std::uint8_t> blocks =
            kind == 0   ? test::gaussian_rows(format, rows, columns, 1)
            : kind == 1 ? test::random_bytes(bytes, 2)
            : kind == 2 ? std::vector<std::uint8_t>(bytes, 0x00)
                        : std::vector<std::uint8_t>(bytes, 0xff);
        PlaneTensor tensor(ledger, format, rows, columns);
        tensor.import_rows(blocks.data(), 0, rows);
        std::vector<float> found(static_cast<std::size_t>(columns));
        for (std::int64_t row = 0; row < rows; ++row) {
          tensor.dequantise_row(row, found.data());
          ASSERT_TRUE(same_bits(decoded(format, blocks, row, columns), found))
              << "row " << row << " of " << rows << " x " << columns << ", blocks of kind " << kind;
        }
      }
    }
  }
}

TEST_P(EveryFormat, LosesPrecisionByLevelAndGetsItBack) {
  const Format& format = *GetParam();
  const std::int64_t rows = 80, columns = 768;
  Ledger ledger;
  const std::vector<std::uint8_t> blocks = test::gaussian_rows(format, rows, columns, 3);
  PlaneTensor tensor(ledger, format, rows, columns);
  tensor.import_rows(blocks.data(), 0, rows);
  const Bytes full = tensor.bytes();
  EXPECT_EQ(full, PlaneTensor::memory_bytes(format.layout, rows, columns));
  EXPECT_EQ(full, ledger.used(Account::weights));
  std::vector<float> found(static_cast<std::size_t>(columns));
  double previous_error = 0;
  for (int plane = planes_of_level(format.layout.bits) - 2; plane >= 0; --plane) {
    const int level = level_after_plane[plane];
    const Bytes given = tensor.drop(level, 1, 4);  // tile rows 1 to 3; 0 and 4 stay whole
    EXPECT_EQ(ledger.used(Account::weights), tensor.bytes());
    EXPECT_LE(given, full);
    double error = 0, power = 0;
    for (std::int64_t row = 0; row < rows; ++row) {
      tensor.dequantise_row(row, found.data());
      const std::vector<float> expected = decoded(format, blocks, row, columns);
      if (row < 16 || row >= 64) {
        ASSERT_TRUE(same_bits(expected, found)) << "an untouched row changed at level " << level;
        continue;
      }
      for (std::size_t i = 0; i < expected.size(); ++i) {
        error += std::pow(expected[i] - found[i], 2);
        power += std::pow(expected[i], 2);
      }
    }
    EXPECT_GE(error, previous_error) << "level " << level;
    EXPECT_LT(error, 0.6 * power) << "level " << level;
    previous_error = error;
  }
  tensor.restore(format.layout.bits, 1, 4);
  tensor.import_rows(blocks.data() + 16 * row_bytes(format, columns), 16, 48);
  EXPECT_EQ(tensor.bytes(), full);
  EXPECT_EQ(ledger.used(Account::weights), full);
  for (std::int64_t row = 0; row < rows; ++row) {
    tensor.dequantise_row(row, found.data());
    ASSERT_TRUE(same_bits(decoded(format, blocks, row, columns), found)) << "row " << row;
  }
}

TEST_P(EveryFormat, RowsArriveInAnyOrder) {
  const Format& format = *GetParam();
  const std::int64_t rows = 53, columns = 512;
  Ledger ledger;
  const std::vector<std::uint8_t> blocks = test::gaussian_rows(format, rows, columns, 4);
  PlaneTensor tensor(ledger, format, rows, columns);
  for (const std::int64_t first : {32, 0, 48, 16})
    tensor.import_rows(blocks.data() + static_cast<std::size_t>(first) * row_bytes(format, columns),
                       first, std::min<std::int64_t>(16, rows - first));
  std::vector<float> found(static_cast<std::size_t>(columns));
  for (std::int64_t row = 0; row < rows; ++row) {
    tensor.dequantise_row(row, found.data());
    ASSERT_TRUE(same_bits(decoded(format, blocks, row, columns), found)) << "row " << row;
  }
}

TEST_P(EveryFormat, TakesAboutWhatTheFileDoes) {
  const Format& format = *GetParam();
  const std::int64_t rows = 1024, columns = 8192;
  const double held = 8.0 *
                      static_cast<double>(PlaneTensor::memory_bytes(format.layout, rows, columns)) /
                      static_cast<double>(rows * columns);
  EXPECT_LT(held,
            8.0 * format.block_bytes / format.block_values + (format.layout.grid ? 0.13 : 0.38));
}

INSTANTIATE_TEST_SUITE_P(Planes, EveryFormat, ::testing::ValuesIn(coded_formats()),
                         [](const auto& row) { return std::string(row.param->name); });

TEST(Planes, DroppingGivesExactlyThePlanesBytesBackToTheKernel) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer's own memory changes what the kernel counts";
#endif
  // A Q8_0 tensor of 256 MiB of codes: its last plane is a quarter of them.
  const Format& format = *find_format("Q8_0");
  const std::int64_t rows = 32768, columns = 8192;
  Ledger ledger;
  PlaneTensor tensor(ledger, format, rows, columns);
  // No page may be all zeros: the kernel shares those when it splits a huge page, and counts them
  // no more.
  const std::vector<std::uint8_t> blocks = test::random_bytes(1024 * row_bytes(format, columns), 6);
  for (std::int64_t row = 0; row < rows; row += 1024) tensor.import_rows(blocks.data(), row, 1024);
  // The notes of which pages are gone take heap of their own: they are made by a first, small drop
  // of each plane.
  const Bytes row_bytes_of_pair = 32 * KiB,
              row_bytes_of_bit = 16 * KiB;  // of one tile row in a plane of 2 bits, of 1
  EXPECT_EQ(tensor.drop(5, 0, 1), row_bytes_of_pair + row_bytes_of_bit);
  process_memory();  // its own buffers too
  const Bytes before = process_memory().anonymous;
  const Bytes given = tensor.drop(6, 0, rows / tile_rows);
  const Bytes after = process_memory().anonymous;
  EXPECT_EQ(given, 64 * MiB - row_bytes_of_pair);
  EXPECT_EQ(before - after, given);
  // Half of the next plane, by row range.
  const Bytes half = tensor.drop(5, 0, rows / tile_rows / 2);
  EXPECT_EQ(half, 16 * MiB - row_bytes_of_bit);
  EXPECT_EQ(after - process_memory().anonymous, half);
}

TEST(Planes, RestoringBeyondTheBudgetChangesNothing) {
  const Format& format = *find_format("Q4_0");
  const std::int64_t rows = 512, columns = 4096;
  Ledger ledger;
  const std::vector<std::uint8_t> blocks = test::gaussian_rows(format, rows, columns, 5);
  PlaneTensor tensor(ledger, format, rows, columns);
  tensor.import_rows(blocks.data(), 0, rows);
  tensor.drop(2, 0, rows / tile_rows);
  const Bytes small = tensor.bytes();
  ledger.set_budget(small + 64 * KiB);
  EXPECT_THROW(tensor.restore(4, 0, rows / tile_rows), Error);
  EXPECT_EQ(tensor.bytes(), small);
  EXPECT_EQ(ledger.used(), small);
  EXPECT_EQ(tensor.level(0), 2);
}

TEST(Planes, BegunAtALowerLevelTheyCanRise) {
  const Format& format = *find_format("NEST8");
  const std::int64_t rows = 80, columns = 2048;
  const std::vector<std::uint8_t> blocks = test::gaussian_rows(format, rows, columns, 5);
  Ledger whole_ledger, ledger;
  PlaneTensor whole(whole_ledger, format, rows, columns);
  whole.import_rows(blocks.data(), 0, rows);
  PlaneTensor tensor(ledger, format, rows, columns, 4);
  EXPECT_EQ(ledger.peak(), PlaneTensor::memory_bytes(find_format("NEST4")->layout, rows, columns));
  EXPECT_EQ(tensor.bytes(), ledger.used());
  tensor.import_rows(blocks.data(), 0, rows);
  std::vector<float> expected(static_cast<std::size_t>(columns)), found = expected;
  const auto expect_same = [&] {
    for (std::int64_t row = 0; row < rows; ++row) {
      whole.dequantise_row(row, expected.data());
      tensor.dequantise_row(row, found.data());
      ASSERT_TRUE(same_bits(expected, found)) << row;
    }
  };
  tensor.restore(8, 0, rows / tile_rows);
  EXPECT_EQ(ledger.used(), whole_ledger.used());
  tensor.import_rows(blocks.data(), 0, rows);
  expect_same();
  for (PlaneTensor* planes : {&whole, &tensor}) planes->drop(6, 0, rows / tile_rows);
  EXPECT_EQ(ledger.used(), whole_ledger.used());
  expect_same();
}

TEST(Planes, PointsOfAGridHaveNothingToDrop) {
  const Format& format = *find_format("IQ2_XS");
  Ledger ledger;
  PlaneTensor tensor(ledger, format, 512, 4096);
  const Bytes whole = tensor.bytes();
  EXPECT_EQ(tensor.drop(2, 0, 32), 0);
  tensor.restore(format.layout.bits, 0, 32);
  EXPECT_EQ(tensor.bytes(), whole);
  EXPECT_EQ(ledger.used(), whole);
  std::vector<std::span<const std::byte>> spans;
  tensor.append_spans(spans);
  Bytes read = 0;
  for (const auto& span : spans) read += span.size();
  EXPECT_LE(whole - read, 3 * page_bytes);  // what rounds planes up to pages
}

TEST(LevelTable, FullLevelIsExactAndPrefixesAreMeans) {
  for (const Format* format : coded_formats()) {
    const CodeLayout& layout = format->layout;
    const int planes = planes_of_level(layout.bits);
    for (int plane = layout.grid ? planes - 1 : 0; plane < planes; ++plane) {
      const int level = level_after_plane[plane], dropped = layout.bits - level;
      const LevelTable table = make_level_table(layout, level);
      for (int code = 0; code < 1 << level; ++code) {
        double mean = 0;
        for (int child = 0; child < 1 << dropped; ++child)
          mean += layout.values[code << dropped | child];
        mean *= layout.unit / (1 << dropped);
        const int centroid = table.centroid_of(code, level);
        const double value = static_cast<double>(centroid - table.zero) * table.unit;
        // Exact at full level; else to half a step of the table.
        EXPECT_NEAR(value, mean, dropped ? table.unit / 2 : 0.0)
            << format->name << " level " << level;
        // Kernels multiply signed bytes.
        EXPECT_GE(centroid - table.zero, -128) << format->name << " level " << level;
        EXPECT_LE(centroid - table.zero, 127) << format->name << " level " << level;
      }
    }
  }
}

}  // namespace
}  // namespace plimsoll
