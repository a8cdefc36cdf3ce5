// The formats that a model's weights may have in memory, and the best of them for a number of
// bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "model/weights.h"
#include "plan/costs.h"
#include "plan/machine.h"
#include "plan/plan.h"
#include "plan/solver.h"

namespace plimsoll {

/// All weights of a model as they are held.
struct HeldWeights {
  Weights::Formats formats;  ///< empty: as the file has them
  Bytes bytes = 0;
  Bytes staging_bytes_per_worker = 0;
  double kl_nats = 0;
};

/// How long products take while decoding.
struct DecodeClock {
  const Machine& machine;  ///< knows every format that weights may have
  int threads;
  std::int64_t sequences;
  WeightPlace place;
};

/// What a tensor may become.
enum class Candidates {
  all,     ///< any format
  levels,  ///< where the file's codes nest, fewer bits of them; nothing is rounded again
};

/// Pure. Refers to the facts.
class FormatChoices {
 public:
  FormatChoices(const ModelFacts& facts, const QualityModel& quality, Rounding rounding,
                Candidates candidates = Candidates::all);
  /// True if any tensor of the file has codes that nest.
  static bool has_levels(const ModelFacts& facts);

  /// These formats, by position in the facts' tensors; empty where one of them is no choice.
  std::optional<HeldWeights> weigh(const Weights::Formats& formats) const;
  /// Every tensor in its smallest format.
  HeldWeights smallest() const;
  /// Those of least loss with at most `limit` bytes; smallest() where there are none.
  HeldWeights best(Bytes limit) const;
  /// The same with products that take at most `most_seconds`; empty where there are none.
  std::optional<HeldWeights> best(Bytes limit, const DecodeClock& clock, double most_seconds) const;
  /// Those with the fastest products; empty where there are none with at most `limit` bytes.
  std::optional<HeldWeights> fastest(Bytes limit, const DecodeClock& clock) const;
  /// Staging that is enough for any of them.
  Bytes most_staging_bytes_per_worker() const { return most_staging_; }
  /// Tensors that no coded format can hold.
  std::int64_t kept_tensors() const { return kept_tensors_; }

 private:
  /// The choices with what each one's product takes.
  std::vector<std::vector<Choice>> timed(const DecodeClock& clock) const;
  HeldWeights held(const std::vector<int>& choices) const;

  const ModelFacts& facts_;
  std::vector<std::vector<const Format*>> formats_;  ///< by tensor, as its choices
  std::vector<std::vector<Choice>> choices_;         ///< by tensor
  Bytes vector_bytes_ = 0;
  Bytes most_staging_ = 0;
  std::int64_t kept_tensors_ = 0;
};

/// What weights in these formats (empty: the file's) hold by format, most bytes first.
std::vector<FormatShare> format_shares(const std::vector<TensorUse>& tensors,
                                       const Weights::Formats& formats);

}  // namespace plimsoll
