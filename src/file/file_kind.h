// What a file is that is given as a model and is none: messages that say so, instead of what is
// missing in it.
#pragma once

#include <string>

#include "file/input_file.h"
#include "file/model_file.h"

namespace plimsoll {

/// Throws Error(file_corrupt or unsupported_format) for a file that does not begin as GGUF does: a
/// llamafile, a checkpoint of PyTorch, an older GGML file, an archive, a web page...
[[noreturn]] void throw_foreign(const InputFile& file);

/// Throws Error(unsupported_model) for GGUF files that are no language model: the image part of one
/// (mmproj), adapters, importance matrices, control vectors, models that embed; Error(invalid_model)
/// for one without any tensor.
void refuse_other_kinds(const ModelFile& file);

/// What to do about a file that ends too early, by its name: "model.gguf.part" is still being
/// downloaded, "model.gguf-split-a" is a piece of one.
std::string incomplete_hint(const std::string& path);

}  // namespace plimsoll
