#include "plan/quality.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace plimsoll {
namespace {

/// Relative squared error of rounding Gaussian numbers plainly, by format: measured on 2^18
/// numbers, those of NEST4 and NEST6 as levels of NEST8.
struct TypicalError {
  FormatId id;
  double error;
};
constexpr TypicalError typical_errors[] = {
    {FormatId::IQ1_S, 0.209},    {FormatId::IQ1_M, 0.178},    {FormatId::IQ2_XXS, 0.108},
    {FormatId::IQ2_XS, 0.0812},  {FormatId::IQ2_S, 0.0569},   {FormatId::Q2_K, 0.0699},
    {FormatId::IQ3_XXS, 0.0312}, {FormatId::IQ3_S, 0.0166},   {FormatId::Q3_K, 0.0206},
    {FormatId::MXFP4, 0.0125},   {FormatId::Q4_0, 0.00656},   {FormatId::Q4_1, 0.00516},
    {FormatId::Q4_K, 0.0052},    {FormatId::IQ4_NL, 0.00557}, {FormatId::IQ4_XS, 0.00563},
    {FormatId::Q5_0, 0.00162},   {FormatId::Q5_1, 0.00123},   {FormatId::Q5_K, 0.00128},
    {FormatId::Q6_K, 0.000296},  {FormatId::Q8_0, 2.5e-5},    {FormatId::BF16, 1.3e-6},
    {FormatId::F16, 2e-8},       {FormatId::F32, 0},          {FormatId::NEST4, 0.0056},
    {FormatId::NEST6, 0.00125},  {FormatId::NEST8, 6e-5}};

std::size_t position(const Format& f) { return static_cast<std::size_t>(&f - formats().data()); }

/// Relative squared error of a product from rounding its inputs, in the same measure as
/// typical_errors.
constexpr std::array<double, input_rounding_count> typical_input_errors = {0, 1.5e-4, 8e-5, 3e-4};

/// What rounding with error feedback leaves of an error, where only plain rounding is known.
constexpr double feedback_gain = 0.55;

/// What a whole model loses for each unit of error in all of its matrices, and the output matrix's
/// part of that: the bundled model and SmolLM2-135M as measured (fit/quick_analysis.h), then what
/// published divergences of llama.cpp's formats on models of 7 and 8 billion come to. Between them,
/// and beyond the last, straight lines in the logarithm of the number of weights: a model that was
/// never measured can be off by several times.
struct Usual {
  double parameters, loss, output_share;
};
constexpr Usual usual_losses[] = {{4.2e6, 2.0, 0.6}, {1.35e8, 55, 0.26}, {7.5e9, 7.5, 0.15}};
/// The lookup's part of the embedding.
constexpr double lookup_share = 0.02;

Usual usual_loss(double parameters) {
  const auto* next = std::begin(usual_losses) + 1;
  while (next + 1 != std::end(usual_losses) && next->parameters < parameters) ++next;
  const Usual &low = *(next - 1), &high = *next;
  const double at = std::max(
      0.0, std::log(parameters / low.parameters) / std::log(high.parameters / low.parameters));
  return {parameters, low.loss * std::pow(high.loss / low.loss, at),
          low.output_share + (high.output_share - low.output_share) * std::min(at, 1.0)};
}

/// Shares of the layers' loss by kind, of the same two models.
double share_of_kind(Role role) {
  switch (role) {
    case Role::q:
      return 0.05;
    case Role::k:
      return 0.05;
    case Role::v:
      return 0.21;
    case Role::qkv:
      return 0.31;
    case Role::attention_output:
      return 0.06;
    case Role::gate:
      return 0.13;
    case Role::up:
      return 0.15;
    case Role::gate_up:
      return 0.28;
    case Role::down:
      return 0.35;
    default:
      return 0;
  }
}

/// How much a tensor counts by its depth, beside others of its kind: attention in the first layer
/// sees nothing but single tokens, the first feed-forward block lays the ground for all, and the
/// last one of a deep model speaks to the output directly. (Where in between a model keeps its few
/// outsize activations, nobody can tell without looking.)
double depth_factor(Role role, std::int64_t layer, std::int64_t layers) {
  constexpr std::int64_t deep = 8;
  const bool feed_forward =
      role == Role::gate || role == Role::up || role == Role::gate_up || role == Role::down;
  if (layer == 0) {
    if (role == Role::q || role == Role::k) return 0.05;
    return feed_forward ? 1.5 : role == Role::attention_output ? 1 : 0.3;
  }
  return feed_forward && layer == layers - 1 && layers > deep ? 4 : 1;
}

double depth_factors(Role role, std::int64_t layers) {
  double sum = 0;
  for (std::int64_t layer = 0; layer < layers; ++layer) sum += depth_factor(role, layer, layers);
  return sum;
}

}  // namespace

std::string_view name(QualitySource source) {
  switch (source) {
    case QualitySource::prior:
      return "prior";
    case QualitySource::quick:
      return "quick";
    case QualitySource::own_text:
      return "own_text";
    default:
      return "text";
  }
}

InputRounding input_rounding(const Format& format, ProductEngine engine) {
  if (format.kind == Format::Kind::dense) return InputRounding::none;
  if (engine == ProductEngine::plimsoll) return InputRounding::rows;
  return format.block_values == 256 ? InputRounding::blocks_of_256 : InputRounding::blocks_of_32;
}

void TensorQuality::guess_feedback() {
  for (double& error : errors_of(Rounding::with_feedback) = errors_of(Rounding::plain))
    if (error > 0) error *= feedback_gain;
}

TensorQuality::TensorQuality() { errors.fill(std::vector<double>(formats().size(), -1)); }

double TensorQuality::error(const Format& format, Rounding rounding) const {
  return errors[static_cast<std::size_t>(rounding)][position(format)];
}

double& TensorQuality::error(const Format& format, Rounding rounding) {
  return errors[static_cast<std::size_t>(rounding)][position(format)];
}

double TensorQuality::loss(const Format& format, Rounding rounding, ProductEngine engine) const {
  const double of_weights = error(format, rounding);
  if (of_weights < 0) return -1;
  return sensitivity *
         (of_weights + input_errors[static_cast<std::size_t>(input_rounding(format, engine))]);
}

std::optional<double> TensorQuality::added_loss(const Format& own, const Format& format,
                                                Rounding rounding, ProductEngine engine) const {
  const double of_format = loss(format, rounding, engine);
  if (of_format < 0) return {};
  return std::max(0.0, of_format - std::max(0.0, loss(own, rounding, engine)));
}

QualityModel prior_quality(const Description& d, std::span<const TensorUse> uses) {
  double parameters = 0;
  for (const TensorUse& use : uses)
    parameters += static_cast<double>(use.slot.rows) * static_cast<double>(use.slot.columns);
  const auto [_, total, output_share] = usual_loss(parameters);
  const double of_layers = total * (1 - output_share - lookup_share);

  QualityModel model;
  for (const TensorUse& use : uses) {
    TensorQuality& tensor = model.tensors.emplace_back();
    if (use.slot.is_vector()) continue;
    const Role role = use.slot.role;
    if (role == Role::output)
      tensor.sensitivity = total * output_share;
    else if (role == Role::token_embedding)
      tensor.sensitivity = total * (lookup_share + (d.tied_output ? output_share : 0));
    else
      tensor.sensitivity = of_layers * share_of_kind(role) *
                           depth_factor(role, use.slot.layer, d.layers) /
                           depth_factors(role, d.layers);
    for (const TypicalError& typical : typical_errors) {
      const Format& f = format(typical.id);
      if (use.slot.columns % f.block_values == 0) tensor.error(f, Rounding::plain) = typical.error;
    }
    tensor.error(*use.info->format, Rounding::plain) = 0;
    tensor.guess_feedback();
    tensor.input_errors = typical_input_errors;
  }
  return model;
}

double typical_error(const Format& f) {
  for (const TypicalError& typical : typical_errors)
    if (typical.id == f.id) return typical.error;
  return 0;
}

std::span<const Format* const> rounding_formats() {
  static const std::vector<const Format*> list = [] {
    std::vector<const Format*> result;
    for (const TypicalError& typical : typical_errors)
      if (is_standard(typical.id)) result.push_back(&format(typical.id));
    std::ranges::stable_sort(result, {}, [](const Format* f) {
      return static_cast<double>(f->block_bytes) / f->block_values;
    });
    return result;
  }();
  return list;
}

}  // namespace plimsoll
