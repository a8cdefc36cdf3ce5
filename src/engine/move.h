// A loaded model under a line that moves: from one plan to another, tensor by tensor, between two
// tokens, below the line that holds at each moment.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/engine.h"

namespace plimsoll {

/// Not thread-safe; nobody computes while a step is made. Refers to the engine, which keeps the
/// state that it is in when this ends before it is done: all of its tensors are there, some in the
/// formats of one plan and some in those of the other, and the line is the higher one.
class Move {
 public:
  /// `target` is plan_move()'s. At once: leading bits of weights are dropped, down to four, and
  /// pages that nobody uses; where that is enough the new line holds from here on. Throws
  /// Error(budget_refused) where the target does not fit, Error(file_corrupt) where the model's file
  /// is not what it was and weights would have to be read, and then nothing has changed.
  Move(Engine& engine, Plan target);
  ~Move();
  Move(const Move&) = delete;
  Move& operator=(const Move&) = delete;

  /// One tensor more. False: it is done, and the plan is the target's. Throws Error(budget_exceeded)
  /// where there is no room for it now, and nothing has changed; and as reading does, after which
  /// the engine refuses to compute.
  bool step();
  bool is_done() const { return next_ == todo_.size(); }
  /// Bytes of tensors of the target, so far and in all.
  Bytes done_bytes() const { return done_; }
  Bytes total_bytes() const { return total_; }

 private:
  struct Tensor {
    std::size_t use;
    Conversion source;
    Bytes bytes;  ///< in the target's format
    bool shrinks;
  };
  /// Draws the line as low as what is held allows, down to the target's.
  void lower_line();
  /// Held, with what conversations may still take and what reading tensors takes for a moment.
  Bytes wanted_bytes() const;
  void finish();

  Engine& engine_;
  Plan target_;
  CapLease room_;  ///< for weights of both
  std::vector<Tensor> todo_;
  std::size_t next_ = 0;
  Bytes done_ = 0, total_ = 0;
};

}  // namespace plimsoll
