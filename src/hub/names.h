// Names of models, as people write and paste them.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hub/known_models.h"

namespace plimsoll {

struct ModelName {
  enum class Source { hub, url, ollama };

  Source source = Source::hub;
  std::string repo;               ///< hub: "ORG/REPO"; ollama: the model
  std::string revision = "main";  ///< hub: branch, tag or commit
  std::string file;               ///< hub: path of one file in the repository; may be empty
  std::string quant;              ///< hub: "Q4_K_M" instead of a file, may be empty; ollama: the tag
  std::string url;                ///< of Source::url
  const KnownModel* known = nullptr;  ///< whose row this is, if any

  /// The shortest text that means the same: "smollm2:135m", "ORG/REPO:FILE", "ORG/REPO@REV", a URL, "ollama:NAME:TAG".
  std::string text() const;
};

/// Of a known name; hf:ORG/REPO, hf.co/ORG/REPO, huggingface.co/ORG/REPO or ORG/REPO alone, each with :FILE, :QUANT and
/// @REVISION; a page's or file's address on the hub (or on `endpoint`); any other http(s) address of a file;
/// ollama:NAME[:TAG]. Empty for what cannot be one. Throws Error(usage) for what begins as one (hf:, ollama:, a scheme)
/// and is wrong.
std::optional<ModelName> parse_model_name(std::string_view text, std::string_view endpoint);

/// True for a path below a repository that stays below it, on any file system: no empty part, "." or "..", no control
/// characters or backslashes, and not too long.
bool is_safe_path(std::string_view path);

/// The part of a path behind its last slash.
std::string_view file_name(std::string_view path);

/// Of `choices`, at most `most` that are near to `wanted` in spelling, nearest first.
std::vector<std::string> nearest_names(std::string_view wanted, std::span<const std::string> choices,
                                       std::size_t most = 3);

}  // namespace plimsoll
