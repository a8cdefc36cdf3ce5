#include "plan/quality.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace plimsoll {
namespace {

/// Relative squared error of rounding Gaussian numbers plainly, by format: measured on 2^20 numbers.
struct TypicalError {
  FormatId id;
  double error;
};
constexpr TypicalError typical_errors[] = {
    {FormatId::Q2_K, 0.085},   {FormatId::Q3_K, 0.021},   {FormatId::Q4_0, 0.0080},
    {FormatId::Q4_1, 0.0060},  {FormatId::Q4_K, 0.0052},  {FormatId::IQ4_NL, 0.0056},
    {FormatId::IQ4_XS, 0.0058}, {FormatId::Q5_0, 0.0020}, {FormatId::Q5_1, 0.0014},
    {FormatId::Q5_K, 0.0013},  {FormatId::Q6_K, 0.00040}, {FormatId::Q8_0, 0.000028},
    {FormatId::MXFP4, 0.013},  {FormatId::BF16, 1.3e-6},  {FormatId::F16, 2e-8},
    {FormatId::F32, 0}};

}  // namespace

std::string_view name(QualitySource source) {
  switch (source) {
    case QualitySource::prior:
      return "prior";
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

double TensorQuality::loss(const Format& format, Reader reader) const {
  const double error = errors[static_cast<std::size_t>(&format - formats().data())];
  if (error < 0) return -1;
  return sensitivity *
         (error + input_errors[static_cast<std::size_t>(input_rounding(format, reader))]);
}

std::span<const Format* const> rounding_formats() {
  static const std::vector<const Format*> list = [] {
    std::vector<const Format*> result;
    for (const TypicalError& typical : typical_errors) result.push_back(&format(typical.id));
    std::ranges::stable_sort(result, {}, [](const Format* f) {
      return static_cast<double>(f->block_bytes) / f->block_values;
    });
    return result;
  }();
  return list;
}

}  // namespace plimsoll
