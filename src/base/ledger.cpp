#include "base/ledger.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <limits>
#include <memory>
#include <utility>

#include "base/error.h"

namespace plimsoll {
namespace {

std::size_t index(Account account) { return static_cast<std::size_t>(account); }

/// Room left under `limit`; zero when a lowered limit lies below what is used.
Bytes room(Bytes limit, Bytes used) { return limit > used ? limit - used : 0; }

}  // namespace

std::string_view name(Account account) {
  switch (account) {
    case Account::weights:
      return "weights";
    case Account::kv:
      return "kv";
    case Account::activations:
      return "activations";
    case Account::text:
      return "text";
    case Account::io:
      return "io";
    case Account::server:
      return "server";
    case Account::runtime:
      return "runtime";
  }
  return "runtime";
}

Reservation::Reservation(Reservation&& other) noexcept
    : ledger_(std::exchange(other.ledger_, nullptr)),
      account_(other.account_),
      bytes_(std::exchange(other.bytes_, 0)) {}

Reservation& Reservation::operator=(Reservation&& other) noexcept {
  if (this != &other) {
    if (ledger_ != nullptr) ledger_->subtract(account_, bytes_);
    ledger_ = std::exchange(other.ledger_, nullptr);
    account_ = other.account_;
    bytes_ = std::exchange(other.bytes_, 0);
  }
  return *this;
}

Reservation::~Reservation() {
  if (ledger_ != nullptr) ledger_->subtract(account_, bytes_);
}

void Reservation::resize(Bytes bytes) {
  if (bytes == bytes_) return;
  if (ledger_ == nullptr) {
    throw Error(ErrorCode::internal,
                fmt::format("resizing an empty reservation to {} bytes", bytes));
  }
  if (bytes > bytes_) {
    ledger_->add(account_, bytes - bytes_);
  } else {
    ledger_->subtract(account_, bytes_ - bytes);
  }
  bytes_ = bytes;
}

CapLease::CapLease(CapLease&& other) noexcept
    : ledger_(std::exchange(other.ledger_, nullptr)),
      account_(other.account_),
      bytes_(other.bytes_) {}

CapLease& CapLease::operator=(CapLease&& other) noexcept {
  CapLease before(std::move(*this));
  ledger_ = std::exchange(other.ledger_, nullptr);
  account_ = other.account_;
  bytes_ = other.bytes_;
  return *this;
}

CapLease::~CapLease() {
  if (ledger_ != nullptr) ledger_->lower_cap(account_, bytes_);
}

ReliefLease::ReliefLease(ReliefLease&& other) noexcept
    : ledger_(std::exchange(other.ledger_, nullptr)), id_(other.id_) {}

ReliefLease& ReliefLease::operator=(ReliefLease&& other) noexcept {
  ReliefLease before(std::move(*this));
  ledger_ = std::exchange(other.ledger_, nullptr);
  id_ = other.id_;
  return *this;
}

ReliefLease::~ReliefLease() {
  if (ledger_ != nullptr) ledger_->remove_relief(id_);
}

void Ledger::set_budget(Bytes budget) {
  const std::lock_guard lock(mutex_);
  budget_ = budget;
}

Bytes Ledger::budget() const {
  const std::lock_guard lock(mutex_);
  return budget_;
}

CapLease Ledger::raise_cap(Account account, Bytes bytes) {
  const std::lock_guard lock(mutex_);
  ++cap_leases_[index(account)];
  caps_[index(account)] += bytes;
  return CapLease(this, account, bytes);
}

void Ledger::lower_cap(Account account, Bytes bytes) noexcept {
  const std::lock_guard lock(mutex_);
  --cap_leases_[index(account)];
  caps_[index(account)] -= bytes;
}

Bytes Ledger::cap(Account account) const {
  const std::lock_guard lock(mutex_);
  return cap_leases_[index(account)] > 0 ? caps_[index(account)] : no_cap;
}

Reservation Ledger::reserve(Account account, Bytes bytes) {
  add(account, bytes);
  return Reservation(this, account, bytes);
}

Reservation Ledger::count_held(Account account, Bytes bytes) {
  const std::lock_guard lock(mutex_);
  count_locked(account, bytes);
  return Reservation(this, account, bytes);
}

ReliefLease Ledger::add_relief(std::string name, int rank, Relief relief) {
  const std::lock_guard lock(mutex_);
  const auto behind = std::ranges::upper_bound(reliefs_, rank, {}, &Entry::rank);
  const std::uint64_t id = ++last_id_;
  reliefs_.insert(behind, {id, rank, std::move(name), std::move(relief)});
  return ReliefLease(this, id);
}

void Ledger::remove_relief(std::uint64_t id) noexcept {
  const std::lock_guard nobody_relieves(relieving_);
  const std::lock_guard lock(mutex_);
  std::erase_if(reliefs_, [id](const Entry& entry) { return entry.id == id; });
}

std::optional<Ledger::Entry> Ledger::next_relief(int rank, std::uint64_t id) const {
  for (const Entry& entry : reliefs_)
    if (std::pair(entry.rank, entry.id) > std::pair(rank, id)) return entry;
  return std::nullopt;
}

Ledger::Moved Ledger::move_line(Bytes budget) {
  const std::lock_guard alone(relieving_);
  std::unique_lock lock(mutex_);
  budget_ = budget;
  // What is given back meanwhile is nobody else's: there is no room below the line until it holds.
  Moved moved;
  int rank = std::numeric_limits<int>::min();
  for (std::uint64_t id = 0; used_ > budget_;) {
    const std::optional<Entry> entry = next_relief(rank, id);
    if (!entry) break;
    rank = entry->rank;
    id = entry->id;
    const Bytes wanted = used_ - budget_;
    lock.unlock();
    const Bytes given = entry->relief(wanted);
    lock.lock();
    if (given > 0) moved.relieved.emplace_back(entry->name, given);
  }
  moved.over = room(used_, budget_);
  return moved;
}

Bytes Ledger::used(Account account) const {
  const std::lock_guard lock(mutex_);
  return used_by_[index(account)];
}

Bytes Ledger::used() const {
  const std::lock_guard lock(mutex_);
  return used_;
}

Bytes Ledger::peak() const {
  const std::lock_guard lock(mutex_);
  return peak_;
}

Bytes Ledger::peak(Account account) const {
  const std::lock_guard lock(mutex_);
  return peak_by_[index(account)];
}

void Ledger::count_locked(Account account, Bytes bytes) {
  const std::size_t i = index(account);
  used_by_[i] += bytes;
  used_ += bytes;
  peak_by_[i] = std::max(peak_by_[i], used_by_[i]);
  peak_ = std::max(peak_, used_);
}

Bytes Ledger::account_room_locked(Account account, const Claim* own) const {
  const std::size_t i = index(account);
  if (cap_leases_[i] == 0) return no_cap;
  const bool claimed = claim_ != nullptr && claim_ != own && claim_->account == account;
  return room(room(caps_[i], used_by_[i]), claimed ? claim_->bytes : 0);
}

Bytes Ledger::budget_room_locked(const Claim* own) const {
  const bool claimed = claim_ != nullptr && claim_ != own;
  return room(room(budget_, used_), claimed ? claim_->bytes : 0);
}

bool Ledger::try_add_locked(Account account, Bytes bytes, const Claim* own) {
  if (bytes > account_room_locked(account, own) || bytes > budget_room_locked(own)) return false;
  count_locked(account, bytes);
  return true;
}

void Ledger::add(Account account, Bytes bytes) {
  {
    const std::lock_guard lock(mutex_);
    if (try_add_locked(account, bytes, nullptr)) return;
    // What no relief can make fit is refused before anything is dropped for it.
    const std::size_t i = index(account);
    const bool hopeless = (cap_leases_[i] > 0 && bytes > caps_[i]) || bytes > budget_;
    if (hopeless || reliefs_.empty()) refuse_locked(account, bytes, nullptr);
  }
  add_relieved(account, bytes);
}

void Ledger::add_relieved(Account account, Bytes bytes) {
  const std::size_t i = index(account);
  const std::lock_guard alone(relieving_);
  const Claim claim{account, bytes};
  std::unique_lock lock(mutex_);
  claim_ = &claim;
  const auto end_claim = [this](const Claim*) { claim_ = nullptr; };
  const std::unique_ptr<const Claim, decltype(end_claim)> ends(&claim, end_claim);
  int rank = std::numeric_limits<int>::min();
  for (std::uint64_t id = 0; !try_add_locked(account, bytes, &claim);) {
    const std::optional<Entry> entry = next_relief(rank, id);
    if (!entry) refuse_locked(account, bytes, &claim);
    rank = entry->rank;
    id = entry->id;
    // A lowered line may lie below what is used: that must be given back as well.
    const Bytes cap = cap_leases_[i] > 0 ? caps_[i] : no_cap;
    const auto missing = [bytes](Bytes limit, Bytes used) {
      return bytes - std::min(bytes, room(limit, used)) + room(used, limit);
    };
    const Bytes wanted = std::max(missing(cap, used_by_[i]), missing(budget_, used_));
    lock.unlock();
    try {
      entry->relief(wanted);
    } catch (...) {
      lock.lock();  // the claim ends under it
      throw;
    }
    lock.lock();
  }
}

void Ledger::refuse_locked(Account account, Bytes bytes, const Claim* own) const {
  const Bytes account_room = account_room_locked(account, own);
  const Bytes budget_room = budget_room_locked(own);
  const std::string where =
      account_room <= budget_room
          ? fmt::format("the account's cap of {}", format_bytes(caps_[index(account)]))
          : fmt::format("the budget of {}", format_bytes(budget_));
  throw Error(
      ErrorCode::budget_exceeded,
      fmt::format("{} wants {} ({} bytes), but only {} ({} bytes) are free under {}", name(account),
                  format_bytes(bytes), bytes, format_bytes(std::min(account_room, budget_room)),
                  std::min(account_room, budget_room), where),
      "raise --memory, or ask for less: a shorter context, a smaller model, fewer "
      "sessions");
}

void Ledger::subtract(Account account, Bytes bytes) noexcept {
  const std::lock_guard lock(mutex_);
  const std::size_t i = index(account);
  assert(used_by_[i] >= bytes && used_ >= bytes);
  used_by_[i] -= bytes;
  used_ -= bytes;
}

}  // namespace plimsoll
