// What a call from Python does while it computes: without the interpreter's lock, but Ctrl-C stops it.
#pragma once

#include <nanobind/nanobind.h>

#include <chrono>
#include <exception>
#include <optional>
#include <string_view>

#include "app/host.h"

namespace plimsoll::python {

namespace nb = nanobind;

/// The call on this thread. Made and rethrown with the interpreter's lock; in between without it.
class Call {
 public:
  /// `progress`: None, or called with what, done, total and the unit's name.
  explicit Call(nb::object progress = nb::none());
  ~Call();
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  /// False: an exception waits to be raised, of a signal's handler or of `progress`. Handlers run
  /// on the main thread, at most every 20 ms.
  bool goes_on();
  void show(std::string_view what, Watch::Unit unit, std::uint64_t done, std::uint64_t total);
  /// Throws Error(interrupted) instead of being false.
  void check();
  /// What stopped it.
  void rethrow();

  /// A watch whose functions go to the call on the thread that calls them.
  static Watch watch(std::function<void(const std::string&)> notice);

 private:
  nb::object progress_;
  bool is_main_;
  std::optional<nb::python_error> raised_;
  std::chrono::steady_clock::time_point last_check_{}, last_shown_{};
  Call* outer_;
};

/// To be called once, when the module is made.
void remember_main_thread();

}  // namespace plimsoll::python
