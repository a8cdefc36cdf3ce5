// What this machine can do at best: the limits that speeds are held against. Each is a fraction of
// a second's work for all of the context's workers, with the widest instructions of its kernel
// family.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "kernels/context.h"

namespace plimsoll {

/// Bytes per second of reading these spans once.
double measure_read(Context& context, const std::vector<std::span<const std::byte>>& spans);
/// Operations per second in registers, each product and each sum one operation: dot products of
/// 8-bit numbers, and multiply-adds of f32.
double measure_integer(Context& context);
double measure_float(Context& context);

}  // namespace plimsoll
