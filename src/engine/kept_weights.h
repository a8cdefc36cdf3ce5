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

/// The kept file of the model's weights in the plan's formats, if there is one: by its name, it has
/// been rounded from these very weights (engine/model_identity.h), in these formats, in the way in
/// which this program rounds 16 rows of each tensor now. Where a file may be meant and the model's
/// identity is not known yet, the whole model is read for it, once. Throws Error (file_corrupt, or
/// what opening or reading throws) where the file was changed since it was written.
std::optional<ModelFile> find_kept(Context& context, const OpenModel& model, const Plan& plan);

/// Rounds the model's weights into a file, from tensor to tensor through bounded staging, without
/// holding them, and returns its path. The file appears whole or not at all. Throws
/// Error(write_failed), Error(file_corrupt) where the model was changed meanwhile, and as loading
/// does.
std::string keep_weights(Context& context, const OpenModel& model, const Plan& plan,
                         const std::function<void(Weights::Progress)>& progress = {});

}  // namespace plimsoll
