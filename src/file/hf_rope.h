// RoPE's settings in a Hugging Face folder, under their old and new names, as GGUF keys and tensors.
#pragma once

#include "file/hf_config.h"
#include "file/json_reader.h"
#include "file/metadata_builder.h"

namespace plimsoll {

/// Adds "FAMILY.rope.*" and the model's frequency factors; `model` has its shape. Throws Error:
/// unsupported_model (a kind of scaling, or settings that the family's code would not follow),
/// invalid_model (a setting that is missing or wrong).
void add_hf_rope(const JsonKeys& config, HfModel& model, MetadataBuilder& metadata);

}  // namespace plimsoll
