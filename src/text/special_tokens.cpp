#include "text/special_tokens.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <string>

#include "base/error.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace plimsoll {
namespace {

constexpr std::string_view declared_key = "tokenizer.plimsoll.added_tokens";

std::string word_pattern() { return fmt::format("[{}]", word_class); }

bool is_special(TokenKind kind) {
  return kind == TokenKind::control || kind == TokenKind::unknown ||
         kind == TokenKind::user_defined;
}

/// Files don't say which tokens take white space with them; models are known by name.
class StripRules {
 public:
  explicit StripRules(const Metadata& metadata) {
    std::string model(metadata.string("general.name").value_or(""));
    std::transform(model.begin(), model.end(), model.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    phi3_ = model.find("phi-3") != std::string::npos || model.find("phi3") != std::string::npos;
    const std::string_view pre = metadata.string("tokenizer.ggml.pre").value_or("");
    jina_ = pre == "jina-v2-de" || pre == "jina-v2-es" || pre == "jina-v2-code";
  }

  void apply(AddedToken& token) const {
    const std::string_view text = token.content;
    if (jina_)
      token.lstrip = text == "<mask>";
    else if (phi3_)
      token.rstrip = text != "<unk>" && text != "<s>" && text != "<|endoftext|>";
  }

 private:
  bool phi3_ = false;
  bool jina_ = false;
};

std::size_t spaces_at_start(std::string_view text) {
  std::size_t bytes = 0;
  while (bytes < text.size()) {
    std::size_t length = 0;
    if (!is_white_space(decode_character(text.substr(bytes), length))) break;
    bytes += length;
  }
  return bytes;
}

/// Where the white space at the end of `text` begins.
std::size_t spaces_at_end(std::string_view text) {
  while (!text.empty()) {
    const std::size_t begin = last_utf8(text);
    std::size_t length = 0;
    if (!is_white_space(decode_character(text.substr(begin), length))) break;
    text = text.substr(0, begin);
  }
  return text.size();
}

}  // namespace

Json parse_object(std::string_view key, std::string_view text) {
  Json json = Json::parse(text, nullptr, false);
  if (!json.is_object())
    throw Error(ErrorCode::invalid_model, fmt::format("{} is no JSON object", key),
                "the file is damaged");
  return json;
}

std::vector<AddedToken> read_added_tokens(const JsonKeys& pipeline) {
  std::vector<AddedToken> tokens;
  for (const JsonKeys& keys : pipeline.objects("added_tokens")) {
    const auto content = keys.string("content");
    if (!content) keys.invalid("content", "a text");
    const std::int64_t id = keys.required_integer("id");
    if (id < 0 || id > std::numeric_limits<TokenId>::max()) keys.invalid("id", "a token's id");
    const auto flag = [&](const char* name) { return keys.boolean(name).value_or(false); };
    tokens.push_back({.token = static_cast<TokenId>(id),
                      .content = *content,
                      .single_word = flag("single_word"),
                      .lstrip = flag("lstrip"),
                      .rstrip = flag("rstrip"),
                      .normalized = flag("normalized"),
                      .is_special = flag("special")});
  }
  return tokens;
}

void SpecialTokens::Trie::insert(std::string_view text, std::int32_t entry) {
  std::int32_t parent = -1;
  for (const char c : text) {
    const auto byte = static_cast<std::uint8_t>(c);
    const std::int32_t first =
        parent < 0 ? roots_[byte] : nodes_[static_cast<std::size_t>(parent)].child;
    std::int32_t node = first;
    while (node >= 0 && nodes_[static_cast<std::size_t>(node)].byte != byte) {
      node = nodes_[static_cast<std::size_t>(node)].sibling;
    }
    if (node < 0) {
      node = static_cast<std::int32_t>(nodes_.size());
      nodes_.push_back({.sibling = parent < 0 ? -1 : first, .byte = byte});
      (parent < 0 ? roots_[byte] : nodes_[static_cast<std::size_t>(parent)].child) = node;
    }
    parent = node;
  }
  if (parent < 0) return;
  std::int32_t& here = nodes_[static_cast<std::size_t>(parent)].entry;
  if (here < 0) here = entry;
}

SpecialTokens::Trie::Match SpecialTokens::Trie::longest(std::string_view text) const {
  Match found;
  std::int32_t node = roots_[static_cast<std::uint8_t>(text[0])];
  for (std::size_t length = 1; node >= 0; ++length) {
    const Node& here = nodes_[static_cast<std::size_t>(node)];
    if (here.entry >= 0) found = {here.entry, length};
    if (length == text.size()) break;
    node = here.child;
    while (node >= 0 && nodes_[static_cast<std::size_t>(node)].byte !=
                            static_cast<std::uint8_t>(text[length])) {
      node = nodes_[static_cast<std::size_t>(node)].sibling;
    }
  }
  return found;
}

SpecialTokens::SpecialTokens(const Vocabulary& vocabulary, const Metadata& metadata) {
  // What a folder's files say goes before what is known by a model's name.
  const auto declared = metadata.string(declared_key);
  std::vector<AddedToken> tokens;
  if (declared) {
    const Json json = parse_object(declared_key, *declared);
    tokens = read_added_tokens(JsonKeys(json, "tokenizer_config.json"));
    std::ranges::stable_sort(tokens, {}, &AddedToken::token);
  }
  const StripRules rules(metadata);
  std::size_t count = 0;
  for (TokenId id = 0; id < vocabulary.size(); ++id) count += is_special(vocabulary.kind(id));
  entries_.reserve(count);
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    const std::string_view text = vocabulary.text(id);
    // Of duplicates only the first can be found.
    if (!is_special(vocabulary.kind(id)) || vocabulary.find(text) != id) continue;
    AddedToken token{.token = id,
                     .content = std::string(text),
                     .is_special = vocabulary.kind(id) != TokenKind::user_defined};
    if (!declared) rules.apply(token);
    const auto known = std::ranges::lower_bound(tokens, id, {}, &AddedToken::token);
    if (known != tokens.end() && known->token == id) {
      token.single_word = known->single_word;
      token.lstrip = known->lstrip;
      token.rstrip = known->rstrip;
      if (token.single_word && !word_) word_.emplace(word_pattern(), Regex::Kind::perl);
    }
    add(vocabulary, token, plain_, token.content);
  }
  entries_.shrink_to_fit();
  plain_.shrink();
}

SpecialTokens::SpecialTokens(const Vocabulary& vocabulary, const std::vector<AddedToken>& tokens,
                             const Normalizer& normalizer) {
  const bool has_normalized = std::ranges::any_of(tokens, &AddedToken::normalized);
  entries_.reserve(has_normalized ? 2 * tokens.size() : tokens.size());
  for (const AddedToken& token : tokens) {
    if (token.content.empty() || !vocabulary.contains(token.token)) continue;
    if (token.single_word && !word_) word_.emplace(word_pattern(), Regex::Kind::perl);
    if (token.normalized) {
      WorkingText content{token.content, 0};
      normalizer.apply(content);
      add(vocabulary, token, normalized_, content.text);
    } else {
      add(vocabulary, token, plain_, token.content);
    }
    if (has_normalized && (!token.normalized || entries_.back().is_mark))
      add(vocabulary, token, marks_, token.content);
  }
  entries_.shrink_to_fit();
  for (Trie* trie : {&plain_, &normalized_, &marks_}) trie->shrink();
}

void SpecialTokens::add(const Vocabulary& vocabulary, const AddedToken& token, Trie& trie,
                        std::string_view content) {
  const TokenKind kind = vocabulary.kind(token.token);
  const bool is_mark = token.is_special || kind == TokenKind::control ||
                       kind == TokenKind::unknown || vocabulary.is_end_of_generation(token.token);
  trie.insert(content, static_cast<std::int32_t>(entries_.size()));
  if (&trie == &plain_) longest_ = std::max(longest_, content.size());
  entries_.push_back({token.token, is_mark, token.single_word, token.lstrip, token.rstrip});
}

void SpecialTokens::split(std::string_view text, std::span<const ByteRange> special,
                          const Take& take) const {
  const bool is_in_parts = !special.empty() && !(special.front().begin == 0 &&
                                                 special.front().end == text.size());
  split(text, special, is_in_parts && !marks_.is_empty() ? marks_ : plain_, 0, nullptr, take);
}

bool SpecialTokens::takes_parts() const {
  return std::ranges::none_of(entries_, [](const Entry& entry) {
    return !entry.is_mark && (entry.single_word || entry.lstrip || entry.rstrip);
  });
}

void SpecialTokens::split_part(std::string_view text, std::size_t begin,
                               std::vector<ByteRange>& passed, const Take& take) const {
  split(text, {}, plain_, begin, &passed, take);
}

void SpecialTokens::split_normalized(std::string_view text, bool may_be_special,
                                     const Take& take) const {
  const ByteRange all{0, text.size()};
  split(text, may_be_special ? std::span(&all, 1) : std::span<const ByteRange>(), normalized_, 0,
        nullptr, take);
}

bool SpecialTokens::is_word(std::string_view character) const {
  Regex::Matches matches(*word_, character);
  return matches.next();
}

void SpecialTokens::split(std::string_view text, std::span<const ByteRange> special,
                          const Trie& trie, std::size_t begin_at, std::vector<ByteRange>* passed,
                          const Take& take) const {
  if (text.empty()) return;
  std::size_t done = 0;
  std::size_t next = trie.is_empty() ? text.size() : begin_at;
  while (next < text.size()) {
    const Trie::Match match = trie.longest(text.substr(next));
    if (match.entry < 0) {
      ++next;
      continue;
    }
    const Entry& entry = entries_[static_cast<std::size_t>(match.entry)];
    std::size_t begin = next, end = next + match.length;
    if (entry.is_mark) {
      const auto range = std::ranges::lower_bound(special, end, {}, &ByteRange::end);
      if (range == special.end() || range->begin > begin) {
        // Spelled out by a user, it is passed over as a whole; what a template begins in the midst
        // of it is not.
        const auto touching = std::ranges::upper_bound(special, begin, {}, &ByteRange::end);
        if (passed) passed->push_back({begin, end});
        next = touching != special.end() && touching->begin < end ? next + 1 : end;
        continue;
      }
    }
    next = end;
    if (entry.single_word) {
      const bool goes_on_before =
          begin > 0 && is_word(text.substr(last_utf8(text.substr(0, begin)),
                                           begin - last_utf8(text.substr(0, begin))));
      const bool goes_on_behind =
          end < text.size() && is_word(text.substr(end, next_utf8(text.substr(end)).length));
      if (goes_on_before || goes_on_behind) continue;
    }
    if (entry.lstrip) begin = std::max(spaces_at_end(text.substr(0, begin)), done);
    if (entry.rstrip) end += spaces_at_start(text.substr(end));
    if (done < begin) take({.text = text.substr(done, begin - done)});
    take({.text = text.substr(begin, end - begin), .token = entry.token});
    done = end;
  }
  if (done < text.size()) take({.text = text.substr(done)});
}

Bytes SpecialTokens::memory_bytes() const {
  return sizeof *this + entries_.capacity() * sizeof(Entry) + plain_.memory_bytes() +
         normalized_.memory_bytes() + marks_.memory_bytes() + (word_ ? word_->memory_bytes() : 0);
}

}  // namespace plimsoll
