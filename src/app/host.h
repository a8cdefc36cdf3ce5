// What every function of the application works with: the line, how many workers there may be, and
// whom to tell.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "app/line.h"
#include "kernels/context.h"

namespace plimsoll {

/// Of long work. All of it may be empty. Called on the thread that does the work.
struct Watch {
  enum class Unit { bytes, tokens, chunks };
  /// `what` is under way ("loading"). When it ends, `done` is `total`; 0 of 0 means that it ended
  /// without being done.
  std::function<void(std::string_view what, Unit unit, std::uint64_t done, std::uint64_t total)>
      progress;
  /// Something that the user should know.
  std::function<void(const std::string&)> notice;
  /// False: stop what is under way.
  std::function<bool()> keep_going;

  void tell(const std::string& text) const {
    if (notice) notice(text);
  }
  void show(std::string_view what, Unit unit, std::int64_t done, std::int64_t total) const {
    if (progress)
      progress(what, unit, static_cast<std::uint64_t>(done), static_cast<std::uint64_t>(total));
  }
  bool goes_on() const { return !keep_going || keep_going(); }
  /// Throws Error(interrupted) when it should stop.
  void check() const;
};

struct Host {
  Line line;
  int threads;
  Watch watch = {};
  /// Measures what rounding costs the model at a path, in a process of its own that holds no more
  /// than so many bytes, and keeps it; false where that did not come to its end. Empty: nothing is
  /// measured before plans, and they go by what is known.
  std::function<bool(const std::string& path, Bytes budget)> measure_apart = {};

  Host(std::optional<Bytes> memory, int worker_count, Whose process = Whose::own)
      : line(memory, worker_count, process), threads(worker_count) {}

  /// Workers and kernels, under the line. Throws as choose_isa does.
  std::unique_ptr<Context> make_context() {
    return std::make_unique<Context>(line.ledger(), threads, choose_isa());
  }
};

}  // namespace plimsoll
