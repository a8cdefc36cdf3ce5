// Outputs that would destroy what is read.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "file/model_file.h"

namespace plimsoll {

/// Throws Error(usage) when the file that `option` is to write is one of those that are read, by
/// whatever path or link. To be called before anything is written.
void refuse_to_overwrite(std::string_view option, const std::string& output,
                         std::span<const std::string> inputs);
/// The files that a model is read from, for that.
std::vector<std::string> input_files(const ModelFile& model);

}  // namespace plimsoll
