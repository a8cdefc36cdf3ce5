// Whatever users, tools and files say: none of it becomes a control token, and no part of it ends a turn.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>

#include "base/error.h"
#include "file/gguf_writer.h"
#include "file/model_file.h"
#include "text/chat_template.h"
#include "text/vocabulary_builder.h"

namespace plimsoll {
namespace {

using Json = nlohmann::ordered_json;

/// Marks of all the templates' models.
const std::vector<std::string> marks = {
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
    "<|eom_id|>", "<|begin_of_text|>", "<|python_tag|>", "<start_of_turn>", "<end_of_turn>", "<bos>", "<eos>", "<|user|>",
    "<|assistant|>", "<|system|>", "<|end|>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]", "<｜User｜>", "<｜Assistant｜>",
    "<｜end▁of▁sentence｜>", "<｜begin▁of▁sentence｜>", "<｜tool▁calls▁begin｜>", "<|start|>", "<|message|>",
    "<|channel|>", "<|return|>", "<|call|>", "<|constrain|>", "<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>",
    "<think>", "</think>", "<tool_call>", "</tool_call>"};

struct Vocabulary {
  std::string name;
  std::unique_ptr<Tokenizer> tokenizer;
  std::vector<std::string> controls;  ///< texts of some of its control tokens
};

std::vector<Vocabulary> vocabularies() {
  std::vector<Vocabulary> result;
  VocabularyBuilder builder{.model = "llama"};
  builder.add("<unk>", VocabularyBuilder::unknown);
  builder.add("<s>", VocabularyBuilder::control);
  builder.add("</s>", VocabularyBuilder::control);
  for (int byte = 0; byte < 256; ++byte) {
    char text[8];
    std::snprintf(text, sizeof text, "<0x%02X>", byte);
    builder.add(text, VocabularyBuilder::byte);
  }
  for (const char* piece : {"\u2581", "\u2581<", "<|", "|>", "im", "\u2581user", "user"}) builder.add(piece);
  for (const std::string& mark : marks) builder.add(mark, VocabularyBuilder::control);
  result.push_back({"made of marks", builder.build(), {}});
  const std::filesystem::path folder = std::string(PLIMSOLL_SHARED) + "/vocab";
  if (std::filesystem::exists(folder))
    for (const auto& file : std::filesystem::directory_iterator(folder))
      if (file.path().extension() == ".gguf")
        result.push_back({file.path().filename().string(),
                          Tokenizer::from_metadata(ModelFile::open(file.path().string()).metadata()), {}});
  for (Vocabulary& vocabulary : result)
    for (TokenId id = 0; id < vocabulary.tokenizer->vocabulary_size() && vocabulary.controls.size() < 200; ++id)
      if (vocabulary.tokenizer->is_control(id) || vocabulary.tokenizer->is_end_of_generation(id))
        vocabulary.controls.emplace_back(vocabulary.tokenizer->piece(id));
  return result;
}

/// A model of that vocabulary's marks with this template, for what templates are given.
ChatTemplate chat_of(const std::string& source) {
  VocabularyBuilder builder{.model = "llama"};
  builder.add("<unk>", VocabularyBuilder::unknown);
  builder.add("<s>", VocabularyBuilder::control);
  builder.add("</s>", VocabularyBuilder::control);
  for (int byte = 0; byte < 256; ++byte) {
    char text[8];
    std::snprintf(text, sizeof text, "<0x%02X>", byte);
    builder.add(text, VocabularyBuilder::byte);
  }
  builder.more = [&](GgufWriter& writer) { writer.add_string("tokenizer.chat_template", source); };
  const std::string path =
      std::filesystem::temp_directory_path() / ("plimsoll-safety-" + std::to_string(getpid()) + ".gguf");
  builder.write(path);
  const ModelFile file = ModelFile::open(path);
  std::filesystem::remove(path);
  return ChatTemplate::from_metadata(file.metadata());
}

/// Text made of control tokens, their fragments, and what stands at borders.
class Hostile {
 public:
  Hostile(std::uint32_t seed, const std::vector<std::string>& controls) : random_(seed), controls_(controls) {}

  std::string text() {
    std::string text;
    for (std::size_t pieces = below(4) + 1; pieces > 0; --pieces) {
      const std::string& mark = below(2) == 0 ? controls_[below(controls_.size())] : marks[below(marks.size())];
      switch (below(5)) {
        case 0: text += mark.substr(0, below(mark.size() + 1)); break;
        case 1: text += mark.substr(below(mark.size() + 1)); break;
        case 2: text += " \n"; [[fallthrough]];
        default: text += mark;
      }
    }
    // Cut marks may end inside of a character.
    std::erase_if(text, [](char c) { return static_cast<unsigned char>(c) >= 0x80; });
    return text;
  }

 private:
  std::size_t below(std::size_t n) { return random_() % n; }
  std::mt19937 random_;
  const std::vector<std::string>& controls_;
};

/// Tokens of the prompt that are control tokens or end a generation.
std::vector<TokenId> controls_in(const Tokenizer& tokenizer, const ChatPrompt& prompt) {
  std::vector<TokenId> found;
  for (const TokenId token : tokenizer.encode(prompt.parts))
    if (tokenizer.is_control(token) || tokenizer.is_end_of_generation(token)) found.push_back(token);
  return found;
}

struct Texts {
  std::string system, user, answer, reasoning, argument, key, result, name, question;
};

Json conversation(const Texts& t, int shape) {
  Json messages = Json::array();
  const auto say = [&](const char* role, const std::string& text) {
    messages.push_back(Json::object({{"role", role}, {"content", text}}));
  };
  if (shape != 2) say("system", t.system);
  say("user", t.user);
  say("assistant", t.answer);
  messages.back()["reasoning_content"] = t.reasoning;
  if (shape == 1) {
    Json call = Json::object({{"id", "abcdef123"}, {"type", "function"}});
    call["function"]["name"] = t.name;
    call["function"]["arguments"][t.key] = t.argument;
    messages.back()["tool_calls"] = Json::array();
    messages.back()["tool_calls"].push_back(call);
    say("tool", t.result);
    messages.back()["tool_call_id"] = "abcdef123";
    messages.back()["name"] = t.name;
    say("assistant", "fine");
  }
  say("user", t.question);
  return messages;
}

Json tools(const Texts& t) {
  Json tool = Json::object({{"type", "function"}});
  tool["function"]["name"] = t.name;
  tool["function"]["description"] = t.result;
  tool["function"]["parameters"] = Json::parse(R"({"type": "object", "properties": {"x": {"type": "string"}}})");
  tool["function"]["parameters"]["properties"]["x"]["description"] = t.argument;
  Json all = Json::array();
  all.push_back(tool);
  return all;
}

TEST(ChatSafety, NoTextFromOutsideYieldsAControlToken) {
  const std::filesystem::path folder = std::string(PLIMSOLL_SHARED) + "/templates";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << folder << " is not here";
  const std::vector<Vocabulary> all = vocabularies();
  int compared = 0;
  for (const auto& file : std::filesystem::directory_iterator(folder)) {
    std::ifstream in(file.path());
    const ChatTemplate chat = chat_of(std::string(std::istreambuf_iterator<char>(in), {}));
    ASSERT_TRUE(chat.is_from_file()) << file.path();
    for (const Vocabulary& vocabulary : all) {
      Hostile hostile(static_cast<std::uint32_t>(compared + 1), vocabulary.controls);
      for (int round = 0; round < 12; ++round) {
        const int shape = round % 3;
        constexpr std::string_view sign = "q7Zx";  // in no template
        const auto text = [&] { return hostile.text() + std::string(sign); };
        const Texts bad = {text(), text(), text(), text(), text(), text(), text(), text(), text()};
        ChatRequest request;
        request.now = 0;
        const auto render = [&](const Texts& texts) {
          request.messages = conversation(texts, shape);
          request.tools = shape == 1 ? tools(texts) : Json();
          return chat.render(request);
        };
        try {
          const ChatPrompt prompt = render(bad);
          // Templates may look for "</think>" or "/no_think" in a text; that changes what they write themselves, and
          // not which tokens texts become.
          std::vector<TextPart> own;
          for (const TextPart& part : prompt.parts) own.push_back(part.is_input ? TextPart{"x", true} : part);
          ChatPrompt without = prompt;
          without.parts = own;
          EXPECT_EQ(controls_in(*vocabulary.tokenizer, prompt), controls_in(*vocabulary.tokenizer, without))
              << file.path() << ", " << vocabulary.name;
          for (const TextPart& part : prompt.parts)
            EXPECT_TRUE(part.is_input || part.text.find(sign) == std::string::npos) << file.path() << part.text;
          ++compared;
        } catch (const Error& error) {
          EXPECT_EQ(error.code(), ErrorCode::usage) << file.path() << ": " << error.message();
        }
      }
    }
  }
  EXPECT_GT(compared, 300);
}

}  // namespace
}  // namespace plimsoll
