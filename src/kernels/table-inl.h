// The table itself, one line per function. Included once by each folder's table.cpp, with
// PLIMSOLL_ISA set.
#include "kernels/functions-inl.h"

namespace plimsoll::PLIMSOLL_ISA {

const Kernels table = {
    .isa = Isa::PLIMSOLL_ISA,
    .rms_norm = rms_norm,
    .add = add,
    .scale = scale,
    .silu_multiply = silu_multiply,
    .gelu_multiply = gelu_multiply,
    .soft_cap = soft_cap,
    .softmax = softmax,
    .log_sum_exp = log_sum_exp,
    .rope = rope,
    .rotate = rotate,
    .half_from_float = half_from_float,
    .float_from_half = float_from_half,
    .cache_row = cache_row,
    .lower_page = lower_page,
    .attention = attention,
    .merge_attention = merge_attention,
    .matmul_dense = matmul_dense,
    .quantise_activations = quantise_activations,
    .matmul_planes = matmul_planes,
    .quantise = quantise,
    .read_limit = read_limit,
    .integer_limit = integer_limit,
    .integer_limit_macs = &integer_limit_macs,
    .float_limit = float_limit,
    .float_limit_macs = &float_limit_macs,
};

}  // namespace plimsoll::PLIMSOLL_ISA
