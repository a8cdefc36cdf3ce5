// Renders chat templates for tests/templates/judge.py: one JSON object a line in, one a line out.
//   {"template": TEXT}                                       from now on this one
//   {"variables": {...}, "now": SECONDS}                     {"text": ...} or {"error": KIND, "message": ..., "line": N}
//   {"chat": [MESSAGES], "specials": {...}, "now": ...}      what a chat makes of it: text, stops, reasoning, notices
//   {"continue": [MESSAGES], "specials": {...}, "now": ...}  the same, by a program that continues the last message
// "specials" are variables that did not come with the request.
#include <iostream>
#include <memory>
#include <string>

#include "base/error.h"
#include "text/chat_messages.h"
#include "text/chat_program.h"
#include "text/jinja.h"
#include "text/vocabulary_builder.h"

using namespace plimsoll;

namespace {

using Json = nlohmann::ordered_json;

const char* name(jinja::Failure failure) {
  switch (failure) {
    case jinja::Failure::syntax: return "syntax";
    case jinja::Failure::undefined: return "undefined";
    case jinja::Failure::type: return "type";
    case jinja::Failure::raised: return "raised";
    case jinja::Failure::security: return "security";
    case jinja::Failure::limit: return "limit";
  }
  return "?";
}

Json text_of(const std::vector<TextPart>& parts) {
  std::string text;
  Json inputs = Json::array();  // [begin, end) of bytes from outside
  for (const TextPart& part : parts) {
    if (part.is_input) inputs.push_back(Json::array({text.size(), text.size() + part.text.size()}));
    text += part.text;
  }
  return {{"text", text}, {"input", std::move(inputs)}};
}

std::unique_ptr<Tokenizer> small_tokenizer() {
  VocabularyBuilder builder{.model = "llama"};
  builder.add("<unk>", VocabularyBuilder::unknown);
  builder.add("<s>", VocabularyBuilder::control);
  builder.add("</s>", VocabularyBuilder::control);
  for (int byte = 0; byte < 256; ++byte) {
    char text[8];
    std::snprintf(text, sizeof text, "<0x%02X>", byte);
    builder.add(text, VocabularyBuilder::byte);
  }
  return builder.build();
}

}  // namespace

int main() {
  std::ios::sync_with_stdio(false);
  const std::unique_ptr<Tokenizer> tokenizer = small_tokenizer();
  std::optional<jinja::Template> program;
  std::string source;
  for (std::string line; std::getline(std::cin, line);) {
    Json answer;
    try {
      const Json request = Json::parse(line);
      if (request.contains("template")) {
        program.reset();
        source = request["template"].get<std::string>();
        program.emplace(jinja::Template::compile(source));
        continue;
      }
      if (!program) program.emplace(jinja::Template::compile(source));  // the same failure again
      const std::int64_t now = request.value("now", std::int64_t{0});
      if (request.contains("chat")) {
        const ChatProgram chat(source, request["specials"], *tokenizer);
        ChatRequest wanted;
        wanted.messages = request["chat"];
        wanted.tools = request.value("tools", Json());
        wanted.now = now;
        const ChatPrompt prompt = chat.render(wanted);
        answer = text_of(prompt.parts);
        answer["stops"] = prompt.stops;
        answer["notices"] = prompt.notices;
        answer["reasoning"] = {prompt.reasoning.begin, prompt.reasoning.end, prompt.reasoning.opened_by_prompt};
      } else if (request.contains("continue")) {
        const ChatProgram chat(source, request["specials"], *tokenizer);
        ChatRequest wanted;
        wanted.messages = request["continue"];
        wanted.continue_final_message = true;
        wanted.now = now;
        answer = text_of(chat.render(wanted).parts);
      } else {
        std::vector<jinja::Variable> variables;
        const Json specials = request.value("specials", Json::object());
        for (const auto& [key, value] : request["variables"].items())
          variables.push_back({.name = key, .value = &value, .has_roles = key == "messages"});
        for (const auto& [key, value] : specials.items())
          variables.push_back({.name = key, .value = &value, .is_input = false});
        const jinja::Rendered rendered = program->render(variables, now);
        answer = text_of(rendered.parts);
        answer["steps"] = rendered.steps;
        answer["bytes"] = rendered.peak_bytes;
      }
    } catch (const jinja::JinjaError& error) {
      answer = {{"error", name(error.kind())}, {"message", error.what()}, {"line", error.line()}};
    } catch (const Error& error) {
      answer = {{"error", "refused"}, {"message", error.what()}};
    } catch (const Json::exception& error) {
      answer = {{"error", "request"}, {"message", error.what()}};
    }
    if (!answer.is_null()) std::cout << answer.dump(-1, ' ', false, Json::error_handler_t::replace) << "\n" << std::flush;
  }
  return 0;
}
