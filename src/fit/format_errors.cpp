#include "fit/format_errors.h"

#include <algorithm>
#include <numeric>

#include "kernels/quantise.h"
#include "plan/candidates.h"

namespace plimsoll {
namespace {

/// Rows on which formats are compared.
constexpr std::int64_t sampled_rows = 128;
/// Of those, for formats that take long, and for plain rounding, whose error varies little from row
/// to row.
constexpr std::int64_t codebook_rows = 8, plain_rows = 32;

/// Formats of middling error: the first whose block divides the rows.
constexpr FormatId probe_formats[] = {FormatId::Q3_K, FormatId::Q4_0};

/// What errors are measured in: the standard formats, and the levels of codes that nest.
std::vector<const Format*> measured_formats(std::int64_t columns) {
  std::vector<const Format*> result(rounding_formats().begin(), rounding_formats().end());
  for (const FormatId id : {FormatId::NEST4, FormatId::NEST6, FormatId::NEST8})
    result.push_back(&format(id));
  std::erase_if(result, [columns](const Format* f) { return !can_hold(*f, columns); });
  return result;
}

/// What weights are rounded to that a format is to hold: a level is what is left of all bits.
const Format& rounding_target(const Format& f) {
  return is_standard(f.id) ? f : format(FormatId::NEST8);
}

/// What the format holds of blocks of its rounding_target(), minus the rows.
std::vector<float> errors_of(const Format& f, std::vector<std::uint8_t>& blocks,
                             std::span<const float> rows) {
  const Format& target = rounding_target(f);
  const auto count = static_cast<std::int64_t>(rows.size()) / f.block_values;
  if (&f != &target) lower(target, f, blocks.data(), blocks.data(), count);
  std::vector<float> errors(rows.size());
  f.decode(blocks.data(), errors.data(), count);
  for (std::size_t i = 0; i < errors.size(); ++i) errors[i] -= rows[i];
  return errors;
}

/// Of the rows that formats are compared on, those for one of them: encoding codebooks takes long,
/// and so does the cost of errors that rounding did not count itself.
std::int64_t compared_rows(const Format& f, std::int64_t count) {
  const bool slow = f.encode_weighted || &f != &rounding_target(f);
  return slow ? std::min(count, codebook_rows) : count;
}

std::span<const float> first(const SampleRows& rows, std::int64_t count) {
  return std::span(rows.values).first(static_cast<std::size_t>(count * rows.columns));
}

double power_of_first(const SampleRows& rows, std::int64_t count) {
  return sum(std::span(rows.powers).first(static_cast<std::size_t>(count)));
}

}  // namespace

double sum(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}

double squared_norm(std::span<const float> values) {
  double total = 0;
  for (const float value : values) total += static_cast<double>(value) * value;
  return total;
}

SampleRows sample_rows(const Matrix& matrix) {
  const std::int64_t count = std::min(matrix.rows(), sampled_rows);
  SampleRows rows{
      matrix.columns(), std::vector<float>(static_cast<std::size_t>(count * matrix.columns())), {}};
  for (std::int64_t i = 0; i < count; ++i)
    matrix.dequantise_row(i * matrix.rows() / count, rows.values.data() + i * matrix.columns());
  return rows;
}

const Format* probe_format(std::int64_t columns) {
  for (const FormatId id : probe_formats)
    if (can_hold(format(id), columns)) return &format(id);
  return nullptr;
}

std::vector<float> rounding_errors(Rounder& rounder, const Format& f, std::span<const float> rows,
                                   std::int64_t columns, const ColumnWeights& weights) {
  const std::int64_t count = static_cast<std::int64_t>(rows.size()) / columns;
  const Format& target = rounding_target(f);
  std::vector<std::uint8_t> blocks(static_cast<std::size_t>(count) * row_bytes(target, columns));
  rounder.round(target, rows.data(), count, columns, weights, blocks.data());
  return errors_of(f, blocks, rows);
}

void measure_plain_errors(Rounder& rounder, const SampleRows& rows, SecondMoments& moments,
                          TensorQuality& tensor) {
  for (const Format* f : measured_formats(rows.columns)) {
    const std::int64_t count = std::min(compared_rows(*f, rows.count()), plain_rows);
    const std::vector<float> errors =
        rounding_errors(rounder, *f, first(rows, count), rows.columns, {});
    tensor.error(*f, Rounding::plain) =
        sum(moments.powers(errors.data(), count)) / power_of_first(rows, count);
    if (f->kind == Format::Kind::dense)
      tensor.error(*f, Rounding::with_feedback) = tensor.error(*f, Rounding::plain);
  }
}

void measure_feedback_errors(Rounder& rounder, const SampleRows& rows, const SecondMoments& moments,
                             TensorQuality& tensor) {
  const std::int64_t columns = rows.columns;
  std::vector<float> residual(static_cast<std::size_t>(columns));
  for (const Format* f : measured_formats(columns)) {
    if (f->kind == Format::Kind::dense) continue;
    const Format& target = rounding_target(*f);
    const std::int64_t count = compared_rows(*f, rows.count());
    std::vector<std::uint8_t> blocks(static_cast<std::size_t>(count) * row_bytes(target, columns));
    double cost = rounder.round(target, rows.values.data(), count, columns, with_feedback(moments),
                                blocks.data());
    if (f != &target) {
      const std::vector<float> errors = errors_of(*f, blocks, first(rows, count));
      cost = 0;
      for (std::int64_t row = 0; row < count; ++row)
        cost += cost_under_moments(moments.diagonal().data(), moments.upper(), columns,
                                   errors.data() + row * columns, residual.data());
    }
    tensor.error(*f, Rounding::with_feedback) = cost / power_of_first(rows, count);
  }
}

void measure_lookup_errors(Rounder& rounder, const SampleRows& rows, TensorQuality& tensor) {
  const double power = squared_norm(rows.values);
  for (const Format* f : measured_formats(rows.columns))
    tensor.error(*f, Rounding::plain) = tensor.error(*f, Rounding::with_feedback) =
        squared_norm(rounding_errors(rounder, *f, rows.values, rows.columns, {})) / power;
}

void measure_dense_errors(Rounder& rounder, const SampleRows& rows, TensorQuality& tensor) {
  constexpr double sensitivity_guess = 1;
  tensor.sensitivity = sensitivity_guess;
  for (const Format* f : rounding_formats()) {
    if (f->kind != Format::Kind::dense) continue;
    tensor.error(*f, Rounding::plain) = tensor.error(*f, Rounding::with_feedback) =
        squared_norm(rounding_errors(rounder, *f, rows.values, rows.columns, {})) /
        std::max(squared_norm(rows.values), 1e-30);
  }
}

}  // namespace plimsoll
