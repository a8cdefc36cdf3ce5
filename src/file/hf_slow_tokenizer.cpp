// What each class does is that of https://github.com/huggingface/transformers
// (models/*/tokenization_*.py).
#include "file/hf_slow_tokenizer.h"

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <tuple>
#include <utility>

#include "base/error.h"
#include "file/header_bytes.h"
#include "file/input_file.h"
#include "file/metadata_builder.h"

namespace plimsoll {
namespace {

constexpr Bytes longest_list = 64 * MiB;

enum class Cutting { gpt2, qwen2, neox, cohere };
struct SlowClass {
  std::string_view name;        ///< without "Fast"
  std::string_view model_type;  ///< of config.json, where tokenizer_config.json names no class
  Cutting cutting;
  bool has_frame;  ///< <s> and </s> stand around a text
};
constexpr SlowClass classes[] = {
    {"GPT2Tokenizer", "gpt2", Cutting::gpt2, false},
    {"Qwen2Tokenizer", "qwen2", Cutting::qwen2, false},
    {"Qwen2Tokenizer", "qwen3", Cutting::qwen2, false},
    {"Qwen2Tokenizer", "qwen2_moe", Cutting::qwen2, false},
    {"Qwen2Tokenizer", "qwen3_moe", Cutting::qwen2, false},
    {"RobertaTokenizer", "roberta", Cutting::gpt2, true},
    {"BartTokenizer", "bart", Cutting::gpt2, true},
    {"LongformerTokenizer", "longformer", Cutting::gpt2, true},
    {"LEDTokenizer", "led", Cutting::gpt2, true},
    {"CodeGenTokenizer", "codegen", Cutting::gpt2, false},
    {"GPTNeoXTokenizer", "gpt_neox", Cutting::neox, false},
    {"CohereTokenizer", "cohere", Cutting::cohere, false},
};

constexpr std::string_view qwen2_words =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|)"
    R"(\s*[\r\n]+|\s+(?!\S)|\s+)";

std::string read_all(const std::filesystem::path& path) {
  const InputFile file(path.string());
  if (file.size() > longest_list)
    throw Error(ErrorCode::file_corrupt,
                fmt::format("{}: wanted at most {}, found {} bytes", path.string(),
                            format_bytes(longest_list), file.size()));
  std::string text(file.size(), '\0');
  file.read(0, text.size(), text.data());
  return text;
}

/// Calls `take` with each line, without its end.
template <class Take>
void for_each_line(std::string_view text, Take take) {
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == text.npos ? text.size() : end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    take(line);
  }
}

std::string class_name(const JsonKeys& settings) {
  std::string name = settings.string("tokenizer_class").value_or("");
  if (name.ends_with("Fast")) name.resize(name.size() - 4);
  return name;
}

/// A special token's text, given as such or as an object with its "content".
std::optional<std::string> token_text(const JsonKeys& settings, std::string_view key) {
  const Json* value = settings.find(key);
  if (value && value->is_object()) return settings.object(key).string("content");
  return value ? settings.string(key) : std::nullopt;
}

const SlowClass& class_of(const std::string& folder, const JsonKeys& settings,
                          const JsonKeys& config) {
  const std::string name = class_name(settings);
  const std::string model_type = config.string("model_type").value_or("");
  std::string known;
  for (const SlowClass& one : classes) {
    if (name.empty() ? one.model_type == model_type : one.name == name) return one;
    if (known.find(one.name) == known.npos)
      known += fmt::format("{}{}", known.empty() ? "" : ", ", one.name);
  }
  throw Error(ErrorCode::unsupported_model,
              fmt::format("{}: there is no tokenizer.json, and what vocab.json and merges.txt are to "
                          "the tokenizer {} is not known",
                          folder, name.empty() ? "of " + plimsoll::quoted(model_type) : plimsoll::quoted(name)),
              fmt::format("known are those of {}; or save the tokenizer again as tokenizer.json",
                          known));
}

Json byte_level(bool adds_space, bool uses_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", adds_space},
          {"trim_offsets", true},
          {"use_regex", uses_regex}};
}

Json sequence(Json first, Json second) {
  Json parts = Json::array();
  parts.push_back(std::move(first));
  parts.push_back(std::move(second));
  return {{"type", "Sequence"}, {"pretokenizers", std::move(parts)}};
}

std::optional<std::int64_t> find_id(const TokenizerJson& tokenizer, std::string_view text) {
  for (const TokenizerJson::Token& token : tokenizer.tokens)
    if (tokenizer.text(token) == text) return token.id;
  return std::nullopt;
}

TokenizerJson read_byte_level(const std::filesystem::path& folder, const JsonKeys& settings,
                              const JsonKeys& config) {
  const SlowClass& kind = class_of(folder.string(), settings, config);
  TokenizerJson tokenizer = read_vocabulary_json((folder / "vocab.json").string());
  const std::string merges = read_all(folder / "merges.txt");
  for_each_line(merges, [&](std::string_view line) {
    if (line.empty() || line.starts_with("#version")) return;
    const std::size_t space = line.find(' ');
    if (space == line.npos || line.find(' ', space + 1) != line.npos)
      throw Error(ErrorCode::file_corrupt,
                  fmt::format("{}: wanted two texts with a space between them, found {}",
                              (folder / "merges.txt").string(), plimsoll::quoted(line)),
                  "the file is incomplete or damaged: download it again");
    MetadataBuilder::append_string(tokenizer.merges, line);
    ++tokenizer.merge_count;
  });

  const bool adds_space = settings.boolean("add_prefix_space").value_or(false);
  Json cutting = byte_level(adds_space, true);
  Json normalizer;
  if (kind.cutting != Cutting::gpt2) normalizer = {{"type", "NFC"}};
  if (kind.cutting == Cutting::qwen2) {
    const Json split = {{"type", "Split"},
                        {"pattern", {{"Regex", qwen2_words}}},
                        {"behavior", "Isolated"},
                        {"invert", false}};
    cutting = sequence(split, byte_level(adds_space, false));
  } else if (kind.cutting == Cutting::cohere) {
    cutting = sequence({{"type", "Digits"}, {"individual_digits", true}}, cutting);
  }
  Json processor;
  if (kind.has_frame) {
    const auto end = [&](const char* role, const char* otherwise) {
      const std::string text = token_text(settings, role).value_or(otherwise);
      const auto id = find_id(tokenizer, text);
      if (!id)
        throw Error(ErrorCode::invalid_model,
                    fmt::format("{}: the token {} is not in vocab.json", folder.string(),
                                plimsoll::quoted(text)));
      Json pair = Json::array();
      pair.push_back(text);
      pair.push_back(*id);
      return pair;
    };
    processor = {{"type", "RobertaProcessing"},
                 {"sep", end("sep_token", "</s>")},
                 {"cls", end("cls_token", "<s>")}};
  }
  tokenizer.rest = {{"normalizer", std::move(normalizer)},
                    {"pre_tokenizer", std::move(cutting)},
                    {"post_processor", std::move(processor)},
                    {"decoder", byte_level(adds_space, true)},
                    {"model", {{"type", "BPE"}}}};
  return tokenizer;
}

TokenizerJson read_word_piece(const std::filesystem::path& folder, const JsonKeys& settings) {
  const std::string name = class_name(settings);
  constexpr std::string_view known[] = {"",
                                        "BertTokenizer",
                                        "DistilBertTokenizer",
                                        "ElectraTokenizer",
                                        "MobileBertTokenizer",
                                        "LxmertTokenizer",
                                        "FunnelTokenizer",
                                        "LayoutLMTokenizer",
                                        "MPNetTokenizer",
                                        "DPRQuestionEncoderTokenizer",
                                        "DPRContextEncoderTokenizer"};
  bool is_known = false;
  for (const std::string_view one : known) is_known = is_known || one == name;
  if (!is_known)
    throw Error(ErrorCode::unsupported_model,
                fmt::format("{}: there is no tokenizer.json, and what vocab.txt is to the tokenizer "
                            "{} is not known",
                            folder.string(), plimsoll::quoted(name)),
                "known is that of BertTokenizer; or save the tokenizer again as tokenizer.json");
  TokenizerJson tokenizer;
  tokenizer.path = (folder / "vocab.txt").string();
  const std::string words = read_all(folder / "vocab.txt");
  for_each_line(words, [&](std::string_view line) {
    tokenizer.tokens.push_back({static_cast<std::int64_t>(tokenizer.tokens.size()), 0,
                                tokenizer.texts.size(), static_cast<std::uint32_t>(line.size())});
    tokenizer.texts += line;
  });
  const auto token = [&](const char* role, const char* otherwise) {
    return token_text(settings, role).value_or(otherwise);
  };
  const bool lowercase = settings.boolean("do_lower_case").value_or(true);
  Json normalizer = {
      {"type", "BertNormalizer"},
      {"clean_text", true},
      {"handle_chinese_chars", settings.boolean("tokenize_chinese_chars").value_or(true)},
      {"lowercase", lowercase},
      {"strip_accents", settings.boolean("strip_accents").value_or(lowercase)}};
  Json processor = {{"type", "BertProcessing"}};
  for (const auto& [role, key, otherwise] :
       {std::tuple("sep", "sep_token", "[SEP]"), std::tuple("cls", "cls_token", "[CLS]")}) {
    const std::string text = token(key, otherwise);
    const auto id = find_id(tokenizer, text);
    if (!id) {
      processor = nullptr;
      break;
    }
    Json pair = Json::array();
    pair.push_back(text);
    pair.push_back(*id);
    processor[role] = std::move(pair);
  }
  Json added = Json::array();
  for (const auto& [key, otherwise] :
       {std::pair("unk_token", "[UNK]"), std::pair("sep_token", "[SEP]"),
        std::pair("pad_token", "[PAD]"), std::pair("cls_token", "[CLS]"),
        std::pair("mask_token", "[MASK]")}) {
    const std::string text = token(key, otherwise);
    if (const auto id = find_id(tokenizer, text))
      added.push_back({{"id", *id}, {"content", text}, {"normalized", false}, {"special", true}});
  }
  tokenizer.rest = {{"added_tokens", std::move(added)},
                    {"normalizer", std::move(normalizer)},
                    {"pre_tokenizer", {{"type", "BertPreTokenizer"}}},
                    {"post_processor", std::move(processor)},
                    {"decoder", {{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}}},
                    {"model", {{"type", "WordPiece"}, {"unk_token", token("unk_token", "[UNK]")}}}};
  return tokenizer;
}

}  // namespace

std::optional<TokenizerJson> read_slow_tokenizer(const std::filesystem::path& folder,
                                                 const JsonKeys& settings, const JsonKeys& config) {
  const auto has = [&](const char* name) { return file_exists((folder / name).string()); };
  if (has("vocab.json") && has("merges.txt")) return read_byte_level(folder, settings, config);
  if (has("vocab.txt")) return read_word_piece(folder, settings);
  return std::nullopt;
}

}  // namespace plimsoll
