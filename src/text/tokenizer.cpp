#include "text/tokenizer.h"

#include <fmt/format.h>

#include "base/error.h"
#include "text/pipeline_tokenizer.h"
#include "text/spm_tokenizer.h"
#include "text/utf8.h"

namespace plimsoll {
namespace {

constexpr std::string_view replacement = "\xEF\xBF\xBD";  // U+FFFD

const PreTokenizerKind& pre_tokenizer_kind(std::string_view name) {
  if (const PreTokenizerKind* kind = find_pre_tokenizer_kind(name)) return *kind;
  throw Error(ErrorCode::unsupported_model,
              fmt::format("pre-tokenizer \"{}\" (tokenizer.ggml.pre) is not known; known are {}",
                          name, known_pre_tokenizer_names()),
              "convert the model with a newer converter, or ask for this kind to be added");
}

}  // namespace

std::unique_ptr<Tokenizer> Tokenizer::from_metadata(const Metadata& metadata) {
  const std::optional<std::string_view> model = metadata.string("tokenizer.ggml.model");
  if (!model) {
    throw Error(ErrorCode::invalid_model,
                "the model has no vocabulary (a GGUF file's tokenizer.ggml.model is missing, or a "
                "folder's tokenizer.json)",
                "convert the model again with its tokenizer; a folder needs tokenizer.json, "
                "tokenizer.model, vocab.json with merges.txt, or vocab.txt");
  }
  if (metadata.contains(PipelineTokenizer::key)) return PipelineTokenizer::of_folder(metadata);
  if (*model == "llama") return std::make_unique<SpmTokenizer>(metadata);
  if (*model == "gpt2") {
    const std::string_view pre = metadata.string("tokenizer.ggml.pre").value_or("default");
    return PipelineTokenizer::of_kind(metadata, pre_tokenizer_kind(pre));
  }
  if (*model == "gemma4")
    return PipelineTokenizer::of_kind(metadata, pre_tokenizer_kind("gemma4"));
  if (*model == "bert") return PipelineTokenizer::of_bert(metadata);
  if (*model == "t5") return PipelineTokenizer::of_unigram(metadata);
  throw Error(ErrorCode::unsupported_model,
              fmt::format("tokenizer \"{}\" (tokenizer.ggml.model) is not known; known are llama, "
                          "gpt2, gemma4, bert, t5",
                          *model),
              "use a model with one of the known tokenizers");
}

std::string Tokenizer::decode(std::span<const TokenId> tokens, bool show_special) const {
  Detokenizer detokenizer(*this);
  std::string text;
  for (const TokenId token : tokens) text += detokenizer.push(token, show_special);
  return text + detokenizer.flush();
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, bool parse_special) const {
  const ByteRange all{0, text.size()};
  return encode_marked(text, parse_special ? std::span(&all, 1) : std::span<const ByteRange>());
}

std::vector<TokenId> Tokenizer::encode(std::span<const TextPart> parts) const {
  std::string text;
  std::vector<ByteRange> special;
  for (const TextPart& part : parts) {
    const ByteRange range{text.size(), text.size() + part.text.size()};
    text += part.text;
    if (part.is_input || range.begin == range.end) continue;
    // A token may lie across what the template wrote in two pieces.
    if (!special.empty() && special.back().end == range.begin)
      special.back().end = range.end;
    else
      special.push_back(range);
  }
  return encode_marked(text, special);
}

std::string Detokenizer::push(TokenId token, bool show_special) {
  pending_ += tokenizer_->bytes_of(token, show_special);
  std::string text;
  std::string_view rest = pending_;
  while (!rest.empty()) {
    const Utf8Step step = next_utf8(rest);
    if (step.kind == Utf8Step::Kind::incomplete) break;
    text += step.kind == Utf8Step::Kind::character ? rest.substr(0, step.length) : replacement;
    rest.remove_prefix(step.length);
  }
  pending_.erase(0, pending_.size() - rest.size());
  return text;
}

std::string Detokenizer::flush() {
  if (pending_.empty()) return {};
  pending_.clear();
  return std::string(replacement);
}

}  // namespace plimsoll
