#include "kernels/matmul.h"

#include <algorithm>

namespace plimsoll {
namespace {

/// Least share of a worker: enough small chunks at the end that all workers end together. With many
/// tokens a pair of tile rows takes long enough to be handed out alone.
constexpr std::int64_t chunks_per_worker = 16;
constexpr std::int64_t many_tokens = 64;
constexpr std::int64_t chunk_of_many = 2;

}  // namespace

Bytes MatmulWorkspace::quantised_bytes(std::int64_t tokens, std::int64_t columns) {
  // Dense matrices may have columns that no block divides; they are never quantised.
  return static_cast<Bytes>(plimsoll::quantised_bytes(tokens, (columns + 31) / 32 * 32));
}

void matmul(Context& context, std::span<const MatmulOp> ops, const float* x, std::int64_t x_stride,
            std::int64_t tokens, MakeRow make_row, const MatmulWorkspace& workspace) {
  const Kernels& kernels = context.kernels;
  const std::int64_t columns = ops[0].planes ? ops[0].planes->columns : ops[0].dense->columns;
  const bool any_planes =
      std::any_of(ops.begin(), ops.end(), [](const MatmulOp& op) { return op.planes; });
  QuantisedActivations quantised{};
  if (any_planes) quantised = place_quantised(workspace.quantised, tokens, columns);
  context.threads.parallel_for(tokens, 4, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t token = begin; token < end; ++token) {
      make_row(token);
      if (any_planes) kernels.quantise_activations(x, x_stride, token, token + 1, quantised);
    }
  });

  std::int64_t units = 0;  // tile rows of all ops together
  for (const MatmulOp& op : ops) units += (op.rows() + tile_rows - 1) / tile_rows;
  const std::int64_t grain =
      tokens >= many_tokens
          ? chunk_of_many
          : std::max<std::int64_t>(1, units / (context.threads.size() * chunks_per_worker));
  context.threads.parallel_for(units, grain, [&](std::int64_t begin, std::int64_t end, int worker) {
    std::byte* const scratch =
        workspace.scratch + static_cast<Bytes>(worker) * workspace.scratch_stride;
    std::int64_t first = 0;
    for (const MatmulOp& op : ops) {
      const std::int64_t count = (op.rows() + tile_rows - 1) / tile_rows;
      const std::int64_t from = std::max(begin, first) - first,
                         to = std::min(end, first + count) - first;
      first += count;
      if (from >= to) continue;
      const std::int64_t row_begin = from * tile_rows,
                         row_end = std::min(to * tile_rows, op.rows());
      if (op.planes)
        kernels.matmul_planes(*op.planes, quantised, from, to, op.y, op.y_stride, scratch);
      else
        kernels.matmul_dense(*op.dense, x, x_stride, tokens, row_begin, row_end, op.y, op.y_stride);
      if (op.bias)
        for (std::int64_t token = 0; token < tokens; ++token)
          kernels.add(op.bias + row_begin, row_end - row_begin,
                      op.y + token * op.y_stride + row_begin);
    }
  });
}

}  // namespace plimsoll
