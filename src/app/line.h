// The line: how many bytes this process may hold, who said so, and the account of what it holds.
// Drawn before any file is opened.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/ledger.h"
#include "file/header_bytes.h"
#include "plan/plan.h"
#include "probe/process_envelope.h"

namespace plimsoll {

class Line {
 public:
  enum class Source { flag, control_group, machine };

  /// `wanted`, or what this machine or container has to give. Counts the process's envelope at
  /// once. Throws Error(machine_limit) as decide_budget does.
  Line(std::optional<Bytes> wanted, int threads, Whose process = Whose::own);

  Bytes budget() const { return ledger_->budget(); }
  Source source() const { return source_; }
  bool is_given() const { return source_ == Source::flag; }
  Whose process() const { return process_; }
  Ledger& ledger() const { return *ledger_; }
  /// What is held now: by the kernel's count, or of a shared process, in which nobody can tell whose
  /// is what, by the accounts.
  Bytes held() const;
  /// What is not counted yet.
  Bytes room() const;

  /// Of the room, what the header of a model may take: with the tokenizer made of it, it is held
  /// two to three times. At least 4 MiB, so that a refusal can say what the model needs.
  Bytes header_room() const;

  /// What `open(header_room())` gives. Throws as that does; where the room is too small, with what would do, if the
  /// command `takes_memory`.
  template <class Open>
  auto read_header(const Open& open, bool takes_memory = true) const {
    try {
      return open(header_room());
    } catch (const HeaderRefusal& refusal) {
      refuse_header(refusal, takes_memory);
    }
  }

  /// Counts `bytes` in the text account for `what` ("reading a file of 3 MiB"), which has not been
  /// read yet. Throws Error(budget_refused) where they do not fit, or without a number, which means
  /// too many. The first 1 MiB of a line always passes. What is read in units of `unit` bytes is
  /// told how many of them would have room.
  Reservation hold_text(const std::string& what, std::optional<Bytes> bytes, Bytes unit = 0) const;

  /// What the process holds besides the accounts, for a model that is open: counted instead of the
  /// envelope. `beside` is what a plan adds to it.
  Declared declare_process(const ModelFacts& facts, int threads, Work work);
  /// From now on the runtime account holds what `plan` says of running, or of loading.
  void settle(const Plan& plan);
  void settle_loading(const Plan& plan);

 private:
  [[noreturn]] void refuse_header(const HeaderRefusal& refusal, bool takes_memory) const;

  std::unique_ptr<Ledger> ledger_;
  Source source_;
  Whose process_;
  Reservation runtime_;
};

}  // namespace plimsoll
