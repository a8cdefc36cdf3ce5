// What rounding costs in quality: the KL divergence of a plan as a sum over its tensors, each one's
// sensitivity times the relative error of its format (linearity: HIGGS, Malinovskii et al.,
// arXiv:2411.17525).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "format/format.h"
#include "model/description.h"
#include "model/tensors.h"

namespace plimsoll {

/// Where the numbers of a quality model come from.
enum class QualitySource {
  prior,     ///< the kind and depth of each tensor: no weight and no text was read
  quick,     ///< measured in a few passes over a short text (fit/quick_analysis.h)
  own_text,  ///< measured on text that the model wrote itself
  text,      ///< measured on a text
};
std::string_view name(QualitySource source);

/// Whose products the rounded weights are for: engines round the inputs of products too, each in
/// its own way.
enum class ProductEngine {
  plimsoll,   ///< kernels/kernels.h, QuantisedActivations
  llama_cpp,  ///< bytes in blocks of 32 or, with formats of 256 columns, of 256; halves with F16
};

/// How the inputs of a product are rounded.
enum class InputRounding { none, rows, blocks_of_32, blocks_of_256 };
constexpr int input_rounding_count = 4;
InputRounding input_rounding(const Format& format, ProductEngine engine);

/// How weights are rounded.
enum class Rounding {
  plain,          ///< each number by itself, under the scales that cost least
  with_feedback,  ///< with error feedback through the second moments of the inputs
};
constexpr int rounding_count = 2;

/// One tensor's part; at first nothing is known of it.
struct TensorQuality {
  TensorQuality();

  /// Nats per unit of relative error: KL = sensitivity * |W - Ŵ|_H^2 / |W|_H^2, H the second
  /// moments of its inputs.
  double sensitivity = 0;
  /// Of an embedding matrix that is also the output matrix: what plain error costs where tokens are
  /// looked up, over what error costs in the product with the output's inputs. Its errors are the
  /// sum of both, weighted so.
  double lookup_share = 0;
  /// By Rounding, then by position in formats(): relative error in that format; negative where it
  /// is not known or not possible. For the levels of a format that nests (levels_below), of weights
  /// that were rounded to all of its bits.
  std::array<std::vector<double>, rounding_count> errors;
  /// By InputRounding: relative error of the product from rounding its inputs.
  std::array<double, input_rounding_count> input_errors{};

  double error(const Format& format, Rounding rounding) const;
  double& error(const Format& format, Rounding rounding);
  std::vector<double>& errors_of(Rounding rounding) {
    return errors[static_cast<std::size_t>(rounding)];
  }

  /// Fills in the errors of rounding with feedback, from those of plain rounding.
  void guess_feedback();

  /// Nats; negative where the format's error is not known.
  double loss(const Format& format, Rounding rounding, ProductEngine engine) const;
  /// Nats beyond what products with the file's `own` format lose by rounding their inputs: those it
  /// has already lost. Empty where the format's error is not known.
  std::optional<double> added_loss(const Format& own, const Format& format, Rounding rounding,
                                   ProductEngine engine) const;
};

/// By position in find_tensors(); vectors have sensitivity 0.
struct QualityModel {
  QualitySource source = QualitySource::prior;
  std::vector<TensorQuality> tensors;
};

/// Without any weight or text: by the kind and depth of each tensor and the number of weights.
/// Errors are those of each format on Gaussian numbers, plainly rounded; the source's own format
/// costs nothing. docs/quality.md says where the figures are from and how far off they may be.
QualityModel prior_quality(const Description& description, std::span<const TensorUse> uses);

/// Relative squared error of rounding Gaussian numbers plainly to a format of rounding_formats().
double typical_error(const Format& format);

/// The standard formats that weights may be rounded to, smallest first: coded ones, then F16 (and
/// F32 where the file has it).
std::span<const Format* const> rounding_formats();

}  // namespace plimsoll
