#include "text/pipeline_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"
#include "file/json_reader.h"
#include "text/bpe_model.h"
#include "text/charsmap.h"
#include "text/pre_tokenizer_steps.h"
#include "text/unicode.h"
#include "text/unigram_model.h"
#include "text/utf8.h"
#include "text/word_models.h"

namespace plimsoll {
namespace {

std::string valid_utf8(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  while (!bytes.empty()) {
    const Utf8Step step = next_utf8(bytes);
    if (step.kind == Utf8Step::Kind::character)
      text += bytes.substr(0, step.length);
    else
      text += "\xEF\xBF\xBD";
    bytes.remove_prefix(step.length);
  }
  return text;
}

/// sentencepiece's own rules: the map over the longest match at each place, white space at the ends
/// and several in a row taken away, a space before the text.
class SentencePieceStep final : public Normalizer::Step {
 public:
  SentencePieceStep(std::string_view map, bool adds_space, bool removes_spaces)
      : map_(map), adds_space_(adds_space), removes_spaces_(removes_spaces) {}

  void apply(WorkingText& text) const override {
    std::string out;
    out.reserve(text.text.size() + text.text.size() / 4 + space_mark.size());
    bool is_after_space = removes_spaces_;
    for (std::string_view rest = text.text; !rest.empty();) {
      const auto mapped = map_.longest(rest);
      const std::size_t length = mapped ? mapped->length : next_utf8(rest).length;
      std::string_view piece = mapped ? mapped->replacement : rest.substr(0, length);
      rest.remove_prefix(length);
      while (is_after_space && piece.starts_with(' ')) piece.remove_prefix(1);
      if (piece.empty()) continue;
      if (out.empty() && adds_space_) out += space_mark;
      for (const char c : piece) {
        if (c == ' ')
          out += space_mark;
        else
          out += c;
      }
      is_after_space = removes_spaces_ && piece.ends_with(' ');
    }
    while (removes_spaces_ && out.ends_with(space_mark)) out.resize(out.size() - space_mark.size());
    text.text = std::move(out);
    text.from_first = 0;
  }
  Bytes memory_bytes() const override { return sizeof *this + map_.memory_bytes(); }

 private:
  Charsmap map_;
  bool adds_space_, removes_spaces_;
};

std::string bytes_of_array(const Metadata& metadata, std::string_view key) {
  const MetadataValue* value = metadata.find(key);
  std::string bytes;
  if (!value || !value->is_array()) return bytes;
  bytes.reserve(value->size());
  for (std::uint64_t i = 0; i < value->size(); ++i)
    bytes += static_cast<char>(value->as_integer(i));
  return bytes;
}

template <class... Steps>
Decoder decoder_of(Steps... steps) {
  std::vector<std::unique_ptr<Decoder::Step>> list;
  (list.push_back(std::move(steps)), ...);
  return Decoder(std::move(list));
}

template <class... Steps>
Normalizer normalizer_of(Steps... steps) {
  std::vector<std::unique_ptr<Normalizer::Step>> list;
  (list.push_back(std::move(steps)), ...);
  return Normalizer(std::move(list));
}

/// The token with this text, however it is typed: of a model's unk_token.
TokenId unknown_token(const Vocabulary& vocabulary, const JsonKeys& model) {
  const auto text = model.string("unk_token");
  if (!text) return no_token;
  const TokenId id = vocabulary.find(*text);
  if (id == no_token)
    throw Error(ErrorCode::invalid_model,
                fmt::format("tokenizer.json: the unk_token \"{}\" is not in the vocabulary", *text),
                "the tokenizer's files are damaged");
  return id;
}

std::unique_ptr<SubwordModel> model_of(const Vocabulary& vocabulary, const Metadata& metadata,
                                       const JsonKeys& model, bool is_in_bytes, bool marks_words) {
  const std::string type = model.string("type").value_or("");
  const auto flag = [&](const char* name) { return model.boolean(name).value_or(false); };
  if (type == "BPE") {
    BpeOptions options;
    options.is_in_bytes = is_in_bytes;
    options.ignores_merges = flag("ignore_merges");
    options.falls_back_to_bytes = flag("byte_fallback");
    options.is_strict = false;
    options.unknown = unknown_token(vocabulary, model);
    options.fuses_unknown = flag("fuse_unk");
    options.prefix = model.string("continuing_subword_prefix").value_or("");
    options.suffix = model.string("end_of_word_suffix").value_or("");
    return std::make_unique<BpeModel>(vocabulary, metadata, std::move(options));
  }
  if (type == "Unigram") {
    UnigramOptions options;
    options.falls_back_to_bytes = flag("byte_fallback");
    if (const auto id = model.integer("unk_id")) {
      if (*id < 0 || *id >= vocabulary.size()) model.invalid("unk_id", "a token's id");
      options.unknown = static_cast<TokenId>(*id);
    }
    return std::make_unique<UnigramModel>(vocabulary, metadata, options);
  }
  if (type == "WordPiece") {
    WordPieceOptions options;
    options.unknown = unknown_token(vocabulary, model);
    options.prefix = model.string("continuing_subword_prefix").value_or("##");
    const std::int64_t longest = model.integer("max_input_chars_per_word").value_or(100);
    if (longest < 0) model.invalid("max_input_chars_per_word", "a number of characters");
    options.longest_word = static_cast<std::size_t>(longest);
    if (marks_words) {
      options.first_prefix = space_mark;
      options.prefix.clear();
    }
    return std::make_unique<WordPieceModel>(vocabulary, std::move(options));
  }
  if (type == "WordLevel")
    return std::make_unique<WordLevelModel>(vocabulary, unknown_token(vocabulary, model));
  throw Error(ErrorCode::unsupported_model,
              fmt::format("tokenizer.json: tokenizers of type \"{}\" are not known", type),
              "known: BPE, Unigram, WordPiece, WordLevel");
}

}  // namespace

std::unique_ptr<Tokenizer> PipelineTokenizer::of_folder(const Metadata& metadata) {
  const Json json = parse_object(key, metadata.string(key).value_or(""));
  const JsonKeys pipeline(json, "tokenizer.json");
  const JsonKeys model = pipeline.object("model");
  const bool is_plain_bpe = model.string("type").value_or("") == "BPE" &&
                            model.string("continuing_subword_prefix").value_or("").empty() &&
                            model.string("end_of_word_suffix").value_or("").empty() &&
                            !model.boolean("byte_fallback").value_or(false);
  Parts parts{Normalizer(pipeline.object("normalizer")),
              PreTokenizer(pipeline.object("pre_tokenizer"), is_plain_bpe),
              Decoder(pipeline.object("decoder")),
              pipeline.boolean("marks_words").value_or(false)};
  const bool is_in_bytes = parts.pre_tokenizer.is_in_bytes();
  const bool marks_words = parts.marks_words;
  const std::vector<AddedToken> added = read_added_tokens(pipeline);
  auto tokenizer = std::unique_ptr<PipelineTokenizer>(
      new PipelineTokenizer(metadata, {}, std::move(parts), added));
  const Vocabulary& vocabulary = tokenizer->vocabulary();
  tokenizer->model_ = model_of(vocabulary, metadata, model, is_in_bytes, marks_words);
  tokenizer->shows_unknown_ = std::ranges::none_of(added, [&](const AddedToken& token) {
    return vocabulary.contains(token.token) && vocabulary.kind(token.token) == TokenKind::unknown;
  });
  return tokenizer;
}

std::unique_ptr<Tokenizer> PipelineTokenizer::of_kind(const Metadata& metadata,
                                                      const PreTokenizerKind& kind) {
  Parts parts{kind.is_raw ? normalizer_of(replacing_step(" ", space_mark)) : Normalizer(),
              PreTokenizer(kind),
              kind.is_raw ? decoder_of(replacing_decoding(space_mark, " "))
                          : decoder_of(byte_level_decoding())};
  BpeOptions options;
  options.is_in_bytes = parts.pre_tokenizer.is_in_bytes();
  options.ignores_merges = kind.ignores_merges;
  options.keeps_line_ends = kind.is_raw;
  options.falls_back_to_bytes = kind.is_raw;
  // Bytes that a vocabulary cannot say are left out, as its makers do.
  options.is_strict = kind.is_raw;
  auto tokenizer = std::unique_ptr<PipelineTokenizer>(
      new PipelineTokenizer(metadata, {.adds_bos = kind.adds_bos}, std::move(parts)));
  tokenizer->model_ =
      std::make_unique<BpeModel>(tokenizer->vocabulary(), metadata, std::move(options));
  return tokenizer;
}

std::unique_ptr<Tokenizer> PipelineTokenizer::of_bert(const Metadata& metadata) {
  BertRules rules;
  rules.lowercase = metadata.boolean("tokenizer.ggml.normalizer.lowercase").value_or(true);
  rules.strip_accents =
      metadata.boolean("tokenizer.ggml.normalizer.strip_accents").value_or(rules.lowercase);
  const Json cutting = {{"type", "BertPreTokenizer"}};
  Parts parts{normalizer_of(bert_step(rules)),
              PreTokenizer(JsonKeys(cutting, "tokenizer.ggml.model"), false),
              decoder_of(word_piece_decoding("##", true)), true};
  auto tokenizer = std::unique_ptr<PipelineTokenizer>(new PipelineTokenizer(
      metadata, {.bos = 101, .unknown = 100, .adds_bos = true}, std::move(parts)));
  WordPieceOptions options;
  options.unknown = tokenizer->vocabulary().unknown();
  options.first_prefix = space_mark;
  options.prefix.clear();
  tokenizer->model_ =
      std::make_unique<WordPieceModel>(tokenizer->vocabulary(), std::move(options));
  return tokenizer;
}

std::unique_ptr<Tokenizer> PipelineTokenizer::of_unigram(const Metadata& metadata) {
  Parts parts{
      normalizer_of(std::make_unique<SentencePieceStep>(
          bytes_of_array(metadata, "tokenizer.ggml.precompiled_charsmap"),
          metadata.boolean("tokenizer.ggml.add_space_prefix").value_or(true),
          metadata.boolean("tokenizer.ggml.remove_extra_whitespaces").value_or(false))),
      PreTokenizer(), decoder_of(replacing_decoding(space_mark, " "))};
  auto tokenizer = std::unique_ptr<PipelineTokenizer>(
      new PipelineTokenizer(metadata, {.eos = 1, .unknown = 2}, std::move(parts)));
  tokenizer->model_ = std::make_unique<UnigramModel>(
      tokenizer->vocabulary(), metadata,
      UnigramOptions{.unknown = tokenizer->vocabulary().unknown()});
  return tokenizer;
}

void PipelineTokenizer::encode_text(std::string_view text, const TextPlace& place,
                                    std::vector<TokenId>& out) const {
  WorkingText working;
  if (place.is_first) decode_character(text, working.from_first);
  if (!parts_.normalizer.changes_nothing()) {
    working.text = text;
    parts_.normalizer.apply(working);
    text = working.text;
  }
  SubwordScratch scratch;
  scratch.ledger = ledger();
  scratch.reads_marks = place.may_be_special;
  const auto encode_fragment = [&](std::string_view fragment) {
    const auto begin = static_cast<std::size_t>(fragment.data() - text.data());
    const std::size_t from_first = working.from_first > begin ? working.from_first - begin : 0;
    const Pieces pieces = parts_.pre_tokenizer.cut(fragment, from_first);
    std::string_view rest = pieces.text();
    for (const std::uint32_t length : pieces.lengths) {
      model_->encode(rest.substr(0, length), scratch, out);
      rest.remove_prefix(length);
    }
  };
  if (!special().has_normalized()) return encode_fragment(text);
  special().split_normalized(text, place.may_be_special, [&](const Fragment& fragment) {
    if (fragment.token == no_token)
      encode_fragment(fragment.text);
    else
      out.push_back(fragment.token);
  });
}

bool PipelineTokenizer::takes_parts() const {
  return parts_.normalizer.border() != NormalBorder::none && parts_.pre_tokenizer.takes_parts() &&
         !special().has_normalized();
}

std::size_t PipelineTokenizer::encode_open(std::string_view text, const TextPlace& place,
                                           std::vector<TokenId>& out) const {
  WorkingText working;
  std::string_view normalized = text;
  std::size_t border = text.size();
  const bool is_normalized = !parts_.normalizer.changes_nothing();
  if (is_normalized) {
    border = parts_.normalizer.last_border(text, text.size());
    working.text = text.substr(0, border);
    parts_.normalizer.apply(working);
    normalized = working.text;
  }
  std::size_t taken = 0;
  Pieces pieces = parts_.pre_tokenizer.cut_beginning(normalized, 0, taken);
  if (is_normalized && taken > 0) {
    // Back to a piece's end where the text has a border too. Where a step has changed the pieces,
    // only the last one's end is known.
    std::size_t end = normalized.size();
    for (;;) {
      while (taken > end && !pieces.is_changed()) {
        taken -= pieces.lengths.back();
        pieces.lengths.pop_back();
      }
      if (taken >= end || border == 0) break;
      const std::size_t before = parts_.normalizer.last_border(text, border);
      WorkingText between{std::string(text.substr(before, border - before)), 0};
      parts_.normalizer.apply(between);
      end -= between.text.size();
      border = before;
    }
    if (taken != end) return 0;
    taken = border;
  }
  SubwordScratch scratch;
  scratch.ledger = ledger();
  scratch.reads_marks = place.may_be_special;
  std::string_view rest = pieces.text();
  for (const std::uint32_t length : pieces.lengths) {
    model_->encode(rest.substr(0, length), scratch, out);
    rest.remove_prefix(length);
  }
  return taken;
}

std::string PipelineTokenizer::spelled(std::string_view piece) const {
  if (!parts_.marks_words) return std::string(piece);
  if (piece.starts_with(space_mark)) return std::string(piece.substr(space_mark.size()));
  return fmt::format("##{}", piece);
}

std::string PipelineTokenizer::decode_normal(std::string_view piece) const {
  return parts_.decoder.piece(parts_.marks_words ? spelled(piece) : std::string(piece));
}

std::string PipelineTokenizer::decode(std::span<const TokenId> tokens, bool show_special) const {
  std::vector<std::string> texts;
  texts.reserve(tokens.size());
  for (const TokenId token : tokens) {
    if (!vocabulary().contains(token)) continue;
    const TokenKind kind = vocabulary().kind(token);
    const bool is_mark =
        kind == TokenKind::control || (kind == TokenKind::unknown && !shows_unknown_);
    if (kind == TokenKind::unused || kind == TokenKind::undefined || (is_mark && !show_special))
      continue;
    const std::string_view text = vocabulary().text(token);
    texts.push_back(kind == TokenKind::normal ? spelled(text) : std::string(text));
  }
  return valid_utf8(parts_.decoder.decode(std::move(texts)));
}

Bytes PipelineTokenizer::memory_bytes() const {
  return shared_memory_bytes() + sizeof *this - sizeof(Vocabulary) - sizeof(SpecialTokens) +
         parts_.normalizer.memory_bytes() + parts_.pre_tokenizer.memory_bytes() +
         parts_.decoder.memory_bytes() + model_->memory_bytes();
}

}  // namespace plimsoll
