// The running account of bytes. Everything big is reserved here before it is allocated; what does
// not fit throws or is made room for by relief, and is never allocated first.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
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

/// Bytes held in one account until destruction. Move-only. Does not own memory: the holder
/// allocates after reserving and frees before the Reservation goes.
class Reservation {
 public:
  Reservation() = default;
  Reservation(Reservation&& other) noexcept;
  Reservation& operator=(Reservation&& other) noexcept;
  ~Reservation();
  Reservation(const Reservation&) = delete;
  Reservation& operator=(const Reservation&) = delete;

  Bytes bytes() const { return bytes_; }
  /// Changes the reserved size; growing may throw as Ledger::reserve does, and then nothing has
  /// changed.
  void resize(Bytes bytes);

 private:
  friend class Ledger;
  Reservation(Ledger* ledger, Account account, Bytes bytes)
      : ledger_(ledger), account_(account), bytes_(bytes) {}
  Ledger* ledger_ = nullptr;
  Account account_ = Account::runtime;
  Bytes bytes_ = 0;
};

/// Raises an account's cap while it lives. Move-only.
class CapLease {
 public:
  CapLease() = default;
  CapLease(CapLease&& other) noexcept;
  CapLease& operator=(CapLease&& other) noexcept;
  ~CapLease();

 private:
  friend class Ledger;
  CapLease(Ledger* ledger, Account account, Bytes bytes)
      : ledger_(ledger), account_(account), bytes_(bytes) {}
  Ledger* ledger_ = nullptr;
  Account account_ = Account::runtime;
  Bytes bytes_ = 0;
};

/// Something that can give bytes back, while it lives. When it has gone, it is not called any more:
/// its end waits for a call that is under way on another thread. Move-only.
class ReliefLease {
 public:
  ReliefLease() = default;
  ReliefLease(ReliefLease&& other) noexcept;
  ReliefLease& operator=(ReliefLease&& other) noexcept;
  ~ReliefLease();

 private:
  friend class Ledger;
  ReliefLease(Ledger* ledger, std::uint64_t id) : ledger_(ledger), id_(id) {}
  Ledger* ledger_ = nullptr;
  std::uint64_t id_ = 0;
};

/// Thread-safe. Outlives every Reservation and lease made from it.
class Ledger {
 public:
  static constexpr Bytes no_cap = ~Bytes{0};

  /// The sum over all accounts may never exceed this. Default: no cap. Below what is used, nothing
  /// is relieved until somebody wants more: move_line() does that at once.
  void set_budget(Bytes budget);
  Bytes budget() const;

  /// One account may never exceed the sum of its leases; without any it has no cap of its own.
  [[nodiscard]] CapLease raise_cap(Account account, Bytes bytes);
  Bytes cap(Account account) const;

  /// Throws Error(budget_exceeded) when neither the account's cap nor the budget has room after
  /// relief. What a relief gives back for one reservation goes to that one, whatever other threads
  /// reserve meanwhile.
  [[nodiscard]] Reservation reserve(Account account, Bytes bytes);
  /// Counts what is held already, whatever cap and budget say: for what had to be read to know its
  /// size.
  [[nodiscard]] Reservation count_held(Account account, Bytes bytes);

  /// Adds something that can give bytes back. Called by rank, the lowest first (in order of
  /// addition within one), one at a time, with no lock held that reserving or giving back takes,
  /// with the bytes still wanted; returns the bytes that it released (by shrinking or dropping its
  /// Reservations). It reserves nothing itself.
  using Relief = std::function<Bytes(Bytes wanted)>;
  [[nodiscard]] ReliefLease add_relief(std::string name, int rank, Relief relief);

  struct Moved {
    Bytes over = 0;  ///< that are still above the new line: 0 where it holds
    /// What gave bytes back, by name, in the order in which it was asked.
    std::vector<std::pair<std::string, Bytes>> relieved;
  };
  /// Sets the budget, and where more than that is used, relieves now.
  Moved move_line(Bytes budget);

  Bytes used(Account account) const;
  Bytes used() const;
  /// Largest sum over all accounts, and the largest value of one, since construction.
  Bytes peak() const;
  Bytes peak(Account account) const;

 private:
  friend class Reservation;
  friend class CapLease;
  friend class ReliefLease;
  struct Entry {
    std::uint64_t id;
    int rank;
    std::string name;
    Relief relief;
  };
  /// Bytes that a reservation waits for while reliefs are at work for it.
  struct Claim {
    Account account = Account::runtime;
    Bytes bytes = 0;
  };

  Bytes account_room_locked(Account account, const Claim* own) const;
  Bytes budget_room_locked(const Claim* own) const;
  bool try_add_locked(Account account, Bytes bytes, const Claim* own);
  void count_locked(Account account, Bytes bytes);
  void add(Account account, Bytes bytes);
  void add_relieved(Account account, Bytes bytes);
  [[noreturn]] void refuse_locked(Account account, Bytes bytes, const Claim* own) const;
  void subtract(Account account, Bytes bytes) noexcept;
  void lower_cap(Account account, Bytes bytes) noexcept;
  void remove_relief(std::uint64_t id) noexcept;
  /// The first entry behind `rank` and `id`; empty when there is none.
  std::optional<Entry> next_relief(int rank, std::uint64_t id) const;

  mutable std::mutex mutex_;
  /// Held while reliefs are at work, by one thread at a time; recursive, since a relief may drop
  /// its own lease.
  std::recursive_mutex relieving_;
  Bytes budget_ = no_cap;
  Bytes used_ = 0;
  Bytes peak_ = 0;
  std::array<Bytes, account_count> caps_{};
  std::array<int, account_count> cap_leases_{};
  std::array<Bytes, account_count> used_by_{};
  std::array<Bytes, account_count> peak_by_{};
  const Claim* claim_ = nullptr;
  std::vector<Entry> reliefs_;  ///< by rank, then by id
  std::uint64_t last_id_ = 0;
};

}  // namespace plimsoll
