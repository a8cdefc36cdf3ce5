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

/// What error feedback leaves of an error.
constexpr double feedback_gain = 0.55;

/// What the whole model loses for each unit of error in all of its matrices: `reference_loss` nats
/// at `reference_parameters` (the bundled model, measured), growing with the model as published
/// divergences of llama.cpp's formats on models of 7 and 8 billion parameters do.
constexpr double reference_loss = 1.74, reference_parameters = 4.2e6, growth = 0.15;
/// Of that, the output matrix's part, and the lookup's of the embedding.
constexpr double output_share = 0.48, lookup_share = 0.025;

/// Shares of a layer's loss.
double share_in_layer(Role role) {
  switch (role) {
    case Role::q:
      return 0.08;
    case Role::k:
      return 0.11;
    case Role::v:
      return 0.17;
    case Role::qkv:
      return 0.36;
    case Role::attention_output:
      return 0.12;
    case Role::gate:
      return 0.20;
    case Role::up:
      return 0.11;
    case Role::gate_up:
      return 0.31;
    case Role::down:
      return 0.21;
    default:
      return 0;
  }
}

/// How much more a tensor counts by its depth: later layers have fewer behind them that repair, and
/// the first feed-forward block lays the ground for all.
double depth_factor(Role role, std::int64_t layer, std::int64_t layers) {
  const bool feed_forward =
      role == Role::gate || role == Role::up || role == Role::gate_up || role == Role::down;
  if (layer == 0) return !feed_forward ? 0.3 : role == Role::down ? 4 : 1.5;
  return 0.6 + 0.8 * static_cast<double>(layer) /
                   static_cast<double>(std::max<std::int64_t>(layers - 1, 1));
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

InputRounding input_rounding(const Format& format, Reader reader) {
  if (format.kind == Format::Kind::dense) return InputRounding::none;
  if (reader == Reader::plimsoll) return InputRounding::rows;
  return format.block_values == 256 ? InputRounding::blocks_of_256 : InputRounding::blocks_of_32;
}

double TensorQuality::loss(const Format& format, Rounding rounding, Reader reader) const {
  const double error = errors[static_cast<std::size_t>(rounding)][position(format)];
  if (error < 0) return -1;
  return sensitivity *
         (error + input_errors[static_cast<std::size_t>(input_rounding(format, reader))]);
}

QualityModel prior_quality(const Description& d, std::span<const TensorUse> uses) {
  double parameters = 0;
  for (const TensorUse& use : uses)
    parameters += static_cast<double>(use.slot.rows) * static_cast<double>(use.slot.columns);
  const double total = reference_loss * std::pow(parameters / reference_parameters, growth);
  const double each_layer =
      total * (1 - output_share - lookup_share) / static_cast<double>(d.layers);

  QualityModel model;
  for (const TensorUse& use : uses) {
    TensorQuality& tensor = model.tensors.emplace_back();
    std::vector<double> errors(formats().size(), -1);
    if (use.slot.is_vector()) {
      tensor.errors.fill(errors);
      continue;
    }
    const Role role = use.slot.role;
    if (role == Role::output)
      tensor.sensitivity = total * output_share;
    else if (role == Role::token_embedding)
      tensor.sensitivity = total * (lookup_share + (d.tied_output ? output_share : 0));
    else
      tensor.sensitivity =
          each_layer * share_in_layer(role) * depth_factor(role, use.slot.layer, d.layers);
    for (const TypicalError& typical : typical_errors) {
      const Format& f = format(typical.id);
      if (use.slot.columns % f.block_values == 0) errors[position(f)] = typical.error;
    }
    errors[position(*use.info->format)] = 0;
    tensor.errors[static_cast<std::size_t>(Rounding::plain)] = errors;
    for (double& error : errors)
      if (error > 0) error *= feedback_gain;
    tensor.errors[static_cast<std::size_t>(Rounding::with_feedback)] = errors;
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
