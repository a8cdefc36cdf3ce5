// The running account of bytes. Everything big is reserved here before it is allocated; what does not fit throws or is
// made room for by relief, and is never allocated first.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"

namespace plimsoll {

enum class Account : std::uint8_t { weights, kv, activations, text, io, server, runtime };
constexpr int account_count = 7;
constexpr std::array<Account, account_count> all_accounts = {
    Account::weights, Account::kv,     Account::activations, Account::text,
    Account::io,      Account::server, Account::runtime};
std::string_view name(Account account);

class Ledger;

/// Bytes held in one account until destruction. Move-only. Does not own memory: the holder allocates after reserving
/// and frees before the Reservation goes.
class Reservation {
 public:
  Reservation() = default;
  Reservation(Reservation&& other) noexcept;
  Reservation& operator=(Reservation&& other) noexcept;
  ~Reservation();
  Reservation(const Reservation&) = delete;
  Reservation& operator=(const Reservation&) = delete;

  Bytes bytes() const { return bytes_; }
  /// Changes the reserved size; growing may throw as Ledger::reserve does, and then nothing has changed.
  void resize(Bytes bytes);

 private:
  friend class Ledger;
  Reservation(Ledger* ledger, Account account, Bytes bytes)
      : ledger_(ledger), account_(account), bytes_(bytes) {}
  Ledger* ledger_ = nullptr;
  Account account_ = Account::runtime;
  Bytes bytes_ = 0;
};

/// Thread-safe. Outlives every Reservation made from it.
class Ledger {
 public:
  static constexpr Bytes no_cap = ~Bytes{0};

  /// The sum over all accounts may never exceed this. Default: no cap.
  void set_budget(Bytes budget);
  Bytes budget() const;
  /// One account may never exceed this. Default: no cap.
  void set_cap(Account account, Bytes cap);
  Bytes cap(Account account) const;

  /// Throws Error(budget_exceeded) when neither the account's cap nor the budget has room after relief.
  [[nodiscard]] Reservation reserve(Account account, Bytes bytes);

  /// Adds something that can give bytes back. Called in order of addition, without the lock held, with the bytes still
  /// wanted; returns the bytes it released (by shrinking or dropping its Reservations).
  using Relief = std::function<Bytes(Bytes wanted)>;
  void add_relief(std::string name, Relief relief);

  Bytes used(Account account) const;
  Bytes used() const;
  /// Largest sum over all accounts, and the largest value of one, since construction.
  Bytes peak() const;
  Bytes peak(Account account) const;

 private:
  friend class Reservation;
  bool try_add_locked(Account account, Bytes bytes);
  void add(Account account, Bytes bytes);
  void subtract(Account account, Bytes bytes) noexcept;

  mutable std::mutex mutex_;
  Bytes budget_ = no_cap;
  Bytes used_ = 0;
  Bytes peak_ = 0;
  std::array<Bytes, account_count> caps_{no_cap, no_cap, no_cap, no_cap, no_cap, no_cap, no_cap};
  std::array<Bytes, account_count> used_by_{};
  std::array<Bytes, account_count> peak_by_{};
  std::vector<std::pair<std::string, Relief>> relief_;
};

}  // namespace plimsoll
