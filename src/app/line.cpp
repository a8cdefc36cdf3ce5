#include "app/line.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/bounded.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/process.h"
#include "file/model_file.h"

namespace plimsoll {

Line::Line(std::optional<Bytes> wanted, int threads, Whose process)
    : ledger_(std::make_unique<Ledger>()), process_(process) {
  ledger_->set_budget(decide_budget(wanted));
  source_ = wanted                       ? Source::flag
            : probe_limits().group_limit ? Source::control_group
                                         : Source::machine;
  runtime_ = ledger_->count_held(Account::runtime, envelope_bytes(threads, process));
}

Bytes Line::held() const {
  return process_ == Whose::own ? process_memory().resident : ledger_->used();
}

Bytes Line::room() const {
  const Bytes budget = ledger_->budget(), used = ledger_->used();
  return budget - std::min(budget, used);
}

Bytes Line::header_room() const {
  constexpr Bytes always = 4 * MiB;
  return std::clamp(room() / 3, always, ModelFile::any_room);
}

Reservation Line::hold_text(const std::string& what, std::optional<Bytes> bytes, Bytes unit) const {
  constexpr Bytes always = MiB;
  if (bytes && *bytes <= always) return ledger_->count_held(Account::text, *bytes);
  const Bytes left = room();
  if (bytes && *bytes <= left) return ledger_->reserve(Account::text, *bytes);
  // One process and the next differ by some pages, and there is more to come than this.
  constexpr Bytes slack = MiB;
  const Bytes enough =
      bytes ? bounded_sum({ledger_->used(), *bytes, *bytes / 64, slack}) : most_bytes;
  std::string hint = "give a shorter one";
  if (unit > 0) hint += fmt::format(", of at most {} bytes", std::max(left, always) / unit);
  if (enough <= probe_limits().usable) hint += fmt::format(", or --memory {} or more", enough);
  throw Error(ErrorCode::budget_refused,
              fmt::format("{} may take {}; the budget of {} has {} left", what,
                          bytes ? format_bytes(*bytes) : "too much", format_bytes(budget()),
                          format_bytes(left)),
              hint);
}

Bytes Line::declare_process(const ModelFacts& facts, int threads) {
  const Bytes bytes = runtime_bytes(facts, threads, ledger_->used(Account::text), process_);
  runtime_ = Reservation();
  runtime_ = ledger_->count_held(Account::runtime, bytes);
  return bytes;
}

void Line::settle(const Plan& plan) {
  runtime_ = Reservation();
  runtime_ = ledger_->count_held(Account::runtime, plan.account(Account::runtime));
}

}  // namespace plimsoll
