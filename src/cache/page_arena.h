// Memory for pieces of one size, dense: the first used() of them are in use, and what is behind
// them is given back. Freeing one moves the last one into its place, so that nothing is ever lost
// to gaps, however pieces come and go.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bytes.h"
#include "base/ledger.h"
#include "base/region.h"

namespace plimsoll {

/// Not thread-safe.
class PageArena {
 public:
  /// What `pieces` take, in whole steps.
  static Bytes memory_bytes(Bytes piece_bytes, Bytes pieces, Bytes step);

  /// `address_bytes` of addresses, without memory; charged to the KV account in whole `step`s as it
  /// grows. Throws Error(machine_limit).
  PageArena(Ledger& ledger, Bytes piece_bytes, Bytes address_bytes, Bytes step);

  Bytes piece_bytes() const { return piece_bytes_; }
  std::int64_t used() const { return used_; }
  Bytes held_bytes() const { return held_; }
  std::byte* at(std::int64_t piece) const {
    return region_.data() + static_cast<Bytes>(piece) * piece_bytes_;
  }

  /// Holds memory for `pieces` beside those in use, until trim(). Throws as Ledger::reserve does
  /// and Error(budget_exceeded) beyond the addresses, and then nothing has changed.
  void hold(std::int64_t pieces);
  /// The next piece, for which memory is held; whatever was there.
  std::int64_t take();
  /// Frees a piece. The last one, used() after this, is in its place now (unless it was the last).
  void free(std::int64_t piece);
  /// Gives back what is held beyond the pieces in use. Returns the bytes.
  Bytes trim();

 private:
  Bytes piece_bytes_, step_;
  std::int64_t used_ = 0;
  Bytes held_ = 0;
  Region region_;
};

}  // namespace plimsoll
