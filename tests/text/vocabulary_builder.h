// Small vocabularies made for a test, through a real file and its reader.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "file/gguf_writer.h"
#include "file/model_file.h"
#include "text/tokenizer.h"

namespace plimsoll {

/// What goes into the file; empty arrays are left out.
struct VocabularyBuilder {
  std::string model = "gpt2";
  std::optional<std::string> pre = std::nullopt;
  std::vector<std::string> tokens = {};
  std::vector<std::int32_t> kinds = {};
  std::vector<float> scores = {};
  std::vector<std::string> merges = {};
  std::function<void(GgufWriter&)> more = {};  ///< further keys

  static constexpr std::int32_t normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5,
                                byte = 6;

  /// Appends a token, with a kind and a score if the others have one.
  void add(const std::string& text, std::int32_t kind = normal, float score = 0) {
    kinds.resize(tokens.size(), normal);
    scores.resize(tokens.size(), 0);
    tokens.push_back(text);
    kinds.push_back(kind);
    scores.push_back(score);
  }

  std::unique_ptr<Tokenizer> build() const {
    const std::string path = std::filesystem::temp_directory_path() /
                             ("plimsoll-vocabulary-" + std::to_string(getpid()) + ".gguf");
    struct Removal {
      const std::string& path;
      ~Removal() { std::filesystem::remove(path); }
    } removal{path};
    write(path);
    return Tokenizer::from_metadata(ModelFile::open(path).metadata());
  }

  void write(const std::string& path) const {
    GgufWriter writer(OutputPath::own(path));
    writer.add_string("general.architecture", "llama");
    writer.add_string("tokenizer.ggml.model", model);
    if (pre) writer.add_string("tokenizer.ggml.pre", *pre);
    if (!tokens.empty()) writer.add_strings("tokenizer.ggml.tokens", tokens);
    if (!kinds.empty()) writer.add_integers("tokenizer.ggml.token_type", kinds);
    if (!scores.empty()) writer.add_numbers("tokenizer.ggml.scores", scores);
    if (!merges.empty()) writer.add_strings("tokenizer.ggml.merges", merges);
    if (more) more(writer);
    writer.finish();
  }
};

}  // namespace plimsoll
