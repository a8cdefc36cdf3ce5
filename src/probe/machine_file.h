// What was measured of this machine, in files from one plan to the next.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "plan/machine.h"

namespace plimsoll {

/// The key of this process. Throws as choose_isa does.
MachineKey machine_key(int threads);

/// What was kept in `folder` for this key; empty when there is nothing or nothing valid.
std::optional<Machine> load_machine(const std::string& folder, const MachineKey& key);
/// Keeps it, whole or not at all; that a folder cannot be written is no error. Whoever changes what
/// was there holds the lock from loading on.
void save_machine(const std::string& folder, const Machine& machine);
/// base/file_lock.h of the files of a key. Makes the folder, if it can.
std::string machine_lock_path(const std::string& folder, const MachineKey& key);

/// What was reached since the last measurement of `machine`, newest last; of another measurement,
/// or where there is nothing valid, none.
std::vector<ReachedSpeed> load_notes(const std::string& folder, const Machine& machine);
/// As save_machine does.
void save_notes(const std::string& folder, const Machine& machine,
                const std::vector<ReachedSpeed>& notes);

}  // namespace plimsoll
