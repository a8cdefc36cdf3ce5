#include "text/chat_template.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <vector>

#include "base/error.h"
#include "file/gguf_writer.h"
#include "file/model_file.h"
#include "text/chat_styles.h"
#include "text/vocabulary_builder.h"

namespace plimsoll {
namespace {

using Json = nlohmann::ordered_json;

ChatRequest asking(const std::string& messages) {
  ChatRequest request;
  request.messages = Json::parse(messages);
  return request;
}

/// A model whose vocabulary has bytes and these marks, with a template.
class Model {
 public:
  explicit Model(const std::string& source, std::vector<std::string> marks = {"<|im_start|>", "<|im_end|>"},
                 const std::map<std::string, std::string>& named = {}) {
    VocabularyBuilder builder{.model = "llama"};
    for (const auto& [text, kind] : {std::pair{"<unk>", 2}, {"<s>", 3}, {"</s>", 3}}) builder.add(text, kind);
    for (int byte = 0; byte < 256; ++byte) {
      char text[8];
      std::snprintf(text, sizeof text, "<0x%02X>", byte);
      builder.add(text, VocabularyBuilder::byte);
    }
    for (const std::string& mark : marks) builder.add(mark, VocabularyBuilder::control);
    builder.more = [&](GgufWriter& writer) {
      if (!source.empty()) writer.add_string("tokenizer.chat_template", source);
      for (const auto& [name, text] : named) writer.add_string("tokenizer.chat_template." + name, text);
      writer.add_bool("tokenizer.ggml.add_space_prefix", false);
    };
    path_ = std::filesystem::temp_directory_path() / ("plimsoll-chat-" + std::to_string(getpid()) + ".gguf");
    builder.write(path_);
    file_.emplace(ModelFile::open(path_));
    std::filesystem::remove(path_);
    tokenizer_ = Tokenizer::from_metadata(file_->metadata());
    template_.emplace(ChatTemplate::from_metadata(file_->metadata(), *tokenizer_));
  }

  ChatPrompt render(const ChatRequest& request) const { return template_->render(request); }
  std::string text(const std::string& messages) const { return render(asking(messages)).text(); }
  const ChatTemplate& chat() const { return *template_; }
  const Tokenizer& tokenizer() const { return *tokenizer_; }

 private:
  std::string path_;
  std::optional<ModelFile> file_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::optional<ChatTemplate> template_;
};

const std::string chatml =
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

// --- The shared cases ---

TEST(ChatTemplate, SharedCasesRenderAsExpected) {
  const std::filesystem::path cases = std::string(PLIMSOLL_SHARED) + "/cases";
  if (!std::filesystem::exists(cases)) GTEST_SKIP() << cases << " is not here";
  int checked = 0;
  for (const char* name : {"chat-bos-only-in-template", "chat-default-system-dropped", "chat-template-not-recognised"}) {
    std::ifstream expected(cases / name / "expected");
    for (std::string line; std::getline(expected, line);) {
      std::smatch match;
      ASSERT_TRUE(std::regex_match(line, match, std::regex("(\\S+) (\\d+) '(.*)'"))) << line;
      const ModelFile file = ModelFile::open((cases / name / (match[1].str() + ".gguf")).string());
      const auto tokenizer = Tokenizer::from_metadata(file.metadata());
      const ChatTemplate chat = ChatTemplate::from_metadata(file.metadata(), *tokenizer);
      const ChatPrompt prompt = chat.render(asking(R"([{"role": "user", "content": "Hi"}])"));
      EXPECT_EQ(prompt.text(), std::regex_replace(match[3].str(), std::regex("\\\\n"), "\n")) << line;
      EXPECT_EQ(tokenizer->encode(prompt.parts).size(), std::stoul(match[2])) << line;
      EXPECT_TRUE(chat.is_from_file());
      EXPECT_EQ(chat.description(), "the file's own template");
      EXPECT_TRUE(prompt.notices.empty());
      ++checked;
    }
  }
  EXPECT_EQ(checked, 10);
}

TEST(ChatTemplate, WhatUsersWriteIsText) {
  const std::string path = std::string(PLIMSOLL_SHARED) + "/cases/chat-user-text-becomes-control/chatml.gguf";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not here";
  const ModelFile file = ModelFile::open(path);
  const auto tokenizer = Tokenizer::from_metadata(file.metadata());
  const ChatTemplate chat = ChatTemplate::from_metadata(file.metadata(), *tokenizer);
  const ChatPrompt prompt = chat.render(asking(R"([{"role": "user", "content": "What is <|im_end|>?"}])"));
  EXPECT_EQ(tokenizer->encode(prompt.parts).size(), 38U);
}

// --- Files without a template ---

TEST(ChatTemplate, WithoutOneTheVocabularyTellsTheStyle) {
  const Model model("");
  EXPECT_FALSE(model.chat().is_from_file());
  EXPECT_EQ(model.chat().description(), "no template in the file: ChatML, by the marks in its vocabulary");
  EXPECT_EQ(model.text(R"([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}])"),
            "<s><|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  const Model plain("", {});
  EXPECT_EQ(plain.chat().description(), "no template in the file: plain \"User:\" and \"Assistant:\" lines");
  EXPECT_EQ(plain.text(R"([{"role": "user", "content": "Hi"}])"), "<s>User: Hi\nAssistant:");
}

TEST(ChatTemplate, ABrokenOneIsPassedOverWithANotice) {
  const Model model("{% for m in messages %}");
  EXPECT_FALSE(model.chat().is_from_file());
  const ChatPrompt prompt = model.render(asking(R"([{"role": "user", "content": "Hi"}])"));
  ASSERT_EQ(prompt.notices.size(), 2U);
  EXPECT_NE(prompt.notices[0].find("cannot be read, line 1"), std::string::npos) << prompt.notices[0];
}

// --- Repairs ---

TEST(ChatTemplate, SystemMessagesGoWhereATemplateTakesThem) {
  const Model model(
      "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
      "[{{ m.role }}]{{ m.content }}{% endfor %}");
  const ChatPrompt prompt = model.render(
      asking(R"([{"role": "system", "content": "S"}, {"role": "user", "content": "U"}])"));
  EXPECT_EQ(prompt.text(), "[user]S\n\nU");
  EXPECT_EQ(prompt.notices.size(), 1U);
}

TEST(ChatTemplate, TheTemplatesOwnRefusalIsItsMessage) {
  const Model model("{{ raise_exception('only on Sundays') }}");
  try {
    model.text(R"([{"role": "user", "content": "U"}])");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::usage);
    EXPECT_NE(error.message().find("only on Sundays"), std::string::npos);
  }
}

}  // namespace
}  // namespace plimsoll
