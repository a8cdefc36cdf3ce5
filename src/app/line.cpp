#include "app/line.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/bounded.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/process.h"
#include "base/region.h"
#include "file/model_file.h"

namespace plimsoll {
namespace {

/// A header is held so many times, at most, with the tokenizer that is made of it.
constexpr Bytes header_share = 3;

}  // namespace

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
  return std::clamp(room() / header_share, always, ModelFile::any_room);
}

void Line::refuse_header(const HeaderRefusal& refusal, bool takes_memory) const {
  // One process and the next differ by some pages, and there is more to come than the header.
  constexpr Bytes slack = 2 * MiB;
  const Bytes enough = bounded_sum(
      {ledger_->used(), bounded_product({header_share, refusal.wanted()}), refusal.wanted() / 16,
       slack});
  std::string hint;
  if (refusal.wanted() > ModelFile::any_room)
    hint = fmt::format("no header may take more than {}", format_bytes(ModelFile::any_room));
  else if (takes_memory && enough <= probe_limits().usable)
    hint = fmt::format("give --memory {} or more", round_up(enough, page_bytes));
  else
    hint = fmt::format("take a machine or container that has {} bytes to give", enough);
  throw Error(refusal.code(), refusal.message(), hint);
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

Declared Line::declare_process(const ModelFacts& facts, int threads, Work work) {
  const Declared declared =
      runtime_bytes(facts, threads, ledger_->used(Account::text), process_, work);
  runtime_ = Reservation();
  runtime_ = ledger_->count_held(Account::runtime, declared.running);
  return declared;
}

void Line::settle(const Plan& plan) {
  runtime_ = Reservation();
  runtime_ = ledger_->count_held(Account::runtime, plan.account(Account::runtime));
}

void Line::settle_loading(const Plan& plan) {
  runtime_ = Reservation();
  runtime_ = ledger_->count_held(Account::runtime, plan.loading_runtime_bytes);
}

}  // namespace plimsoll
