// Anonymous memory straight from the kernel, charged to the Ledger, that can be given back by range.
#pragma once

#include <cstddef>
#include <vector>

#include "base/bytes.h"
#include "base/ledger.h"

namespace plimsoll {

constexpr Bytes page_bytes = 4 * KiB;
constexpr Bytes huge_page_bytes = 2 * MiB;

/// Page-aligned zeroed memory. Owns its mapping and its Reservation (rounded up to pages). Move-only.
/// With `huge`, whole 2 MiB extents inside are asked for as huge pages; the rest stays 4 KiB pages, so that a region
/// never holds more than its reserved bytes.
class Region {
 public:
  enum class Pages { normal, huge };

  Region() = default;
  /// Throws Error(budget_exceeded) from the Ledger, Error(machine_limit) when the kernel has no room.
  Region(Ledger& ledger, Account account, Bytes bytes, Pages pages = Pages::huge);
  /// One whose pages count as given back: addresses without memory. Throws Error(machine_limit).
  static Region without_pages(Ledger& ledger, Account account, Bytes bytes, Pages pages = Pages::huge);
  Region(Region&& other) noexcept;
  Region& operator=(Region&& other) noexcept;
  ~Region();

  std::byte* data() const { return data_; }
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }
  Bytes size() const { return size_; }

  /// Touches every page now, so that the kernel's count equals the Ledger's from here on.
  void prefault();

  /// Gives whole pages inside [offset, offset+bytes) back to the kernel and to the Ledger at once; they read as zero
  /// afterwards and must be taken back before they are written. Pages given back before are skipped. Returns the bytes
  /// given.
  Bytes give_back(Bytes offset, Bytes bytes);
  /// Reserves again those whole pages inside the range that were given back. Throws as Ledger::reserve does, and then
  /// nothing has changed. Returns the bytes taken.
  Bytes take_back(Bytes offset, Bytes bytes);

 private:
  /// Maps `bytes` addresses, asking for no huge pages yet.
  void map(Bytes bytes, Pages pages);

  std::byte* data_ = nullptr;
  Bytes size_ = 0;
  Pages pages_ = Pages::normal;
  Reservation reservation_;
  std::vector<bool> given_;  ///< by page; empty while nothing was given back
};

}  // namespace plimsoll
