// Weights that were rounded to fit, kept in a file, so that the next run with the same plan only
// reads them.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "engine/engine.h"

namespace plimsoll {

/// ${XDG_CACHE_HOME:-~/.cache}/plimsoll/fitted; empty where there is none (see cache_folder).
std::string kept_folder();

/// The file in the folder that holds, or would hold, the model's weights in the plan's formats. Its
/// name is a fingerprint of every tensor's name, shape and format, and of 16 of its rows as this
/// program rounds them now (they are read and rounded for it), so that another model, another plan
/// or another way of rounding has another name.
std::string kept_path(Context& context, const OpenModel& model, const Plan& plan);

/// The kept file, if it is there. Throws Error (file_corrupt, or what opening or reading throws)
/// where it does not hold what its name says; checked are the same names, shapes, formats and rows.
std::optional<ModelFile> open_kept(Context& context, const OpenModel& model,
                                   const std::string& path);

/// Rounds the model's weights into the file, from tensor to tensor through bounded staging, without
/// holding them. The file appears whole or not at all. Throws Error(write_failed), and as loading
/// does.
void keep_weights(Context& context, const OpenModel& model, const Plan& plan,
                  const std::string& path,
                  const std::function<void(Weights::Progress)>& progress = {});

}  // namespace plimsoll
