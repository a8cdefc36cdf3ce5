#include "cli/converse.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "app/answering.h"
#include "base/bounded.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/numbers.h"
#include "base/process.h"
#include "base/region.h"
#include "cli/common.h"
#include "terminal/input.h"
#include "terminal/output.h"
#include "terminal/terminal.h"

namespace plimsoll {
namespace {

/// Bytes that tokenizing and keeping a typed byte may take.
constexpr Bytes bytes_per_typed_byte = 64;

/// The longest message: what the line has room for, and at least what the plan counted with.
Bytes longest_message(const Chat& chat) {
  const Plan& plan = chat.session.engine().plan();
  // What answering will touch may not have been touched yet.
  const Bytes held = std::max(process_memory().resident, plan.peak_bytes);
  const Bytes room = chat.line.budget() > held ? chat.line.budget() - held : 0;
  return std::max(conversation_bytes(plan.context), room) / bytes_per_typed_byte;
}

/// What would do instead: a shorter message, or, where this machine has it, more memory.
Error message_refusal(const Chat& chat, const MessageRefusal& refusal) {
  std::string hint = refusal.hint();
  const Bytes usable = probe_limits().usable;
  try {
    constexpr Bytes slack = 1 * MiB;
    // The model never takes more than where there is plenty.
    const Bytes enough =
        bounded_sum({chat.line.plan_at(usable).peak_bytes, slack,
                     bounded_product({refusal.bytes(), bytes_per_typed_byte})});
    if (enough <= usable)
      hint += fmt::format(", or start with --memory {} or more", round_up(enough, page_bytes));
  } catch (const Error&) {
    // Without room to plan in, the shorter message is what can be said.
  }
  return {refusal.code(), refusal.message(), hint};
}

LineReader::Outcome read_message(const Chat& chat, LineReader& reader, std::string& message) {
  try {
    return reader.read(message, longest_message(chat));
  } catch (const MessageRefusal& refusal) {
    throw message_refusal(chat, refusal);
  }
}

}  // namespace

void AnswerStream::write(const ReasoningSplitter::Piece& piece) {
  if (piece.is_reasoning) {
    reasoned_ = true;
    if (stream_->is_terminal()) stream_->write_dimmed(piece.text);
    return;
  }
  if (reasoned_ && stream_->is_terminal()) {
    stream_->end_line();
    stream_->write("\n");
  }
  reasoned_ = false;
  stream_->write(piece.text);
}

std::string speed_report(const Generated& g, const SamplingOptions& sampling) {
  const auto part = [](std::int64_t tokens, double rate) {
    const std::string count = fmt::format("{} token{}", grouped(tokens), tokens == 1 ? "" : "s");
    return rate > 0 ? fmt::format("{} at {}/s", count, format_rate(rate)) : count;
  };
  std::string text =
      fmt::format("prompt {}, answer {}", part(g.prompt_tokens, g.prefill_tokens_per_second()),
                  part(static_cast<std::int64_t>(g.tokens.size()), g.decode_tokens_per_second()));
  if (sampling.temperature > 0) text += fmt::format(", seed {}", sampling.seed);
  if (g.reason == FinishReason::context_full) text += ", the context is full";
  if (g.reason == FinishReason::cancelled) text += ", stopped";
  return text;
}

namespace {

void say(std::string_view text) {
  write_error(Terminal::of(STDERR_FILENO).styled(Style::dim, text) + "\n");
}

/// The answer to a message, or another one to the last.
class Turn {
 public:
  Turn(Chat& chat, LineReader& reader, const InterruptGuard& interrupt)
      : chat_(chat), reader_(reader), interrupt_(interrupt) {}

  void answer(const std::optional<std::string>& message) {
    Session& session = chat_.session;
    const std::int64_t context = session.engine().plan().context;
    if (!chat_.conversation) {
      ConversationPrompt text;
      text.tokens = prompt_tokens(session.engine().tokenizer(), message.value_or(""), false);
      if (std::ssize(text.tokens) >= context)
        throw Error(
            ErrorCode::context_exceeded,
            fmt::format("the text has {} tokens, the context {}", text.tokens.size(), context),
            fmt::format("give a shorter text, or start with --context {} or more",
                                text.tokens.size() + 1));
      const Generated generated = stream_answer(text);
      say(speed_report(generated, used_) + "\n");
      return;
    }
    Conversation& conversation = *chat_.conversation;
    const ConversationPrompt prompt =
        message ? conversation.ask(*message, context) : conversation.prompt(context);
    for (const std::string& text : prompt.notices)
      if (text != last_notice_) notice(last_notice_ = text);
    if (prompt.forgotten > 0)
      say(fmt::format(
          "the context of {} tokens is full: the oldest {} forgotten", context,
          prompt.forgotten == 1 ? "turn is" : fmt::format("{} turns are", prompt.forgotten)));
    const Generated generated = stream_answer(prompt);
    std::string report = speed_report(generated, used_);
    // Stopped before anything was said, nothing has happened.
    is_kept_ = generated.reason != FinishReason::cancelled || !generated.tokens.empty();
    if (is_kept_)
      conversation.answered(generated, prompt.reasoning);
    else
      report = message ? "stopped before an answer began: the message is not kept"
                       : "stopped before an answer began: the last one stays";
    say(report + "\n");
  }
  bool is_kept() const { return is_kept_; }

 private:
  Generated stream_answer(const ConversationPrompt& prompt) {
    Watch watch = chat_.host.watch;
    watch.keep_going = [this] {
      reader_.listen();
      chat_.line.between_tokens();
      return !interrupt_.interrupted();
    };
    AnswerStream shown(stream_);
    try {
      Answer given = plimsoll::answer(
          chat_.session, prompt, chat_.options,
          [&shown](const ReasoningSplitter::Piece& piece) {
            shown.write(piece);
            return true;
          },
          watch);
      stream_.end_line();
      used_ = chat_.options.sampling;
      // Each answer has its own: the same draws would lead to the same words.
      std::uint64_t& seed = chat_.options.sampling.seed;
      seed = (seed + 1) & 0xFFFFFFFF;  // every reader of JSON takes it as it is
      return std::move(given.generated);
    } catch (...) {
      stream_.end_line();
      throw;
    }
  }

  Chat& chat_;
  LineReader& reader_;
  const InterruptGuard& interrupt_;
  TextStream stream_;
  SamplingOptions used_;  ///< for the last answer
  bool is_kept_ = true;
  std::string last_notice_;
};

}  // namespace

void converse(Chat& chat, LineReader& reader) {
  say(chat_greeting(chat));
  InterruptGuard interrupt;
  Turn turn(chat, reader, interrupt);
  bool leaving = false;  // one Ctrl-C at the prompt
  for (std::string message; !chat.leaves;) {
    try {
      const LineReader::Outcome outcome = read_message(chat, reader, message);
      if (outcome == LineReader::Outcome::end ||
          (outcome == LineReader::Outcome::interrupted && leaving)) {
        write_error("\n");
        return;
      }
      leaving = outcome == LineReader::Outcome::interrupted;
      if (leaving) {
        write_error("\n");
        say("Ctrl-C once more leaves");
        continue;
      }
      if (trimmed(message).empty()) continue;
      const std::optional<Conversation> before = chat.conversation;
      const SamplingOptions sampling = chat.options.sampling;
      try {
        if (is_chat_command(message)) {
          run_chat_command(chat, trimmed(message));
          if (!std::exchange(chat.regenerates, false)) continue;
          turn.answer(std::nullopt);
        } else {
          turn.answer(message.starts_with("//") ? message.substr(1) : message);
        }
        if (!turn.is_kept()) chat.conversation = before;
      } catch (...) {
        chat.conversation = before;
        chat.options.sampling = sampling;
        throw;
      }
    } catch (const Error& error) {
      if (error.code() == ErrorCode::write_failed && !is_chat_command(message)) throw;
      report(error, false);
    }
    interrupt.forget();
  }
}

}  // namespace plimsoll
