#include "file/hf_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <unordered_map>
#include <utility>

#include "base/error.h"
#include "file/header_bytes.h"
#include "file/hf_added_tokens.h"
#include "file/hf_pipeline.h"
#include "file/hf_slow_tokenizer.h"
#include "file/input_file.h"
#include "file/sentence_piece.h"
#include "file/token_table.h"
#include "file/tokenizer_json.h"

namespace plimsoll {
namespace {

using Kind = TokenTable::Kind;

constexpr std::string_view space_mark = "\u2581";
constexpr float added_score = -1000;
constexpr Bytes longest_template = 4 * MiB;

using AddedToken = HfAddedToken;

/// Marks that some files do not declare special, in the forms that converters know.
bool looks_special(std::string_view text) {
  return text == "<pad>" || text == "<mask>" || text == "<2mass>" || text == "[@BOS@]" ||
         (text.starts_with("<|") && text.ends_with("|>")) ||
         (text.starts_with("<\uFF5C") && text.ends_with("\uFF5C>")) ||
         (text.starts_with("<unused") && text.ends_with(">"));
}

std::string with_plain_spaces(std::string text) {
  for (std::size_t at = text.find(space_mark); at != text.npos; at = text.find(space_mark, at + 1))
    text.replace(at, space_mark.size(), 1, ' ');
  return text;
}

/// The text of a token that is given as such or as an object with its "content".
std::optional<std::string> token_text(const JsonKeys& keys, std::string_view key) {
  const Json* value = keys.find(key);
  if (value && value->is_object()) return keys.object(key).string("content");
  return value ? keys.string(key) : std::nullopt;
}

std::optional<std::string> read_text(const std::filesystem::path& path) {
  if (!file_exists(path)) return std::nullopt;
  const InputFile file(path.string());
  if (file.size() > longest_template)
    throw Error(ErrorCode::file_corrupt,
                fmt::format("{}: wanted at most {}, found {} bytes", path.string(),
                            format_bytes(longest_template), file.size()));
  std::string text(file.size(), '\0');
  file.read(0, text.size(), text.data());
  return text;
}

/// One folder on its way into the keys.
class TokenizerReader {
 public:
  TokenizerReader(const std::filesystem::path& folder, const Json& config, std::int64_t size,
                  MetadataBuilder& metadata)
      : folder_(folder),
        config_json_(config),
        settings_json_(read_json_object(path("tokenizer_config.json")).value_or(Json::object())),
        config_(config_json_, path("config.json")),
        settings_(settings_json_, path("tokenizer_config.json")),
        metadata_(metadata),
        table_(size) {}

  void read() {
    if (file_exists(path("tokenizer.json"))) {
      tokenizer_ = read_tokenizer_json(path("tokenizer.json"));
      added_ = hf_added_tokens(*tokenizer_, settings_);
      add_named_tokens();
      read_pipeline();
    } else if ((tokenizer_ = read_slow_tokenizer(folder_, settings_, config_))) {
      read_slow_added_tokens();
      add_named_tokens();
      read_pipeline();
    } else if (file_exists(path("tokenizer.model"))) {
      added_ = hf_added_tokens(settings_, JsonKeys(read_added_ids(), path("added_tokens.json")));
      read_pieces();
      add_declared();
    } else {
      return;
    }
    add_special_ids();
    add_chat_template();
  }

 private:
  std::string path(const char* name) const { return (folder_ / name).string(); }

  // --- Vocabularies ---

  const Json& read_added_ids() {
    added_ids_ = read_json_object(path("added_tokens.json")).value_or(Json::object());
    return added_ids_;
  }

  /// Those of a folder without tokenizer.json go by the ids that its other files give them.
  void read_slow_added_tokens() {
    added_ = hf_added_tokens(*tokenizer_, JsonKeys(empty_, ""));
    for (AddedToken& token :
         hf_added_tokens(settings_, JsonKeys(read_added_ids(), path("added_tokens.json")))) {
      const auto same = [&](const AddedToken& other) { return other.text == token.text; };
      const auto known = std::ranges::find_if(added_, same);
      if (known == added_.end()) {
        if (const auto id = model_id(token.text)) {
          token.id = *id;
          token.is_in_model = true;
        }
        added_.push_back(std::move(token));
      } else {
        token.id = known->id;
        token.is_in_model = known->is_in_model;
        *known = std::move(token);
      }
    }
  }

  /// The model's own token with this text.
  std::optional<std::int64_t> model_id(std::string_view text) const {
    for (const TokenizerJson::Token& token : tokenizer_->tokens)
      if (tokenizer_->text(token) == text) return token.id;
    return std::nullopt;
  }

  /// Tokens that the settings give a role stand for themselves, declared or not.
  void add_named_tokens() {
    const auto add = [&](const std::optional<std::string>& text) {
      if (!text || text->empty()) return;
      if (std::ranges::any_of(added_, [&](const AddedToken& one) { return one.text == *text; }))
        return;
      const auto id = model_id(*text);
      if (!id) return;
      AddedToken token;
      token.id = *id;
      token.text = *text;
      token.special = token.is_in_model = true;
      added_.push_back(std::move(token));
    };
    for (const char* role : {"bos", "eos", "unk", "sep", "pad", "cls", "mask"})
      add(token_text(settings_, fmt::format("{}_token", role)));
    if (const Json* more = settings_.find("additional_special_tokens"); more && more->is_array())
      for (const Json& one : *more)
        if (one.is_string()) add(one.get<std::string>());
  }

  /// The texts and kinds of added tokens. A pipeline needs to know which of them are no part of its
  /// model's vocabulary, and keeps texts as they are; elsewhere their space marks become spaces.
  void set_added(bool is_pipeline) {
    std::vector<std::int32_t> beside;
    for (const AddedToken& token : added_) {
      if (!table_.contains(token.id)) continue;
      if (!token.is_in_model) beside.push_back(static_cast<std::int32_t>(token.id));
      // The token for what is unknown stays that.
      if (table_.is_set(token.id) && table_.kind(token.id) == Kind::unknown) continue;
      if (token.special || looks_special(token.text))
        table_.set(token.id, token.text, Kind::control, added_score);
      else if (!is_pipeline)
        table_.set(token.id, with_plain_spaces(token.text), Kind::user_defined, added_score);
      else
        table_.set(token.id, token.text, Kind::user_defined, added_score);
    }
    if (is_pipeline) metadata_.add_integers("tokenizer.plimsoll.added", beside);
  }

  /// What tokens take white space with them, of a vocabulary that is no pipeline.
  void add_declared() {
    if (std::ranges::none_of(added_, [](const AddedToken& token) {
          return token.lstrip || token.rstrip || token.single_word;
        }))
      return;
    const Json declared = {{"added_tokens", hf_added_json(added_)}};
    metadata_.add_string("tokenizer.plimsoll.added_tokens",
                         declared.dump(-1, ' ', false, Json::error_handler_t::replace));
  }

  /// tokenizer.model.
  void read_pieces() {
    std::int64_t id = 0;
    const SentencePieceModel model =
        read_sentence_pieces(path("tokenizer.model"), [&](const SentencePiece& piece) {
          if (table_.contains(id)) {
            if (piece.kind == Kind::user_defined)
              table_.set(id, with_plain_spaces(std::string(piece.text)), piece.kind, piece.score);
            else
              table_.set(id, piece.text, piece.kind, piece.score);
          }
          ++id;
        });
    set_added(false);
    add_sentence_pieces(model.adds_space_prefix);
  }

  /// tokenizer.json, or what stands for it.
  void read_pipeline() {
    const JsonKeys keys = tokenizer_->keys();
    const JsonKeys model = keys.object("model");
    const GgufTokenizer names = gguf_tokenizer(keys);
    const std::string type = model.string("type").value_or("BPE");
    const std::string pipeline = pipeline_json(tokenizer_->rest, added_, names.marks_words);
    const bool falls_back = model.boolean("byte_fallback").value_or(false);
    const std::string unknown =
        falls_back || type == "WordPiece" || type == "WordLevel"
            ? model.string("unk_token").value_or(falls_back ? "<unk>" : "")
            : "";
    const bool is_unigram = type == "Unigram";
    const auto unknown_id = is_unigram ? model.integer("unk_id") : std::nullopt;
    const bool has_bytes = falls_back || is_unigram;

    std::vector<double> scores;
    bool are_exact = true;
    if (is_unigram) scores.resize(static_cast<std::size_t>(table_.size()));
    std::string phantom;
    for (const TokenizerJson::Token& token : tokenizer_->tokens) {
      if (!table_.contains(token.id)) continue;
      std::string_view text = tokenizer_->text(token);
      Kind kind = Kind::normal;
      if ((!unknown.empty() && text == unknown) || token.id == unknown_id)
        kind = Kind::unknown;
      else if (has_bytes && spells_byte(text))
        kind = Kind::byte;
      if (names.marks_words && kind == Kind::normal && !is_added(text)) {
        phantom = text.starts_with("##") ? std::string(text.substr(2))
                                         : fmt::format("{}{}", space_mark, text);
        text = phantom;
      }
      const auto score = static_cast<float>(token.score);
      table_.set(token.id, text, kind, score);
      if (!is_unigram) continue;
      scores[static_cast<std::size_t>(token.id)] = token.score;
      are_exact = are_exact && static_cast<double>(score) == token.score;
    }
    add_merge_ids();
    if (type == "BPE" && falls_back) rank_tokens();
    // What the table holds need not be held twice.
    std::string().swap(tokenizer_->texts);
    std::vector<TokenizerJson::Token>().swap(tokenizer_->tokens);
    set_added(true);

    metadata_.add_string("tokenizer.ggml.model", names.model);
    metadata_.add_string("tokenizer.ggml.pre", names.pre);
    table_.add_to(metadata_, (type == "BPE" && falls_back) || is_unigram);
    if (type == "BPE") {
      metadata_.reserve(tokenizer_->merges.size() + 64 * KiB);
      metadata_.add_array("tokenizer.ggml.merges", MetadataType::string, tokenizer_->merge_count,
                          tokenizer_->merges);
    }
    if (!are_exact)
      metadata_.add_array("tokenizer.plimsoll.scores", MetadataType::f64, scores.size(),
                          {reinterpret_cast<const char*>(scores.data()),
                           scores.size() * sizeof(double)});
    if (names.model == "llama" || names.model == "t5")
      metadata_.add_bool("tokenizer.ggml.add_space_prefix", adds_space_prefix(keys));
    if (names.model == "t5") {
      const std::string map = precompiled_charsmap(keys);
      if (!map.empty()) {
        metadata_.add_array("tokenizer.ggml.precompiled_charsmap", MetadataType::u8, map.size(),
                            map);
        metadata_.add_bool("tokenizer.ggml.remove_extra_whitespaces", true);
      }
    }
    if (names.model == "bert") {
      const JsonKeys normalizer = keys.object("normalizer");
      const bool lowercase = normalizer.boolean("lowercase").value_or(true);
      metadata_.add_bool("tokenizer.ggml.normalizer.lowercase", lowercase);
      metadata_.add_bool("tokenizer.ggml.normalizer.strip_accents",
                         normalizer.boolean("strip_accents").value_or(lowercase));
    }
    metadata_.add_string("tokenizer.plimsoll.pipeline", pipeline);
  }

  bool is_added(std::string_view text) const {
    return std::ranges::any_of(added_, [&](const AddedToken& token) { return token.text == text; });
  }

  /// Merges as pairs of ids, where their texts do not tell.
  void add_merge_ids() {
    if (tokenizer_->left_lengths.empty()) return;
    std::unordered_map<std::string_view, std::int32_t> ids;
    for (const TokenizerJson::Token& token : tokenizer_->tokens)
      ids.insert_or_assign(tokenizer_->text(token), static_cast<std::int32_t>(token.id));
    std::vector<std::int32_t> pairs;
    std::size_t index = 0;
    tokenizer_->for_each_merge([&](std::string_view merge) {
      std::size_t left = index < tokenizer_->left_lengths.size() ? tokenizer_->left_lengths[index]
                                                                 : 0;
      ++index;
      if (left == 0) left = merge.find(' ');
      if (left >= merge.size()) return;
      const auto first = ids.find(merge.substr(0, left)), second = ids.find(merge.substr(left + 1));
      if (first == ids.end() || second == ids.end()) return;
      pairs.push_back(first->second);
      pairs.push_back(second->second);
    });
    metadata_.add_integers("tokenizer.plimsoll.merges", pairs);
  }

  /// Sentence pieces whose scores are gone: the merges stand in the order of their results' scores.
  void rank_tokens() {
    if (file_exists(path("tokenizer.model"))) return rank_by_pieces();
    std::vector<std::int32_t> by_text(static_cast<std::size_t>(table_.size()));
    std::iota(by_text.begin(), by_text.end(), 0);
    const auto text_of = [this](std::int32_t id) { return table_.text(id); };
    std::ranges::sort(by_text, {}, text_of);
    std::vector<bool> is_ranked(by_text.size());
    float score = 0;
    std::string joined;
    tokenizer_->for_each_merge([&](std::string_view merge) {
      const std::size_t space = merge.find(' ');
      if (space == merge.npos) return;
      joined.assign(merge.substr(0, space));
      joined += merge.substr(space + 1);
      const auto found = std::ranges::lower_bound(by_text, std::string_view(joined), {}, text_of);
      if (found == by_text.end() || table_.text(*found) != joined) return;
      const auto id = static_cast<std::size_t>(*found);
      if (is_ranked[id]) return;
      is_ranked[id] = true;
      table_.set_score(*found, score);
      score -= 1;
    });
    // Characters need no score, and nothing else comes about without a merge.
    for (std::size_t id = 0; id < is_ranked.size(); ++id)
      if (!is_ranked[id] && table_.kind(static_cast<std::int64_t>(id)) == Kind::normal)
        table_.set_score(static_cast<std::int64_t>(id), score);
  }

  /// The scores themselves, where tokenizer.model stands beside.
  void rank_by_pieces() {
    std::int64_t id = 0;
    read_sentence_pieces(path("tokenizer.model"), [&](const SentencePiece& piece) {
      if (table_.contains(id) && table_.is_set(id) && table_.text(id) == piece.text)
        table_.set_score(id, piece.score);
      ++id;
    });
  }

  void add_sentence_pieces(bool space_prefix) {
    metadata_.add_string("tokenizer.ggml.model", "llama");
    metadata_.add_string("tokenizer.ggml.pre", "default");
    table_.add_to(metadata_, true);
    metadata_.add_bool("tokenizer.ggml.add_space_prefix", space_prefix);
  }

  // --- Special tokens ---

  std::optional<std::int64_t> token_id(const std::string& text) const {
    for (const AddedToken& token : added_)
      if (token.text == text) return token.id;
    for (std::int64_t id = 0; id < table_.size(); ++id)
      if (table_.is_set(id) && table_.text(id) == text) return id;
    return std::nullopt;
  }

  void add_special_ids() {
    const auto id_of = [this](const std::string& text) { return token_id(text); };
    const auto configured = [](const JsonKeys& keys,
                               const std::string& key) -> std::optional<std::int64_t> {
      const Json* value = keys.find(key);
      // Where several tokens end a text, the first one is the document's own end.
      if (value && value->is_array())
        return value->empty() || !value->front().is_number_integer()
                   ? std::nullopt
                   : std::optional(value->front().get<std::int64_t>());
      return keys.integer(key);
    };
    const Json generation =
        read_json_object(path("generation_config.json")).value_or(Json::object());
    const JsonKeys generation_keys(generation, path("generation_config.json"));
    const Json specials =
        read_json_object(path("special_tokens_map.json")).value_or(Json::object());
    const JsonKeys specials_keys(specials, path("special_tokens_map.json"));

    add_end_ids(generation_keys, specials_keys, id_of);
    constexpr std::pair<const char*, const char*> roles[] = {
        {"bos", "bos"},       {"eos", "eos"}, {"unk", "unknown"},   {"pad", "padding"},
        {"sep", "seperator"},  // spelled so in the format
        {"cls", "cls"},       {"mask", "mask"}};
    std::optional<std::int64_t> bos, eos;
    for (const auto& [role, gguf_role] : roles) {
      std::optional<std::int64_t> id;
      for (const JsonKeys* keys :
           std::initializer_list<const JsonKeys*>{&settings_, &specials_keys}) {
        const auto text = token_text(*keys, fmt::format("{}_token", role));
        if (text && !id) id = id_of(*text);
      }
      for (const JsonKeys* keys :
           std::initializer_list<const JsonKeys*>{&config_, &generation_keys})
        if (!id) id = configured(*keys, fmt::format("{}_token_id", role));
      if (!id || !table_.contains(*id)) continue;
      metadata_.add_integer(fmt::format("tokenizer.ggml.{}_token_id", gguf_role), *id);
      if (std::string_view(role) == "bos") bos = id;
      if (std::string_view(role) == "eos") eos = id;
    }
    add_frame(bos, eos);
  }

  /// All tokens that end a text: those of generation_config.json, or of config.json where that has
  /// none, and the tokenizer's own.
  template <typename IdOf>
  void add_end_ids(const JsonKeys& generation, const JsonKeys& specials, const IdOf& id_of) {
    std::vector<std::int32_t> ends;
    const auto take = [&](std::optional<std::int64_t> id) {
      if (id && table_.contains(*id) && std::ranges::find(ends, *id) == ends.end())
        ends.push_back(static_cast<std::int32_t>(*id));
    };
    constexpr const char* key = "eos_token_id";
    const JsonKeys text = config_.find("text_config") && config_.find("text_config")->is_object()
                              ? config_.object("text_config")
                              : config_;
    for (const JsonKeys* keys : {&generation, &std::as_const(config_), &text}) {
      const Json* value = keys->find(key);
      if (!value) continue;
      if (!value->is_array()) {
        take(keys->integer(key));
      } else {
        for (const Json& id : *value) {
          if (!id.is_number_integer()) keys->invalid(key, "a token id, or several");
          take(id.get<std::int64_t>());
        }
      }
      break;
    }
    for (const JsonKeys* keys : {&std::as_const(settings_), &specials})
      if (const auto text_of = token_text(*keys, "eos_token")) {
        take(id_of(*text_of));
        break;
      }
    if (!ends.empty()) metadata_.add_integers("tokenizer.ggml.eos_token_ids", ends);
  }

  /// What stands around a text: by the settings where they say so, otherwise by the template.
  void add_frame(std::optional<std::int64_t> bos, std::optional<std::int64_t> eos) {
    const std::optional<bool> adds_bos = settings_.boolean("add_bos_token");
    const std::optional<bool> adds_eos = settings_.boolean("add_eos_token");
    const auto id_of = [this](const std::string& text) { return token_id(text); };
    const auto frame = tokenizer_ ? hf_frame(tokenizer_->keys(), id_of) : std::nullopt;
    using Ids = std::vector<std::int32_t>;
    const auto only = [](std::optional<std::int64_t> id) {
      return id ? Ids{static_cast<std::int32_t>(*id)} : Ids();
    };
    // A text cannot begin with a token that there is not.
    const bool begins_with_bos = frame && bos && !frame->before.empty() &&
                                 frame->before.front() == *bos;
    if (adds_bos && (bos || !*adds_bos))
      metadata_.add_bool("tokenizer.ggml.add_bos_token", *adds_bos);
    else if (!adds_bos && frame && bos)
      metadata_.add_bool("tokenizer.ggml.add_bos_token", begins_with_bos);
    if (adds_eos)
      metadata_.add_bool("tokenizer.ggml.add_eos_token", *adds_eos);
    else if (frame && eos && frame->after == only(eos))
      metadata_.add_bool("tokenizer.ggml.add_eos_token", true);
    // Whatever those two do not say.
    if (!frame || adds_bos || adds_eos) return;
    const bool is_said = (frame->before.empty() || frame->before == only(bos)) &&
                         (frame->after.empty() || frame->after == only(eos));
    if (is_said) return;
    metadata_.add_integers("tokenizer.plimsoll.before", frame->before);
    metadata_.add_integers("tokenizer.plimsoll.after", frame->after);
  }

  /// What transformers takes: chat_template.jinja (with further ones in additional_chat_templates/),
  /// otherwise chat_template.json, otherwise the settings, each one template or several by name.
  void add_chat_template() {
    constexpr std::string_view key = "tokenizer.chat_template";
    const auto add = [&](const std::string& name, const std::string& text) {
      const std::string full = name == "default" ? std::string(key) : fmt::format("{}.{}", key, name);
      if (!metadata_.contains(full)) metadata_.add_string(full, text);
    };
    const auto add_from = [&](const JsonKeys& keys) {
      const Json* found = keys.find("chat_template");
      if (found && found->is_array()) {
        for (const JsonKeys& one : keys.objects("chat_template")) {
          const auto name = one.string("name"), text = one.string("template");
          if (!name || !text) one.invalid("template", "a name and a template");
          add(*name, *text);
        }
      } else if (found && found->is_object()) {
        const JsonKeys named = keys.object("chat_template");
        for (const auto& [name, text] : named.members().items())
          if (const auto one = named.string(name)) add(name, *one);
      } else if (const auto text = keys.string("chat_template")) {
        add("default", *text);
      }
    };
    if (const auto text = read_text(path("chat_template.jinja"))) add("default", *text);
    std::error_code none;
    std::vector<std::filesystem::path> more;
    for (std::filesystem::directory_iterator file(folder_ / "additional_chat_templates", none), end;
         !none && file != end; file.increment(none))
      if (file->path().extension() == ".jinja") more.push_back(file->path());
    std::ranges::sort(more);
    for (const std::filesystem::path& file : more)
      if (const auto text = read_text(file)) add(file.stem().string(), *text);
    if (metadata_.contains(key)) return;
    if (const auto json = read_json_object(path("chat_template.json")))
      add_from(JsonKeys(*json, path("chat_template.json")));
    if (!metadata_.contains(key)) add_from(settings_);
  }

  std::filesystem::path folder_;
  const Json& config_json_;
  Json settings_json_;
  JsonKeys config_;
  JsonKeys settings_;
  MetadataBuilder& metadata_;
  TokenTable table_;
  std::optional<TokenizerJson> tokenizer_;
  std::vector<AddedToken> added_;
  Json added_ids_;
  const Json empty_ = Json::object();
};

}  // namespace

void add_hf_tokenizer(const std::filesystem::path& folder, const Json& config, std::int64_t size,
                      MetadataBuilder& metadata) {
  TokenizerReader(folder, config, size, metadata).read();
}

}  // namespace plimsoll
