// Measures a model's quality model (plan/quality.h): how much each tensor's rounding moves what the
// model says, and how well each format holds it.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "file/model_file.h"
#include "fit/layer_moments.h"
#include "kernels/context.h"
#include "model/tensors.h"
#include "model/weights.h"
#include "plan/quality.h"

namespace plimsoll {

struct AnalysisOptions {
  QualitySource source = QualitySource::text;
  /// Share of the mean diagonal of second moments that is added to it.
  double damping = 0.01;
  /// A file for what is done so far, written after layers (as often as that takes little of the
  /// time) and removed at the end, so that an interrupted analysis with the same sequences goes on
  /// there. It holds the residual streams: up to some hundred MiB for a large model. Empty: none.
  std::string interim;
  std::function<void(std::int64_t layers)> resumed;  ///< called where layers were done before
};

/// Takes the model layer by layer. `moment_sequences` are for the second moments, `probe_sequences`
/// for the divergence; none longer than the runner's passes. Everything that is held for it is
/// charged to the Ledger. `progress(done, total)` is called on this thread.
///
/// The divergence that one tensor causes is measured with the tensor alone rounded to a format of
/// middling error; that of other formats follows from their relative error, measured on a sample of
/// rows under the second moments of the tensor's inputs.
QualityModel analyse(Context& context, const ModelFile& file, const Description& description,
                     std::span<const TensorUse> uses, std::span<const Sequence> moment_sequences,
                     std::span<const Sequence> probe_sequences, const AnalysisOptions& options,
                     const std::function<void(std::int64_t done, std::int64_t total)>& progress);

}  // namespace plimsoll
