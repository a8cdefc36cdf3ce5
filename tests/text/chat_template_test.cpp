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

TEST(ChatTemplate, RolesInARowAreJoinedWhereTheTemplateWantsThemInTurn) {
  const Model model(
      "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('in turn!') }}"
      "{% endif %}[{{ m.role }}]{{ m.content }}{% endfor %}");
  const ChatPrompt prompt = model.render(asking(
      R"([{"role": "user", "content": "A"}, {"role": "user", "content": "B"}, {"role": "assistant", "content": "C"}])"));
  EXPECT_EQ(prompt.text(), "[user]A\n\nB[assistant]C");
  EXPECT_EQ(prompt.notices.size(), 1U);
  EXPECT_TRUE(model.render(asking(R"([{"role": "user", "content": "A"}])")).notices.empty());
}

TEST(ChatTemplate, PartsAreJoinedWhereATemplateTakesText) {
  const char* parts = R"([{"role": "user", "content": [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}]}])";
  EXPECT_EQ(Model(chatml).text(parts), "<|im_start|>user\nAB<|im_end|>\n<|im_start|>assistant\n");
  const Model typed("{% for m in messages %}{% for p in m.content %}({{ p.text }}){% endfor %}{% endfor %}");
  EXPECT_EQ(typed.text(parts), "(A)(B)");
  EXPECT_EQ(typed.text(R"([{"role": "user", "content": "C"}])"), "(C)");
  const Model both("{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}"
                   "{% for p in m.content %}({{ p.text }}){% endfor %}{% endif %}{% endfor %}");
  EXPECT_EQ(both.text(parts), "(A)(B)");
  EXPECT_EQ(both.text(R"([{"role": "user", "content": "C"}])"), "C");
}

TEST(ChatTemplate, ImagesAreRefused) {
  try {
    Model(chatml).text(R"([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}])");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::usage);
    EXPECT_NE(error.message().find("image_url"), std::string::npos);
  }
}

TEST(ChatTemplate, ArgumentsHaveTheFormThatTheTemplateWants) {
  const std::string begin = "{% for m in messages %}{{ m.content }}{% for c in m.tool_calls or [] %}";
  const std::string end = "{% endfor %}{% endfor %}";
  const auto conversation = [](const char* arguments) {
    return std::string(R"([{"role": "user", "content": "U"}, {"role": "assistant", "content": null, "tool_calls": [{"id": )"
                       R"("1", "type": "function", "function": {"name": "f", "arguments": )") +
           arguments + "}}]}]";
  };
  const char* as_text = R"("{\"a\": 1}")";
  const char* as_object = R"({"a": 1})";
  for (const char* given : {as_text, as_object}) {
    EXPECT_EQ(Model(begin + "{{ c.function.arguments | tojson }}" + end).text(conversation(given)), "U{\"a\": 1}");
    EXPECT_EQ(Model(begin + "{% for k, v in c.function.arguments | items %}{{ k }}={{ v }}{% endfor %}" + end)
                  .text(conversation(given)),
              "Ua=1");
  }
  EXPECT_EQ(Model(begin + "{{ 'f: ' + c.function.arguments }}" + end).text(conversation(as_text)), "Uf: {\"a\": 1}");
  EXPECT_EQ(Model(begin + "{{ 'f: ' + c.function.arguments }}" + end).text(conversation(as_object)), "Uf: {\"a\":1}");
  // What is no JSON stays what it is.
  EXPECT_EQ(Model(begin + "{{ c.function.arguments | tojson }}" + end).text(conversation(R"("not JSON")")), "U\"not JSON\"");
}

TEST(ChatTemplate, DevelopersAreSystemsWhereTheTemplateDoesNotKnowThem) {
  const char* messages = R"([{"role": "developer", "content": "D"}, {"role": "user", "content": "U"}])";
  EXPECT_EQ(Model(chatml).text(messages).substr(0, 21), "<|im_start|>system\nD<");
  EXPECT_EQ(Model(chatml + "{# developer #}").text(messages).substr(0, 24), "<|im_start|>developer\nD<");
}

TEST(ChatTemplate, AnswersAreContinued) {
  ChatRequest request = asking(R"([{"role": "user", "content": "U"}, {"role": "assistant", "content": "The answer is "}])");
  request.continue_final_message = true;
  EXPECT_EQ(Model(chatml).render(request).text(),
            "<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\nThe answer is ");
  const Model trims("{% for m in messages %}[{{ m.role }}] {{ m.content | trim }}|{% endfor %}");
  EXPECT_EQ(trims.render(request).text(), "[user] U|[assistant] The answer is");
  const Model none("");
  EXPECT_EQ(none.render(request).text(),
            "<s><|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\nThe answer is ");
  for (const char* wrong : {R"([{"role": "user", "content": "U"}])",
                            R"([{"role": "user", "content": "U"}, {"role": "assistant", "content": null}])"}) {
    request.messages = Json::parse(wrong);
    EXPECT_THROW(Model(chatml).render(request), Error) << wrong;
  }
  // Where the template has no place for what was said, nothing is left to continue.
  request.messages = Json::parse(R"([{"role": "system", "content": "S"}])");
  EXPECT_THROW(Model("{{ x }}").render(request), Error);
}

TEST(ChatTemplate, ToolsHaveATemplateOfTheirOwn) {
  const Model model("plain {{ messages[0].content }}", {}, {{"tool_use", "tools {{ tools | length }}"}, {"rag", "rag"}});
  ChatRequest request = asking(R"([{"role": "user", "content": "U"}])");
  EXPECT_EQ(model.render(request).text(), "plain U");
  request.tools = Json::parse(R"([{"type": "function", "function": {"name": "f"}}])");
  EXPECT_EQ(model.render(request).text(), "tools 1");
  EXPECT_EQ(Model("", {}, {{"rag", "only {{ messages[0].content }}"}}).text(R"([{"role": "user", "content": "U"}])"), "only U");
  EXPECT_EQ(Model(chatml).render(request).notices.size(), 1U);  // no place for them
  // One made for tools alone goes through the list in any case.
  EXPECT_EQ(Model("{% for t in tools %}x{% endfor %}{{ messages[0].content }}").text(R"([{"role": "user", "content": "U"}])"), "U");
}

TEST(ChatTemplate, VariablesReachTheTemplate) {
  const Model model("{{ enable_thinking }}|{{ thinking }}|{{ effort }}|{{ bos_token }}|{{ eos_token }}|{{ unk_token }}|{{ pad_token }}|"
                    "{{ strftime_now('%Y') }}|{{ documents }}");
  ChatRequest request = asking(R"([{"role": "user", "content": "U"}])");
  request.enable_thinking = false;
  request.variables = {{"effort", "high"}};
  request.now = 1722000000;
  EXPECT_EQ(model.render(request).text(), "False|False|high|<s>|</s>|||2024|None");
}

TEST(ChatTemplate, MessagesThatAreNoneAreRefused) {
  const Model model(chatml);
  for (const char* messages : {"{}", "[]", "[1]", R"([{"content": "a"}])", R"([{"role": 1, "content": "a"}])",
                               R"([{"role": "user", "content": 5}])", R"([{"role": "user", "content": ["a"]}])",
                               R"([{"role": "user", "content": [{"type": "text"}]}])"}) {
    try {
      model.text(messages);
      FAIL() << messages;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::usage) << messages;
    }
  }
}

// --- Reasoning and ends ---

const std::string thinking =
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.reasoning_content %}BEGIN\n{{ m.reasoning_content }}\nEND\n\n{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\nOPEN{% endif %}";

std::string thinking_with(std::string begin, std::string end, std::string open) {
  std::string source = thinking;
  source.replace(source.find("BEGIN"), 5, begin);
  source.replace(source.find("END\n"), 3, end);
  source.replace(source.find("OPEN"), 4, open);
  return source;
}

TEST(ChatTemplate, ReasoningIsFoundByTrying) {
  struct Case {
    const char *begin, *end, *open;
    bool opened;
  };
  for (const Case& c : {Case{"<think>", "</think>", "", false}, {"<think>", "</think>", "<think>\n", true},
                        {"[THINK]", "[/THINK]", "", false}, {"<seed:think>", "</seed:think>", "<seed:think>", true},
                        {"<musing>", "</musing>", "<musing>\n</musing>", false}}) {
    const ChatPrompt prompt =
        Model(thinking_with(c.begin, c.end, c.open)).render(asking(R"([{"role": "user", "content": "Hi"}])"));
    EXPECT_EQ(prompt.reasoning.begin, c.begin);
    EXPECT_EQ(prompt.reasoning.end, c.end);
    EXPECT_EQ(prompt.reasoning.opened_by_prompt, c.opened) << c.open;
  }
  // What users write opens nothing.
  const Model open("{% for m in messages %}{{ m.content }}{% endfor %}{# </think> #}");
  const ChatPrompt prompt = open.render(asking(R"([{"role": "user", "content": "<think>"}])"));
  EXPECT_EQ(prompt.reasoning.begin, "<think>");
  EXPECT_FALSE(prompt.reasoning.opened_by_prompt);
  EXPECT_EQ(Model(chatml).render(asking(R"([{"role": "user", "content": "Hi"}])")).reasoning.begin, "");
}

TEST(ChatTemplate, ReasoningOfPublishedTemplates) {
  const std::filesystem::path folder = std::string(PLIMSOLL_SHARED) + "/templates";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << folder << " is not here";
  const std::map<std::string, std::pair<std::string, bool>> marks = {
      {"HuggingFaceTB-SmolLM3-3B", {"<think>", false}},
      {"Qwen-Qwen3-0.6B", {"<think>", false}},
      {"deepseek-ai-DeepSeek-R1-Distill-Qwen-32B", {"<think>", false}},
      {"ibm-granite-granite-3.3-2B-Instruct", {"<think>", false}},
      {"openai-gpt-oss-120b", {"<|channel|>analysis<|message|>", false}}};
  for (const auto& file : std::filesystem::directory_iterator(folder)) {
    std::ifstream in(file.path());
    const Model model(std::string(std::istreambuf_iterator<char>(in), {}));
    const ChatPrompt prompt = model.render(asking(R"([{"role": "user", "content": "Hi"}])"));
    const auto wanted = marks.find(file.path().stem().string());
    EXPECT_EQ(prompt.reasoning.begin, wanted == marks.end() ? "" : wanted->second.first) << file.path();
    EXPECT_FALSE(prompt.reasoning.opened_by_prompt) << file.path();
  }
}

TEST(ChatTemplate, EndsThatAreNoTokensAreStopTexts) {
  const char* hi = R"([{"role": "user", "content": "Hi"}])";
  EXPECT_TRUE(Model(chatml).render(asking(hi)).stops.empty());
  EXPECT_EQ(Model(chatml, {}).render(asking(hi)).stops, std::vector<std::string>{"<|im_end|>"});
  EXPECT_EQ(Model("{% for m in messages %}{{ '### ' + m.role + ':\n' + m.content + '\n\n' }}{% endfor %}").render(asking(hi)).stops,
            std::vector<std::string>{"\n\n### user:"});
  EXPECT_TRUE(Model("{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}").render(asking(hi)).stops.empty());
  EXPECT_EQ(Model("", {}).render(asking(hi)).stops, std::vector<std::string>{"\nUser:"});
}

}  // namespace
}  // namespace plimsoll
