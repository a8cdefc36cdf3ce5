// Declares the functions of one instruction set's table. Include with PLIMSOLL_ISA set to the
// folder's name (reference, avx2, avx512, neon); no include guard, since it may be included once
// per name. What each function does stands in kernels/kernels.h.
#include "kernels/kernels.h"

#ifndef PLIMSOLL_ISA
#error "define PLIMSOLL_ISA before including this file"
#endif

namespace plimsoll::PLIMSOLL_ISA {

// float_ops.cpp
void rms_norm(const float* x, const float* weight, float epsilon, std::int64_t n, float* out);
void add(const float* y, std::int64_t n, float* x);
void scale(float factor, std::int64_t n, float* x);
void silu_multiply(const float* gate, const float* up, std::int64_t n, float* out);
void gelu_multiply(const float* gate, const float* up, std::int64_t n, float* out);
void soft_cap(float cap, std::int64_t n, float* x);
float softmax(float* x, std::int64_t n);
float log_sum_exp(const float* x, std::int64_t n);
void rope(const float* cosines, const float* sines, std::int64_t pairs, bool adjacent, float* x);
void rotate(std::int64_t head_dim, float* x);
void half_from_float(const float* x, std::int64_t n, std::uint16_t* out);
void float_from_half(const std::uint16_t* x, std::int64_t n, float* out);

// kv_page.cpp
void lower_page(const KvLowering& task);

// attention.cpp
void cache_row(const float* x, std::int64_t n, float limit, std::int16_t* codes,
               std::uint16_t* unit);
void attention(const AttentionTask& task);
void merge_attention(const float* outputs, std::int64_t stride, const float* states,
                     std::int64_t state_stride, std::int64_t parts, std::int32_t heads,
                     std::int32_t head_dim, float* out);

// dense.cpp
void matmul_dense(const DenseView& w, const float* x, std::int64_t x_stride, std::int64_t tokens,
                  std::int64_t row_begin, std::int64_t row_end, float* y, std::int64_t y_stride);

// planes.cpp
void quantise_activations(const float* x, std::int64_t x_stride, std::int64_t token_begin,
                          std::int64_t token_end, const QuantisedActivations& out);
void matmul_planes(const PlaneView& w, const QuantisedActivations& x, std::int64_t tile_begin,
                   std::int64_t tile_end, float* y, std::int64_t y_stride, void* scratch);

// quantise.cpp
double quantise(const QuantiseTask& task);

// limits.cpp
std::uint64_t read_limit(const void* data, std::int64_t bytes);
std::int64_t integer_limit(std::int64_t steps);
float float_limit(std::int64_t steps);
extern const std::int64_t integer_limit_macs, float_limit_macs;

// table.cpp
extern const Kernels table;

}  // namespace plimsoll::PLIMSOLL_ISA
