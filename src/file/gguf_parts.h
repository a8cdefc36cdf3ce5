// Models in several GGUF files: NAME-00001-of-00003.gguf and so on, as llama.cpp's gguf-split writes
// them. The first has all metadata, each has some of the tensors (the first may have none), and the
// keys split.no (from 0), split.count and split.tensors.count (of all parts together) say what
// belongs together.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "file/metadata.h"

namespace plimsoll {

/// Keys with this beginning are about the file, not about the model.
constexpr std::string_view split_keys = "split.";

struct GgufPart {
  std::int64_t number = 1;              ///< from 1
  std::int64_t count = 1;               ///< more than 1
  std::optional<std::int64_t> tensors;  ///< of all parts
};

/// What a file says of itself; empty for a whole one. Throws Error(file_corrupt) for numbers that
/// contradict each other.
std::optional<GgufPart> part_of(const Metadata& metadata, const std::string& path);

/// Paths of all parts of the model that `path` is the first of; all of them exist. Symbolic links
/// are followed where their own name is not a part's. Throws Error: invalid_model for another part
/// than the first (naming that) and for a name that is not the first part's, file_not_found naming
/// the missing parts.
std::vector<std::string> part_paths(const std::string& path, const GgufPart& part);

/// Throws Error(invalid_model) unless `found`, the keys of the file at `path`, is part `number` of
/// the same model as `first`.
void check_part(const std::optional<GgufPart>& found, const std::string& path, std::int64_t number,
                const GgufPart& first);

/// Lets this process open all files of a model at once, where its limit may be raised.
void allow_open_files(std::int64_t files);

/// The one model that a folder holds as GGUF, whole or split: its (first) file. Image parts
/// (mmproj-...) do not count. Empty without one; throws Error(file_unreadable) naming them where
/// there are several.
std::optional<std::string> gguf_in_folder(const std::string& folder);

}  // namespace plimsoll
