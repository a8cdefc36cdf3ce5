// What follows a mixer: a gated feed-forward block.
#pragma once

#include <cstdint>

#include "model/workspace.h"

namespace plimsoll {

/// Of one layer: down(activation(gate(x)) * up(x)) (Shazeer, arXiv:2002.05202). Refers to the
/// workspace.
class FeedForward {
 public:
  FeedForward(Workspace& workspace, std::int64_t layer) : workspace_(workspace), layer_(layer) {}

  /// Adds it to the residual stream of `tokens` rows.
  void run(std::int64_t tokens);

 private:
  Workspace& workspace_;
  std::int64_t layer_;
};

}  // namespace plimsoll
