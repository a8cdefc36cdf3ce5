// Conversations in files: messages in the shape of the OpenAI API, and what was saved from a chat.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "base/bytes.h"
#include "engine/conversation.h"
#include "engine/sampler.h"

namespace plimsoll {

/// What such a file holds. Everything but the messages may be null.
struct MessagesFile {
  nlohmann::ordered_json messages;
  nlohmann::ordered_json tools, variables;
  // Of saved conversations:
  nlohmann::ordered_json model;      ///< as identity_of() gives it
  nlohmann::ordered_json settings;   ///< of sampling, and "thinking"
  nlohmann::ordered_json token_ids;  ///< as Conversation::token_ids() gives them
};

/// An array of messages, or an object with "messages" and perhaps "tools", "chat_template_kwargs"
/// and what a saved conversation has. `accept(bytes)` is asked with the memory that reading may
/// take. Throws as read_text_file does, Error(file_corrupt) for what is none,
/// Error(unsupported_version) for a file of a later version.
MessagesFile read_messages_file(const std::string& path,
                                const std::function<void(Bytes)>& accept = {});

/// {"name", "architecture", "fingerprint"}.
nlohmann::ordered_json identity_of(const OpenModel& model);

/// Writes it whole or not at all. A file that is there is replaced if it is a saved conversation
/// itself: the result says so. Throws Error(write_failed), also where another file is in the way.
bool save_conversation(const std::string& path, const Conversation& conversation,
                       const nlohmann::ordered_json& model, const SamplingOptions& sampling);

/// Sampling as a file has it, the rest as it is in `sampling`. Throws Error(file_corrupt) for
/// values that cannot be.
SamplingOptions sampling_of(const nlohmann::ordered_json& settings, SamplingOptions sampling);

/// A JSON text. Throws Error(file_corrupt) in the name of `what`; also beyond 64 levels.
nlohmann::ordered_json parse_json(const std::string& text, const std::string& what);

}  // namespace plimsoll
