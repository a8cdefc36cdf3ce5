// Fitting: a model rewritten so that it takes no more than a number of bytes and loses as little as
// these allow.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "file/gguf_writer.h"
#include "file/model_file.h"
#include "file/output_path.h"
#include "fit/calibration.h"
#include "kernels/context.h"
#include "model/tensors.h"
#include "model/weights.h"
#include "plan/quality.h"

namespace plimsoll {

struct FitProgress {
  Bytes done, total;  ///< of the source's tensors
};

/// Where the second moments for rounding with error feedback come from; plain rounding without.
struct FeedbackSource {
  MomentsWalk* walk = nullptr;  ///< at its beginning
  const QualityModel* quality = nullptr;
  double damping = 0.01;
};

/// A file that FittedFile has written: it says so first of all.
extern const OutputKind fitted_file;

/// The file that is going to be written.
class FittedFile {
 public:
  /// Opens the target, so that one that cannot be written is known before the work. Throws as
  /// OutputFile does.
  FittedFile(OutputPath path, const ModelFile& source, std::span<const TensorUse> uses);

  /// Puts what is known of the weights' quality into the file (plan/quality_file.h). Before the two
  /// below.
  void add_quality(const std::string& note);

  /// Of the file besides its tensors' data.
  Bytes header_bytes() const;

  /// Writes the model with tensor i in formats[i] (its own: copied byte for byte; a level of its
  /// own: the leading bits of its codes). Throws Error: write_failed, file_*, invalid_weights
  /// naming a tensor with NaN or infinity; the target is then as it was before. Once.
  void write(Context& context, std::span<const Format* const> formats,
             const FeedbackSource& feedback, const std::function<void(FitProgress)>& progress);

 private:
  GgufWriter writer_;
  const ModelFile& source_;
  std::span<const TensorUse> uses_;
};

}  // namespace plimsoll
