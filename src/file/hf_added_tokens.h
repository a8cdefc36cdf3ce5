// The tokens that a Hugging Face folder declares beside its model's vocabulary, and what it puts
// around a text.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "file/json_reader.h"
#include "file/tokenizer_json.h"

namespace plimsoll {

/// A token that stands for itself.
struct HfAddedToken {
  std::int64_t id = -1;
  std::string text;
  bool single_word = false, lstrip = false, rstrip = false, normalized = false, special = false;
  bool is_in_model = false;  ///< the model's own vocabulary has this text too
};

/// Those of tokenizer.json with the ids that the library gives them (the model's where it has the
/// text, otherwise the next one that is free: those in the file do not count), then those that only
/// tokenizer_config.json has. Where both have one the flags of tokenizer_config.json count.
std::vector<HfAddedToken> hf_added_tokens(const TokenizerJson& tokenizer, const JsonKeys& settings);
/// Those of tokenizer_config.json ("added_tokens_decoder") and added_tokens.json, by their ids.
std::vector<HfAddedToken> hf_added_tokens(const JsonKeys& settings, const JsonKeys& added_ids);

/// Tokens before and behind a text that stands alone.
struct HfFrame {
  std::vector<std::int32_t> before, after;
};
/// The id of the token with a text.
using FindToken = std::function<std::optional<std::int64_t>(const std::string&)>;
/// As tokenizer.json's "post_processor" says; empty where there is none that adds tokens. Throws
/// Error(unsupported_model) naming one that is not known.
std::optional<HfFrame> hf_frame(const JsonKeys& tokenizer, const FindToken& find);

/// The tokens as JSON with the keys of tokenizer.json.
Json hf_added_json(const std::vector<HfAddedToken>& tokens);

}  // namespace plimsoll
