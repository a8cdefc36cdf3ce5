#include "text/chat_template.h"

#include <fmt/format.h>

#include <map>
#include <utility>

#include "base/error.h"
#include "text/chat_messages.h"
#include "text/chat_program.h"
#include "text/chat_styles.h"

namespace plimsoll {
namespace {

constexpr std::string_view template_key = "tokenizer.chat_template";

/// The variables that transformers gives to every template: the texts of special tokens that there are.
ChatJson special_variables(const Metadata& metadata, const Tokenizer& tokenizer) {
  ChatJson specials = ChatJson::object();
  const auto add = [&](const char* name, std::optional<std::int64_t> id) {
    if (id && *id >= 0 && *id < tokenizer.vocabulary_size())
      specials[name] = tokenizer.piece(static_cast<TokenId>(*id));
  };
  add("bos_token", tokenizer.bos());
  add("eos_token", tokenizer.eos());
  constexpr std::pair<const char*, std::string_view> others[] = {
      {"unk_token", "tokenizer.ggml.unknown_token_id"}, {"sep_token", "tokenizer.ggml.seperator_token_id"},
      {"sep_token", "tokenizer.ggml.separator_token_id"}, {"pad_token", "tokenizer.ggml.padding_token_id"},
      {"cls_token", "tokenizer.ggml.cls_token_id"},     {"mask_token", "tokenizer.ggml.mask_token_id"}};
  for (const auto& [name, key] : others)
    if (!specials.contains(name)) add(name, metadata.integer(key));
  return specials;
}

/// Named templates of a file; the one without a name is "default".
std::map<std::string, std::string_view> templates_of(const Metadata& metadata) {
  std::map<std::string, std::string_view> found;
  if (const auto text = metadata.string(template_key)) found.emplace("default", *text);
  const std::string prefix = std::string(template_key) + ".";
  for (const Metadata::Entry& entry : metadata.entries())
    if (entry.key.starts_with(prefix) && entry.value.type() == MetadataType::string)
      found.emplace(entry.key.substr(prefix.size()), entry.value.as_string());
  return found;
}

}  // namespace

struct ChatTemplate::State {
  std::unique_ptr<const ChatProgram> program;       ///< null: a style instead
  std::unique_ptr<const ChatProgram> tool_program;  ///< where tools have one of their own
  const ChatStyle* style = nullptr;
  std::string bos;  ///< that a style begins with
  std::string description;
  std::vector<std::string> notices;

  ChatPrompt render_style(const ChatRequest& request) const;
};

ChatTemplate::ChatTemplate(std::unique_ptr<State> state) : state_(std::move(state)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

ChatTemplate ChatTemplate::from_metadata(const Metadata& metadata) {
  return from_metadata(metadata, *Tokenizer::from_metadata(metadata));
}

ChatTemplate ChatTemplate::from_metadata(const Metadata& metadata, const Tokenizer& tokenizer) {
  auto state = std::make_unique<State>();
  const std::map<std::string, std::string_view> sources = templates_of(metadata);
  const auto compile = [&](std::string_view name) -> std::unique_ptr<const ChatProgram> {
    const auto source = sources.find(std::string(name));
    if (source == sources.end()) return nullptr;
    try {
      return std::make_unique<const ChatProgram>(source->second, special_variables(metadata, tokenizer), tokenizer);
    } catch (const jinja::JinjaError& error) {
      const std::string which = name == "default" ? "" : fmt::format(" \"{}\"", name);
      const std::string place = error.line() > 0 ? fmt::format(", line {}", error.line()) : "";
      state->notices.push_back(
          fmt::format("the file's chat template{} cannot be read{}: {}", which, place, error.what()));
      return nullptr;
    }
  };
  state->program = compile("default");
  state->tool_program = compile("tool_use");
  if (!state->program && !sources.contains("default")) {
    // Only named ones: the first that is not for a purpose of its own.
    for (const auto& [name, source] : sources)
      if (!state->program && name != "tool_use") state->program = compile(name);
    if (!state->program) state->program = std::exchange(state->tool_program, nullptr);
  }
  if (state->program) {
    state->description = "the file's own template";
    return ChatTemplate(std::move(state));
  }
  state->style = &find_chat_style(tokenizer);
  if (tokenizer.adds_bos() && tokenizer.bos()) state->bos = tokenizer.piece(*tokenizer.bos());
  const std::string_view reason = sources.empty() ? "no template in the file" : "the file's template cannot be read";
  state->description =
      state->style->tokens[0].empty()
          ? fmt::format("{}: plain \"User:\" and \"Assistant:\" lines", reason)
          : fmt::format("{}: {}, by the marks in its vocabulary", reason, state->style->name);
  if (!sources.empty()) state->notices.push_back(state->description);
  return ChatTemplate(std::move(state));
}

const std::string& ChatTemplate::description() const { return state_->description; }
bool ChatTemplate::is_from_file() const { return state_->program != nullptr; }

Bytes ChatTemplate::memory_bytes() const {
  Bytes bytes = sizeof(State);
  for (const auto* program : {&state_->program, &state_->tool_program})
    if (*program) bytes += (*program)->memory_bytes();
  return bytes;
}

ChatPrompt ChatTemplate::State::render_style(const ChatRequest& request) const {
  check_messages(request.messages);
  ChatJson conversation = normalized(request.messages);
  rename_developer(conversation);
  std::vector<ChatMessage> messages;
  for (const ChatJson& message : conversation)
    messages.push_back({message.value("role", std::string()), text_of(message)});
  if (request.continue_final_message && messages.back().role != "assistant")
    throw Error(ErrorCode::usage, "there is no answer to continue",
                "the last message must be the assistant's, with the text that the answer begins with");
  ChatPrompt prompt;
  prompt.parts = render_in_style(*style, messages, bos, request.add_generation_prompt, request.continue_final_message);
  if (!style->stop.empty()) prompt.stops.emplace_back(style->stop);
  if (request.tools.is_array() && !request.tools.empty())
    prompt.notices.push_back("without a chat template there is no place for tools: the model does not see them");
  return prompt;
}

ChatPrompt ChatTemplate::render(const ChatRequest& request) const {
  const bool has_tools = request.tools.is_array() && !request.tools.empty();
  const ChatProgram* program =
      has_tools && state_->tool_program ? state_->tool_program.get() : state_->program.get();
  ChatPrompt prompt = program ? program->render(request) : state_->render_style(request);
  prompt.notices.insert(prompt.notices.begin(), state_->notices.begin(), state_->notices.end());
  return prompt;
}

std::string ChatPrompt::text() const {
  std::string text;
  for (const TextPart& part : parts) text += part.text;
  return text;
}

}  // namespace plimsoll
