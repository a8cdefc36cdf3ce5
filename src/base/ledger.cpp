#include "base/ledger.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
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

void Ledger::set_budget(Bytes budget) {
  const std::lock_guard lock(mutex_);
  budget_ = budget;
}

Bytes Ledger::budget() const {
  const std::lock_guard lock(mutex_);
  return budget_;
}

void Ledger::set_cap(Account account, Bytes cap) {
  const std::lock_guard lock(mutex_);
  caps_[index(account)] = cap;
}

Bytes Ledger::cap(Account account) const {
  const std::lock_guard lock(mutex_);
  return caps_[index(account)];
}

Reservation Ledger::reserve(Account account, Bytes bytes) {
  add(account, bytes);
  return Reservation(this, account, bytes);
}

void Ledger::add_relief(std::string name, Relief relief) {
  const std::lock_guard lock(mutex_);
  relief_.emplace_back(std::move(name), std::move(relief));
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

bool Ledger::try_add_locked(Account account, Bytes bytes) {
  const std::size_t i = index(account);
  if (bytes > room(caps_[i], used_by_[i]) || bytes > room(budget_, used_)) return false;
  used_by_[i] += bytes;
  used_ += bytes;
  peak_by_[i] = std::max(peak_by_[i], used_by_[i]);
  peak_ = std::max(peak_, used_);
  return true;
}

void Ledger::add(Account account, Bytes bytes) {
  const std::size_t i = index(account);
  std::unique_lock lock(mutex_);
  for (std::size_t next = 0; !try_add_locked(account, bytes); ++next) {
    // What no relief can make fit is refused before anything is dropped for it.
    const bool hopeless = bytes > caps_[i] || bytes > budget_;
    if (hopeless || next == relief_.size()) {
      const Bytes account_room = room(caps_[i], used_by_[i]);
      const Bytes budget_room = room(budget_, used_);
      const std::string where = account_room <= budget_room
                                    ? fmt::format("the account's cap of {}", format_bytes(caps_[i]))
                                    : fmt::format("the budget of {}", format_bytes(budget_));
      throw Error(ErrorCode::budget_exceeded,
                  fmt::format("{} wants {} ({} bytes), but only {} ({} bytes) are free under {}",
                              name(account), format_bytes(bytes), bytes,
                              format_bytes(std::min(account_room, budget_room)),
                              std::min(account_room, budget_room), where),
                  "raise --memory, or ask for less: a shorter context, a smaller model, fewer "
                  "sessions");
    }
    const Bytes short_of_cap = bytes - std::min(bytes, room(caps_[i], used_by_[i]));
    const Bytes short_of_budget = bytes - std::min(bytes, room(budget_, used_));
    // A lowered line may lie below what is used: that must be given back as well.
    const Bytes over_cap = room(used_by_[i], caps_[i]);
    const Bytes over_budget = room(used_, budget_);
    const Bytes wanted = std::max(short_of_cap + over_cap, short_of_budget + over_budget);
    const Relief relief = relief_[next].second;  // a copy: others may add relief meanwhile
    lock.unlock();
    relief(wanted);
    lock.lock();
  }
}

void Ledger::subtract(Account account, Bytes bytes) noexcept {
  const std::lock_guard lock(mutex_);
  const std::size_t i = index(account);
  assert(used_by_[i] >= bytes && used_ >= bytes);
  used_by_[i] -= bytes;
  used_ -= bytes;
}

}  // namespace plimsoll
