// What goes through the layers together: tokens of one or several sequences.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cache/kv_pass.h"
#include "cache/kv_sequence.h"
#include "text/tokenizer.h"

namespace plimsoll {

/// Tokens that go on where a sequence ends.
struct SequencePart {
  std::span<const TokenId> tokens;  ///< one at least, ids below the vocabulary size
  KvSequence* sequence;               ///< has room for them
  /// The first of the tokens whose logits are wanted, those behind it too; tokens.size() for none.
  std::int64_t logits_from;
};

/// Queries that attend together: their heads share every load of keys and values. One page, so that
/// all of them see the others alike.
constexpr std::int64_t query_block = kv_page_positions;

/// How the tokens of a pass are laid out. Rows of activations follow the batch's tokens.
struct Pass {
  /// Where one token belongs.
  struct Row {
    KvSequence* sequence;
    std::int64_t position;
  };
  /// Tokens of one sequence that attend together.
  struct QueryBlock {
    std::int64_t sequence;  ///< in `sequences`
    std::int64_t row, count, position;
    std::int64_t parts;  ///< of their positions
    std::int64_t split;  ///< which of the split queries this is, if it has several
    /// Single queries of as many blocks from this one on see the same pages in the first so many
    /// parts, which are read once for all of them (as in Zhu et al., arXiv:2402.14808).
    std::int64_t sharers = 1, shared_parts = 0;
  };
  struct BlockPart {
    std::int64_t block, part;
  };

  std::int64_t tokens() const { return std::ssize(rows); }

  std::vector<Row> rows;
  std::vector<KvSequence*> sequences;
  std::vector<QueryBlock> blocks;
  std::vector<BlockPart> block_parts;
  std::vector<std::int64_t> wanted_rows;  ///< whose logits are wanted
  std::vector<KvPass::Growth> growths;
  KvPass kv;
};

}  // namespace plimsoll
