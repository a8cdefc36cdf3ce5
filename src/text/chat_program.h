// A chat template together with what conversations it takes, found by trying.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/chat_template.h"
#include "text/jinja.h"
#include "text/tokenizer.h"

namespace plimsoll {

/// One compiled template of a file. Immutable and thread-safe.
class ChatProgram {
 public:
  /// `specials` are the variables that every template has: bos_token and its like. Throws jinja::JinjaError for text
  /// that is no template.
  ChatProgram(std::string_view source, nlohmann::ordered_json specials, const Tokenizer& tokenizer,
              const jinja::Limits& limits = {});

  /// See ChatTemplate::render.
  ChatPrompt render(const ChatRequest& request) const;

  Bytes memory_bytes() const;

 private:
  jinja::Rendered run(const nlohmann::ordered_json& messages, const nlohmann::ordered_json& tools,
                      bool add_generation_prompt, const nlohmann::ordered_json& variables, std::int64_t now,
                      const jinja::Limits& limits) const;
  /// What a trial renders, or nothing where the template refuses.
  std::optional<std::string> trial(const nlohmann::ordered_json& messages, bool add_generation_prompt = false) const;
  void find_capabilities();
  void find_reasoning(const Tokenizer& tokenizer);
  void find_stops(const Tokenizer& tokenizer);
  nlohmann::ordered_json prepared(const ChatRequest& request, std::vector<std::string>& notices) const;

  jinja::Template template_;
  std::string source_;
  nlohmann::ordered_json specials_;
  jinja::Limits limits_;
  nlohmann::ordered_json no_tools_;  ///< null, or an empty list where the template wants one
  bool takes_system_ = true, takes_developer_ = false, takes_texts_ = true, takes_parts_ = false;
  bool takes_tools_ = false, wants_argument_text_ = false;
  ReasoningMarks reasoning_;
  std::vector<std::string> stops_;
};

}  // namespace plimsoll
