// How much of a tensor each format loses, on some of its rows.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "fit/rounding.h"
#include "fit/second_moments.h"
#include "model/weights.h"
#include "plan/quality.h"

namespace plimsoll {

/// Rows as f32, [count][columns].
struct SampleRows {
  std::int64_t columns = 0;
  std::vector<float> values;
  std::vector<double> powers;  ///< of each under the second moments of its inputs

  std::int64_t count() const { return static_cast<std::int64_t>(values.size()) / columns; }
};

/// Rows of a matrix, evenly spread; without powers.
SampleRows sample_rows(const Matrix& matrix);

/// The format in which the cost of a tensor's error is measured: of middling error. Null where no
/// such block divides the rows.
const Format* probe_format(std::int64_t columns);

/// Rows as the format gives them back, minus the rows; of a level, when they were rounded to all
/// bits.
std::vector<float> rounding_errors(Rounder& rounder, const Format& format,
                                   std::span<const float> rows, std::int64_t columns,
                                   const ColumnWeights& weights);

/// Fills in the relative errors of plain rounding, before the moments are factored; those of dense
/// formats are the same with feedback.
void measure_plain_errors(Rounder& rounder, const SampleRows& rows, SecondMoments& moments,
                          TensorQuality& tensor);
/// After it: those of rounding with error feedback.
void measure_feedback_errors(Rounder& rounder, const SampleRows& rows, const SecondMoments& moments,
                             TensorQuality& tensor);
/// Both, of a matrix that tokens are looked up in: plain error is all that a lookup knows.
void measure_lookup_errors(Rounder& rounder, const SampleRows& rows, TensorQuality& tensor);
/// Of a tensor that no coded format can hold: dense formats lose so little that a guess from above
/// does.
void measure_dense_errors(Rounder& rounder, const SampleRows& rows, TensorQuality& tensor);

double sum(std::span<const double> values);
double squared_norm(std::span<const float> values);

}  // namespace plimsoll
