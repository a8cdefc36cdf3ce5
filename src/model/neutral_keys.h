// Keys of GGUF files that change what a model computes, and that the forward pass does not follow.
#pragma once

#include "model/architecture.h"
#include "model/description.h"

namespace plimsoll {

/// `description` has its shape. Throws Error(unsupported_model) naming the first key whose value
/// makes a difference.
void check_neutral_keys(const FamilyKeys& keys, const Description& description);

}  // namespace plimsoll
