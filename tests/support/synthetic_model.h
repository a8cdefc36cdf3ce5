// Models of any shape and family with random weights, so that two engines, or two formats, can be
// compared on real sizes and on every feature without a download. The text they write is noise.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "format/format.h"

namespace plimsoll::test {

enum class RopeScaling { none, linear, yarn, longrope };

struct SyntheticModel {
  std::string family = "llama";  ///< general.architecture
  std::int64_t layers = 4;
  std::int64_t width = 256;
  std::int64_t heads = 8;
  std::int64_t kv_heads = 4;
  std::int64_t head_dim = 0;  ///< 0: width / heads
  std::int64_t feed_forward = 704;
  std::int64_t vocabulary = 512;  ///< tokens; at least 260; not used with vocabulary_from
  std::int64_t context = 8192;    ///< tokens that the model claims to be trained for
  std::uint32_t seed = 1;

  /// Of matrices. A matrix whose rows the format's block does not divide is F16.
  FormatId format = FormatId::F16;
  FormatId embedding_format = FormatId::F16;
  FormatId output_format = FormatId::F16;
  bool tied = false;  ///< no output matrix

  /// A GGUF file whose tokenizer is copied. Empty: a sentence-piece vocabulary of bytes and words.
  std::string vocabulary_from;

  std::int64_t rope_dim = 0;  ///< 0: head_dim
  double rope_base = 10000;
  RopeScaling rope_scaling = RopeScaling::none;
  double rope_factor = 0;                  ///< rope.scaling.factor; 0: no such key
  std::int64_t rope_original_context = 0;  ///< 0: context
  double attention_factor = 0;             ///< rope.scaling.attn_factor; 0: no such key
  bool rope_factors = false;               ///< frequency factors where the family has them
  std::int64_t window = 0;                 ///< sliding window; 0: no such key
  bool optional_biases = false;            ///< biases that the family allows but does not ask for
};

/// Sizes of well-known models by name: tiny, small, qwen-0.5b, llama-1b. Throws Error(usage) naming
/// the known ones.
SyntheticModel synthetic_shape(std::string_view name);

/// Writes a model with all that llama.cpp asks for in this family. Matrices are Gaussian with
/// deviation 1/sqrt(columns), norms 1 +- 0.1, biases +- 0.1, so that each one matters. The same
/// description gives the same numbers in every format, whatever the number of threads. Memory stays
/// below 100 MiB besides the vocabulary. Throws Error as GgufWriter does, and (unsupported_format)
/// for a format without encoder, (usage) for a shape that contradicts itself.
void write_synthetic_model(const std::string& path, const SyntheticModel& model, int threads);

/// Copies a model with its matrices (the embedding too) in another format; vectors, and matrices
/// whose rows the format's block does not divide, stay as they are. Source matrices must be F32,
/// F16 or BF16: throws Error(unsupported_format) otherwise, and as ModelFile and GgufWriter do.
void requantise_model(const std::string& source, const std::string& path, FormatId format,
                      int threads);

}  // namespace plimsoll::test
