// What every computing part shares: the account of bytes, the workers and the kernels. Nothing here
// is global; the owner (one per process, made by the command line or a test) outlives its users.
#pragma once

#include "base/ledger.h"
#include "base/threads.h"
#include "kernels/kernels.h"

namespace plimsoll {

struct Context {
  Ledger ledger;
  ThreadPool threads;
  const Kernels& kernels;

  Context(int thread_count, Isa isa) : threads(thread_count), kernels(kernels_for(isa)) {}
};

}  // namespace plimsoll
