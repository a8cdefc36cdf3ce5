// Any text through tokenizers of both kinds, made of a small vocabulary with every awkward sort of token, and any bytes as
// the vocabulary itself.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "file/gguf_writer.h"
#include "file/model_file.h"
#include "text/tokenizer.h"

using namespace plimsoll;

namespace {

/// A vocabulary file with these pieces; token types by GGUF: 1 normal, 2 unknown, 3 control, 4 user-defined, 6 byte.
std::unique_ptr<Tokenizer> make_tokenizer(const std::string& kind, const std::string& pre,
                                          const std::vector<std::string>& pieces,
                                          const std::vector<std::int32_t>& types,
                                          const std::vector<std::string>& merges) {
  const std::string path = "/tmp/plimsoll-fuzz-" + std::to_string(std::rand()) + ".gguf";
  {
    GgufWriter writer(OutputPath::own(path));
    writer.add_string("general.architecture", "llama");
    writer.add_string("tokenizer.ggml.model", kind);
    if (!pre.empty()) writer.add_string("tokenizer.ggml.pre", pre);
    writer.add_strings("tokenizer.ggml.tokens", pieces);
    writer.add_integers("tokenizer.ggml.token_type", types);
    std::vector<float> scores;
    for (std::size_t i = 0; i < pieces.size(); ++i) scores.push_back(-static_cast<float>(i));
    writer.add_numbers("tokenizer.ggml.scores", scores);
    if (kind == "gpt2") writer.add_strings("tokenizer.ggml.merges", merges);
    writer.finish();
  }
  std::unique_ptr<Tokenizer> tokenizer;
  try {
    const ModelFile file = ModelFile::open(path);
    tokenizer = Tokenizer::from_metadata(file.metadata());
  } catch (const Error&) {
  }
  std::remove(path.c_str());
  return tokenizer;
}

std::unique_ptr<Tokenizer> spm() {
  std::vector<std::string> pieces = {"<unk>", "<s>", "</s>"};
  std::vector<std::int32_t> types = {2, 3, 3};
  for (int b = 0; b < 256; ++b) {
    char text[8];
    std::snprintf(text, sizeof text, "<0x%02X>", b);
    pieces.push_back(text);
    types.push_back(6);
  }
  for (const char* piece : {"\u2581", "e", "t", "\u2581t", "he", "\u2581the", "the", "\u00e9", "\u2581\u2581", "aa", "aaaa", "<user>"}) {
    pieces.push_back(piece);
    types.push_back(pieces.back() == "<user>" ? 4 : 1);
  }
  return make_tokenizer("llama", "", pieces, types, {});
}

std::unique_ptr<Tokenizer> bpe(const std::string& pre) {
  std::vector<std::string> pieces;
  // GPT-2's printable stand-ins for bytes.
  int next = 256;
  for (int b = 0; b < 256; ++b) {
    const bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    const int code = printable ? b : next++;
    std::string text;
    if (code < 128) {
      text = static_cast<char>(code);
    } else {
      text = {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 63))};
    }
    pieces.push_back(text);
  }
  std::vector<std::string> merges = {"t h", "th e", "\u0120 t", "\u0120t he", "1 2", "a a", "aa aa"};
  for (const std::string& merge : merges) {
    std::string piece = merge;
    piece.erase(std::remove(piece.begin(), piece.end(), ' '), piece.end());
    pieces.push_back(piece);
  }
  std::vector<std::int32_t> types(pieces.size(), 1);
  pieces.push_back("<|end|>");
  types.push_back(3);
  pieces.push_back("<user>");
  types.push_back(4);
  return make_tokenizer("gpt2", pre, pieces, types, merges);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::vector<std::unique_ptr<Tokenizer>> tokenizers = [] {
    std::vector<std::unique_ptr<Tokenizer>> result;
    result.push_back(spm());
    for (const char* pre : {"gpt-2", "llama-bpe", "qwen2", "deepseek-coder", "falcon", "starcoder", "tekken"})
      result.push_back(bpe(pre));
    for (const auto& tokenizer : result)
      if (!tokenizer) std::abort();
    return result;
  }();
  if (size < 1) return 0;
  const bool parse_special = data[0] & 1;
  const Tokenizer& tokenizer = *tokenizers[data[0] / 2 % tokenizers.size()];
  const std::string text(reinterpret_cast<const char*>(data + 1), size - 1);
  try {
    const std::vector<TokenId> tokens = tokenizer.encode(text, parse_special);
    std::string back;
    Detokenizer detokenizer(tokenizer);
    for (const TokenId token : tokens) back += detokenizer.push(token, true);
    back += detokenizer.flush();
    // SPM puts a space before a text; byte-level BPE gives every valid text back.
    if (tokenizer.find("<|end|>") && back != text) std::abort();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::invalid_text) std::abort();
  }
  // Any tokens at all are text.
  Detokenizer any(tokenizer);
  for (std::size_t i = 1; i < size; ++i) any.push(data[i] % tokenizer.vocabulary_size());
  any.flush();
  return 0;
}
