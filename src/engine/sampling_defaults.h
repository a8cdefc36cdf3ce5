// How the makers of a model mean texts to be drawn from it.
#pragma once

#include "engine/sampler.h"
#include "file/metadata.h"

namespace plimsoll {

/// `otherwise` with what the file says instead ("general.sampling.*": llama.cpp's keys, which
/// folders with a generation_config.json get too). Throws Error(invalid_model) naming a key whose
/// value is out of range.
SamplingOptions sampling_defaults(const Metadata& metadata, SamplingOptions otherwise = {});

}  // namespace plimsoll
