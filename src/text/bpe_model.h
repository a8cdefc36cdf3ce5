// Byte-pair encoding: neighbours merge in the order of the vocabulary's list of merges. Sennrich,
// Haddow and Birch 2016, arXiv 1508.07909; over bytes as in GPT-2 (Radford et al. 2019).
#pragma once

#include <array>
#include <bitset>
#include <string>
#include <vector>

#include "text/subword_model.h"

namespace plimsoll {

/// Which pairs of tokens merge, and into what. Immutable once filled.
class MergeTable {
 public:
  /// From tokenizer.ggml.merges, "left right" texts, better ones first; of two rules for one pair
  /// the later one counts. Those that name what is not in the vocabulary are left out: they could
  /// never lead to a token. `prefix` stands before the right one of a pair but not in its middle.
  MergeTable(const Vocabulary& vocabulary, const Metadata& metadata, std::string_view prefix = {});

  Merge find(TokenId left, TokenId right) const;
  Bytes memory_bytes() const;  ///< without sizeof *this

 private:
  struct Rule {
    TokenId left, right, result;
  };
  void add_texts(const Vocabulary& vocabulary, const MetadataValue& merges, std::string_view prefix);
  void add_ids(const Vocabulary& vocabulary, const MetadataValue& merges, std::string_view prefix);
  std::size_t slot_for(TokenId left, TokenId right) const;

  std::vector<Rule> rules_;  ///< best first
  std::vector<std::int32_t>
      slots_;  ///< open-addressing table of indices into rules_, -1 where free
};

struct BpeOptions {
  /// Pieces are bytes, which the tokens spell in GPT-2's characters.
  bool is_in_bytes = false;
  /// A piece that is a token as a whole is not merged from its characters.
  bool ignores_merges = false;
  bool keeps_line_ends = false;  ///< the same for pieces of line ends only
  /// Characters without a token become their bytes' tokens, where all of them are there.
  bool falls_back_to_bytes = false;
  /// What else becomes of characters without a token: Error(invalid_text) unless the vocabulary has
  /// an unknown token, or as tokenizer.json says: `unknown`, or nothing at all where there is none.
  bool is_strict = true;
  TokenId unknown = no_token;
  bool fuses_unknown = false;  ///< several in a row are one
  std::string prefix = {};     ///< of characters that do not begin a piece
  std::string suffix = {};     ///< of the one that ends it
};

class BpeModel final : public SubwordModel {
 public:
  /// `vocabulary` outlives the model. Throws Error(invalid_model): merges missing or of another type.
  BpeModel(const Vocabulary& vocabulary, const Metadata& metadata, BpeOptions options);
  void encode(std::string_view piece, SubwordScratch& scratch,
              std::vector<TokenId>& out) const override;
  Bytes memory_bytes() const override;

 private:
  void encode_part(std::string_view part, bool is_first, bool is_last, SubwordScratch& scratch,
                   std::vector<TokenId>& out) const;
  /// Of more than merge_window bytes.
  void encode_long_part(std::string_view part, bool is_first, bool is_last, SubwordScratch& scratch,
                        std::vector<TokenId>& out) const;
  void take(const Symbol& symbol, std::string_view part, std::vector<TokenId>& out) const;
  /// How far a part has become symbols.
  struct Progress {
    std::size_t begin = 0;
    std::uint32_t unknown_begin = 0, unknown_length = 0;  ///< not yet a symbol
  };
  /// Goes on until there are `most` symbols or more, or the part ends.
  void append_symbols(std::string_view part, bool is_first, bool is_last, std::size_t most,
                      Progress& progress, SubwordScratch& scratch) const;

  const Vocabulary& vocabulary_;
  const BpeOptions options_;
  const MergeTable merges_;
  std::array<TokenId, 256> byte_tokens_;  ///< of single bytes, spelled in GPT-2's characters
  /// Bytes before which a space mark never stands inside of a token: see Vocabulary::joins_words.
  std::bitset<256> joins_words_;
  bool cuts_at_spaces_ = false;  ///< long pieces are merged word by word
};

}  // namespace plimsoll
