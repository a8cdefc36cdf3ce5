#include "cli/converse.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "cli/common.h"
#include "cli/input.h"
#include "cli/output.h"
#include "cli/terminal.h"

namespace plimsoll {
namespace {

constexpr const char* chat_help =
    "/clear forgets, /quit or Ctrl-D leaves, Ctrl-C stops an answer\n";

/// The messages so far, kept so that prompt and answer fit the context.
class Conversation {
 public:
  Conversation(const Session& session, const ChatTemplate* format)
      : tokenizer_(session.engine().tokenizer()),
        context_(session.engine().plan().context),
        format_(format) {}

  /// The tokens of the whole conversation with this new text. Forgets the oldest turns until an
  /// answer of decent size has room too; `forgotten` becomes the number of turns. Throws
  /// Error(context_exceeded) when the text alone is too long; nothing has changed then.
  std::vector<TokenId> ask(const std::string& text, std::size_t& forgotten) {
    forgotten = 0;
    if (!format_) {
      std::vector<TokenId> tokens = prompt_tokens(tokenizer_, text, false);
      require_room(tokens.size());
      return tokens;
    }
    // An answer gets a quarter of the context at least, while there are turns to forget.
    const std::int64_t wanted = std::min<std::int64_t>(context_ / 4, 512);
    ChatRequest request;
    request.messages = messages_;
    request.messages.push_back({{"role", "user"}, {"content", text}});
    auto& messages = request.messages;
    for (;;) {
      const ChatPrompt prompt = format_->render(request);
      std::vector<TokenId> tokens = tokenizer_.encode(prompt.parts);
      const auto length = static_cast<std::int64_t>(tokens.size());
      if (messages.size() == 1) require_room(tokens.size());
      if (messages.size() == 1 || length + wanted <= context_) {
        messages_ = std::move(messages);
        stops_ = prompt.stops;
        return tokens;
      }
      messages.erase(messages.begin(), messages.begin() + 2);  // a question and its answer
      ++forgotten;
    }
  }
  void answered(std::string text) {
    if (format_) messages_.push_back({{"role", "assistant"}, {"content", std::move(text)}});
  }
  void clear() { messages_.clear(); }
  /// Texts that end the answer to what was asked last.
  const std::vector<std::string>& stops() const { return stops_; }

 private:
  void require_room(std::size_t tokens) const {
    if (static_cast<std::int64_t>(tokens) < context_) return;
    throw Error(ErrorCode::context_exceeded,
                fmt::format("the text has {} tokens, the context {}", tokens, context_),
                "give a shorter text, or start with a larger --context");
  }

  const Tokenizer& tokenizer_;
  std::int64_t context_;
  const ChatTemplate* format_;
  nlohmann::ordered_json messages_ = nlohmann::ordered_json::array();
  std::vector<std::string> stops_;
};

/// Ends in the "> " that waits for the user.
std::string prompt_mark(const Terminal& terminal) { return terminal.styled(Style::strong, "> "); }

}  // namespace

TextStream::TextStream() : is_terminal_(Terminal::of(STDOUT_FILENO).is_terminal) {}

void TextStream::write(std::string_view text) {
  if (text.empty()) return;
  at_line_start_ = text.back() == '\n';
  if (is_terminal_)
    write_out(printable(text));
  else
    write_out(text);
}

void TextStream::write_dimmed(std::string_view text) {
  if (text.empty()) return;
  at_line_start_ = text.back() == '\n';
  write_out(Terminal::of(STDOUT_FILENO).styled(Style::dim, printable(text)));
}

void TextStream::end_line() {
  if (!at_line_start_) write_out("\n");
  at_line_start_ = true;
}

Generated generate_with_progress(Session& session, std::span<const TokenId> prompt,
                                 const GenerateOptions& options,
                                 const std::function<bool(std::string_view)>& emit,
                                 const std::function<bool()>& keep_going) {
  ProgressBar bar("reading the prompt", ProgressBar::Unit::tokens);
  return generate(session, prompt, options, emit, [&](std::int64_t done, std::int64_t total) {
    if (done == total)
      bar.clear();
    else
      bar.update(static_cast<std::uint64_t>(done), static_cast<std::uint64_t>(total));
    return !keep_going || keep_going();
  });
}

std::string speed_report(const Generated& g) {
  const auto part = [](std::int64_t tokens, double rate) {
    const std::string count = fmt::format("{} token{}", grouped(tokens), tokens == 1 ? "" : "s");
    return rate > 0 ? fmt::format("{} at {}/s", count, format_rate(rate)) : count;
  };
  std::string text =
      fmt::format("prompt {}, answer {}", part(g.prompt_tokens, g.prefill_tokens_per_second()),
                  part(static_cast<std::int64_t>(g.tokens.size()), g.decode_tokens_per_second()));
  if (g.reason == FinishReason::context_full) text += ", the context is full";
  if (g.reason == FinishReason::cancelled) text += ", stopped";
  return text;
}

void converse(Session& session, GenerateOptions options, const ChatTemplate* format) {
  const std::vector<std::string> own_stops = options.stops;
  const Terminal terminal = Terminal::of(STDERR_FILENO);
  const auto say = [&](const std::string& text) { write_error(terminal.styled(Style::dim, text)); };
  say(format ? chat_help : "type the beginning of a text; /quit or Ctrl-D leaves, Ctrl-C stops\n");

  Conversation conversation(session, format);
  InterruptGuard interrupt;
  LineReader reader;
  TextStream stream;
  bool leaving = false;  // one Ctrl-C at the prompt
  for (std::string line;;) {
    write_error(prompt_mark(terminal));
    const LineReader::Outcome outcome = reader.read(line);
    if (outcome == LineReader::Outcome::end || (outcome != LineReader::Outcome::line && leaving)) {
      write_error("\n");
      return;
    }
    leaving = outcome == LineReader::Outcome::interrupted;
    if (leaving) {
      say("\nCtrl-C once more leaves\n");
      continue;
    }
    if (line.empty()) continue;
    if (line == "/quit" || line == "/exit") return;
    if (line == "/help") {
      say(chat_help);
      continue;
    }
    if (line == "/clear") {
      conversation.clear();
      session.clear();
      say("forgotten\n");
      continue;
    }
    try {
      std::size_t forgotten = 0;
      const std::vector<TokenId> tokens = conversation.ask(line, forgotten);
      options.stops = own_stops;
      options.stops.insert(options.stops.end(), conversation.stops().begin(),
                           conversation.stops().end());
      if (forgotten > 0)
        say(fmt::format("the context of {} tokens is full: the oldest {} forgotten\n",
                        session.engine().plan().context,
                        forgotten == 1 ? "turn is" : fmt::format("{} turns are", forgotten)));
      // The last token runs again even where it was there: its logits are wanted.
      const std::span<const TokenId> all(tokens);
      const auto kept =
          static_cast<std::size_t>(session.rewind_to_prefix_of(all.first(all.size() - 1)));
      const auto keep_going = [&] { return !interrupt.interrupted(); };
      const Generated generated = generate_with_progress(
          session, all.subspan(kept), options,
          [&](std::string_view text) {
            stream.write(text);
            return keep_going();
          },
          keep_going);
      stream.end_line();
      conversation.answered(generated.text);
      say(speed_report(generated) + "\n\n");
    } catch (const Error& error) {
      if (error.code() == ErrorCode::write_failed) throw;
      stream.end_line();
      report(error, false);
    }
    interrupt.forget();
  }
}

}  // namespace plimsoll
