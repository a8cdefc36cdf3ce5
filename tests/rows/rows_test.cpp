// The rows' way: every piece once and in order, staging that stays bounded however wide rows are,
// and rows that do not depend on how they were cut.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <random>

#include "base/error.h"
#include "base/limits.h"
#include "file/gguf_writer.h"
#include "rows/ordered_rows.h"
#include "support/temporary_folder.h"

namespace plimsoll {
namespace {

/// Shapes from one number to rows that are cut.
struct Shape {
  std::int64_t rows, columns;
};
constexpr Shape shapes[] = {{1, 32},   {16, 256},  {77, 512},  {130, 288},
                            {200, 64}, {5000, 96}, {3, 65536}, {5, 3 * 65536 + 512}};

std::vector<std::uint8_t> random_rows(const Format& format, const Shape& shape) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0, 0.05f);
  std::vector<float> values(static_cast<std::size_t>(shape.rows * shape.columns));
  for (float& value : values) value = normal(random);
  std::vector<std::uint8_t> rows(static_cast<Bytes>(shape.rows) * row_bytes(format, shape.columns));
  format.encode(values.data(), rows.data(),
                static_cast<std::int64_t>(values.size()) / format.block_values);
  return rows;
}

/// A file with one tensor, behind another that puts it off the page's beginning.
class OneTensor {
 public:
  OneTensor(const Format& format, const Shape& shape, std::vector<std::uint8_t> rows)
      : rows_(std::move(rows)) {
    const std::string path = folder_.file("tensor.gguf");
    const std::vector<std::uint8_t> before(40 * sizeof(float));
    GgufWriter writer(OutputPath::own(path));
    writer.add_tensor("before", plimsoll::format(FormatId::F32), std::vector<std::int64_t>{40});
    writer.add_tensor("tensor", format, std::vector<std::int64_t>{shape.columns, shape.rows});
    writer.write(before);
    writer.write(rows_);
    writer.finish();
    file_.emplace(ModelFile::open(path));
  }
  OneTensor(const Format& format, const Shape& shape)
      : OneTensor(format, shape, random_rows(format, shape)) {}

  const TensorInfo& info() const { return *file_->find_tensor("tensor"); }
  const ModelFile& file() const { return *file_; }
  const std::vector<std::uint8_t>& rows() const { return rows_; }

 private:
  test::TemporaryFolder folder_;
  std::vector<std::uint8_t> rows_;
  std::optional<ModelFile> file_;
};

struct Taken {
  std::vector<std::uint8_t> read, written;
  std::vector<Bytes> progress;
  Bytes staged;
};

/// Through all workers, with what each piece was.
Taken take(const OneTensor& one, const Format& target, int workers,
           const ColumnWeights& weights = {}) {
  Context context(workers, choose_isa());
  const Conversion conversion{&one.info(), &target};
  const FilePieces pieces(conversion, weights.feedback != nullptr);
  const Bytes bytes = OrderedRows::staging_bytes(conversion, pieces);
  Taken taken;
  std::vector<std::vector<std::uint8_t>> read(static_cast<std::size_t>(pieces.count()));
  {
    OrderedRows rows(context, one.file(), bytes);
    rows.run(conversion, pieces, weights,
             {.read =
                  [&](std::int64_t piece, auto some) {
                    read[static_cast<std::size_t>(piece)].assign(some.begin(), some.end());
                  },
              .write =
                  [&](auto some) {
                    taken.written.insert(taken.written.end(), some.begin(), some.end());
                  },
              .progress = [&](Bytes done) { taken.progress.push_back(done); }});
  }
  EXPECT_EQ(context.ledger.used(), 0u);
  taken.staged = context.ledger.peak();
  EXPECT_EQ(taken.staged, bytes * static_cast<Bytes>(staging_slots(workers)));
  for (const auto& some : read) taken.read.insert(taken.read.end(), some.begin(), some.end());
  return taken;
}

/// All rows at once.
std::vector<std::uint8_t> by_hand(const OneTensor& one, const Format& target) {
  const TensorInfo& info = one.info();
  const auto count = info.rows() * info.columns();
  std::vector<float> values(static_cast<std::size_t>(count));
  info.format->decode(one.rows().data(), values.data(), count / info.format->block_values);
  std::vector<std::uint8_t> rows(static_cast<Bytes>(info.rows()) *
                                 row_bytes(target, info.columns()));
  if (is_level_of(*info.format, target)) {
    lower(*info.format, target, one.rows().data(), rows.data(), count / target.block_values);
  } else if (target.kind == Format::Kind::dense) {
    target.encode(values.data(), rows.data(), count / target.block_values);
  } else {
    Ledger ledger;
    const Region scratch(
        ledger, Account::io,
        static_cast<Bytes>(quantise_scratch_floats(info.columns())) * sizeof(float));
    quantise_rows(kernels_for(choose_isa()), {.format = &target,
                                              .weights = values.data(),
                                              .rows = info.rows(),
                                              .columns = info.columns(),
                                              .importance = nullptr,
                                              .feedback = nullptr,
                                              .thorough = false,
                                              .unbiased = true,
                                              .blocks = rows.data(),
                                              .scratch = scratch.as<float>()});
  }
  return rows;
}

TEST(Rows, DoNotDependOnHowTheyWereCutOrOnWorkers) {
  for (const FormatId from : {FormatId::F32, FormatId::F16, FormatId::Q8_0, FormatId::NEST8})
    for (const Shape& shape : shapes) {
      const Format& source = format(from);
      if (shape.columns % source.block_values != 0) continue;
      const OneTensor one(source, shape);
      for (const FormatId to : {FormatId::F32, FormatId::F16, FormatId::BF16, FormatId::Q8_0,
                                FormatId::Q4_K, FormatId::MXFP4, FormatId::NEST4, from}) {
        const Format& target = format(to);
        if (shape.columns % target.block_values != 0) continue;
        const std::vector<std::uint8_t> expected =
            &target == &source ? one.rows() : by_hand(one, target);
        for (const int workers : {1, 3}) {
          const Taken taken = take(one, target, workers);
          EXPECT_EQ(taken.read, one.rows());
          EXPECT_TRUE(taken.written == expected)
              << source.name << " to " << target.name << ", " << shape.rows << " x "
              << shape.columns << ", " << workers << " workers";
          ASSERT_FALSE(taken.progress.empty());
          EXPECT_TRUE(std::ranges::is_sorted(taken.progress));
          EXPECT_EQ(taken.progress.back(), one.rows().size());
        }
      }
    }
}

TEST(Rows, OfCodebooksAndUnderFeedbackAreThoseOfOneTask) {
  const Shape shape{21, 512};
  const OneTensor one(format(FormatId::F16), shape);
  const auto columns = static_cast<std::size_t>(shape.columns);
  std::mt19937 random(3);
  std::normal_distribution<float> normal(0, 0.1f);
  std::vector<float> d(columns), upper(columns * columns);
  for (float& value : d) value = std::fabs(normal(random)) + 0.01f;
  for (float& value : upper) value = normal(random);
  std::vector<float> values(static_cast<std::size_t>(shape.rows) * columns);
  one.info().format->decode(one.rows().data(), values.data(), std::ssize(values));
  Ledger ledger;
  const Region scratch(ledger, Account::io,
                       static_cast<Bytes>(quantise_scratch_floats(shape.columns)) * sizeof(float));
  for (const FormatId id : {FormatId::IQ2_XS, FormatId::Q4_K, FormatId::NEST8}) {
    const Format& target = format(id);
    std::vector<std::uint8_t> expected(static_cast<Bytes>(shape.rows) *
                                       row_bytes(target, shape.columns));
    quantise_rows(kernels_for(choose_isa()), {.format = &target,
                                              .weights = values.data(),
                                              .rows = shape.rows,
                                              .columns = shape.columns,
                                              .importance = d.data(),
                                              .feedback = upper.data(),
                                              .thorough = true,
                                              .blocks = expected.data(),
                                              .scratch = scratch.as<float>()});
    for (const int workers : {1, 4})
      EXPECT_TRUE(take(one, target, workers, {d.data(), upper.data(), true}).written == expected)
          << target.name;
  }
}

TEST(Rows, StagingIsBoundedHoweverWideTheyAre) {
  Bytes most = 0;
  for (const std::int64_t columns :
       {std::int64_t{256}, std::int64_t{4096}, std::int64_t{1} << 16, std::int64_t{1} << 17,
        std::int64_t{1} << 24, std::int64_t{1} << 40})
    for (const Format& from : formats())
      for (const Format& to : formats()) {
        const std::int64_t rows = columns > 1 << 24 ? 64 : 1 << 16;
        const TensorInfo info{.name = "wide",
                              .format = &from,
                              .rank = 2,
                              .shape = {columns, rows, 1, 1},
                              .offset = 0,
                              .bytes = static_cast<Bytes>(rows) * row_bytes(from, columns)};
        const Conversion conversion{&info, &to};
        const FilePieces pieces(conversion, false);
        EXPECT_GE(pieces.count(), 1);
        const Piece last = pieces[pieces.count() - 1];
        EXPECT_EQ(last.row + last.rows, rows);
        EXPECT_EQ(last.column + last.columns, columns);
        most = std::max(most, OrderedRows::staging_bytes(conversion, pieces));
        most = std::max(most, RowConverter::staging_bytes(conversion, chunk_rows(info),
                                                          std::min(columns, most_piece_columns)));
      }
  EXPECT_LE(most, 96 * MiB);
}

TEST(Rows, ThatAreNoNumbersAreNamedOnEveryWay) {
  for (const int workers : {1, 3})
    for (const FormatId to : {FormatId::F16, FormatId::Q4_K}) {
      const Shape shape{500, 256};
      std::vector<std::uint8_t> rows = random_rows(format(FormatId::F32), shape);
      const float bad = -std::numeric_limits<float>::infinity();
      std::memcpy(rows.data() + sizeof(float) * (300 * 256 + 17), &bad, sizeof bad);
      const OneTensor one(format(FormatId::F32), shape, rows);
      try {
        take(one, format(to), workers);
        FAIL();
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::invalid_weights);
        EXPECT_NE(error.message().find("tensor tensor"), std::string::npos) << error.message();
        EXPECT_NE(error.message().find("rows 256 to 319"), std::string::npos) << error.message();
      }
    }
}

TEST(Rows, WhatAVisitThrowsEndsAllWorkers) {
  const Shape shape{5000, 96};
  const OneTensor one(format(FormatId::F32), shape);
  for (const int workers : {1, 2, 5})
    for (const int failing : {0, 3}) {
      Context context(workers, choose_isa());
      const Conversion conversion{&one.info(), &format(FormatId::Q8_0)};
      const FilePieces pieces(conversion, false);
      ASSERT_GT(pieces.count(), 5);
      OrderedRows rows(context, one.file(), OrderedRows::staging_bytes(conversion, pieces));
      int writes = 0;
      EXPECT_THROW(rows.run(conversion, pieces, {},
                            {.write =
                                 [&](auto) {
                                   if (writes++ == failing)
                                     throw Error(ErrorCode::write_failed, "the disk is full");
                                 }}),
                   Error);
      EXPECT_EQ(writes, failing + 1);
    }
}

TEST(Staging, HasNoMoreSlotsThanProcessorsAndTakesAllThroughThem) {
  for (const int workers : {1, 2, 3, 16}) {
    Ledger ledger;
    ThreadPool threads(workers);
    const Staging staging(ledger, page_bytes, workers);
    EXPECT_EQ(staging.slots(), std::min(workers, allowed_processors()));
    EXPECT_EQ(ledger.used(), page_bytes * static_cast<Bytes>(staging.slots()));
    for (const std::int64_t count : {0, 1, 2, 7, 1000}) {
      std::vector<int> taken(static_cast<std::size_t>(count));
      std::vector<std::atomic<int>> inside(static_cast<std::size_t>(staging.slots()));
      staging.parallel_for(threads, count, [&](std::int64_t i, int worker, std::byte* slot) {
        EXPECT_EQ(slot, staging.slot(worker));
        EXPECT_EQ(inside[static_cast<std::size_t>(worker)]++, 0);
        ++taken[static_cast<std::size_t>(i)];
        --inside[static_cast<std::size_t>(worker)];
      });
      EXPECT_EQ(std::ranges::count(taken, 1), count);
    }
    std::atomic<int> begun = 0;
    EXPECT_THROW(staging.parallel_for(threads, 1000,
                                      [&](std::int64_t, int, std::byte*) {
                                        ++begun;
                                        throw Error(ErrorCode::file_corrupt, "it ends early");
                                      }),
                 Error);
    EXPECT_LE(begun, staging.slots());
  }
}

}  // namespace
}  // namespace plimsoll
