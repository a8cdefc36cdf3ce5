// Work in a child of this process, so that the libraries that it loads and the memory that it takes are gone with it: what
// this process holds, and its peak, stay as they were.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>

namespace plimsoll {

/// What `work` returns. An Error that it throws is thrown here. While it runs, Ctrl-C and SIGTERM are a wish (see
/// is_interrupted()) instead of the end. To be called while this process has one thread. Throws Error(internal) when the
/// child dies, Error(machine_limit) when there can be none.
nlohmann::json in_child(const std::function<nlohmann::json()>& work);

/// In a child: whether the user wants it to stop.
bool is_interrupted();
/// Throws Error(interrupted) then.
void stop_if_interrupted();

/// Sleeps; ends early when interrupted.
void wait_seconds(double seconds);

}  // namespace plimsoll
