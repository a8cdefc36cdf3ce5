// What this machine or container really has to give: memory (control groups v1 and v2, nested; reclaimable file cache
// counts as free) and processors (affinity, quota).
#pragma once

#include <optional>
#include <string>

#include "base/bytes.h"

namespace plimsoll {

struct MachineLimits {
  Bytes memory_total = 0;      ///< of the machine (MemTotal)
  Bytes memory_available = 0;  ///< MemAvailable, before the control group's limit
  /// The tightest limit on the path from the process's memory control group to the root, and what is free below it
  /// (limit - usage + reclaimable file cache). Empty without a limit.
  std::optional<Bytes> group_limit;
  std::optional<Bytes> group_free;
  /// What this process may take in all: what it holds now, plus the lesser of machine and group room.
  Bytes usable = 0;

  int processors = 1;               ///< that the affinity mask allows
  std::optional<double> cpu_quota;  ///< processors' worth of time that control groups allow
  int default_threads = 1;          ///< max(1, min(processors, floor(quota)))
};

/// Processors that the affinity mask of this process allows.
int allowed_processors();

/// `root` is prefixed to /proc and /sys paths, so that tests can show it other machines.
MachineLimits probe_limits(const std::string& root = "");

}  // namespace plimsoll
