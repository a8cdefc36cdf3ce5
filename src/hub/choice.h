// Which files of a repository make the model.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "hub/repository.h"

namespace plimsoll {

/// What is to be taken, and why if there was a choice.
struct Choice {
  std::vector<RemoteFile> files;  ///< all parts; of a folder, what loading reads
  std::string entry;              ///< which of them stands for the model; of a folder "."
  std::string why;                ///< for people; empty where nothing else could be meant

  bool is_folder() const { return entry == "."; }
  /// Of all files; nothing where a size is unknown.
  std::optional<Bytes> bytes() const;
};

/// What there is room for.
struct Room {
  Bytes bytes = 0;
  bool is_wish = false;  ///< the user's number, and not merely what the machine has
};

/// Of one GGUF file (or set of parts) `file` or `quant` names it. Otherwise: with a wish, the largest that leaves room to
/// run, but none beyond 8 bits; without one, 4 bits (Q4_K_M before its like), or what fits. A repository without GGUF files
/// is taken as a safetensors folder. Throws Error(not_available), with the nearest names, for what is not there.
Choice choose_files(const Repository& repository, const ModelName& name, const Room& room);

/// "Q4_K_M" of "dir/model-Q4_K_M-00001-of-00002.gguf", in capitals; empty where none is recognised.
std::string quant_of(std::string_view path);

}  // namespace plimsoll
