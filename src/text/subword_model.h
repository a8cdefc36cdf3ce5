// What makes tokens of a piece of text.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/ledger.h"
#include "text/merge.h"
#include "text/vocabulary.h"

namespace plimsoll {

/// Symbols that are merged at once: longer pieces are worked off in windows of so many.
constexpr std::size_t merge_window = 8192;

/// Bytes after which Unigram looks for what is certain of a long piece.
constexpr std::size_t unigram_window = 8192;

struct UnigramScratch {
  std::vector<double> scores;
  std::vector<std::uint32_t> steps;
  std::vector<std::size_t> live;
};

/// Working memory, reused from piece to piece.
struct SubwordScratch {
  /// Makes `bytes` of room, counted in the ledger if there is one, for a piece of so many bytes.
  /// Throws Error(budget_refused) with both.
  void make_room(Bytes bytes, std::size_t piece_bytes);

  Ledger* ledger = nullptr;
  Reservation room = {};  ///< of what is held here, in Account::text
  bool reads_marks = false;  ///< no part of the text is input: see Vocabulary::is_own_mark
  MergeScratch merge;
  std::string text;
  UnigramScratch unigram;
};

/// Merges a piece that is longer than a window. `make_more()` gives a new "more" of
/// merge_in_windows() that begins at the piece's beginning; what `take` appends to `out` is taken
/// back where windows have to be larger. Throws Error(budget_refused) where there is no room for
/// those.
template <class MakeMore, class Lookup, class Take>
void merge_long_piece(SubwordScratch& scratch, std::size_t piece_bytes, std::vector<TokenId>& out,
                      const MakeMore& make_more, const Lookup& lookup, const Take& take) {
  const std::size_t before = out.size();
  for (std::size_t size = merge_window;; size *= 2) {
    scratch.make_room(MergeScratch::bytes_for(size), piece_bytes);
    scratch.merge.reserve(size);
    if (merge_in_windows(scratch.merge, size, make_more(), lookup, take)) break;
    out.resize(before);
  }
}

/// Immutable and thread-safe. Control tokens are never made out of text
/// unless the scratch says so.
class SubwordModel {
 public:
  virtual ~SubwordModel() = default;
  /// Appends the tokens of `piece` (valid UTF-8, not empty). Throws Error(invalid_text) for what the
  /// vocabulary can't say.
  virtual void encode(std::string_view piece, SubwordScratch& scratch,
                      std::vector<TokenId>& out) const = 0;
  virtual Bytes memory_bytes() const = 0;
};

/// For a `character` without a token: its bytes' tokens if `by_bytes` and all are there, otherwise
/// the vocabulary's unknown token, otherwise Error(invalid_text).
void append_fallback(const Vocabulary& vocabulary, std::string_view character, bool by_bytes,
                     std::vector<TokenId>& out);
/// Error(invalid_text): neither a token for these bytes nor one for what is unknown.
[[noreturn]] void refuse_character(std::string_view character);

}  // namespace plimsoll
