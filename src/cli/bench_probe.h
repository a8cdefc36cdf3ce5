// What this machine can do at best: the limits that speeds are held against.
#pragma once

#include "base/bytes.h"
#include "kernels/context.h"

namespace plimsoll {

struct MachineSpeed {
  double bytes_per_second = 0;               ///< read from memory, all workers streaming
  Bytes streamed_bytes = 0;                  ///< the block they read; below the caches' size, the
                                             ///< rate is theirs
  double integer_operations_per_second = 0;  ///< 8-bit products and sums, each one operation
  double float_operations_per_second = 0;    ///< f32, each product and each sum one operation
};

/// Measures on the context's workers for a fraction of a second, with the widest instructions of
/// its kernel family, and keeps the best of several passes: a limit, not a mean. Reads a block of
/// at most `room` bytes, charged to an account of its own. Throws as Region does.
MachineSpeed measure_machine(Context& context, Bytes room);

}  // namespace plimsoll
