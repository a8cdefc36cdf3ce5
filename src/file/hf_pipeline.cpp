#include "file/hf_pipeline.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "base/error.h"
#include "file/base64.h"
#include "file/header_bytes.h"
#include "file/hf_pre_tokenizer.h"

namespace plimsoll {
namespace {

constexpr std::string_view space_mark = "\u2581";

std::string type_of(const JsonKeys& step) { return step.string("type").value_or(""); }

/// A step, or the parts of a sequence, `list` being their key.
void append_steps(const JsonKeys& step, const char* list, std::vector<JsonKeys>& steps, int depth) {
  if (step.members().empty()) return;
  if (type_of(step) != "Sequence" || depth > 16) return steps.push_back(step);
  for (const JsonKeys& part : step.objects(list)) append_steps(part, list, steps, depth + 1);
}
std::vector<JsonKeys> normalizer_steps(const JsonKeys& tokenizer) {
  std::vector<JsonKeys> steps;
  append_steps(tokenizer.object("normalizer"), "normalizers", steps, 0);
  return steps;
}
std::vector<JsonKeys> pre_tokenizer_steps(const JsonKeys& tokenizer) {
  std::vector<JsonKeys> steps;
  append_steps(tokenizer.object("pre_tokenizer"), "pretokenizers", steps, 0);
  return steps;
}

/// Spaces become space marks.
bool marks_spaces(const JsonKeys& step) {
  return type_of(step) == "Replace" && step.object("pattern").string("String").value_or("") == " " &&
         step.string("content").value_or("") == space_mark;
}
bool prepends_mark(const JsonKeys& step) {
  return type_of(step) == "Prepend" && step.string("prepend").value_or("") == space_mark;
}
bool is_metaspace(const JsonKeys& step) {
  return type_of(step) == "Metaspace" &&
         step.string("replacement").value_or(std::string(space_mark)) == space_mark;
}
bool does_add_space(const JsonKeys& step) {
  if (prepends_mark(step)) return true;
  if (type_of(step) != "Metaspace") return false;
  if (const auto scheme = step.string("prepend_scheme")) return *scheme != "never";
  return step.boolean("add_prefix_space").value_or(true);
}

/// sentencepiece's BPE: nothing happens to a text but that its spaces are marked.
bool is_sentence_piece(const JsonKeys& tokenizer) {
  const std::vector<JsonKeys> normalizers = normalizer_steps(tokenizer);
  const std::vector<JsonKeys> cutters = pre_tokenizer_steps(tokenizer);
  const bool marks = std::ranges::any_of(normalizers, marks_spaces) ||
                     std::ranges::any_of(cutters, is_metaspace);
  return marks && std::ranges::all_of(normalizers, [](const JsonKeys& step) {
           return marks_spaces(step) || prepends_mark(step);
         }) && std::ranges::all_of(cutters, [](const JsonKeys& step) {
           // Cutting at spaces does nothing once they are marked.
           return is_metaspace(step) ||
                  (type_of(step) == "Split" &&
                   step.object("pattern").string("String").value_or("") == " ");
         });
}

bool is_bert(const JsonKeys& tokenizer, const JsonKeys& model) {
  const JsonKeys normalizer = tokenizer.object("normalizer");
  return type_of(normalizer) == "BertNormalizer" &&
         normalizer.boolean("clean_text").value_or(true) &&
         normalizer.boolean("handle_chinese_chars").value_or(true) &&
         type_of(tokenizer.object("pre_tokenizer")) == "BertPreTokenizer" &&
         model.string("continuing_subword_prefix").value_or("##") == "##";
}

/// sentencepiece's Unigram: normalized by its map or not at all, spaces marked.
bool is_unigram_piece(const JsonKeys& tokenizer) {
  const std::vector<JsonKeys> normalizers = normalizer_steps(tokenizer);
  const std::vector<JsonKeys> cutters = pre_tokenizer_steps(tokenizer);
  return std::ranges::any_of(cutters, is_metaspace) &&
         std::ranges::all_of(cutters,
                             [](const JsonKeys& step) {
                               return is_metaspace(step) || type_of(step) == "WhitespaceSplit";
                             }) &&
         std::ranges::all_of(normalizers, [](const JsonKeys& step) {
           return type_of(step) == "Precompiled" || type_of(step) == "Strip" ||
                  type_of(step) == "Replace";
         });
}

}  // namespace

GgufTokenizer gguf_tokenizer(const JsonKeys& tokenizer) {
  const JsonKeys model = tokenizer.object("model");
  const std::string type = model.string("type").value_or("BPE");
  const GgufTokenizer unnamed{unnamed_tokenizer, "default"};
  if (type == "BPE") {
    if (model.number("dropout").value_or(0) != 0)
      throw Error(ErrorCode::unsupported_model,
                  "tokenizer.json: a dropout of merges makes tokens by chance",
                  "set model.dropout to null, as it is meant for training");
    const bool is_plain = model.string("continuing_subword_prefix").value_or("").empty() &&
                          model.string("end_of_word_suffix").value_or("").empty();
    if (!is_plain) return unnamed;
    const bool ignores_merges = model.boolean("ignore_merges").value_or(false);
    if (model.boolean("byte_fallback").value_or(false))
      return is_sentence_piece(tokenizer) ? GgufTokenizer{"llama", "default"} : unnamed;
    // What is composed on the way in is composed in nearly every text already.
    const std::vector<JsonKeys> normalizers = normalizer_steps(tokenizer);
    if (!std::ranges::all_of(normalizers,
                             [](const JsonKeys& step) { return type_of(step) == "NFC"; }))
      return unnamed;
    const auto pre = pre_tokenizer_name(tokenizer, ignores_merges);
    return pre ? GgufTokenizer{"gpt2", *pre} : unnamed;
  }
  if (type == "Unigram")
    return is_unigram_piece(tokenizer) ? GgufTokenizer{"t5", "default"} : unnamed;
  if (type == "WordPiece")
    return is_bert(tokenizer, model) ? GgufTokenizer{"bert", "default", true} : unnamed;
  if (type == "WordLevel") return unnamed;
  throw Error(ErrorCode::unsupported_model,
              fmt::format("tokenizer.json: tokenizers of type {} are not known", plimsoll::quoted(type)),
              "known: BPE, Unigram, WordPiece, WordLevel");
}

std::string pipeline_json(const Json& tokenizer, const std::vector<HfAddedToken>& added,
                          bool marks_words) {
  Json pipeline = {{"added_tokens", hf_added_json(added)}};
  for (const char* part : {"normalizer", "pre_tokenizer", "decoder", "model"})
    if (const auto found = tokenizer.find(part); found != tokenizer.end()) pipeline[part] = *found;
  if (!pipeline["model"].contains("type")) pipeline["model"]["type"] = "BPE";
  if (marks_words) pipeline["marks_words"] = true;
  return pipeline.dump(-1, ' ', false, Json::error_handler_t::replace);
}

bool adds_space_prefix(const JsonKeys& tokenizer) {
  return std::ranges::any_of(normalizer_steps(tokenizer), does_add_space) ||
         std::ranges::any_of(pre_tokenizer_steps(tokenizer), does_add_space);
}

std::string precompiled_charsmap(const JsonKeys& tokenizer) {
  for (const JsonKeys& step : normalizer_steps(tokenizer))
    if (type_of(step) == "Precompiled")
      return decode_base64(step.string("precompiled_charsmap").value_or("")).value_or("");
  return {};
}

}  // namespace plimsoll
