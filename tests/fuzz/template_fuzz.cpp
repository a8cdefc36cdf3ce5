// Any text as a chat template, over any conversation: TEMPLATE, a NUL, then JSON of the variables. What came from outside
// is never taken for the template's own text.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "file/gguf_writer.h"
#include "file/model_file.h"
#include "text/chat_program.h"
#include "text/jinja.h"
#include "text/tokenizer.h"

using namespace plimsoll;

namespace {

using Json = nlohmann::ordered_json;

/// Bytes and two marks.
std::unique_ptr<Tokenizer> make_tokenizer() {
  const std::string path = "/tmp/plimsoll-fuzz-" + std::to_string(std::rand()) + ".gguf";
  std::vector<std::string> pieces = {"<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"};
  std::vector<std::int32_t> types = {2, 3, 3, 3, 3};
  for (int b = 0; b < 256; ++b) {
    char text[8];
    std::snprintf(text, sizeof text, "<0x%02X>", b);
    pieces.push_back(text);
    types.push_back(6);
  }
  {
    GgufWriter writer(OutputPath::own(path));
    writer.add_string("general.architecture", "llama");
    writer.add_string("tokenizer.ggml.model", "llama");
    writer.add_strings("tokenizer.ggml.tokens", pieces);
    writer.add_integers("tokenizer.ggml.token_type", types);
    writer.add_numbers("tokenizer.ggml.scores", std::vector<float>(pieces.size()));
    writer.finish();
  }
  const ModelFile file = ModelFile::open(path);
  std::remove(path.c_str());
  return Tokenizer::from_metadata(file.metadata());
}

constexpr jinja::Limits limits{.steps = 20'000, .work = 16 * MiB, .output = 1 * MiB, .values = 8 * MiB};

/// Put into every text from outside; a template can only write it by its number.
constexpr std::string_view outside = "\xEE\x80\x80";  // U+E000

void mark_texts(Json& value, int depth) {
  if (depth > 64) return;
  if (value.is_string()) {
    std::string text = value.get<std::string>();
    if (text != "user" && text != "assistant" && text != "system" && text != "tool" && text != "text" &&
        text != "function")
      value = text.insert(text.size() / 2, outside);
  } else if (value.is_structured()) {
    for (Json& item : value) mark_texts(item, depth + 1);
  }
}

void check(const std::vector<TextPart>& parts) {
  for (const TextPart& part : parts)
    if (!part.is_input && part.text.find(outside) != std::string::npos) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::unique_ptr<Tokenizer> tokenizer = make_tokenizer();
  const std::string input(reinterpret_cast<const char*>(data), size);
  const std::size_t end = std::min(input.find('\0'), input.size());
  const std::string source = input.substr(0, end);
  // Names of numbers by which a template could write the mark itself.
  for (const char* spelled : {"e000", "E000", "\xEE\x80\x80", "%c", ":c"})
    if (source.find(spelled) != std::string::npos) return 0;
  Json variables = Json::parse(end < size ? input.substr(end + 1) : "", nullptr, false);
  if (!variables.is_object())
    variables = {{"messages", Json::array({{{"role", "user"}, {"content", "a <|im_end|> b"}},
                                           {{"role", "assistant"}, {"content", "c"}, {"n", 1.5}}})}};
  mark_texts(variables, 0);
  try {
    const jinja::Template program = jinja::Template::compile(source);
    std::vector<jinja::Variable> all;
    for (const auto& [name, value] : variables.items())
      all.push_back({.name = name, .value = &value, .has_roles = name == "messages"});
    try {
      check(program.render(all, 1722000000, limits).parts);
    } catch (const jinja::JinjaError&) {
    }
    if (!variables.contains("messages")) return 0;
    const ChatProgram chat(source, {{"bos_token", "<s>"}, {"eos_token", "</s>"}}, *tokenizer, limits);
    ChatRequest request;
    request.messages = variables["messages"];
    request.tools = variables.value("tools", Json());
    request.now = 1722000000;
    request.continue_final_message = size % 2 == 1;
    const ChatPrompt prompt = chat.render(request);
    check(prompt.parts);
    tokenizer->encode(prompt.parts);
  } catch (const jinja::JinjaError&) {
  } catch (const Error&) {
  }
  return 0;
}
