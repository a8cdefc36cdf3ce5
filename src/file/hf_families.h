// The families whose folders are read: one row each.
#pragma once

#include <string>

#include "file/hf_config.h"

namespace plimsoll {

/// By "model_type" and "architectures". Throws Error(unsupported_model) naming what is not known,
/// or where the two contradict each other.
const HfFamily& find_hf_family(const JsonKeys& config, const std::string& path);

}  // namespace plimsoll
