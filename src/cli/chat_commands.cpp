#include "cli/chat_commands.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>

#include "app/conversation_file.h"
#include "app/planning.h"
#include "app/answering.h"
#include "base/error.h"
#include "base/numbers.h"
#include "base/process.h"
#include "cli/common.h"
#include "options/suggest.h"
#include "report/line.h"
#include "terminal/output.h"
#include "text/utf8.h"

namespace plimsoll {
namespace {

struct ChatCommand {
  std::string_view name, placeholder, help;
  void (*run)(Chat&, const std::string& argument);
  bool needs_conversation = true;
  bool takes_lines = false;
};

void say(std::string_view text) {
  write_error(Terminal::of(STDERR_FILENO).styled(Style::dim, printable(text)) + "\n");
}

void show_help(Chat& chat, const std::string& argument);

// --- the line ---

void show_plan(Chat& chat, const std::string&) {
  write_error(draw_engine(chat.session.engine(), std::ssize(chat.session.tokens()),
                          Terminal::of(STDERR_FILENO)));
}

void set_budget(Chat& chat, const std::string& argument) {
  if (argument.empty()) {
    show_plan(chat, argument);
    say(fmt::format("the line is {}, the peak so far {}; /budget SIZE moves it",
                    format_bytes(chat.line.budget()), format_bytes(process_memory().peak)));
    return;
  }
  chat.line.move_to(parse_bytes(argument));
  chat.line.finish();
}

// --- what is said ---

void clear(Chat& chat, const std::string&) {
  if (chat.conversation) chat.conversation->clear();
  chat.session.clear();
  say("forgotten");
}

void set_system(Chat& chat, const std::string& argument) {
  Conversation& conversation = *chat.conversation;
  if (argument.empty()) {
    const std::string text = conversation.system();
    say(text.empty() ? "there is no system text; /system TEXT sets one" : text);
    return;
  }
  conversation.set_system(argument == "\"\"" ? "" : argument);
  say(argument == "\"\"" ? "no system text from now on"
                         : "set; the conversation is read again with the next message");
}

void regenerate(Chat& chat, const std::string&) {
  if (!chat.conversation->take_back_answer())
    throw Error(ErrorCode::usage, "there is no answer to give again", "ask something first");
  if (chat.options.sampling.temperature == 0)
    say("at temperature 0 the answer is the same; /set temperature 0.8 lets it vary");
  chat.regenerates = true;
}

// --- files ---

/// Without quotes around it; "~/" is the home folder.
std::string path_of(const std::string& argument) {
  std::string path = argument;
  if (path.size() > 1 && (path.front() == '"' || path.front() == '\'') &&
      path.back() == path.front())
    path = path.substr(1, path.size() - 2);
  if (path.empty()) throw Error(ErrorCode::usage, "the name of a file is missing");
  if (const char* home = std::getenv("HOME"); home != nullptr && path.starts_with("~/"))
    path = home + path.substr(1);
  return path;
}

void save(Chat& chat, const std::string& argument) {
  const std::string path = path_of(argument);
  const bool replaced =
      save_conversation(path, *chat.conversation, identity_of(chat.model), chat.options.sampling);
  say(fmt::format("saved in {}{}", path, replaced ? ", instead of what it had" : ""));
}

void load(Chat& chat, const std::string& argument) {
  const std::string path = path_of(argument);
  Reservation held;
  MessagesFile file = read_messages_file(path, [&](Bytes bytes) {
    held = Reservation();
    held = chat.hold(fmt::format("reading {}", path), bytes);
  });
  // Everything that may throw comes before anything changes.
  const SamplingOptions sampling = sampling_of(file.settings, chat.options.sampling);
  ChatSettings settings = chat.conversation->settings();
  settings.tools = std::move(file.tools);
  if (!file.variables.is_null()) settings.variables = std::move(file.variables);
  if (file.settings.is_object() && file.settings.contains("thinking")) {
    const auto& thinking = file.settings["thinking"];
    settings.thinking = thinking.is_boolean() ? std::optional(thinking.get<bool>()) : std::nullopt;
  }
  const nlohmann::ordered_json identity = identity_of(chat.model);
  const bool same_model = file.model == identity;
  Conversation loaded = *chat.conversation;
  loaded.set_settings(std::move(settings));
  const std::size_t count = file.messages.size();
  if (count > 0) {
    loaded.set_messages(std::move(file.messages),
                        same_model ? std::move(file.token_ids) : nlohmann::ordered_json());
  } else {  // saved before anything was said
    loaded.set_system("");
    loaded.clear();
  }
  chat.conversation = std::move(loaded);
  chat.options.sampling = sampling;
  say(fmt::format("{} message{} loaded{}", count, count == 1 ? "" : "s",
                  same_model || file.model.is_null()
                      ? ""
                      : fmt::format("; they were saved with another model ({})",
                                    file.model.is_object() && file.model.contains("name")
                                        ? file.model["name"].dump()
                                        : "unnamed")));
}

// --- settings ---

struct Setting {
  std::string_view name;
  std::string (*show)(const Chat&);
  void (*set)(Chat&, std::string_view value);
};

template <class T>
T number_of(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size())
    throw Error(ErrorCode::usage, fmt::format("\"{}\" is not a number that fits here", text));
  return value;
}

template <auto Member>
Setting sampling_setting(std::string_view name) {
  return {name, [](const Chat& chat) { return fmt::format("{}", chat.options.sampling.*Member); },
          [](Chat& chat, std::string_view value) {
            SamplingOptions sampling = chat.options.sampling;
            sampling.*Member =
                number_of<std::remove_reference_t<decltype(sampling.*Member)>>(value);
            check(sampling);
            chat.options.sampling = sampling;
          }};
}

const std::array settings = {
    sampling_setting<&SamplingOptions::temperature>("temperature"),
    sampling_setting<&SamplingOptions::top_k>("top-k"),
    sampling_setting<&SamplingOptions::top_p>("top-p"),
    sampling_setting<&SamplingOptions::min_p>("min-p"),
    sampling_setting<&SamplingOptions::repetition_penalty>("repeat-penalty"),
    sampling_setting<&SamplingOptions::seed>("seed"),
    Setting{"tokens",
            [](const Chat& chat) {
              return chat.options.max_tokens < 0 ? std::string("until the end")
                                                 : fmt::format("{}", chat.options.max_tokens);
            },
            [](Chat& chat, std::string_view value) {
              const auto tokens = number_of<std::int64_t>(value);
              if (tokens < 0) throw Error(ErrorCode::usage, "tokens must be at least 0");
              chat.options.max_tokens = tokens;
            }},
    Setting{"think",
            [](const Chat& chat) -> std::string {
              if (!chat.conversation || !chat.conversation->settings().thinking) return "auto";
              return *chat.conversation->settings().thinking ? "on" : "off";
            },
            [](Chat& chat, std::string_view value) {
              if (!chat.conversation)
                throw Error(ErrorCode::usage, "this model has no chat template that could think");
              ChatSettings wanted = chat.conversation->settings();
              if (value == "on")
                wanted.thinking = true;
              else if (value == "off")
                wanted.thinking = false;
              else if (value == "auto")
                wanted.thinking.reset();
              else
                throw Error(ErrorCode::usage,
                            fmt::format("think is on, off or auto, found \"{}\"", value));
              chat.conversation->set_settings(std::move(wanted));
            }},
};

// --- names ---

template <class Rows>
std::vector<std::string> names_of(const Rows& rows) {
  std::vector<std::string> names;
  for (const auto& row : rows) names.emplace_back(row.name);
  return names;
}

void set(Chat& chat, const std::string& argument) {
  if (argument.empty()) {
    std::string text;
    for (const Setting& setting : settings)
      text += fmt::format("{}{} {}", text.empty() ? "" : ", ", setting.name, setting.show(chat));
    say(text);
    return;
  }
  const std::size_t space = argument.find_first_of(" =");
  const std::string name = argument.substr(0, space);
  const auto setting = std::find_if(settings.begin(), settings.end(),
                                    [&](const Setting& s) { return s.name == name; });
  if (setting == settings.end()) {
    throw Error(ErrorCode::usage, fmt::format("there is no setting \"{}\"", name),
                did_you_mean(name, names_of(settings), "/set lists them"));
  }
  if (space != std::string::npos)
    setting->set(chat, trimmed(std::string_view(argument).substr(space + 1)));
  say(fmt::format("{} {}", setting->name, setting->show(chat)));
}

void quit(Chat& chat, const std::string&) { chat.leaves = true; }

constexpr std::array commands = std::to_array<ChatCommand>({
    {"help", "", "this list", show_help, false},
    {"system", "[TEXT]", "show or set the system text (\"\" for none)", set_system, true, true},
    {"regenerate", "", "answer the last question anew, with another seed", regenerate},
    {"clear", "", "forget what was said", clear, false},
    {"save", "FILE", "keep the conversation in a file", save},
    {"load", "FILE", "go on with a conversation from a file", load},
    {"set", "[NAME VALUE]", "show or set temperature, top-k, think, ...", set, false},
    {"plan", "", "what the memory holds", show_plan, false},
    {"budget", "[SIZE]", "show the line, or move it", set_budget, false},
    {"quit", "", "leave (Ctrl-D too)", quit, false},
});

void show_help(Chat& chat, const std::string&) {
  std::string text;
  for (const ChatCommand& command : commands) {
    if (command.needs_conversation && !chat.conversation) continue;
    const std::string left = fmt::format("/{} {}", command.name, command.placeholder);
    text += fmt::format("  {:<21}{}\n", left, command.help);
  }
  say(text +
      "Ctrl-C stops an answer. A line that ends in \\ goes on in the next one, as does a text "
      "after "
      "\"\"\"\nup to \"\"\"; Alt-Enter breaks a line; what is pasted is one message. //... sends a "
      "text "
      "that begins with /.");
}

std::string_view name_in(std::string_view message) {
  return message.substr(1, message.find_first_of(" \t\n") - 1);
}

const ChatCommand* find_command(std::string_view name) {
  if (name == "exit" || name == "bye" || name == "q") name = "quit";
  if (name == "?") name = "help";
  const auto found = std::find_if(commands.begin(), commands.end(),
                                  [&](const ChatCommand& c) { return c.name == name; });
  return found == commands.end() ? nullptr : &*found;
}

}  // namespace

Reservation Chat::hold(const std::string& what, std::optional<Bytes> bytes) const {
  if (bytes && *bytes <= conversation_bytes(session.engine().plan().context)) return {};
  return host.line.hold_text(what, bytes);
}

bool is_chat_command(std::string_view message) {
  if (message.size() < 2 || message[0] != '/' || message[1] == '/') return false;
  if (message[1] == ' ' || message[1] == '\n') return false;
  return message.find('\n') == std::string_view::npos || find_command(name_in(message)) != nullptr;
}

void run_chat_command(Chat& chat, std::string_view message) {
  const std::string_view name = name_in(message);
  const ChatCommand* command = find_command(name);
  if (command == nullptr) {
    std::vector<std::string> known;
    for (const ChatCommand& each : commands) known.push_back(fmt::format("/{}", each.name));
    throw Error(ErrorCode::usage, fmt::format("there is no command /{}", name),
                did_you_mean(fmt::format("/{}", name), known,
                             "/help lists them; //... sends a text that begins with /"));
  }
  if (command->needs_conversation && !chat.conversation)
    throw Error(ErrorCode::usage,
                fmt::format("/{} needs a chat, and this model has no chat "
                            "template",
                            command->name),
                "start with --chat to use a plain one");
  const std::string argument(trimmed(message.substr(1 + name.size())));
  if (command->placeholder.empty() && !argument.empty())
    throw Error(ErrorCode::usage,
                fmt::format("/{} takes nothing, found \"{}\"", command->name, argument));
  if (!command->placeholder.empty() && command->placeholder[0] != '[' && argument.empty())
    throw Error(ErrorCode::usage, fmt::format("/{} needs {}", command->name, command->placeholder));
  if (!command->takes_lines && argument.find('\n') != std::string::npos)
    throw Error(ErrorCode::usage, fmt::format("/{} takes one line", command->name));
  if (find_invalid_utf8(argument))
    throw Error(ErrorCode::invalid_text,
                fmt::format("what follows /{} is not UTF-8", command->name));
  command->run(chat, argument);
}

std::string chat_greeting(const Chat& chat) {
  return chat.conversation ? "/help lists commands, Ctrl-C stops an answer, Ctrl-D leaves"
                           : "type the beginning of a text; /help lists commands, Ctrl-C stops, "
                             "Ctrl-D leaves";
}

}  // namespace plimsoll
