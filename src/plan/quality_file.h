// A measured quality model as a file, from one command to the next.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include "file/model_file.h"
#include "model/tensors.h"
#include "plan/quality.h"

namespace plimsoll {

/// By tensor names and format names.
nlohmann::json to_json(const QualityModel& quality, std::span<const TensorUse> uses);
/// Empty for anything but what to_json() gave, as text, of the same tensors.
std::optional<QualityModel> parse_quality(std::string_view json, std::span<const TensorUse> uses);

/// Sixteen hexadecimal digits that change with a model's tensors: their names, shapes, formats, and
/// a few bytes of each (reading all of a large file would take longer than what it is for).
std::string model_fingerprint(const ModelFile& file);

/// What was kept in `folder` (see cache_folder()) for a model; empty where there is nothing or
/// nothing valid.
std::optional<QualityModel> load_quality(const std::string& folder, const std::string& fingerprint,
                                         std::span<const TensorUse> uses);
/// Keeps it, whole or not at all; a folder that cannot be written is no error.
void save_quality(const std::string& folder, const std::string& fingerprint,
                  const QualityModel& quality, std::span<const TensorUse> uses);

}  // namespace plimsoll
