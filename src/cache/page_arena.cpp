#include "cache/page_arena.h"

#include <fmt/format.h>

#include <cassert>
#include <cstring>

#include "base/bounded.h"
#include "base/error.h"
#include "kernels/kv_page.h"

namespace plimsoll {

Bytes PageArena::memory_bytes(Bytes piece_bytes, Bytes pieces, Bytes step) {
  if (pieces == 0) return 0;
  const Bytes bytes = bounded_sum({bounded_product({piece_bytes, pieces}), kv_page_overhang});
  return bounded_sum({bytes, step - 1}) / step * step;
}

PageArena::PageArena(Ledger& ledger, Bytes piece_bytes, Bytes address_bytes, Bytes step)
    : piece_bytes_(piece_bytes),
      step_(step),
      region_(Region::without_pages(
          ledger, Account::kv, round_up(address_bytes, step),
          step % huge_page_bytes == 0 ? Region::Pages::huge : Region::Pages::normal)) {}

void PageArena::hold(std::int64_t pieces) {
  const Bytes wanted = memory_bytes(piece_bytes_, static_cast<Bytes>(used_ + pieces), step_);
  if (wanted <= held_) return;
  if (wanted > region_.size())
    throw Error(ErrorCode::budget_exceeded,
                fmt::format("the KV cache has room for {} of pages of {}, {} are wanted",
                            format_bytes(region_.size()), format_bytes(piece_bytes_),
                            format_bytes(wanted)));
  region_.take_back(held_, wanted - held_);
  region_.prefault(held_, wanted - held_);
  held_ = wanted;
}

std::int64_t PageArena::take() {
  assert(memory_bytes(piece_bytes_, static_cast<Bytes>(used_ + 1), step_) <= held_);
  return used_++;
}

void PageArena::free(std::int64_t piece) {
  assert(piece < used_);
  --used_;
  if (piece != used_) std::memcpy(at(piece), at(used_), piece_bytes_);
}

Bytes PageArena::trim() {
  const Bytes wanted = memory_bytes(piece_bytes_, static_cast<Bytes>(used_), step_);
  if (wanted >= held_) return 0;
  const Bytes given = region_.give_back(wanted, held_ - wanted);
  held_ = wanted;
  return given;
}

}  // namespace plimsoll
