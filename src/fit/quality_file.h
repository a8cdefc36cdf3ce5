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

/// A model file's own note of its quality, for loading it with fewer bits. As with every file,
/// losses are those beyond its own.
inline constexpr std::string_view quality_key = "plimsoll.quality";
/// Of a file that has the model that was measured in `formats`, rounded so.
std::string quality_note(const QualityModel& quality, Rounding rounding,
                         std::span<const Format* const> formats, std::span<const TensorUse> uses);

/// What is known of a file: its note, or what was measured and kept; empty where there is neither.
std::optional<QualityModel> known_quality(const ModelFile& file, std::span<const TensorUse> uses,
                                          const std::string& folder);

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
