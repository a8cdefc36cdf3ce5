// Which formats each tensor may have, and what each of them costs: the one answer for weights in
// memory and for files, on which the solver chooses.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/tensors.h"
#include "plan/quality.h"
#include "plan/solver.h"

namespace plimsoll {

/// True if rows of so many columns are whole blocks.
bool can_hold(const Format& format, std::int64_t columns);

/// Matrices that stay as they are, or dense: no coded format's blocks divide their rows.
std::int64_t count_uncodable(std::span<const TensorUse> uses);

/// What a tensor may become.
struct CandidateRules {
  enum class Place { memory, file };

  Place place = Place::memory;  ///< whose bytes count: of a file's, with padding
  Rounding rounding = Rounding::plain;
  ProductEngine engine = ProductEngine::plimsoll;  ///< whose products lose something
  bool rounded = true;    ///< formats that weights are rounded to (rounding_formats())
  bool levels = false;    ///< where the file's codes nest, fewer bits of them
  bool codebooks = true;  ///< also formats that take long to be searched
};

/// Before sizes and losses are looked at: everything but the tensor's own format.
std::vector<const Format*> allowed_formats(const Format& own, const CandidateRules& rules);

/// By tensor, as find_tensors() gives them, then by candidate. The first candidate is the file's
/// own format, at no loss; all others have fewer bytes, in the file as well as in the place.
/// Vectors have no other; in memory, where they are held together, their bytes are not counted.
struct Candidates {
  std::vector<std::vector<const Format*>> formats;
  std::vector<std::vector<Choice>> choices;  ///< their bytes, and nats beyond what the own loses
};
Candidates find_candidates(std::span<const TensorUse> uses, const QualityModel& quality,
                           const CandidateRules& rules);

}  // namespace plimsoll
