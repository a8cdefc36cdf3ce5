// Which format for which tensor: the multiple-choice knapsack (Sinha and Zoltners, Operations Research 27:3,
// 1979), with a second constraint on time where one is asked for.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/bytes.h"

namespace plimsoll {

/// One tensor in one format.
struct Choice {
  Bytes bytes = 0;
  double loss = 0;     ///< nats, >= 0
  double seconds = 0;  ///< of decoding one token
};

/// One choice for every tensor.
struct Selection {
  std::vector<int> choices;  ///< by tensor: index into its choices
  Bytes bytes = 0;
  double loss = 0;
  double seconds = 0;
};

/// The selection of least loss with at most `limit` bytes and, if given, at most `most_seconds`; empty where
/// there is none. Every tensor has at least one choice. Exact up to a relative gap of 1e-3 of the loss for
/// one constraint; pure, deterministic, under a second for 1,000 tensors of 12 choices.
std::optional<Selection> solve(std::span<const std::vector<Choice>> tensors, Bytes limit,
                               std::optional<double> most_seconds = {});

/// The best selections from the fewest bytes to the least loss: the lower convex hull of bytes and loss
/// over all selections, one step (one tensor to its next format on its own hull) at a time. It is also the
/// order in which a running model gives precision back or takes it.
struct Step {
  int tensor;
  int choice;        ///< that the tensor takes now
  Bytes bytes;       ///< of the whole selection after the step
  double loss;
  double seconds;
};
struct Frontier {
  Selection smallest;
  std::vector<Step> steps;  ///< in order; bytes rise, loss falls
};
Frontier frontier(std::span<const std::vector<Choice>> tensors);

}  // namespace plimsoll
