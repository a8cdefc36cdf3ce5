#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "engine/generation.h"

namespace plimsoll {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

std::string_view name(FinishReason reason) {
  switch (reason) {
    case FinishReason::stop:
      return "stop";
    case FinishReason::length:
    case FinishReason::context_full:
      return "length";
    case FinishReason::cancelled:
      return "cancelled";
  }
  return "";
}

double Generated::prefill_tokens_per_second() const {
  return prefill_seconds > 0 ? static_cast<double>(prompt_tokens) / prefill_seconds : 0;
}

double Generated::decode_tokens_per_second() const {
  return decode_seconds > 0 && tokens.size() > 1
             ? static_cast<double>(tokens.size() - 1) / decode_seconds
             : 0;
}

std::vector<TokenId> prompt_tokens(const Tokenizer& tokenizer, std::string_view text,
                                   bool parse_special) {
  std::vector<TokenId> tokens = tokenizer.encode(text, parse_special);
  // A template may bring its own BOS.
  const auto bos = tokenizer.bos();
  if (tokenizer.adds_bos() && bos && (tokens.empty() || tokens[0] != *bos))
    tokens.insert(tokens.begin(), *bos);
  return tokens;
}

Generation::Generation(Session& session, std::vector<TokenId> prompt,
                       const GenerateOptions& options)
    : session_(&session),
      prompt_(std::move(prompt)),
      options_(options),
      sampler_(options_.sampling, session.engine().description().vocabulary),
      detokenizer_(session.engine().tokenizer()),
      stops_(options_.stops) {
  if (prompt_.empty() && session.tokens().empty())
    throw Error(ErrorCode::empty_prompt,
                "the prompt is empty, and this model has no token to begin with", "give a prompt");
  for (const std::string& stop : options_.stops)
    if (stop.empty()) throw Error(ErrorCode::usage, "a stop text is empty");
}

bool Generation::step(std::string& text,
                      const std::function<bool(std::int64_t, std::int64_t)>& prefill_progress) {
  if (has_ended_) return false;
  if (!has_begun_) {
    const Session::Appended read = read_prompt(prefill_progress);
    if (!read.is_complete) {
      result_.reason = FinishReason::cancelled;
      has_ended_ = true;
      return false;
    }
    // The first token comes from the prompt's own pass; decoding begins with it.
    const auto start = std::chrono::steady_clock::now();
    const bool goes_on = draw(read.logits, text);
    result_.prefill_seconds += seconds_since(start);
    return goes_on;
  }
  const auto start = std::chrono::steady_clock::now();
  const bool goes_on = draw(session_->append({&result_.tokens.back(), 1}).logits, text);
  result_.decode_seconds += seconds_since(start);
  return goes_on;
}

Session::Appended Generation::read_prompt(
    const std::function<bool(std::int64_t, std::int64_t)>& progress) {
  has_begun_ = true;
  const auto start = std::chrono::steady_clock::now();
  if (prompt_.empty()) {
    // What the session ends with is read again, for its logits.
    const std::vector<TokenId> all = session_->tokens();
    const std::int64_t kept = session_->rewind_to_prefix_of(std::span(all).first(all.size() - 1));
    prompt_.assign(all.begin() + kept, all.end());
  }
  const Session::Appended read = session_->append(prompt_, progress);
  session_->mark_end();
  result_.prompt_tokens = static_cast<std::int64_t>(prompt_.size());
  result_.prefill_seconds = seconds_since(start);
  prompt_ = {};  // the session has it
  const std::int64_t left = session_->room() + 1;
  const std::int64_t most = options_.max_tokens < 0 ? left : options_.max_tokens;
  const auto room = static_cast<std::size_t>(std::min(most, left));
  // What is not used is not held; texts and ids that have to move would be there twice.
  constexpr std::size_t usual_text = 4;
  result_.tokens.reserve(room);
  result_.text.reserve(room * usual_text);
  return read;
}

bool Generation::draw(std::span<float> logits, std::string& text) {
  if (options_.max_tokens >= 0 &&
      static_cast<std::int64_t>(result_.tokens.size()) >= options_.max_tokens) {
    end(FinishReason::length, text);
    return false;
  }
  const Tokenizer& tokenizer = session_->engine().tokenizer();
  const TokenId token = sampler_.sample(logits, session_->tokens());
  if (tokenizer.is_end_of_generation(token)) {
    end(FinishReason::stop, text);
    return false;
  }
  result_.tokens.push_back(token);
  if (token < tokenizer.vocabulary_size()) {
    std::string more = stops_.push(detokenizer_.push(token, options_.show_special));
    // A token that is not shown has a text that may be a stop, all the same.
    if (!stops_.found() && tokenizer.bytes_of(token, options_.show_special).empty())
      more += stops_.push(tokenizer.bytes_of(token, true), false);
    result_.text += more;
    text += more;
  }
  if (stops_.found() || session_->room() == 0) {
    end(stops_.found() ? FinishReason::stop : FinishReason::context_full, text);
    return false;
  }
  return true;
}

void Generation::end(FinishReason reason, std::string& text) {
  has_ended_ = true;
  result_.reason = reason;
  session_->mark_end();
  if (stops_.found()) return;
  std::string more = stops_.push(detokenizer_.flush());
  if (!stops_.found()) more += stops_.flush();
  result_.text += more;
  text += more;
}

void Generation::cancel(std::string& text) {
  if (!has_ended_) end(FinishReason::cancelled, text);
}

Generated generate(Session& session, std::span<const TokenId> prompt,
                   const GenerateOptions& options,
                   const std::function<bool(std::string_view)>& emit,
                   const std::function<bool(std::int64_t, std::int64_t)>& prefill_progress) {
  Generation generation(session, {prompt.begin(), prompt.end()}, options);
  std::string text;
  const auto pass_on = [&] {
    const bool wanted = text.empty() || !emit || emit(text);
    text.clear();
    return wanted;
  };
  while (generation.step(text, prefill_progress))
    if (!pass_on()) generation.cancel(text);
  pass_on();
  return generation.take();
}

}  // namespace plimsoll
