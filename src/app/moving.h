// The line moves while a model is loaded: because somebody says so, or because the control group's
// limit has changed.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "app/host.h"
#include "engine/engine.h"
#include "engine/move.h"
#include "plan/plan.h"

namespace plimsoll {

/// Refers to host and engine. Not thread-safe.
class MovingLine {
 public:
  /// `request` is the one that the engine's plan was made for. `file`, if given, has a size in it
  /// that is taken for the line when the process gets SIGHUP.
  MovingLine(Host& host, Engine& engine, const PlanRequest& request,
             std::optional<std::string> file = {});
  ~MovingLine();

  Bytes budget() const { return budget_; }  ///< that holds, or will when the move is done
  Bytes highest() const { return highest_; }  ///< that there has been
  bool is_moving() const { return move_ != nullptr; }

  /// The plan of a start under another line; it may not fit. Throws as Line::hold_text does, and
  /// Error(usage).
  Plan plan_at(Bytes budget) const;
  /// Draws the line anew; what bytes can be given back at once are. Throws as Move does, and then
  /// nothing has changed.
  void move_to(Bytes budget);
  /// What is left to do, at once, with progress. Throws as Move::step does.
  void finish();
  /// Between two tokens: looks whether the line is to move, and goes on with a move for a third of the
  /// time that went into tokens since. What cannot be done is told, and changes nothing.
  void between_tokens();

 private:
  using Clock = std::chrono::steady_clock;

  /// Of the line, for planning again.
  Reservation hold_planning() const;
  /// The code that rounds stays in memory once it has run: from a plan that rounds on, every one
  /// counts it.
  void count_rounding(const Plan& plan);
  void look();
  void try_to_move(Bytes budget, const std::string& why);
  void end_move();

  Host& host_;
  Engine& engine_;
  PlanRequest request_;
  std::optional<std::string> file_;
  std::optional<Bytes> group_limit_;
  Bytes asked_;   ///< by the user, or by what the machine had at the beginning
  Bytes budget_, highest_;
  std::unique_ptr<Move> move_;
  Clock::time_point looked_, last_;
  double allowance_ = 0;  ///< seconds of work that a move may still take
};

}  // namespace plimsoll
