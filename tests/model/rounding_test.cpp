// Loading into other formats than the file's: every weight as if it had been rounded by itself.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "base/error.h"
#include "file/gguf_writer.h"
#include "format/half.h"
#include "model/architecture.h"
#include "model/weights.h"
#include "rows/row_converter.h"
#include "rows/staging.h"
#include "support/synthetic_model.h"
#include "support/temporary_folder.h"

namespace plimsoll {
namespace {

/// Gaussian rows as a file of `format` has them.
std::vector<std::uint8_t> random_blocks(const Format& format, std::int64_t rows,
                                        std::int64_t columns) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0, 0.05f);
  std::vector<float> values(static_cast<std::size_t>(rows * columns));
  for (float& value : values) value = normal(random);
  std::vector<std::uint8_t> blocks(static_cast<Bytes>(rows) * row_bytes(format, columns));
  format.encode(values.data(), blocks.data(), rows * columns / format.block_values);
  return blocks;
}

/// A file with one matrix, behind another tensor that puts it off the page's beginning.
class OneMatrix {
 public:
  OneMatrix(const Format& format, std::int64_t rows, std::int64_t columns,
            std::vector<std::uint8_t> blocks)
      : blocks_(std::move(blocks)) {
    const std::string path = folder_.file("matrix.gguf");
    const std::vector<std::uint8_t> before(40 * sizeof(float));
    GgufWriter writer(OutputPath::own(path));
    writer.add_tensor("before", plimsoll::format(FormatId::F32), std::vector<std::int64_t>{40});
    writer.add_tensor("matrix", format, std::vector<std::int64_t>{columns, rows});
    writer.write(before);
    writer.write(blocks_);
    writer.finish();
    file_.emplace(ModelFile::open(path));
  }

  const TensorInfo& info() const { return *file_->find_tensor("matrix"); }
  const ModelFile& file() const { return *file_; }
  const std::vector<std::uint8_t>& blocks() const { return blocks_; }

 private:
  test::TemporaryFolder folder_;
  std::vector<std::uint8_t> blocks_;
  std::optional<ModelFile> file_;
};

Matrix load(Ledger& ledger, const Kernels& kernels, const OneMatrix& one, const Format& format) {
  const Conversion source = {&one.info(), &format};
  Matrix matrix(ledger, source);
  const Region staging(ledger, Account::io, std::max(Matrix::staging_bytes(source), page_bytes));
  const std::int64_t step = chunk_rows(one.info());
  for (std::int64_t row = 0; row < one.info().rows(); row += step)
    matrix.load_rows(kernels, one.file(), source, row, std::min(row + step, one.info().rows()),
                     staging.data());
  return matrix;
}

/// The values of the file's rows, rounded to `target` all at once.
std::vector<float> rounded_by_hand(const Kernels& kernels, const OneMatrix& one,
                                   const Format& target) {
  const TensorInfo& info = one.info();
  const std::int64_t columns = info.columns();
  std::vector<float> values(static_cast<std::size_t>(info.rows() * columns));
  const auto count = static_cast<std::int64_t>(values.size());
  info.format->decode(one.blocks().data(), values.data(), count / info.format->block_values);
  std::vector<std::uint8_t> blocks(static_cast<Bytes>(info.rows()) * row_bytes(target, columns));
  Ledger ledger;
  const Region scratch(ledger, Account::io,
                       static_cast<Bytes>(quantise_scratch_floats(columns)) * sizeof(float));
  if (target.kind == Format::Kind::coded && !target.encode_weighted)
    quantise_rows(kernels, {.format = &target,
                            .weights = values.data(),
                            .rows = info.rows(),
                            .columns = columns,
                            .importance = nullptr,
                            .feedback = nullptr,
                            .thorough = false,
                            .unbiased = true,
                            .blocks = blocks.data(),
                            .scratch = scratch.as<float>()});
  else
    target.encode(values.data(), blocks.data(), count / target.block_values);
  target.decode(blocks.data(), values.data(), count / target.block_values);
  return values;
}

std::vector<float> values_of(const Matrix& matrix) {
  std::vector<float> values(static_cast<std::size_t>(matrix.rows() * matrix.columns()));
  for (std::int64_t r = 0; r < matrix.rows(); ++r)
    matrix.dequantise_row(r, values.data() + r * matrix.columns());
  return values;
}

class RoundingFrom : public ::testing::TestWithParam<FormatId> {};

TEST_P(RoundingFrom, EveryFormatIsAsByHand) {
  const Format& source = format(GetParam());
  for (const auto& [rows, columns] :
       {std::pair<std::int64_t, std::int64_t>{1, 256}, {77, 512}, {130, 288}, {200, 256}}) {
    if (columns % source.block_values != 0) continue;
    const OneMatrix one(source, rows, columns, random_blocks(source, rows, columns));
    for (const Format& target : formats()) {
      if (columns % target.block_values != 0 || &target == &source) continue;
      const Kernels& kernels = kernels_for(choose_isa());
      Ledger ledger;
      const Matrix matrix = load(ledger, kernels, one, target);
      EXPECT_EQ(values_of(matrix), rounded_by_hand(kernels, one, target))
          << target.name << " " << rows << " x " << columns;
      EXPECT_EQ(ledger.used(), Matrix::memory_bytes({&one.info(), &target})) << target.name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Sources, RoundingFrom,
                         ::testing::Values(FormatId::F32, FormatId::F16, FormatId::BF16,
                                           FormatId::Q8_0, FormatId::Q6_K),
                         [](const auto& test) { return std::string(format(test.param).name); });

TEST(Rounding, RowsThatAreCutAreLoadedAsOthers) {
  const std::int64_t rows = 37, columns = 2 * most_piece_columns + 512;
  for (const FormatId from : {FormatId::F16, FormatId::Q4_K, FormatId::NEST8}) {
    const Format& source = format(from);
    const OneMatrix one(source, rows, columns, random_blocks(source, rows, columns));
    for (const FormatId to :
         {FormatId::F16, FormatId::Q8_0, FormatId::Q4_K, FormatId::Q3_K, from}) {
      const Format& target = format(to);
      Ledger ledger;
      const Matrix matrix = load(ledger, kernels_for(choose_isa()), one, target);
      std::vector<float> expected(static_cast<std::size_t>(rows * columns));
      if (&target == &source)
        source.decode(one.blocks().data(), expected.data(), rows * columns / source.block_values);
      else
        expected = rounded_by_hand(kernels_for(choose_isa()), one, target);
      EXPECT_TRUE(values_of(matrix) == expected) << source.name << " to " << target.name;
      EXPECT_LE(Matrix::staging_bytes({&one.info(), &target}), 64 * MiB);
    }
  }
}

TEST(Levels, AreLoadedAsTheFilesOwnCodesHaveThem) {
  for (const FormatId id : {FormatId::NEST6, FormatId::NEST8}) {
    const Format& source = format(id);
    const std::int64_t rows = 77, columns = 512, blocks = rows * columns / source.block_values;
    const OneMatrix one(source, rows, columns, random_blocks(source, rows, columns));
    EXPECT_FALSE(levels_below(source).empty());
    for (const Format* level : levels_below(source)) {
      std::vector<std::uint8_t> lowered(static_cast<Bytes>(blocks * level->block_bytes));
      lower(source, *level, one.blocks().data(), lowered.data(), blocks);
      std::vector<float> values(static_cast<std::size_t>(rows * columns));
      level->decode(lowered.data(), values.data(), blocks);
      Ledger ledger;
      // No more than the level takes, at any moment.
      const Conversion loaded = {&one.info(), level};
      const CapLease cap = ledger.raise_cap(Account::weights, Matrix::memory_bytes(loaded));
      const Matrix matrix = load(ledger, kernels_for(choose_isa()), one, *level);
      EXPECT_EQ(values_of(matrix), values) << level->name;
      EXPECT_EQ(ledger.used(), Matrix::memory_bytes(loaded)) << level->name;
      // On their way into another file too.
      const Region staging(ledger, Account::io, RowConverter::staging_bytes(loaded, rows, columns));
      RowConverter converter(kernels_for(choose_isa()), one.file(), loaded, rows, columns,
                             staging.data());
      const Piece piece{0, rows, 0, columns};
      std::vector<std::uint8_t> shown;
      converter.convert(piece, converter.read(piece),
                        [&](std::int64_t, std::int64_t count, const std::uint8_t* some) {
                          shown.insert(
                              shown.end(), some,
                              some + static_cast<Bytes>(count) * row_bytes(*level, columns));
                        });
      EXPECT_EQ(shown, lowered) << level->name;
    }
  }
}

TEST(Rounding, WhatIsBeyondHalvesBecomesTheLargest) {
  const Format& source = format(FormatId::F32);
  std::vector<float> values(64, 1.0f);
  values[3] = 1e6f;
  values[40] = -7e4f;
  std::vector<std::uint8_t> blocks(values.size() * sizeof(float));
  std::memcpy(blocks.data(), values.data(), blocks.size());
  const OneMatrix one(source, 2, 32, blocks);
  Ledger ledger;
  const std::vector<float> found =
      values_of(load(ledger, kernels_for(choose_isa()), one, format(FormatId::F16)));
  EXPECT_EQ(found[3], 65504.0f);
  EXPECT_EQ(found[40], -65504.0f);
  EXPECT_EQ(found[0], 1.0f);
}

TEST(Rounding, ValuesThatAreNotFiniteAreNamed) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    const Format& source = format(FormatId::BF16);
    std::vector<std::uint8_t> blocks = random_blocks(source, 200, 256);
    const std::uint16_t bits = float_to_bfloat(bad);
    std::memcpy(blocks.data() + 2 * (130 * 256 + 17), &bits, 2);
    const OneMatrix one(source, 200, 256, blocks);
    Ledger ledger;
    try {
      load(ledger, kernels_for(choose_isa()), one, format(FormatId::Q4_K));
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid_weights);
      EXPECT_NE(error.message().find("matrix"), std::string::npos);
    }
  }
}

TEST(Rounding, AWholeModelTakesTheBytesThatWereSaid) {
  test::TemporaryFolder folder;
  test::SyntheticModel model;
  model.layers = 2;
  test::write_synthetic_model(folder.file("model.gguf"), model, 2);
  const ModelFile file = ModelFile::open(folder.file("model.gguf"));
  const Description description = describe(file);
  const std::vector<TensorUse> uses = find_tensors(file, description);
  // Another format for each matrix.
  Weights::Formats formats;
  const FormatId ids[] = {FormatId::Q4_0, FormatId::F16, FormatId::Q8_0, FormatId::MXFP4};
  for (std::size_t i = 0; i < uses.size(); ++i) formats.push_back(&format(ids[i % 4]));
  for (const int threads : {1, 3}) {
    Context context(threads, choose_isa());
    Bytes progress = 0;
    const Weights weights(context, file, description, formats,
                          [&](Weights::Progress p) { progress = p.done; });
    const Bytes bytes = Weights::memory_bytes(uses, formats);
    EXPECT_EQ(context.ledger.used(), bytes);
    EXPECT_EQ(context.ledger.peak(), bytes + Weights::staging_bytes(uses, staging_slots(threads), formats));
    EXPECT_LT(bytes, Weights::memory_bytes(uses));
    EXPECT_GT(progress, bytes);
  }
}

}  // namespace
}  // namespace plimsoll
