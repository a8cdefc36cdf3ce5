#include "call.h"

#include <nanobind/stl/string.h>

#include <string>

#include "base/error.h"

namespace plimsoll::python {
namespace {

using Clock = std::chrono::steady_clock;

/// Getting the interpreter's lock may take as long as another thread keeps it, 5 ms.
constexpr auto between_checks = std::chrono::milliseconds(20);
constexpr auto between_shows = std::chrono::milliseconds(50);

thread_local Call* current = nullptr;
unsigned long main_thread = 0;

const char* name(Watch::Unit unit) {
  switch (unit) {
    case Watch::Unit::bytes:
      return "bytes";
    case Watch::Unit::tokens:
      return "tokens";
    case Watch::Unit::chunks:
      return "chunks";
  }
  return "";
}

}  // namespace

void remember_main_thread() {
  main_thread =
      nb::cast<unsigned long>(nb::module_::import_("threading").attr("main_thread")().attr("ident"));
}

Call::Call(nb::object progress)
    : progress_(std::move(progress)),
      is_main_(PyThread_get_thread_ident() == main_thread),
      outer_(current) {
  current = this;
}

Call::~Call() { current = outer_; }

bool Call::goes_on() {
  if (raised_) return false;
  if (!is_main_) return true;
  const auto now = Clock::now();
  if (now - last_check_ < between_checks) return true;
  const nb::gil_scoped_acquire lock;
  last_check_ = now;
  if (PyErr_CheckSignals() != 0) raised_.emplace();
  return !raised_;
}

void Call::show(std::string_view what, Watch::Unit unit, std::uint64_t done, std::uint64_t total) {
  if (progress_.is_none() || raised_) return;
  const auto now = Clock::now();
  if (done < total && now - last_shown_ < between_shows) return;
  const nb::gil_scoped_acquire lock;
  last_shown_ = now;
  try {
    progress_(std::string(what), done, total, name(unit));
  } catch (nb::python_error& error) {
    raised_.emplace(std::move(error));
  }
}

void Call::check() {
  if (!goes_on()) throw Error(ErrorCode::interrupted, "stopped");
}

void Call::rethrow() {
  if (!raised_) return;
  nb::python_error error = std::move(*raised_);
  raised_.reset();
  throw error;
}

Watch Call::watch(std::function<void(const std::string&)> notice) {
  Watch watch;
  watch.notice = std::move(notice);
  watch.keep_going = [] { return current == nullptr || current->goes_on(); };
  watch.progress = [](std::string_view what, Watch::Unit unit, std::uint64_t done,
                      std::uint64_t total) {
    if (current != nullptr) current->show(what, unit, done, total);
  };
  return watch;
}

}  // namespace plimsoll::python
