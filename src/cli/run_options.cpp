#include "cli/run_options.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <random>

#include "app/conversation_file.h"
#include "app/text_hold.h"
#include "base/error.h"
#include "engine/sampling_defaults.h"
#include "file/text_input.h"
#include "options/options.h"
#include "terminal/input.h"
#include "terminal/output.h"
#include "text/utf8.h"

namespace plimsoll {
namespace {

/// What the bundled model writes on from when nobody says anything.
constexpr const char* first_sentence = "The kernel keeps a list of the pages that";
constexpr std::int64_t first_tokens = 128;
/// How long a pipe may stay silent before the bundled model begins by itself.
constexpr double patience_seconds = 3;
/// The name of standard input.
constexpr const char* standard_input = "-";

std::string read_prompt_file(const std::string& path, TextHold& hold, Bytes before) {
  const auto accept = [&hold, before](Bytes size) { hold.grow_to(before + size); };
  return path == standard_input ? read_standard_input(accept) : read_text_file(path, accept);
}

/// --prompt and the texts of --file, a blank line between them.
std::string given_text(const RunOptions& options, TextHold& hold) {
  std::string text = options.prompt.value_or("");
  bool is_first = !options.prompt;
  for (const std::string& path : options.files) {
    const std::string file = read_prompt_file(path, hold, text.size());
    if (const auto at = find_invalid_utf8(file))
      throw Error(ErrorCode::invalid_text,
                  fmt::format("{} is not UTF-8 at byte {}",
                              path == standard_input ? "standard input" : path, *at),
                  "name a text file");
    if (!is_first) text += text.ends_with('\n') ? "\n" : "\n\n";
    is_first = false;
    text += file;
    hold.grow_to(text.size());
  }
  return text;
}

}  // namespace

bool RunOptions::parse(const Arguments& arguments) {
  Options options("run",
                  "Answers a prompt, writes on from one, or chats, inside a byte budget. Without a "
                  "prompt: what comes in on standard input, or a conversation at the terminal.");
  const SamplingOptions sampling;  // what holds where neither options nor the model say otherwise
  common.declare(options);
  common.declare_measuring(options);
  common.declare_kv(options);
  common.declare_context(options,
                         "Tokens of context; without it, the most useful number that fits");
  options.text("--prompt", "TEXT", prompt,
               "A question for a chat model to answer; for other models, or with --raw, a text to "
               "write on from");
  options
      .texts("--file", "FILE", files,
                "A prompt from a file (- is standard input), behind --prompt if both are there; "
                "may be given several times")
      .reads = true;
  options.input("--messages", "FILE", messages,
                "Answers a conversation from a JSON file: an array of messages, or an object with "
                "messages, tools and chat_template_kwargs");
  options.text("--system", "TEXT", system, "What a chat model is told before everything else");
  options.choice("--think", "", {"on", "off", "auto"}, think,
                 "Whether a model that can reason before it answers does (default auto)");
  options.texts("--template-variable", "K=V", variables,
                "A variable of the chat template, or several as a JSON object; may be given "
                "several times");
  options.flag("--chat", chat,
               "Answer in a chat format even where the model has none of its own; with a prompt, "
               "once");
  options.flag("--raw", raw, "Write on from the prompt as it stands, without a chat format");
  options.exclusive("--raw", "--chat");
  options.count("--tokens", tokens, 0, std::int64_t{1} << 30,
                "Stop after this many; without it, at the model's own end or a full context");
  options.texts("--stop", "TEXT", generate.stops,
                "End before this text; may be given several times");
  options.number(
      "--temperature", said_.temperature, 0, 100,
      fmt::format("0 always takes the likeliest token (default {})", sampling.temperature));
  options.count("--top-k", top_k, 0, std::int64_t{1} << 30,
                fmt::format("Only the K likeliest; 0 for all (default {})", sampling.top_k));
  options.number(
      "--top-p", said_.top_p, 0, 1,
      fmt::format("Only the likeliest that make up P together (default {})", sampling.top_p));
  options.number("--min-p", said_.min_p, 0, 1,
                 fmt::format("Only those with P times the likeliest one's probability (default {})",
                             sampling.min_p));
  options.number("--repeat-penalty", said_.repetition_penalty, 0, 100,
                 fmt::format("Divides what was said lately; 1 for none (default {})",
                             sampling.repetition_penalty));
  options.count("--seed", seed, 0, std::numeric_limits<std::int64_t>::max(),
                "The same seed gives the same text; without it, a random one");
  options.number("--speed", speed, least_speed, most_speed, speed_help).shared = true;
  options.input("--memory-file", "FILE", memory_file,
                "Holds a size, read again on SIGHUP: the line moves there while the answer goes on");
  options.input("--plan", "FILE", plan,
                "Do exactly what a plan says that plimsoll plan --json has written, its budget "
                "included, or refuse");
  for (const char* decided : {"--memory", "--context", "--kv", "--threads", "--speed"})
    options.exclusive("--plan", decided);
  options.flag("--keep", keep,
               "Keep weights that are rounded to fit in a file, for the next run with this budget");
  options.flag("--json-lines", json_lines,
               "As --json, but first an object a line for each piece of text when it is final "
               "({\"text\"}, or {\"reasoning\"} where the model thinks), and the last object on a "
               "line too");
  options.flag("--no-history", no_history, "Neither read nor keep what was typed in conversations");
  if (!options.parse(arguments)) return false;

  if (json_lines) common.json = true;
  if (tokens) generate.max_tokens = *tokens;
  chat_settings();
  return true;
}

void RunOptions::decide_sampling(const Metadata& metadata) {
  SamplingOptions& sampling = generate.sampling = sampling_defaults(metadata);
  const auto take = [](double said, double& value) {
    if (!std::isnan(said)) value = said;
  };
  take(said_.temperature, sampling.temperature);
  take(said_.top_p, sampling.top_p);
  take(said_.min_p, sampling.min_p);
  take(said_.repetition_penalty, sampling.repetition_penalty);
  if (top_k) sampling.top_k = *top_k;
  // 32 bits, so that every reader of JSON takes the number as it is.
  sampling.seed = seed ? static_cast<std::uint64_t>(*seed) : std::random_device()();
  check(sampling);
}

void RunOptions::require_chat(bool uses_chat) const {
  if (uses_chat) return;
  const char* wanted = messages             ? "--messages"
                       : system             ? "--system"
                       : think              ? "--think"
                       : !variables.empty() ? "--template-variable"
                                            : nullptr;
  if (wanted == nullptr) return;
  throw Error(ErrorCode::usage,
              raw ? fmt::format("{} is for chats, --raw is without a chat format", wanted)
                  : fmt::format("{} is for chats, and this model has no chat template", wanted),
              raw ? "leave one of them out" : "add --chat to use a plain chat format");
}

ChatSettings RunOptions::chat_settings() const {
  ChatSettings settings;
  if (think && *think != "auto") settings.thinking = *think == "on";
  const auto refuse = [](const std::string& given) {
    throw Error(ErrorCode::usage,
                fmt::format("--template-variable must be NAME=VALUE or a JSON object, found \"{}\"",
                            given));
  };
  for (const std::string& given : variables) {
    if (settings.variables.is_null()) settings.variables = nlohmann::ordered_json::object();
    if (find_invalid_utf8(given)) refuse(given);
    if (given.starts_with('{')) {
      const auto object = nlohmann::ordered_json::parse(given, nullptr, false);
      if (!object.is_object()) refuse(given);
      settings.variables.update(object);
      continue;
    }
    const std::size_t equals = given.find('=');
    if (equals == 0 || equals == std::string::npos) refuse(given);
    const std::string value = given.substr(equals + 1);
    auto parsed = nlohmann::ordered_json::parse(value, nullptr, false);
    settings.variables[given.substr(0, equals)] =
        parsed.is_discarded() ? nlohmann::ordered_json(value) : std::move(parsed);
  }
  return settings;
}

std::optional<Prompt> find_prompt(RunOptions& options, bool uses_chat, TextHold& hold) {
  if (options.prompt || !options.files.empty()) return Prompt{given_text(options, hold)};
  if (options.messages) return Prompt{"", false, false};
  const bool bundled = options.common.model.empty() && !uses_chat;
  if (!standard_input_is_terminal()) {
    const bool silent = bundled && !standard_input_speaks(patience_seconds);
    if (silent)
      notice(fmt::format("nothing on standard input for {} s: beginning with a sentence of my own",
                         patience_seconds));
    std::string text;
    if (!silent) text = read_standard_input([&](Bytes size) { hold.grow_to(size); });
    if (!text.empty()) return Prompt{std::move(text)};
    if (!bundled)
      throw Error(ErrorCode::empty_prompt, "the prompt on standard input is empty",
                  "give --prompt, or pipe some text in");
  } else if (!bundled) {
    if (options.common.json)
      throw Error(ErrorCode::usage, "--json prints one answer: there is no prompt for it",
                  "give --prompt, or pipe the prompt in");
    return std::nullopt;
  }
  if (options.generate.max_tokens < 0) options.generate.max_tokens = first_tokens;
  return Prompt{first_sentence, true};
}

ConversationPrompt begin_conversation(const RunOptions& options,
                                      const std::optional<Prompt>& prompt,
                                      Conversation& conversation, const Line& line,
                                      TextHold& hold) {
  constexpr std::int64_t any_length = std::numeric_limits<std::int64_t>::max();
  ChatSettings settings = options.chat_settings();
  if (options.messages) {
    Reservation reading;
    MessagesFile file = read_messages_file(*options.messages, [&](Bytes bytes) {
      reading = Reservation();
      reading = line.hold_text(fmt::format("reading {}", *options.messages), bytes);
    });
    settings.tools = std::move(file.tools);
    if (file.variables.is_object()) {
      nlohmann::ordered_json variables = std::move(file.variables);
      if (settings.variables.is_object()) variables.update(settings.variables);
      settings.variables = std::move(variables);
    }
    conversation.set_messages(std::move(file.messages));
    hold.grow_to(conversation.messages().dump().size());
  }
  conversation.set_settings(std::move(settings));
  if (options.system) {
    if (!conversation.system().empty())
      throw Error(ErrorCode::usage, "--system, and the messages have a system text too",
                  "leave one of them out");
    conversation.set_system(*options.system);
  }
  if (!prompt) return {};
  if (!prompt->is_said) return conversation.prompt(any_length);
  hold.grow_to(prompt->text.size());
  return conversation.ask(prompt->text, any_length);
}

}  // namespace plimsoll
