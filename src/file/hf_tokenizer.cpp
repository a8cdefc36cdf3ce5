#include "file/hf_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <numeric>
#include <optional>
#include <utility>

#include "base/error.h"
#include "file/header_bytes.h"
#include "file/hf_pre_tokenizer.h"
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

/// A token that was added to a vocabulary after it was trained.
struct AddedToken {
  std::int64_t id;
  std::string text;
  bool is_special;
};

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
    if (file_exists(path("tokenizer.json")))
      tokenizer_ = read_tokenizer_json(path("tokenizer.json"));
    else if (!file_exists(path("tokenizer.model")))
      return;
    const std::vector<AddedToken> added = read_added_tokens();
    if (!tokenizer_) {
      read_pieces(added);
    } else {
      const JsonKeys model = tokenizer_->keys().object("model");
      const std::string type = model.string("type").value_or("BPE");
      if (type == "Unigram")
        read_unigram(model, added);
      else if (type != "BPE")
        throw Error(ErrorCode::unsupported_model,
                    fmt::format("{}: tokenizers of type {} are not known", tokenizer_->path,
                                plimsoll::quoted(type)),
                    "known: BPE, Unigram");
      else if (!model.boolean("byte_fallback").value_or(false))
        read_byte_level(model, added);
      else if (file_exists(path("tokenizer.model")))
        read_pieces(added);
      else
        read_ranked(model, added);
    }
    add_special_ids(added);
    add_chat_template();
  }

 private:
  std::string path(const char* name) const { return (folder_ / name).string(); }

  // --- Vocabularies ---

  std::vector<AddedToken> read_added_tokens() const {
    std::vector<AddedToken> added;
    const auto add = [&](std::int64_t id, const JsonKeys& token) {
      const auto text = token.string("content");
      if (!text) token.invalid("content", "a string");
      added.push_back({id, *text, token.boolean("special").value_or(false)});
    };
    if (tokenizer_) {
      for (const JsonKeys& token : tokenizer_->keys().objects("added_tokens"))
        add(token.required_integer("id"), token);
      return added;
    }
    const Json plain = read_json_object(path("added_tokens.json")).value_or(Json::object());
    const JsonKeys ids(plain, path("added_tokens.json"));
    for (const auto& [text, id] : plain.items())
      added.push_back({ids.required_integer(text), text, false});
    const JsonKeys decoder = settings_.object("added_tokens_decoder");
    for (const auto& [key, token] : decoder.members().items()) {
      std::int64_t id = -1;
      const auto end = std::from_chars(key.data(), key.data() + key.size(), id);
      if (end.ec != std::errc() || *end.ptr != '\0') decoder.invalid(key, "an id as its key");
      add(id, decoder.object(key));
    }
    return added;
  }

  void set_added(const std::vector<AddedToken>& added) {
    for (const AddedToken& token : added) {
      if (!table_.contains(token.id)) continue;
      // The token for what is unknown stays that.
      if (table_.is_set(token.id) && table_.kind(token.id) == Kind::unknown) continue;
      if (token.is_special || looks_special(token.text))
        table_.set(token.id, token.text, Kind::control, added_score);
      else
        table_.set(token.id, with_plain_spaces(token.text), Kind::user_defined, added_score);
    }
  }

  /// tokenizer.model.
  void read_pieces(const std::vector<AddedToken>& added) {
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
    set_added(added);
    add_sentence_pieces(tokenizer_ ? adds_space_prefix(tokenizer_->keys())
                                   : model.adds_space_prefix);
  }

  /// The tokens of tokenizer.json, by `kind_of` their texts.
  template <class KindOf>
  void set_tokens(KindOf kind_of) {
    for (const TokenizerJson::Token& token : tokenizer_->tokens) {
      const std::string_view text = tokenizer_->text(token);
      if (table_.contains(token.id)) table_.set(token.id, text, kind_of(text), token.score);
    }
    // What the table holds need not be held twice.
    std::string().swap(tokenizer_->texts);
    std::vector<TokenizerJson::Token>().swap(tokenizer_->tokens);
  }

  void set_sentence_piece_tokens(const std::string& unknown) {
    set_tokens([&](std::string_view text) {
      return text == unknown ? Kind::unknown : spells_byte(text) ? Kind::byte : Kind::normal;
    });
  }

  /// Sentence pieces whose scores are gone: the merges stand in the order of their results' scores.
  void read_ranked(const JsonKeys& model, const std::vector<AddedToken>& added) {
    set_sentence_piece_tokens(model.string("unk_token").value_or("<unk>"));
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
    set_added(added);
    add_sentence_pieces(adds_space_prefix(tokenizer_->keys()));
  }

  void add_sentence_pieces(bool space_prefix) {
    metadata_.add_string("tokenizer.ggml.model", "llama");
    metadata_.add_string("tokenizer.ggml.pre", "default");
    table_.add_to(metadata_, true);
    metadata_.add_bool("tokenizer.ggml.add_space_prefix", space_prefix);
  }

  void read_byte_level(const JsonKeys& model, const std::vector<AddedToken>& added) {
    const std::string_view pre =
        pre_tokenizer_name(tokenizer_->keys(), model.boolean("ignore_merges").value_or(false));
    set_tokens([](std::string_view) { return Kind::normal; });
    set_added(added);
    metadata_.add_string("tokenizer.ggml.model", "gpt2");
    metadata_.add_string("tokenizer.ggml.pre", pre);
    table_.add_to(metadata_, false);
    metadata_.reserve(tokenizer_->merges.size() + 64 * KiB);
    metadata_.add_array("tokenizer.ggml.merges", MetadataType::string, tokenizer_->merge_count,
                        tokenizer_->merges);
  }

  void read_unigram(const JsonKeys& model, const std::vector<AddedToken>& added) {
    set_sentence_piece_tokens("");
    const auto unknown = model.integer("unk_id");
    if (unknown && table_.contains(*unknown))
      table_.set(*unknown, std::string(table_.text(*unknown)), Kind::unknown);
    set_added(added);
    metadata_.add_string("tokenizer.ggml.model", "t5");
    metadata_.add_string("tokenizer.ggml.pre", "default");
    table_.add_to(metadata_, true);
    metadata_.add_bool("tokenizer.ggml.add_space_prefix", adds_space_prefix(tokenizer_->keys()));
  }

  /// True where a text is normalised to begin with a space, or cut as if it did.
  static bool adds_space_prefix(const JsonKeys& tokenizer) {
    const JsonKeys normalizer = tokenizer.object("normalizer");
    const JsonKeys pre_tokenizer = tokenizer.object("pre_tokenizer");
    return does_add_space(normalizer) || does_add_space(pre_tokenizer) ||
           std::ranges::any_of(normalizer.objects("normalizers"), does_add_space) ||
           std::ranges::any_of(pre_tokenizer.objects("pretokenizers"), does_add_space);
  }
  static bool does_add_space(const JsonKeys& step) {
    const std::string type = step.string("type").value_or("");
    if (type == "Prepend") return step.string("prepend").value_or("") == space_mark;
    if (type != "Metaspace") return false;
    if (const auto scheme = step.string("prepend_scheme")) return *scheme != "never";
    return step.boolean("add_prefix_space").value_or(true);
  }

  // --- Special tokens ---

  void add_special_ids(const std::vector<AddedToken>& added) {
    const auto id_of = [&](const std::string& text) -> std::optional<std::int64_t> {
      for (const AddedToken& token : added)
        if (token.text == text) return token.id;
      for (std::int64_t id = 0; id < table_.size(); ++id)
        if (table_.is_set(id) && table_.text(id) == text) return id;
      return std::nullopt;
    };
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
        {"bos", "bos"}, {"eos", "eos"}, {"unk", "unknown"}, {"pad", "padding"}};
    std::optional<std::string> bos;
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
      if (std::string_view(role) == "bos") bos = table_.text(*id);
    }
    for (const char* role : {"bos", "eos"}) {
      std::optional<bool> adds = settings_.boolean(fmt::format("add_{}_token", role));
      if (!adds && role == std::string_view("bos") && bos) adds = template_begins_with(*bos);
      // A text cannot begin with a token that there is not.
      if (adds && (bos || !*adds || role != std::string_view("bos")))
        metadata_.add_bool(fmt::format("tokenizer.ggml.add_{}_token", role), *adds);
    }
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

  /// Whether tokenizer.json's post-processor puts this token before a text; empty where it has no
  /// template.
  std::optional<bool> template_begins_with(const std::string& token) const {
    if (!tokenizer_) return std::nullopt;
    const JsonKeys processor = tokenizer_->keys().object("post_processor");
    const auto begins = [&](const JsonKeys& one) -> std::optional<bool> {
      if (one.string("type").value_or("") != "TemplateProcessing") return std::nullopt;
      const std::vector<JsonKeys> single = one.objects("single");
      if (single.empty()) return std::nullopt;
      return single.front().object("SpecialToken").string("id").value_or("") == token;
    };
    if (const auto found = begins(processor)) return found;
    for (const JsonKeys& part : processor.objects("processors"))
      if (const auto found = begins(part)) return found;
    return std::nullopt;
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
};

}  // namespace

void add_hf_tokenizer(const std::filesystem::path& folder, const Json& config, std::int64_t size,
                      MetadataBuilder& metadata) {
  TokenizerReader(folder, config, size, metadata).read();
}

}  // namespace plimsoll
