// Measures a model's quality model (plan/quality.h) in about the time of three forward passes over a
// few hundred tokens: what `run` and `plan` go by where nobody has measured more.
//
// Rounding a matrix moves the outputs of its products by something small, and to second order the
// divergence that this causes is half of its square under the Fisher information of what the model
// says: F = E[g g^T], g the gradient of the log-likelihood of a token that the model itself draws
// (Amari, Neural Computation 10:2, 1998).
// One backward pass gives g in every product's output, and with the inputs the gradient in every
// weight, the sum over tokens of g[r] x[k]. Errors of single weights being independent of each other,
// only the diagonal of F matters:
//
//   KL = 1/2 sum over rows r and columns k of  dW[r][k]^2 (sum over tokens of g[r] x[k])^2
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "file/model_file.h"
#include "kernels/context.h"
#include "model/tensors.h"
#include "plan/quality.h"
#include "text/tokenizer.h"

namespace plimsoll {

/// Bytes that measuring holds at its peak, besides the process.
Bytes quick_analysis_bytes(const Description& description, std::span<const TensorUse> uses,
                           std::int64_t tokens, int workers);

/// Tokens of the sample text that a model of this size is measured on, BOS included: as many as
/// take some seconds on two cores, within what makes the result trustworthy (half as many again
/// scatter by a sixth) and within the model's own context.
std::int64_t quick_analysis_tokens(const Description& description, std::int64_t parameters);

/// True where measuring so takes no more than some ten seconds on two cores.
bool is_quickly_analysed(const Description& description, std::int64_t parameters);

/// The beginning of the sample text in the model's tokens.
std::vector<TokenId> quick_analysis_text(const Tokenizer& tokenizer, const Description& description,
                                         std::int64_t parameters);

/// On one sequence of tokens. Reads the file twice, holding one layer at a time. The errors of each
/// format are measured on rows drawn by how much they matter, plainly rounded; those of codebook
/// formats, which take long, follow from another format's. The same model and tokens give the same
/// result on one machine. Throws Error(budget_exceeded) where it does not fit, and as loading does.
QualityModel analyse_quickly(Context& context, const ModelFile& file,
                             const Description& description, std::span<const TensorUse> uses,
                             std::span<const TokenId> tokens,
                             const std::function<void(std::int64_t done, std::int64_t total)>& progress);

}  // namespace plimsoll
