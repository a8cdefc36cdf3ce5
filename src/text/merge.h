// Greedy merging of neighbouring symbols, best pair first: the core of both byte-pair encoding
// (Sennrich, Haddow and Birch 2016, arXiv 1508.07909) and sentencepiece's BPE (Kudo and Richardson
// 2018, arXiv 1808.06226).
#pragma once

#include <algorithm>
#include <cstddef>
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

  /// A token of a window of a long text.
  struct Span {
    std::uint32_t first, last;  ///< symbols of the text before merging, counted from the window's
    Symbol symbol;
  };
  std::vector<Symbol> window;  ///< symbols before merging
  std::vector<Span> tail;

  void clear() {
    symbols.clear();
    heap.clear();
  }
  /// Makes the vectors large enough for so many symbols. Pages that are never used cost nothing.
  void reserve(std::size_t count) {
    symbols.reserve(count);
    heap.reserve(3 * count);
    window.reserve(count);
  }
  /// The most that merging so many symbols takes, at once or in windows of that many.
  static constexpr std::size_t bytes_for(std::size_t count) {
    // Every pair of neighbours is a candidate, and every merge makes two more.
    return count * (2 * sizeof(Symbol) + 3 * sizeof(Candidate) + sizeof(Span));
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

/// Merges a text of any length in windows of `size` symbols (at least 2), with the result of
/// merge_symbols() over all of it. `more(most)` appends the text's next symbols to scratch.symbols
/// until there are at least `most`; fewer are there at the end of the text only. `take(symbol)` gets
/// the tokens in order. False where the windows don't agree: then what was taken does not count, and
/// larger windows are needed; all of the text in one always agrees.
///
/// Why this is exact: merge_symbols() takes the best pair of all, so that what it does among the
/// symbols of two neighbouring tokens of its result is what it does with these symbols alone, as long
/// as nothing merges across the tokens' borders; and nothing does, the tokens being the result.
/// Therefore tokens are the result of a text if and only if every two neighbours of them are the
/// result of their own symbols. Any stretch of a result is the result of its own symbols; and where
/// the results of two windows that overlap have one token in common, those of the first one up to it
/// and those of the second one after it are the result of both together.
template <class More, class Lookup, class Take>
bool merge_in_windows(MergeScratch& scratch, std::size_t size, More more, const Lookup& lookup,
                      const Take& take) {
  using Span = MergeScratch::Span;
  std::vector<Symbol>& symbols = scratch.symbols;
  std::vector<Symbol>& window = scratch.window;
  std::vector<Span>& tail = scratch.tail;
  // What the text's next symbols do to the tokens before them seldom goes far.
  const std::size_t overlap = std::max<std::size_t>(size / 16, 1);
  window.clear();
  tail.clear();
  for (;;) {
    scratch.clear();
    for (const Symbol& symbol : window) scratch.append(symbol.begin, symbol.length, symbol.token);
    more(size);
    const bool is_last = symbols.size() < size;
    if (symbols.empty()) return true;
    window.assign(symbols.begin(), symbols.end());
    merge_symbols(scratch, lookup);

    // Up to the token that is in both windows, the first one's count.
    std::int32_t next = 0;
    if (!tail.empty()) {
      std::size_t i = 0;
      while (next >= 0 && i < tail.size()) {
        const Symbol& symbol = symbols[static_cast<std::size_t>(next)];
        const auto first = static_cast<std::uint32_t>(next);
        const auto last = static_cast<std::uint32_t>(
            symbol.next >= 0 ? static_cast<std::size_t>(symbol.next) : symbols.size());
        if (tail[i].first == first && tail[i].last == last) break;
        if (tail[i].first <= first)
          take(tail[i++].symbol);
        else
          next = symbol.next;
      }
      if (next < 0 || i == tail.size()) return false;
    }

    // The next window begins at the last token that leaves it an overlap.
    std::size_t begin = 0;
    const std::size_t latest = is_last ? symbols.size() : symbols.size() - overlap;
    tail.clear();
    while (next >= 0) {
      const Symbol& symbol = symbols[static_cast<std::size_t>(next)];
      const std::size_t end =
          symbol.next >= 0 ? static_cast<std::size_t>(symbol.next) : symbols.size();
      if (end <= latest) {
        take(symbol);
        begin = end;
      } else {
        if (tail.empty()) begin = static_cast<std::size_t>(next);
        tail.push_back({static_cast<std::uint32_t>(static_cast<std::size_t>(next) - begin),
                        static_cast<std::uint32_t>(end - begin), symbol});
      }
      next = symbol.next;
    }
    if (is_last) return true;
    if (begin == 0) return false;
    window.erase(window.begin(), window.begin() + static_cast<std::ptrdiff_t>(begin));
  }
}

}  // namespace plimsoll
