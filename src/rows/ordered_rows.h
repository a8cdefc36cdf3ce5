// Rows of a file's tensors in other formats, one behind the other, for a file that is being
// written: all workers read and round, and each hands over what it has when the rows before have
// been.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "kernels/context.h"
#include "rows/row_converter.h"
#include "rows/staging.h"

namespace plimsoll {

class OrderedRows {
 public:
  /// What one tensor's way takes of each slot, whole pages.
  static Bytes staging_bytes(const Conversion& conversion, const FilePieces& pieces);

  /// Reserves so much, the most that any of the tensors takes, for each of staging_slots() (rows/staging.h) from the
  /// account io. Throws as Region does. Refers to context and file.
  OrderedRows(Context& context, const ModelFile& file, Bytes slot_bytes);

  struct Visits {
    /// Each piece as the file has it, from any worker, in any order. May be empty.
    std::function<void(std::int64_t piece, std::span<const std::uint8_t> rows)> read;
    /// What becomes of each, in order, one at a time, from any worker.
    std::function<void(std::span<const std::uint8_t> rows)> write;
    /// Called on the calling thread, now and then and at the end: bytes of this tensor that have
    /// been read and written. May be empty.
    std::function<void(Bytes done)> progress;
  };

  /// Takes one tensor through. Throws what reading and the visits throw, and
  /// Error(invalid_weights) naming a tensor with a value that is not finite.
  void run(const Conversion& conversion, const FilePieces& pieces, const ColumnWeights& weights,
           const Visits& visits);

 private:
  Context& context_;
  const ModelFile& file_;
  Staging staging_;
};

}  // namespace plimsoll
