// What generate() does, a token at a time: between steps other sessions of the engine may compute.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "engine/stop_finder.h"

namespace plimsoll {

/// Refers to the session, which nobody else changes before the end. Not thread-safe.
class Generation {
 public:
  /// Nothing is computed yet. Throws as generate() does, for options and an empty prompt.
  Generation(Session& session, std::vector<TokenId> prompt, const GenerateOptions& options);
  Generation(const Generation&) = delete;
  Generation& operator=(const Generation&) = delete;

  /// Reads the prompt, the first time, or the last token, and draws the next one. Appends to `text`
  /// what has become final. False: that was the end. Throws as Session::append does.
  bool step(std::string& text,
            const std::function<bool(std::int64_t done, std::int64_t total)>& prefill_progress);
  /// Ends it here; appends what was held back.
  void cancel(std::string& text);
  bool has_ended() const { return has_ended_; }
  /// So far.
  const Generated& generated() const { return result_; }
  /// The same, of one that has ended; leaves nothing.
  Generated take() { return std::move(result_); }

 private:
  Session::Appended read_prompt(const std::function<bool(std::int64_t, std::int64_t)>& progress);
  /// The next token from the logits of the last one.
  bool draw(std::span<float> logits, std::string& text);
  void end(FinishReason reason, std::string& text);

  Session* session_;
  std::vector<TokenId> prompt_;
  GenerateOptions options_;
  Sampler sampler_;
  Detokenizer detokenizer_;
  StopFinder stops_;
  Generated result_;
  bool has_begun_ = false, has_ended_ = false;
};

}  // namespace plimsoll
