// What fitting itself holds, from a model's header alone: so that it is refused before any work.
#pragma once

#include <span>

#include "base/bytes.h"
#include "fit/calibration.h"
#include "model/description.h"
#include "model/tensors.h"

namespace plimsoll {

/// On the heap, at most: what is written and, thoroughly, the rows on which formats are compared.
/// To be reserved for the whole of a fit; everything below comes on top and is charged where it is
/// held.
Bytes fitting_heap_bytes(const Description& description, std::span<const TensorUse> uses,
                         bool thorough);

/// Peak of analyse() (fit/analysis.h) with a calibration of this size.
Bytes analysis_bytes(const Description& description, std::span<const TensorUse> uses,
                     const CalibrationSize& size, int workers);

/// Peak of FittedFile::write() with tensors in any of `targets` or as they are; thoroughly, with
/// the moments of a calibration of this size.
Bytes writing_bytes(const Description& description, std::span<const TensorUse> uses,
                    const CalibrationSize& size, bool thorough,
                    std::span<const Format* const> targets, int workers);

}  // namespace plimsoll
