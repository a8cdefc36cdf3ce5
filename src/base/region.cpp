#include "base/region.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

#include "base/error.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23  // Linux 5.14
#endif

namespace plimsoll {
namespace {

[[noreturn]] void no_memory(Bytes bytes, int error) {
  throw Error(
      ErrorCode::machine_limit,
      fmt::format("the kernel refused {} of memory: {}", format_bytes(bytes), strerror(error)),
      "free memory on this machine, or give a smaller --memory");
}

std::byte* map_pages(Bytes bytes) {
  void* address = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (address == MAP_FAILED) no_memory(bytes, errno);
  return static_cast<std::byte*>(address);
}

/// Maps `bytes` (whole pages) at a 2 MiB boundary, so that the most whole extents lie inside.
/// Address space is mapped beyond what is needed and trimmed at both ends; none of it is touched.
std::byte* map_aligned(Bytes bytes) {
  const auto mapped = checked_add(bytes, huge_page_bytes);
  if (!mapped) no_memory(bytes, ENOMEM);
  std::byte* base = map_pages(*mapped);
  const auto address = reinterpret_cast<std::uintptr_t>(base);
  const Bytes head = round_up(address, huge_page_bytes) - address;
  const Bytes tail = huge_page_bytes - head;
  if (head > 0) munmap(base, head);
  if (tail > 0) munmap(base + head + bytes, tail);
  return base + head;
}

/// Failing is no error: a kernel without transparent huge pages has nothing to advise about.
void advise(std::byte* begin, const std::byte* end, int advice) {
  if (begin < end) madvise(begin, static_cast<std::size_t>(end - begin), advice);
}

struct Range {
  Bytes begin, end;
};

/// Whole pages inside [offset, offset + bytes), which must lie inside `size`.
Range whole_pages(Bytes offset, Bytes bytes, Bytes size) {
  if (offset > size || bytes > size - offset) {
    throw Error(
        ErrorCode::internal,
        fmt::format("range of {} bytes at {} lies outside a region of {}", bytes, offset, size));
  }
  const Bytes end = round_down(offset + bytes, page_bytes);
  return {std::min(round_up(offset, page_bytes), end), end};
}

/// Calls visit(run) for each longest run of pages inside `range` (whole pages) whose flag in
/// `given` is `wanted`. An empty `given` has no flag set. The visitor may change the flags of its
/// run.
template <class Visit>
void for_runs(const std::vector<bool>& given, Range range, bool wanted, Visit visit) {
  const auto flag = [&](Bytes at) { return !given.empty() && given[at / page_bytes]; };
  for (Bytes at = range.begin; at < range.end;) {
    if (flag(at) != wanted) {
      at += page_bytes;
      continue;
    }
    const Bytes begin = at;
    while (at < range.end && flag(at) == wanted) at += page_bytes;
    visit(Range{begin, at});
  }
}

void mark(std::vector<bool>& given, Range run, bool value) {
  std::fill(given.begin() + static_cast<std::ptrdiff_t>(run.begin / page_bytes),
            given.begin() + static_cast<std::ptrdiff_t>(run.end / page_bytes), value);
}

/// Makes the kernel provide every page now.
void populate(std::byte* begin, Bytes bytes) {
  int result;
  do {
    result = madvise(begin, bytes, MADV_POPULATE_WRITE);
  } while (result != 0 && (errno == EINTR || errno == EAGAIN));
  if (result == 0) return;
  if (errno != EINVAL) no_memory(bytes, errno);
  // Kernels before 5.14: write each page, keeping its content.
  for (Bytes at = 0; at < bytes; at += page_bytes) {
    volatile std::byte* page = begin + at;
    *page = *page;
  }
}

/// Frees the pages of `run`, which lies in a region at `base`. With `huge`, there may be huge pages
/// among them, also such as reach beyond the run.
void release(std::byte* base, Range run, bool huge) {
  std::byte* begin = base + run.begin;
  std::byte* end = base + run.end;
  if (huge) {
    // Otherwise khugepaged may fill the hole again.
    advise(begin, end, MADV_NOHUGEPAGE);
    // MADV_DONTNEED on part of a huge page only unmaps: the page stays whole, and charged, until
    // memory pressure. The kernel splits it at once for MADV_FREE, which is therefore sent ahead to
    // the partial extents at both ends.
    const auto at = reinterpret_cast<std::uintptr_t>(base);
    const Bytes first = round_up(at + run.begin, huge_page_bytes) - at;
    const Bytes last = round_down(at + run.end, huge_page_bytes) - at;
    if (first > last || last > run.end) {
      advise(begin, end, MADV_FREE);  // inside a single extent
    } else {
      advise(begin, base + first, MADV_FREE);
      advise(base + last, end, MADV_FREE);
    }
  }
  const auto bytes = static_cast<std::size_t>(end - begin);
  if (madvise(begin, bytes, MADV_DONTNEED) != 0) {
    // Only locked or foreign pages fail, and a region has neither.
    throw Error(ErrorCode::internal,
                fmt::format("giving {} back failed: {}", format_bytes(bytes), strerror(errno)));
  }
}

/// Of a region of `size` bytes, those that may be huge pages: from the beginning on.
Bytes huge_bytes(Region::Pages pages, Bytes size) {
  return pages == Region::Pages::huge ? round_down(size, huge_page_bytes) : 0;
}

}  // namespace

Region::Region(Ledger& ledger, Account account, Bytes bytes, Pages pages) {
  if (bytes == 0) return;
  if (bytes > (Bytes{1} << 63)) no_memory(bytes, ENOMEM);
  reservation_ = ledger.reserve(account, round_up(bytes, page_bytes));
  map(bytes, pages);
  advise(data_, data_ + huge_bytes(pages_, size_), MADV_HUGEPAGE);
}

Region::Region(Ledger& ledger, Account account, Bytes bytes, RegionSpace& space) {
  if (bytes == 0) return;
  if (bytes > (Bytes{1} << 63)) no_memory(bytes, ENOMEM);
  const Bytes size = round_up(bytes, page_bytes);
  reservation_ = ledger.reserve(account, size);
  data_ = space.take(size);
  is_in_space_ = data_ != nullptr;
  if (is_in_space_) {
    size_ = size;
    return;
  }
  map(bytes, Pages::huge);
  advise(data_, data_ + huge_bytes(pages_, size_), MADV_HUGEPAGE);
}

Region Region::without_pages(Ledger& ledger, Account account, Bytes bytes, Pages pages) {
  Region region;
  if (bytes == 0) return region;
  region.reservation_ = ledger.reserve(account, 0);
  region.map(bytes, pages);
  region.given_.assign(region.size_ / page_bytes, true);
  return region;
}

void Region::map(Bytes bytes, Pages pages) {
  size_ = round_up(bytes, page_bytes);
  pages_ = pages == Pages::huge && size_ >= huge_page_bytes ? Pages::huge : Pages::normal;
  data_ = pages_ == Pages::huge ? map_aligned(size_) : map_pages(size_);
  // Whatever is not asked for as huge pages is refused explicitly: where huge pages are the
  // system's default, a neighbouring mapping would otherwise let one reach across the end.
  advise(data_, data_ + size_, MADV_NOHUGEPAGE);
}

Region::Region(Region&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      pages_(other.pages_),
      is_in_space_(std::exchange(other.is_in_space_, false)),
      reservation_(std::move(other.reservation_)),
      given_(std::move(other.given_)) {}

Region& Region::operator=(Region&& other) noexcept {
  if (this != &other) {
    unmap();
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
    pages_ = other.pages_;
    is_in_space_ = std::exchange(other.is_in_space_, false);
    reservation_ = std::move(other.reservation_);
    given_ = std::move(other.given_);
  }
  return *this;
}

Region::~Region() { unmap(); }

void Region::unmap() {
  if (data_ == nullptr) return;
  // The addresses of a space are used once: what is left behind must not become huge again.
  if (is_in_space_)
    release(data_, {0, size_}, true);
  else
    munmap(data_, size_);
}

RegionSpace::RegionSpace(Bytes bytes) {
  if (bytes == 0) return;
  size_ = round_up(bytes, page_bytes);
  data_ = map_aligned(size_);
  advise(data_, data_ + size_, MADV_NOHUGEPAGE);
}

RegionSpace::RegionSpace(RegionSpace&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      used_(std::exchange(other.used_, 0)),
      huge_(std::exchange(other.huge_, 0)) {}

RegionSpace& RegionSpace::operator=(RegionSpace&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(used_, other.used_);
  std::swap(huge_, other.huge_);
  return *this;
}

RegionSpace::~RegionSpace() {
  if (data_ != nullptr) munmap(data_, size_);
}

std::byte* RegionSpace::take(Bytes bytes) {
  if (bytes > size_ - used_) return nullptr;
  std::byte* const taken = data_ + used_;
  used_ += bytes;
  for (; huge_ + huge_page_bytes <= used_; huge_ += huge_page_bytes)
    advise(data_ + huge_, data_ + huge_ + huge_page_bytes, MADV_HUGEPAGE);
  return taken;
}

void Region::prefault(Bytes offset, Bytes bytes) {
  for_runs(given_, whole_pages(offset, bytes, size_), false,
           [&](Range run) { populate(data_ + run.begin, run.end - run.begin); });
}

Bytes Region::give_back(Bytes offset, Bytes bytes) {
  const Range pages = whole_pages(offset, bytes, size_);
  if (given_.empty()) given_.resize(size_ / page_bytes);
  Bytes total = 0;
  for_runs(given_, pages, false, [&](Range run) {
    release(data_, run, pages_ == Pages::huge || is_in_space_);
    mark(given_, run, true);
    reservation_.resize(reservation_.bytes() - (run.end - run.begin));
    total += run.end - run.begin;
  });
  return total;
}

Bytes Region::take_back(Bytes offset, Bytes bytes) {
  const Range pages = whole_pages(offset, bytes, size_);
  Bytes total = 0;
  for_runs(given_, pages, true, [&](Range run) { total += run.end - run.begin; });
  reservation_.resize(reservation_.bytes() + total);
  const Bytes whole = huge_bytes(pages_, size_);
  for_runs(given_, pages, true, [&](Range run) {
    advise(data_ + run.begin, data_ + std::min(run.end, whole), MADV_HUGEPAGE);
    mark(given_, run, false);
  });
  return total;
}

}  // namespace plimsoll
