// Greedy merging of neighbouring symbols, best pair first: the core of both byte-pair encoding
// (Sennrich, Haddow and Birch 2016, arXiv 1508.07909) and sentencepiece's BPE (Kudo and Richardson
// 2018, arXiv 1808.06226).
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "text/vocabulary.h"

namespace plimsoll {

/// A run of bytes that is one token so far. A list in text order through `previous` and `next` (-1
/// at the ends); symbol 0 is always its head. length == 0: merged into the symbol before.
struct Symbol {
  std::int32_t previous, next;
  std::uint32_t begin, length;  ///< bytes of the text
  TokenId token;                ///< no_token where the bytes are not one
};

/// What two neighbours may become. Lower priority numbers go first, the leftmost of equals before
/// the others.
struct Merge {
  std::uint32_t priority;
  TokenId token;  ///< no_token: they don't merge
};

/// Working memory, reused from text to text.
struct MergeScratch {
  /// An entry is stale, and passed over, once its left symbol has gone or the pair has another
  /// length.
  struct Candidate {
    std::uint64_t key;     ///< priority in the upper half, left symbol in the lower
    std::uint32_t length;  ///< bytes of both
    TokenId token;
  };
  std::vector<Symbol> symbols;
  std::vector<Candidate> heap;

  void clear() {
    symbols.clear();
    heap.clear();
  }
  /// Appends a symbol after the last one.
  void append(std::uint32_t begin, std::uint32_t length, TokenId token) {
    const auto index = static_cast<std::int32_t>(symbols.size());
    if (index > 0) symbols.back().next = index;
    symbols.push_back({index - 1, -1, begin, length, token});
  }
};

/// Merges until no pair is left; `lookup(left, right)` gives the Merge of two neighbouring symbols.
/// O(n log n).
template <class Lookup>
void merge_symbols(MergeScratch& scratch, const Lookup& lookup) {
  using Candidate = MergeScratch::Candidate;
  std::vector<Symbol>& symbols = scratch.symbols;
  std::vector<Candidate>& heap = scratch.heap;
  const auto later = [](const Candidate& a, const Candidate& b) { return a.key > b.key; };
  const auto at = [&](std::int32_t index) -> Symbol& {
    return symbols[static_cast<std::size_t>(index)];
  };
  const auto consider = [&](std::int32_t left) {
    if (left < 0 || at(left).next < 0) return false;
    const Symbol& right = at(at(left).next);
    const Merge merge = lookup(at(left), right);
    if (merge.token == no_token) return false;
    heap.push_back({std::uint64_t{merge.priority} << 32 | static_cast<std::uint32_t>(left),
                    at(left).length + right.length, merge.token});
    return true;
  };

  for (std::size_t i = 0; i + 1 < symbols.size(); ++i) consider(static_cast<std::int32_t>(i));
  std::make_heap(heap.begin(), heap.end(), later);
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), later);
    const Candidate best = heap.back();
    heap.pop_back();
    const auto left = static_cast<std::int32_t>(best.key & 0xFFFFFFFFu);
    Symbol& kept = at(left);
    if (kept.length == 0 || kept.next < 0) continue;
    Symbol& gone = at(kept.next);
    if (kept.length + gone.length != best.length) continue;
    kept.length = best.length;
    kept.token = best.token;
    kept.next = gone.next;
    gone.length = 0;
    if (kept.next >= 0) at(kept.next).previous = left;
    if (consider(kept.previous)) std::push_heap(heap.begin(), heap.end(), later);
    if (consider(left)) std::push_heap(heap.begin(), heap.end(), later);
  }
}

}  // namespace plimsoll
