// Everything that computes, as one table of functions per instruction set. reference/ is plain
// scalar code that the other folders are tested against; avx2/ and avx512/ on x86-64 and neon/ on
// AArch64 fill the same table. No function here allocates, throws or knows about threads: callers
// split the work (kernels/matmul.h) and own all memory.
#pragma once

#include <cstdint>

#include "base/cpu.h"
#include "kernels/kv_page.h"
#include "kernels/quantise.h"
#include "planes/plane_view.h"

namespace plimsoll {

/// Rows of activations quantised to signed bytes in blocks of 32 columns:
///
///   x[token][column] = codes * step * row_scales[token]
///
/// with the largest value of a row at 127 in the largest step, largest_activation_step, and every
/// block in the least step that holds it, of those with three bits: 4, 5, 6, 7, 8, 10, 12, 14, 16
/// and so on. (The scale of a whole row alone would lose what lies beside an outlier; steps that
/// are powers of two make 2.2 times the squared error of full precision, these 1.2 times; full
/// precision costs products with AVX-512 a multiplication each, 10 % of prefill.) Written by
/// quantise_activations and read by matmul_planes of the same table, which may keep the codes
/// offset by 128, steps as two words, and what belongs to a few tokens side by side.
struct QuantisedActivations {
  std::int8_t* codes;      ///< [tokens][columns]; columns is a multiple of 32
  float* steps;            ///< [tokens][columns / 32], with room for two words each
  std::int32_t* sums;      ///< [tokens][columns / 16]: sum of the codes of each 16 columns
  float* weighted_sums16;  ///< [tokens][columns / 16]: the same times the step
  float* weighted_sums32;  ///< [tokens][columns / 32]
  float* row_scales;       ///< [tokens]
  std::int64_t columns;
  std::int64_t tokens;
};
constexpr float largest_activation_step = 0x1p16f, least_activation_step = 4.0f;
/// A row below this is taken for zeros: its reciprocals would overflow.
constexpr float least_activation = 0x1p-100f;

/// Bytes of all arrays together, each 64-byte aligned; with room for one token more, so that a
/// table may work on pairs of tokens.
std::int64_t quantised_bytes(std::int64_t tokens, std::int64_t columns);
/// Lays the arrays out in `memory`, which has quantised_bytes(tokens, columns) and is 64-byte
/// aligned.
QuantisedActivations place_quantised(void* memory, std::int64_t tokens, std::int64_t columns);

/// A matrix kept as plain floats, row-major: [rows][columns].
struct DenseView {
  enum class Type : std::uint8_t { f32, f16, bf16 };
  const void* data;
  Type type;
  std::int64_t rows;
  std::int64_t columns;
};

/// Largest code of a value of 16 bits. A row of K or V is codes and their unit, a bf16. Codes are
/// such that no sum over a page's positions or over a head's dimensions leaves 31 bits, beside
/// codes of queries and probabilities that have about as many bits: 12.5 for keys of 64 dimensions
/// and 12 for values, where f16 has 11. A row with a NaN or an infinity has NaN for its unit.
constexpr float value_code_limit = 4095;
/// Largest code of keys and of queries: the sum of head_dim products of them fits 31 bits.
float key_code_limit(std::int64_t head_dim);

/// Positions of a part, whole pages: what a query sees is summed in parts that begin at multiples
/// of it, each for itself, and the parts are added up in order. So a query's parts can be given to
/// several workers, and what it comes to depends on positions alone: never on the queries, passes
/// or workers beside.
constexpr std::int64_t attention_part = 1024;
static_assert(attention_part % kv_page_positions == 0);

/// Attention of a few queries over one KV head: the `heads` query heads of its group share every
/// load of K and V. Causal: query i sits at position first_position + i and sees positions
/// [max(0, p - window + 1), p]. Queries of which some see `newest` all lie in that page; others may
/// sit anywhere, and belong to different sequences that share what they see.
struct AttentionTask {
  const float*
      q;  ///< [queries][q_stride]; the group's heads follow each other: head h at h * head_dim
  std::int64_t q_stride;  ///< floats between queries
  /// By page, those that a query sees of before `newest`; the others may be null inside. Of a
  /// page's rows only those that a query sees need to be written.
  const KvPageView* pages;
  KvPageView newest;     ///< the page of first_position, which lies apart
  std::int64_t kv_head;  ///< which head of the pages
  float* out;            ///< [queries][out_stride], heads as in q
  std::int64_t out_stride;
  std::int64_t queries;
  std::int64_t first_position;
  std::int64_t window;  ///< positions a query sees, itself included; 0 for all
  std::int32_t heads;
  std::int32_t head_dim;  ///< a multiple of 4 (8, 64, 80, 96, 128, 256 occur)
  float scale;            ///< multiplies q.k
  float soft_cap;         ///< cap * tanh(score / cap); 0 for none
  /// One part of the queries, for merge_attention: writes [queries][heads][2] floats here, and to
  /// `out` what belongs to them. Null for whole queries.
  float* part_states;
  std::int64_t part_state_stride;  ///< floats between queries
  /// Which: positions [part, part + 1) * attention_part; each query sees one at least.
  std::int64_t part;
  float* scratch;  ///< attention_scratch_floats(...) floats, 64-byte aligned, this worker's own
};

/// Floats of scratch for a task: independent of the number of positions (online softmax, Milakov
/// and Gimelshein, arXiv:1805.02867).
std::int64_t attention_scratch_floats(std::int64_t queries, std::int32_t heads,
                                      std::int32_t head_dim);

struct Kernels {
  Isa isa;

  // --- elementwise and norms; n is any length >= 0, no alignment needed, out may be x ---

  /// out = x / sqrt(mean(x^2) + epsilon) * weight (Zhang and Sennrich, arXiv:1910.07467); weight
  /// null for ones.
  void (*rms_norm)(const float* x, const float* weight, float epsilon, std::int64_t n, float* out);
  void (*add)(const float* y, std::int64_t n, float* x);  ///< x += y
  void (*scale)(float factor, std::int64_t n, float* x);  ///< x *= factor
  void (*silu_multiply)(const float* gate, const float* up, std::int64_t n,
                        float* out);  ///< silu(gate) * up
  void (*gelu_multiply)(const float* gate, const float* up, std::int64_t n,
                        float* out);                      ///< tanh-GELU(gate) * up
  void (*soft_cap)(float cap, std::int64_t n, float* x);  ///< x = cap * tanh(x / cap)
  /// x = exp(x - max) / sum; returns log(sum(exp(x))) of the input. n >= 1.
  float (*softmax)(float* x, std::int64_t n);
  /// log(sum(exp(x))), x unchanged. n >= 1.
  float (*log_sum_exp)(const float* x, std::int64_t n);
  /// Rotates `pairs` pairs of one head by angles given as cos and sin. adjacent: (x[2i], x[2i+1]);
  /// otherwise halves: (x[i], x[i + pairs]) (Su et al., arXiv:2104.09864).
  void (*rope)(const float* cosines, const float* sines, std::int64_t pairs, bool adjacent,
               float* x);
  /// Hadamard transform of one head, orthonormal and so its own inverse, in place: in blocks of the
  /// largest power of two that divides head_dim, each Sylvester's matrix. Every instruction set
  /// gives the same bits.
  void (*rotate)(std::int64_t head_dim, float* x);
  void (*half_from_float)(const float* x, std::int64_t n, std::uint16_t* out);  ///< nearest even
  void (*float_from_half)(const std::uint16_t* x, std::int64_t n, float* out);

  /// Rounds a row of n values, a multiple of 4, for a page of 16 bits; the largest becomes `limit`
  /// at most.
  void (*cache_row)(const float* x, std::int64_t n, float limit, std::int16_t* codes,
                    std::uint16_t* unit);
  /// Rounds a head of a page whose 64 positions are all written; the bytes are the same with every
  /// instruction set. Keys that come from 16 bits lose their mean over the positions whose unit is
  /// a number; others have theirs already.
  void (*lower_page)(const KvLowering& task);
  void (*attention)(const AttentionTask& task);
  /// What `parts` consecutive parts of one query come to together (Dao et al., "Flash-Decoding",
  /// 2023), from the first that it sees to the last: the bits that it has as a whole. Outputs
  /// [part][stride] with heads as in a task's, their states [part][state_stride].
  void (*merge_attention)(const float* outputs, std::int64_t stride, const float* states,
                          std::int64_t state_stride, std::int64_t parts, std::int32_t heads,
                          std::int32_t head_dim, float* out);

  // --- products: y[token][row] = sum over k of w[row][k] * x[token][k], rows [row_begin, row_end)
  // only ---

  /// x: [tokens][x_stride]. Any shape.
  void (*matmul_dense)(const DenseView& w, const float* x, std::int64_t x_stride,
                       std::int64_t tokens, std::int64_t row_begin, std::int64_t row_end, float* y,
                       std::int64_t y_stride);

  /// Quantises tokens [token_begin, token_end) of x ([out.tokens][x_stride]) into `out`.
  void (*quantise_activations)(const float* x, std::int64_t x_stride, std::int64_t token_begin,
                               std::int64_t token_end, const QuantisedActivations& out);

  /// Rows of 16-row tiles [tile_begin, tile_end) of w, at the level that each tile has. y is
  /// written for real rows only. `scratch`: plane_scratch_bytes bytes, 64-byte aligned, this
  /// worker's own.
  void (*matmul_planes)(const PlaneView& w, const QuantisedActivations& x, std::int64_t tile_begin,
                        std::int64_t tile_end, float* y, std::int64_t y_stride, void* scratch);

  // --- rounding: kernels/quantise.h ---

  /// Rounds the rows into file blocks; the cost that the task's description defines. With a nested
  /// format the blocks have been rounded to its leading bits, and the others are added.
  double (*quantise)(const QuantiseTask& task);

  // --- limits: loops that do one thing as fast as this instruction set can, to hold speeds against
  // ---

  /// Reads memory, 64-byte aligned, `bytes` a multiple of 256. The result depends on all of it.
  std::uint64_t (*read_limit)(const void* data, std::int64_t bytes);
  /// Dot products of 8-bit numbers in registers, integer_limit_macs products a step.
  std::int64_t (*integer_limit)(std::int64_t steps);
  const std::int64_t* integer_limit_macs;
  /// Fused multiply-adds of f32 in registers, float_limit_macs a step.
  float (*float_limit)(std::int64_t steps);
  const std::int64_t* float_limit_macs;
};

/// Bytes of scratch for matmul_planes, in every instruction set.
constexpr std::int64_t plane_scratch_bytes = 160 * 1024;

/// The table of one instruction set. The processor must support it (base/cpu.h).
const Kernels& kernels_for(Isa isa);

}  // namespace plimsoll
