// A small vocabulary with the control tokens of a chat format, and its template.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "file/gguf_writer.h"
#include "file/model_file.h"
#include "support/temporary_folder.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace plimsoll::test {

inline const char* const chatml_template =
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] "
    "+ '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ "
    "'<|im_start|>assistant\\n' }}{% endif %}";

struct ChatVocabulary {
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<ChatTemplate> chat_template;

  /// Byte-level BPE: all bytes, a few merges, "<|im_start|>" and "<|im_end|>".
  static ChatVocabulary byte_level() {
    constexpr std::int32_t normal = 1, control = 3;
    std::vector<std::string> tokens;
    for (int byte = 0; byte < 256; ++byte) tokens.push_back(spelled(byte));
    std::vector<std::string> merges;
    for (const auto& [a, b] : std::vector<std::pair<std::string, std::string>>{{"h", "e"},
                                                                               {"l", "l"},
                                                                               {"he", "ll"},
                                                                               {"hell", "o"},
                                                                               {"o", "u"},
                                                                               {"u", "s"},
                                                                               {"us", "e"},
                                                                               {"use", "r"},
                                                                               {"i", "n"},
                                                                               {"a", "n"},
                                                                               {"an", "s"},
                                                                               {"\u0120", "a"}}) {
      merges.push_back(a + " " + b);
      tokens.push_back(a + b);
    }
    std::vector<std::int32_t> kinds(tokens.size(), normal);
    for (const char* text : {"<|im_start|>", "<|im_end|>"}) {
      tokens.push_back(text);
      kinds.push_back(control);
    }
    return build([&](GgufWriter& writer) {
      writer.add_string("tokenizer.ggml.model", "gpt2");
      writer.add_string("tokenizer.ggml.pre", "gpt-2");
      writer.add_strings("tokenizer.ggml.tokens", tokens);
      writer.add_integers("tokenizer.ggml.token_type", kinds);
      writer.add_strings("tokenizer.ggml.merges", merges);
      writer.add_integer("tokenizer.ggml.eos_token_id",
                         static_cast<std::int64_t>(tokens.size()) - 1);
    });
  }

  /// Sentence pieces, which put a space before a text.
  static ChatVocabulary sentence_pieces() {
    std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
    std::vector<std::int32_t> kinds = {2, 3, 3};
    std::vector<float> scores = {0, 0, 0};
    constexpr const char* digits = "0123456789ABCDEF";
    for (int byte = 0; byte < 256; ++byte) {
      tokens.push_back(std::string("<0x") + digits[byte / 16] + digits[byte % 16] + ">");
      kinds.push_back(6);
      scores.push_back(0);
    }
    const auto add = [&](const std::string& text, float score) {
      tokens.push_back(text);
      kinds.push_back(1);
      scores.push_back(score);
    };
    add("\u2581", -100);
    for (char c = '!'; c <= '~'; ++c) add(std::string(1, c), -100);
    for (const char* text : {"he", "ll", "hell", "hello", "\u2581hello", "\u2581a"}) add(text, -2);
    return build([&](GgufWriter& writer) {
      writer.add_string("tokenizer.ggml.model", "llama");
      writer.add_strings("tokenizer.ggml.tokens", tokens);
      writer.add_integers("tokenizer.ggml.token_type", kinds);
      writer.add_numbers("tokenizer.ggml.scores", scores);
      writer.add_integer("tokenizer.ggml.bos_token_id", 1);
      writer.add_integer("tokenizer.ggml.eos_token_id", 2);
    });
  }

 private:
  template <class Fill>
  static ChatVocabulary build(Fill&& fill) {
    const TemporaryFolder folder;
    const std::string path = folder.path() / "vocabulary.gguf";
    GgufWriter writer(OutputPath::own(path));
    writer.add_string("general.architecture", "llama");
    fill(writer);
    writer.add_string("tokenizer.chat_template", chatml_template);
    writer.finish();
    const ModelFile file = ModelFile::open(path);
    return {Tokenizer::from_metadata(file.metadata()),
            std::make_unique<ChatTemplate>(ChatTemplate::from_metadata(file.metadata()))};
  }

  /// A byte as byte-level vocabularies spell it.
  static std::string spelled(int byte) {
    int code = byte, next = 256;
    const auto is_shown = [](int b) {
      return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    };
    for (int b = 0; b <= byte; ++b) {
      if (is_shown(b)) continue;
      if (b == byte) code = next;
      ++next;
    }
    if (code < 0x80) return std::string(1, static_cast<char>(code));
    return {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 0x3F))};
  }
};

}  // namespace plimsoll::test
