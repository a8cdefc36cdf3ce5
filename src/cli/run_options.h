// What `plimsoll run` is asked for, and where its prompt comes from.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "app/text_hold.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "engine/conversation.h"

namespace plimsoll {

struct RunOptions {
  CommonOptions common;
  std::optional<std::string> prompt, system, messages, think, plan, memory_file;
  std::vector<std::string> files, variables;
  bool chat = false, raw = false, keep = false, no_history = false, json_lines = false;
  double speed = 0;  ///< 0: none asked for
  std::optional<std::int64_t> tokens, top_k, seed;
  GenerateOptions generate;

  /// False when only help was wanted.
  bool parse(const Arguments& arguments);

  /// Of the options, else what the model's makers advise, else what is usual. Throws Error(usage).
  void decide_sampling(const Metadata& metadata);

  /// Throws Error(usage) where something is asked for that needs a chat format, and there is none.
  void require_chat(bool uses_chat) const;
  /// Of --think and --template-variable. Throws Error(usage).
  ChatSettings chat_settings() const;

 private:
  /// NaN where nothing was said.
  struct Said {
    double temperature = std::numeric_limits<double>::quiet_NaN();
    double top_p = temperature, min_p = temperature, repetition_penalty = temperature;
  } said_;
};

struct Prompt {
  std::string text;
  bool is_own = false;  ///< this program's own sentence: part of what it prints
  bool is_said = true;  ///< in a chat: there is a text besides --messages
};

/// What is to be answered or written on from; empty for a conversation at the terminal. `uses_chat`
/// says that it is answered. Throws Error(empty_prompt) where there is nothing, and as reading
/// does.
std::optional<Prompt> find_prompt(RunOptions& options, bool uses_chat, TextHold& hold);

/// Puts --system, --messages and the prompt's text into a conversation; returns the prompt of all.
ConversationPrompt begin_conversation(const RunOptions& options,
                                      const std::optional<Prompt>& prompt,
                                      Conversation& conversation, const Line& line,
                                      TextHold& hold);

}  // namespace plimsoll
