#include "rows/ordered_rows.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <mutex>

namespace plimsoll {
namespace {

/// Lets workers through one by one, in the order of what they bring.
class Turns {
 public:
  /// Calls `body` when all turns before have been taken; not at all once one has failed.
  template <class Body>
  void take(std::int64_t turn, const Body& body) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return next_ == turn || failed_; });
    if (failed_) return;
    body();
    ++next_;
    changed_.notify_all();
  }

  void fail() {
    const std::scoped_lock lock(mutex_);
    failed_ = true;
    changed_.notify_all();
  }

  bool has_failed() const {
    const std::scoped_lock lock(mutex_);
    return failed_;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::int64_t next_ = 0;
  bool failed_ = false;
};

Bytes result_bytes(const Conversion& conversion, const Piece& largest) {
  return conversion.is_as_in_file() ? 0
                                    : round_up(static_cast<Bytes>(largest.rows) *
                                                   row_bytes(*conversion.format, largest.columns),
                                               page_bytes);
}

}  // namespace

Bytes OrderedRows::staging_bytes(const Conversion& conversion, const FilePieces& pieces) {
  const Piece largest = pieces.largest();
  return RowConverter::staging_bytes(conversion, largest.rows, largest.columns) +
         result_bytes(conversion, largest);
}

OrderedRows::OrderedRows(Context& context, const ModelFile& file, Bytes slot_bytes)
    : context_(context),
      file_(file),
      staging_(context.ledger, slot_bytes, context.threads.size()) {}

void OrderedRows::run(const Conversion& conversion, const FilePieces& pieces,
                      const ColumnWeights& weights, const Visits& visits) {
  const TensorInfo& info = *conversion.info;
  const Piece largest = pieces.largest();
  const std::vector<float> diagonal = moments_for(*conversion.format, weights, info.columns());
  ColumnWeights all_weights = weights;
  if (!diagonal.empty()) all_weights.diagonal = diagonal.data();
  std::atomic<std::int64_t> next = 0;
  std::atomic<Bytes> done = 0;
  Turns turns;

  const auto take_pieces = [&](int worker) {
    if (worker >= staging_.slots()) return;
    std::byte* const staging = staging_.slot(worker);
    auto* const result = reinterpret_cast<std::uint8_t*>(
        staging + RowConverter::staging_bytes(conversion, largest.rows, largest.columns));
    RowConverter converter(context_.kernels, file_, conversion, largest.rows, largest.columns,
                           staging, all_weights);
    for (std::int64_t i = next++; i < pieces.count() && !turns.has_failed(); i = next++) {
      const Piece piece = pieces[i];
      const std::uint8_t* const read = converter.read(piece);
      const Bytes bytes = static_cast<Bytes>(piece.rows) * row_bytes(*info.format, piece.columns);
      if (visits.read) visits.read(i, {read, bytes});
      std::span<const std::uint8_t> rows = {read, bytes};
      if (!conversion.is_as_in_file()) {
        const Bytes row = row_bytes(*conversion.format, piece.columns);
        converter.convert(piece, read, [&](std::int64_t at, std::int64_t count, const auto* some) {
          std::memcpy(result + static_cast<Bytes>(at - piece.row) * row, some,
                      static_cast<Bytes>(count) * row);
        });
        rows = {result, static_cast<Bytes>(piece.rows) * row};
      }
      turns.take(i, [&] { visits.write(rows); });
      done += bytes;
      if (worker == 0 && visits.progress) visits.progress(done.load());
    }
  };
  context_.threads.run([&](int worker) {
    try {
      take_pieces(worker);
    } catch (...) {
      turns.fail();
      throw;
    }
  });
  if (visits.progress) visits.progress(info.bytes);
}

}  // namespace plimsoll
