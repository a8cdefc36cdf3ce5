#include "engine/move.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "plan/speed.h"

namespace plimsoll {
namespace {

/// Fewer leading bits of codes than these are no answer for even a moment.
constexpr int least_bits_at_once = 4;

}  // namespace

Move::Move(Engine& engine, Plan target) : engine_(engine), target_(std::move(target)) {
  if (!target_.fits)
    throw Error(ErrorCode::budget_refused,
                fmt::format("{} do not hold this model with its conversations; at least {} do",
                            format_bytes(target_.budget_bytes), format_bytes(target_.peak_bytes)),
                fmt::format("give {} or more", target_.peak_bytes));
  const OpenModel& model = *engine_.model_;
  const std::vector<TensorUse>& tensors = model.facts.tensors;
  const std::vector<const Format*> formats = formats_held(model.facts, target_.formats);
  Weights& weights = *engine_.weights_;
  for (std::size_t use = 0; use < tensors.size(); ++use) {
    if (tensors[use].slot.is_vector() || weights.is_held_as(use, *formats[use])) continue;
    const Conversion source = {tensors[use].info, formats[use]};
    const Bytes bytes = Matrix::memory_bytes(source);
    todo_.push_back({use, source, bytes, bytes < weights.held_bytes(use)});
    total_ += bytes;
  }
  if (!todo_.empty()) model.file.check_unchanged();
  // What frees most comes first.
  std::ranges::stable_sort(todo_, [&](const Tensor& a, const Tensor& b) {
    const auto freed = [&](const Tensor& t) {
      return static_cast<std::int64_t>(weights.held_bytes(t.use)) -
             static_cast<std::int64_t>(t.bytes);
    };
    return freed(a) > freed(b);
  });
  Ledger& ledger = engine_.context_->ledger;
  // A move that was left in the middle may hold more than the plan that it came from.
  const Bytes now = engine_.plan_.account(Account::weights),
              most = std::max(target_.account(Account::weights), ledger.used(Account::weights));
  room_ = ledger.raise_cap(Account::weights, most > now ? most - now : 0);
  if (target_.budget_bytes >= ledger.budget()) {
    ledger.set_budget(target_.budget_bytes);
  } else {
    engine_.pages_->trim();
    // As much as is over, whichever tensors have it: they are read again anyhow.
    for (const Tensor& tensor : todo_) {
      if (wanted_bytes() <= target_.budget_bytes) break;
      if (tensor.shrinks) weights.drop_planes(tensor.use, tensor.bytes, least_bits_at_once);
    }
    lower_line();
  }
  if (todo_.empty()) finish();
}

Move::~Move() = default;

Bytes Move::wanted_bytes() const {
  const Ledger& ledger = engine_.context_->ledger;
  const Bytes kv = target_.account(Account::kv), kv_held = ledger.used(Account::kv);
  Bytes staging = 0;
  for (std::size_t i = next_; i < todo_.size(); ++i)
    staging = std::max(staging, Matrix::staging_bytes(todo_[i].source));
  return ledger.used() + kv - std::min(kv, kv_held) + staging;
}

void Move::lower_line() {
  Ledger& ledger = engine_.context_->ledger;
  ledger.set_budget(std::min(ledger.budget(), std::max(target_.budget_bytes, wanted_bytes())));
}

bool Move::step() {
  if (is_done()) return false;
  const Tensor& tensor = todo_[next_];
  try {
    engine_.weights_->hold_as(*engine_.context_, engine_.model_->file, tensor.use, tensor.source);
  } catch (const Error&) {
    // What it held before was given back to make room, unless there was none.
    engine_.has_all_weights_ = engine_.weights_->is_held(tensor.use);
    throw;
  }
  done_ += tensor.bytes;
  ++next_;
  if (target_.budget_bytes < engine_.context_->ledger.budget()) lower_line();
  if (is_done()) finish();
  return !is_done();
}

void Move::finish() {
  Ledger& ledger = engine_.context_->ledger;
  engine_.plan_ = target_;
  ledger.set_budget(target_.budget_bytes);
  engine_.caps_.clear();
  for (const Account a : {Account::weights, Account::kv, Account::activations})
    engine_.caps_.push_back(ledger.raise_cap(a, target_.account(a)));
  room_ = {};
}

}  // namespace plimsoll
