// Anonymous memory straight from the kernel, charged to the Ledger, that can be given back by range.
#pragma once

#include <cstddef>
#include <vector>

#include "base/bytes.h"
#include "base/ledger.h"

namespace plimsoll {

constexpr Bytes page_bytes = 4 * KiB;
constexpr Bytes huge_page_bytes = 2 * MiB;

/// Addresses for many small regions, one behind the other, so that huge pages can span several of them: a model of
/// matrices below 2 MiB would otherwise be read through pages of 4 KiB, at half of the speed. Holds no memory of its own;
/// outlives its regions. What is in it is reserved by its regions alone: an extent becomes huge once all of it is theirs.
class RegionSpace {
 public:
  RegionSpace() = default;
  /// Throws Error(machine_limit).
  explicit RegionSpace(Bytes bytes);
  RegionSpace(RegionSpace&& other) noexcept;
  RegionSpace& operator=(RegionSpace&& other) noexcept;
  ~RegionSpace();

 private:
  friend class Region;
  /// The next `bytes` (whole pages); null where there are no more.
  std::byte* take(Bytes bytes);

  std::byte* data_ = nullptr;
  Bytes size_ = 0, used_ = 0, huge_ = 0;
};

/// Page-aligned zeroed memory. Owns its mapping and its Reservation (rounded up to pages). Move-only.
/// With `huge`, whole 2 MiB extents inside are asked for as huge pages; the rest stays 4 KiB pages, so that a region
/// never holds more than its reserved bytes.
class Region {
 public:
  enum class Pages { normal, huge };

  Region() = default;
  /// Throws Error(budget_exceeded) from the Ledger, Error(machine_limit) when the kernel has no room.
  Region(Ledger& ledger, Account account, Bytes bytes, Pages pages = Pages::huge);
  /// In the space, or, where that is full, by itself.
  Region(Ledger& ledger, Account account, Bytes bytes, RegionSpace& space);
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
  void prefault() { prefault(0, size_); }
  /// Of whole pages inside [offset, offset + bytes).
  void prefault(Bytes offset, Bytes bytes);

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
  void unmap();

  std::byte* data_ = nullptr;
  Bytes size_ = 0;
  Pages pages_ = Pages::normal;
  bool is_in_space_ = false;  ///< the addresses are the space's
  Reservation reservation_;
  std::vector<bool> given_;  ///< by page; empty while nothing was given back
};

}  // namespace plimsoll
