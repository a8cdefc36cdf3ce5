#include "app/moving.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <utility>

#include "base/error.h"
#include "base/limits.h"
#include "file/text_input.h"
#include "plan/decisions.h"

namespace plimsoll {
namespace {

/// Planning takes memory of its own: so much for each tensor.
constexpr Bytes planning_bytes_per_tensor = 4 * KiB;
/// Of the time that tokens take, what a move may take besides.
constexpr double share_of_time = 1.0 / 3;
constexpr std::chrono::milliseconds looks_every{100};

std::atomic<bool> is_hung_up = false;

void hang_up(int) { is_hung_up = true; }

/// A file that says where the line is.
Bytes read_size(const std::string& path) {
  std::string text = read_text_file(path, [](Bytes bytes) {
    constexpr Bytes most = 4 * KiB;
    if (bytes > most)
      throw Error(ErrorCode::file_corrupt, fmt::format("{} bytes are no size", bytes));
  });
  text.erase(text.find_last_not_of(" \t\r\n") + 1);
  return parse_bytes(text);
}

}  // namespace

MovingLine::MovingLine(Host& host, Engine& engine, const PlanRequest& request,
                       std::optional<std::string> file)
    : host_(host),
      engine_(engine),
      request_(request),
      file_(std::move(file)),
      group_limit_(probe_limits().group_limit),
      asked_(host.line.budget()),
      budget_(host.line.budget()),
      highest_(budget_),
      looked_(Clock::now()),
      last_(looked_) {
  if (!engine.plan().formats.empty())
    request_.runtime_bytes += std::exchange(request_.of_rounding, 0);
  if (file_) std::signal(SIGHUP, hang_up);
}

MovingLine::~MovingLine() {
  if (file_) std::signal(SIGHUP, SIG_DFL);
}

void MovingLine::count_rounding(const Plan& plan) {
  if (plan.formats.empty() || request_.of_rounding == 0) return;
  request_.runtime_bytes += std::exchange(request_.of_rounding, 0);
  host_.line.settle(plan);
}

Reservation MovingLine::hold_planning() const {
  return host_.line.hold_text("planning again",
                              planning_bytes_per_tensor * engine_.model().facts.tensors.size());
}

Plan MovingLine::plan_at(Bytes budget) const {
  const Reservation held = hold_planning();
  PlanRequest another = request_;
  another.budget = budget;
  return make_plan(engine_.model().facts, another);
}

void MovingLine::move_to(Bytes budget) {
  const OpenModel& model = engine_.model();
  const Reservation held = hold_planning();
  const Plan target = plan_move(model.facts, request_, engine_.plan(), budget);
  auto move = std::make_unique<Move>(engine_, target);
  count_rounding(target);
  // What a move under way has done stays, wherever the next one goes.
  move_ = std::move(move);
  budget_ = budget;
  highest_ = std::max(highest_, budget);
  allowance_ = 0;
  last_ = Clock::now();
  if (move_->is_done()) end_move();
}

void MovingLine::end_move() {
  const Plan& plan = engine_.plan();
  host_.watch.tell(fmt::format("the line is {} now: {:.2f} bits per weight{}",
                               format_bytes(budget_), plan.bits_per_weight,
                               plan.kl_nats > 0 ? fmt::format(", quality {:.3g} nats", plan.kl_nats)
                                                : ""));
  move_.reset();
}

void MovingLine::finish() {
  if (!move_) return;
  do {
    host_.watch.show("moving weights", Watch::Unit::bytes,
                     static_cast<std::int64_t>(move_->done_bytes()),
                     static_cast<std::int64_t>(move_->total_bytes()));
  } while (move_->step());
  host_.watch.show("moving weights", Watch::Unit::bytes,
                   static_cast<std::int64_t>(move_->total_bytes()),
                   static_cast<std::int64_t>(move_->total_bytes()));
  end_move();
}

void MovingLine::try_to_move(Bytes budget, const std::string& why) {
  try {
    host_.watch.tell(fmt::format("{}: the line moves to {}", why, format_bytes(budget)));
    move_to(budget);
  } catch (const Error& error) {
    host_.watch.tell(fmt::format("the line stays at {}: {}", format_bytes(budget_),
                                 error.message()));
  }
}

void MovingLine::look() {
  if (file_ && is_hung_up.exchange(false)) {
    try {
      asked_ = read_size(*file_);
      try_to_move(asked_, *file_);
    } catch (const Error& error) {
      host_.watch.tell(fmt::format("the line stays at {}: {}", format_bytes(budget_),
                                   error.message()));
    }
  }
  const Clock::time_point now = Clock::now();
  if (now - looked_ < looks_every) return;
  looked_ = now;
  const std::optional<Bytes> limit = probe_limits().group_limit;
  if (limit == group_limit_) return;
  group_limit_ = limit;
  // A line that was asked for stays where it is while the group allows it.
  const Bytes wanted = host_.line.is_given() ? std::min(asked_, limit.value_or(asked_))
                                             : limit.value_or(asked_);
  if (wanted != budget_) try_to_move(wanted, "the control group's limit has changed");
}

void MovingLine::between_tokens() {
  look();
  if (!move_) return;
  const auto seconds = [](Clock::duration d) { return std::chrono::duration<double>(d).count(); };
  const Clock::time_point start = Clock::now();
  allowance_ += share_of_time * seconds(start - last_);
  last_ = start;
  while (move_ && allowance_ > 0) {
    const Clock::time_point begin = Clock::now();
    try {
      if (!move_->step()) end_move();
    } catch (const Error& error) {
      // All else goes on as it is.
      move_.reset();
      budget_ = host_.line.budget();
      host_.watch.tell(fmt::format("the line stays at {}: {}", format_bytes(budget_),
                                   error.message()));
    }
    last_ = Clock::now();
    allowance_ -= seconds(last_ - begin);
  }
}

}  // namespace plimsoll
