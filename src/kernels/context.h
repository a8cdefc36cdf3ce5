// What every computing part shares: the account of bytes, the workers and the kernels. Nothing here
// is global; the owner (one per process, made by the command line or a test) outlives its users.
#pragma once

#include <memory>

#include "base/ledger.h"
#include "base/threads.h"
#include "kernels/kernels.h"

namespace plimsoll {

class Context {
  std::unique_ptr<Ledger> own_;

 public:
  Ledger& ledger;
  ThreadPool threads;
  const Kernels& kernels;

  /// With an account that others have begun; it outlives the context.
  Context(Ledger& account, int thread_count, Isa isa)
      : ledger(account), threads(thread_count), kernels(kernels_for(isa)) {}
  Context(int thread_count, Isa isa)
      : own_(std::make_unique<Ledger>()),
        ledger(*own_),
        threads(thread_count),
        kernels(kernels_for(isa)) {}
};

}  // namespace plimsoll
