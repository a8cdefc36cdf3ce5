#include "text/vocabulary.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "base/error.h"
#include "text/hash.h"
#include "text/utf8.h"

namespace plimsoll {
namespace {

constexpr std::string_view tokens_key = "tokenizer.ggml.tokens";
constexpr std::string_view kinds_key = "tokenizer.ggml.token_type";
constexpr std::string_view added_key = "tokenizer.plimsoll.added";

const MetadataValue& string_array(const Metadata& metadata, std::string_view key) {
  const MetadataValue* value = metadata.find(key);
  if (value == nullptr) {
    throw Error(ErrorCode::invalid_model,
                fmt::format("the file has no vocabulary ({} is missing)", key),
                "convert the model again with its tokenizer");
  }
  if (!value->is_array() || value->element_type() != MetadataType::string) {
    throw Error(ErrorCode::invalid_model,
                fmt::format("{} should be an array of strings and is of type {}", key,
                            name(value->is_array() ? value->element_type() : value->type())));
  }
  return *value;
}

/// Marks that end a turn or a document in well-known vocabularies. Many files type them wrongly, so
/// that the text alone decides; except those that may as well be ordinary text ("</s>" is also
/// HTML), which must not be typed normal.
struct WellKnownText {
  std::string_view text;
  bool ends_generation;
  bool distinctive;
  std::string_view key = {};  ///< an id under this key takes the place of the text's
};

constexpr std::string_view fim_pad_key = "tokenizer.ggml.fim_pad_token_id";
constexpr std::string_view fim_repository_key = "tokenizer.ggml.fim_rep_token_id";
constexpr std::string_view fim_separator_key = "tokenizer.ggml.fim_sep_token_id";

constexpr WellKnownText well_known_texts[] = {
    {"<|eot_id|>", true, true},
    {"<|eom_id|>", true, true},
    {"<|im_end|>", true, true},
    {"<|end|>", true, true},
    {"<|return|>", true, true},
    {"<|call|>", true, true},
    {"<|calls|>", true, true},
    {"<|flush|>", true, true},
    {"<end_of_turn>", true, true},
    {"<turn|>", true, true},
    {"<|tool_response>", true, true},
    {"<|endoftext|>", true, true},
    {"<|end_of_text|>", true, true},
    {"<end_of_utterance>", true, true},
    {"<｜end▁of▁sentence｜>", true, true},
    {"</s>", true, false},
    {"<eos>", true, false},
    {"<EOT>", true, false},
    {"_<EOT>", true, false},
    {"[EOT]", true, false},
    {"[EOS]", true, false},
    {"[e~[", true, false},
    // Fill-in-the-middle: a model that starts another file has finished this one.
    {"<|fim_pad|>", true, true, fim_pad_key},
    {"<fim-pad>", true, true, fim_pad_key},
    {"<fim_pad>", true, true, fim_pad_key},
    {"<PAD>", true, false, fim_pad_key},
    {"[PAD]", true, false, fim_pad_key},
    {"<|fim_repo|>", true, true, fim_repository_key},
    {"<|repo_name|>", true, true, fim_repository_key},
    {"<fim-repo>", true, true, fim_repository_key},
    {"<reponame>", true, true, fim_repository_key},
    {"<REPO>", true, false, fim_repository_key},
    {"<|file_sep|>", true, true, fim_separator_key},
    {"<|fim_prefix|>", false, true},
    {"<fim-prefix>", false, true},
    {"<fim_prefix>", false, true},
    {"<｜fim▁begin｜>", false, true},
    {"<|code_prefix|>", false, true},
    {"▁<PRE>", false, false},
    {"<PRE>", false, false},
    {"<|fim_suffix|>", false, true},
    {"<fim-suffix>", false, true},
    {"<fim_suffix>", false, true},
    {"<｜fim▁hole｜>", false, true},
    {"<|code_suffix|>", false, true},
    {"▁<SUF>", false, false},
    {"<SUF>", false, false},
    {"<|fim_middle|>", false, true},
    {"<fim-middle>", false, true},
    {"<fim_middle>", false, true},
    {"<｜fim▁end｜>", false, true},
    {"<|code_middle|>", false, true},
    {"▁<MID>", false, false},
    {"<MID>", false, false},
};

}  // namespace

Vocabulary::Vocabulary(const Metadata& metadata, const VocabularyDefaults& defaults) {
  read_texts(metadata);
  read_kinds(metadata);
  if (const MetadataValue* added = metadata.find(added_key)) {
    declares_added_ = true;
    for (std::uint64_t i = 0; i < added->size(); ++i)
      added_.push_back(static_cast<TokenId>(added->as_integer(i)));
    std::ranges::sort(added_);
    added_.shrink_to_fit();
  }
  build_index();
  read_special_ids(metadata, defaults);
  mark_well_known_texts(metadata);
  read_frame(metadata);
}

void Vocabulary::read_texts(const Metadata& metadata) {
  const MetadataValue& tokens = string_array(metadata, tokens_key);
  if (tokens.size() == 0 || tokens.size() >= std::numeric_limits<TokenId>::max()) {
    throw Error(ErrorCode::invalid_model,
                fmt::format("{} has {} entries, wanted 1 to {}", tokens_key, tokens.size(),
                            std::numeric_limits<TokenId>::max() - 1));
  }
  std::uint64_t bytes = 0;
  for (std::uint64_t i = 0; i < tokens.size(); ++i) bytes += tokens.as_string(i).size();
  if (bytes > std::numeric_limits<std::uint32_t>::max()) {
    throw Error(
        ErrorCode::invalid_model,
        fmt::format("the texts of {} take {} bytes, wanted less than 4 GiB", tokens_key, bytes));
  }
  blob_.reserve(bytes);
  offsets_.reserve(tokens.size() + 1);
  offsets_.push_back(0);
  for (std::uint64_t i = 0; i < tokens.size(); ++i) {
    const std::string_view text = tokens.as_string(i);
    blob_.insert(blob_.end(), text.begin(), text.end());
    offsets_.push_back(static_cast<std::uint32_t>(blob_.size()));
    longest_text_ = std::max(longest_text_, text.size());
  }
}

void Vocabulary::read_kinds(const Metadata& metadata) {
  const std::size_t count = offsets_.size() - 1;
  kinds_.assign(count, TokenKind::normal);
  const MetadataValue* kinds = metadata.find(kinds_key);
  if (kinds == nullptr) return;
  if (!kinds->is_array() || kinds->size() != count) {
    throw Error(ErrorCode::invalid_model, fmt::format("{} has {} entries and {} has {}", kinds_key,
                                                      kinds->size(), tokens_key, count));
  }
  for (std::size_t i = 0; i < count; ++i) {
    const std::int64_t kind = kinds->as_integer(i);
    kinds_[i] = kind >= 0 && kind <= 6 ? static_cast<TokenKind>(kind) : TokenKind::undefined;
  }
}

void Vocabulary::build_index() {
  // Two thirds full: a lookup probes about two slots.
  slots_.assign(kinds_.size() + kinds_.size() / 2 + 1, no_token);
  tags_.assign(slots_.size(), 0);
  for (TokenId id = 0; id < size(); ++id) {
    const std::string_view key = text(id);
    if (key.empty()) continue;
    const std::uint64_t hash = hash_text(key);
    const auto tag = static_cast<std::uint8_t>(hash);
    std::size_t slot = slot_of(hash, slots_.size());
    while (slots_[slot] != no_token && !(tags_[slot] == tag && text(slots_[slot]) == key)) {
      if (++slot == slots_.size()) slot = 0;
    }
    if (slots_[slot] != no_token) continue;  // a duplicate: the first token keeps the text
    slots_[slot] = id;
    tags_[slot] = tag;
  }
}

TokenId Vocabulary::find(std::string_view key) const {
  if (key.empty() || key.size() > longest_text_) return no_token;
  const std::uint64_t hash = hash_text(key);
  const auto tag = static_cast<std::uint8_t>(hash);
  std::size_t slot = slot_of(hash, slots_.size());
  while (slots_[slot] != no_token) {
    if (tags_[slot] == tag && text(slots_[slot]) == key) return slots_[slot];
    if (++slot == slots_.size()) slot = 0;
  }
  return no_token;
}

TokenId Vocabulary::find_byte(std::uint8_t byte) const {
  constexpr char digits[] = "0123456789ABCDEF";
  const char form[] = {'<', '0', 'x', digits[byte >> 4], digits[byte & 15], '>'};
  return find({form, sizeof form});
}

std::optional<std::uint8_t> Vocabulary::byte_of(TokenId id) const {
  const std::string_view form = text(id);
  if (form.size() != 6 || !form.starts_with("<0x") || form.back() != '>') return std::nullopt;
  int value = 0;
  for (const char digit : form.substr(3, 2)) {
    if (digit >= '0' && digit <= '9') {
      value = value * 16 + (digit - '0');
    } else if (digit >= 'A' && digit <= 'F') {
      value = value * 16 + (digit - 'A' + 10);
    } else if (digit >= 'a' && digit <= 'f') {
      value = value * 16 + (digit - 'a' + 10);
    } else {
      return std::nullopt;
    }
  }
  return static_cast<std::uint8_t>(value);
}

void Vocabulary::read_special_ids(const Metadata& metadata, const VocabularyDefaults& defaults) {
  const auto checked = [&](std::string_view key, std::int64_t id) -> TokenId {
    // Converters write -1, or the same in 32 bits, for a token that the model doesn't have.
    if (id == -1 || id == std::numeric_limits<std::uint32_t>::max()) return no_token;
    if (id < 0 || id >= size()) {
      throw Error(ErrorCode::invalid_model,
                  fmt::format("{} is {} and the vocabulary has {} tokens", key, id, size()),
                  "the file was converted with another vocabulary; convert the model again");
    }
    return static_cast<TokenId>(id);
  };
  const auto read = [&](std::string_view role, TokenId fallback) -> TokenId {
    const std::string key = fmt::format("tokenizer.ggml.{}_token_id", role);
    const std::optional<std::int64_t> id = metadata.integer(key);
    if (!id) return contains(fallback) ? fallback : no_token;
    return checked(key, *id);
  };
  bos_ = read("bos", defaults.bos);
  eos_ = read("eos", defaults.eos);
  unknown_ = read("unknown", defaults.unknown);
  for (const TokenId end :
       {eos_, read("eot", no_token), read("eom", no_token), read("fim_pad", no_token),
        read("fim_rep", no_token), read("fim_sep", no_token)}) {
    if (end != no_token) ends_.push_back(end);
  }
  // Several, as Ollama's files and folders have them.
  constexpr std::string_view ends_key = "tokenizer.ggml.eos_token_ids";
  if (const MetadataValue* several = metadata.find(ends_key)) {
    for (std::uint64_t i = 0; i < several->size(); ++i) {
      const TokenId end = checked(ends_key, several->as_integer(i));
      if (end != no_token) ends_.push_back(end);
    }
  }

  const std::optional<bool> adds_bos = metadata.boolean("tokenizer.ggml.add_bos_token");
  if (adds_bos.value_or(false) && bos_ == no_token) {
    throw Error(ErrorCode::invalid_model,
                "tokenizer.ggml.add_bos_token is true and tokenizer.ggml.bos_token_id is missing");
  }
  adds_bos_ = adds_bos.value_or(defaults.adds_bos) && bos_ != no_token;
}

void Vocabulary::mark_well_known_texts(const Metadata& metadata) {
  for (const WellKnownText& known : well_known_texts) {
    const TokenId id = find(known.text);
    if (id == no_token || (!known.distinctive && kind(id) == TokenKind::normal)) continue;
    kinds_[static_cast<std::size_t>(id)] = TokenKind::control;
    if (known.ends_generation && (known.key.empty() || !metadata.contains(known.key))) {
      ends_.push_back(id);
    }
  }
  // Vocabularies with channels end a message with <|end|>, and the generation only with one of the
  // others.
  const auto has = [&](std::string_view text) { return find(text) != no_token; };
  if (has("<|end|>") &&
      ((has("<|return|>") && has("<|call|>")) || (has("<|calls|>") && has("<|flush|>")))) {
    std::erase(ends_, find("<|end|>"));
  }
  // Here </s> is a leftover, not an end.
  if (has("<|tool_response>") && find("</s>") != eos_) std::erase(ends_, find("</s>"));

  std::sort(ends_.begin(), ends_.end());
  ends_.erase(std::unique(ends_.begin(), ends_.end()), ends_.end());
  ends_.shrink_to_fit();
}

void Vocabulary::read_frame(const Metadata& metadata) {
  const auto id_of = [&](std::string_view role) -> TokenId {
    const auto id = metadata.integer(fmt::format("tokenizer.ggml.{}_token_id", role));
    return id && *id >= 0 && *id < size() ? static_cast<TokenId>(*id) : no_token;
  };
  const auto adds = [&](std::string_view role) {
    return metadata.boolean(fmt::format("tokenizer.ggml.add_{}_token", role)).value_or(false);
  };
  // A folder's own template.
  const MetadataValue* before = metadata.find("tokenizer.plimsoll.before");
  const MetadataValue* after = metadata.find("tokenizer.plimsoll.after");
  if (before || after) {
    for (const auto& [value, list] :
         {std::pair(before, &frame_.before), std::pair(after, &frame_.after)})
      for (std::uint64_t i = 0; value && i < value->size(); ++i)
        if (contains(static_cast<TokenId>(value->as_integer(i))))
          list->push_back(static_cast<TokenId>(value->as_integer(i)));
    return;
  }
  const bool is_bert = metadata.string("tokenizer.ggml.model").value_or("") == "bert";
  const TokenId begin = is_bert && id_of("cls") != no_token ? id_of("cls") : bos_;
  if (adds_bos_ && begin != no_token) frame_.before.push_back(begin);
  const TokenId separator = id_of("seperator");  // spelled so in the format
  if (is_bert || adds("sep")) {
    if (separator != no_token) frame_.after.push_back(separator);
  } else if (adds("eos") && eos_ != no_token) {
    frame_.after.push_back(eos_);
  }
}

bool Vocabulary::is_end_of_generation(TokenId id) const {
  return std::binary_search(ends_.begin(), ends_.end(), id);
}

bool Vocabulary::is_added(TokenId id) const { return std::ranges::binary_search(added_, id); }

std::bitset<256> Vocabulary::joins_words() const {
  std::bitset<256> joins;
  for (TokenId id = 0; id < size(); ++id) {
    const std::string_view whole = text(id);
    for (std::size_t at = whole.find(space_mark, 1); at < whole.size();
         at = whole.find(space_mark, at + 1))
      joins.set(static_cast<std::uint8_t>(whole[at - 1]));
  }
  return joins;
}

Bytes Vocabulary::memory_bytes() const {
  return sizeof *this + blob_.capacity() + offsets_.capacity() * sizeof(std::uint32_t) +
         kinds_.capacity() * sizeof(TokenKind) + slots_.capacity() * sizeof(TokenId) +
         tags_.capacity() + (ends_.capacity() + added_.capacity() + frame_.before.capacity() + frame_.after.capacity()) *
             sizeof(TokenId);
}

}  // namespace plimsoll
