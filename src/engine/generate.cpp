#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "engine/engine.h"
#include "engine/stop_finder.h"

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

Generated generate(Session& session, std::span<const TokenId> prompt,
                   const GenerateOptions& options,
                   const std::function<bool(std::string_view)>& emit,
                   const std::function<bool(std::int64_t, std::int64_t)>& prefill_progress) {
  if (prompt.empty() && session.tokens().empty())
    throw Error(ErrorCode::empty_prompt,
                "the prompt is empty, and this model has no token to begin with", "give a prompt");
  for (const std::string& stop : options.stops)
    if (stop.empty()) throw Error(ErrorCode::usage, "a stop text is empty");
  const Tokenizer& tokenizer = session.engine().tokenizer();
  Sampler sampler(options.sampling, session.engine().description().vocabulary);
  Detokenizer detokenizer(tokenizer);
  StopFinder stops(options.stops);
  Generated result;
  bool cancelled = false;
  const auto pass_on = [&](const std::string& text) {
    result.text += text;
    if (!text.empty() && emit && !emit(text)) cancelled = true;
  };

  auto start = std::chrono::steady_clock::now();
  const bool complete = session.append(prompt, prefill_progress);
  result.prompt_tokens = static_cast<std::int64_t>(prompt.size());
  result.prefill_seconds = seconds_since(start);
  const std::int64_t most = options.max_tokens < 0 ? session.room() + 1 : options.max_tokens;
  const auto room = static_cast<std::size_t>(std::min(most, session.room() + 1));
  // What is not used is not held; texts and ids that have to move would be there twice.
  constexpr std::size_t usual_text = 4;
  result.tokens.reserve(room);
  result.text.reserve(room * usual_text);
  if (!complete) {
    result.reason = FinishReason::cancelled;
    return result;
  }

  start = std::chrono::steady_clock::now();
  for (;;) {
    if (options.max_tokens >= 0 &&
        static_cast<std::int64_t>(result.tokens.size()) >= options.max_tokens) {
      result.reason = FinishReason::length;
      break;
    }
    const TokenId token = sampler.sample(session.logits(), session.tokens());
    if (result.tokens.empty()) {
      // The first token comes from the prompt's own pass; decoding begins with it.
      result.prefill_seconds += seconds_since(start);
      start = std::chrono::steady_clock::now();
    }
    if (tokenizer.is_end_of_generation(token)) {
      result.reason = FinishReason::stop;
      break;
    }
    result.tokens.push_back(token);
    if (token < tokenizer.vocabulary_size()) {
      pass_on(stops.push(detokenizer.push(token, options.show_special)));
      // A token that is not shown has a text that may be a stop, all the same.
      if (!stops.found() && tokenizer.bytes_of(token, options.show_special).empty())
        pass_on(stops.push(tokenizer.bytes_of(token, true), false));
    }
    if (stops.found()) {
      result.reason = FinishReason::stop;
      break;
    }
    if (cancelled) {
      result.reason = FinishReason::cancelled;
      break;
    }
    if (session.room() == 0) {
      result.reason = FinishReason::context_full;
      break;
    }
    session.append({&token, 1});
  }
  result.decode_seconds = seconds_since(start);
  if (!stops.found()) {
    pass_on(stops.push(detokenizer.flush()));
    if (!stops.found()) pass_on(stops.flush());
  }
  return result;
}

}  // namespace plimsoll
