#include "base/limits.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/small_file.h"

namespace plimsoll {
namespace {

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

bool has_word(std::string_view list, std::string_view word) {
  const auto words = split(list, ',');
  return std::find(words.begin(), words.end(), word) != words.end();
}

/// Spaces, tabs, newlines and backslashes stand as three octal digits in mountinfo (proc(5)).
std::string unescape(std::string_view text) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto octal = [&](std::size_t at) { return text[at] >= '0' && text[at] <= '7'; };
    if (text[i] == '\\' && i + 3 < text.size() && octal(i + 1) && octal(i + 2) && octal(i + 3)) {
      result += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                                  (text[i + 3] - '0'));
      i += 3;
    } else {
      result += text[i];
    }
  }
  return result;
}

/// One mounted control group hierarchy.
struct Mount {
  std::string root;   // the group that is seen at the mount point; "/" outside containers
  std::string point;  // where, without a trailing slash
};

/// The mount of the v2 hierarchy, or with `controller` of the v1 hierarchy that holds it. Format:
/// proc(5), mountinfo: "36 35 98:0 /root /point options optional-fields... - type source
/// super-options".
std::optional<Mount> find_mount(std::string_view mountinfo,
                                std::optional<std::string_view> controller) {
  for (const std::string_view line : split(mountinfo, '\n')) {
    const std::size_t dash = line.find(" - ");
    if (dash == std::string_view::npos) continue;
    const auto before = split(line.substr(0, dash), ' ');
    const auto after = split(line.substr(dash + 3), ' ');
    if (before.size() < 5 || after.size() < 3) continue;
    const bool wanted = controller ? after[0] == "cgroup" && has_word(after[2], *controller)
                                   : after[0] == "cgroup2";
    if (wanted) return Mount{unescape(before[3]), unescape(before[4])};
  }
  return std::nullopt;
}

/// This process's group in that hierarchy, from lines "id:controllers:path"; v2 is the line with id
/// 0 (cgroups(7)).
std::optional<std::string> find_group(std::string_view cgroups,
                                      std::optional<std::string_view> controller) {
  for (const std::string_view line : split(cgroups, '\n')) {
    const std::size_t first = line.find(':');
    if (first == std::string_view::npos) continue;
    const std::size_t second = line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    const std::string_view controllers = line.substr(first + 1, second - first - 1);
    if (controller ? has_word(controllers, *controller) : line.starts_with("0::")) {
      return std::string(line.substr(second + 1));
    }
  }
  return std::nullopt;
}

/// The directories of the process's group and of its ancestors that are visible here, innermost
/// first.
std::vector<std::string> group_path(const std::string& root, std::string_view cgroups,
                                    std::string_view mountinfo,
                                    std::optional<std::string_view> controller) {
  const auto mount = find_mount(mountinfo, controller);
  const auto group = find_group(cgroups, controller);
  if (!mount || !group) return {};
  const std::string top = root + mount->point;
  // The group below the mount. In a container the mount may show only the container's own group;
  // where the two paths do not fit together (a group or a mount from outside the namespace), the
  // mount point is all that is known.
  std::string below;
  if (mount->root == "/") {
    below = *group;
  } else if (group->starts_with(mount->root) &&
             (group->size() == mount->root.size() || (*group)[mount->root.size()] == '/')) {
    below = group->substr(mount->root.size());
  }
  if (below.find("/..") != std::string::npos) below.clear();
  while (!below.empty() && below.back() == '/') below.pop_back();

  std::vector<std::string> directories;
  for (;;) {
    directories.push_back(top + below);
    if (below.empty()) return directories;
    below.resize(below.find_last_of('/'));
  }
}

template <class T>
void lower(std::optional<T>& least, T value) {
  least = least ? std::min(*least, value) : value;
}

struct GroupMemory {
  std::optional<Bytes> limit, free;
};

/// Lowers `memory` to one directory's limit. Without a limit (or the files) nothing changes.
void add_memory_limit(const std::string& directory, const char* limit_file, const char* usage_file,
                      std::string_view prefix, GroupMemory& memory) {
  // v1 says "no limit" by the largest page-aligned number of 63 bits; v2 says "max", which is no
  // number.
  constexpr Bytes no_limit = Bytes{1} << 62;
  const auto limit_text = read_small_file(directory + limit_file);
  const auto limit = limit_text ? whole_number(*limit_text) : std::nullopt;
  if (!limit || *limit >= no_limit) return;
  lower(memory.limit, *limit);

  const auto usage_text = read_small_file(directory + usage_file);
  const Bytes usage = (usage_text ? whole_number(*usage_text) : std::nullopt).value_or(0);
  const std::string stat = read_small_file(directory + "/memory.stat").value_or("");
  Bytes reclaimable = 0;
  for (const std::string_view key : {"inactive_file", "active_file"}) {
    reclaimable += number_field(stat, std::string(prefix) + std::string(key)).value_or(0);
  }
  const Bytes held = usage > reclaimable ? usage - reclaimable : 0;
  lower(memory.free, *limit > held ? *limit - held : 0);
}

GroupMemory probe_group_memory(const std::string& root, std::string_view cgroups,
                               std::string_view mountinfo) {
  GroupMemory memory;
  for (const auto& directory : group_path(root, cgroups, mountinfo, "memory")) {
    add_memory_limit(directory, "/memory.limit_in_bytes", "/memory.usage_in_bytes", "total_",
                     memory);
  }
  for (const auto& directory : group_path(root, cgroups, mountinfo, std::nullopt)) {
    add_memory_limit(directory, "/memory.max", "/memory.current", "", memory);
  }
  return memory;
}

std::optional<double> probe_quota(const std::string& root, std::string_view cgroups,
                                  std::string_view mountinfo) {
  std::optional<double> quota;
  const auto add = [&](std::optional<std::uint64_t> allowed, std::optional<std::uint64_t> period) {
    if (allowed && period && *period > 0) {
      lower(quota, static_cast<double>(*allowed) / static_cast<double>(*period));
    }
  };
  for (const auto& directory : group_path(root, cgroups, mountinfo, "cpu")) {
    const auto allowed = read_small_file(directory + "/cpu.cfs_quota_us");  // -1: none
    const auto period = read_small_file(directory + "/cpu.cfs_period_us");
    if (allowed && period) add(whole_number(*allowed), whole_number(*period));
  }
  for (const auto& directory : group_path(root, cgroups, mountinfo, std::nullopt)) {
    const auto text = read_small_file(directory + "/cpu.max");  // "max 100000", "50000 100000"
    if (!text) continue;
    const auto parts = split(*text, ' ');
    if (parts.size() == 2) add(whole_number(parts[0]), whole_number(parts[1]));
  }
  return quota;
}

}  // namespace

int allowed_processors() {
  // Machines with more than 1,024 processors need a larger set; the kernel says so with EINVAL.
  for (int limit = CPU_SETSIZE; limit <= (1 << 20); limit *= 2) {
    cpu_set_t* set = CPU_ALLOC(limit);
    if (set == nullptr) break;
    const std::size_t bytes = CPU_ALLOC_SIZE(limit);
    const int count = sched_getaffinity(0, bytes, set) == 0 ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (count > 0) return count;
  }
  return static_cast<int>(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN)));
}

MachineLimits probe_limits(const std::string& root) {
  MachineLimits limits;
  const std::string meminfo = read_small_file(root + "/proc/meminfo").value_or("");
  const auto total = kib_field(meminfo, "MemTotal:");
  if (!total) {
    throw Error(ErrorCode::internal, "/proc/meminfo cannot be read or has no MemTotal",
                "mount /proc: memory cannot be planned without it");
  }
  limits.memory_total = *total;
  // Kernels before 3.14 give no MemAvailable; free memory alone is a safe lower bound.
  limits.memory_available =
      kib_field(meminfo, "MemAvailable:").value_or(kib_field(meminfo, "MemFree:").value_or(0));

  const std::string cgroups = read_small_file(root + "/proc/self/cgroup").value_or("");
  const std::string mountinfo = read_small_file(root + "/proc/self/mountinfo").value_or("");
  const GroupMemory group = probe_group_memory(root, cgroups, mountinfo);
  limits.group_limit = group.limit;
  limits.group_free = group.free;

  // The process's own program pages are file cache, so that the room counts them already: only
  // anonymous and shared memory is held beyond it.
  const std::string status = read_small_file(root + "/proc/self/status").value_or("");
  const Bytes held =
      kib_field(status, "RssAnon:").value_or(0) + kib_field(status, "RssShmem:").value_or(0);
  limits.usable = held + std::min(limits.memory_available, group.free.value_or(~Bytes{0}));

  limits.processors = allowed_processors();
  limits.cpu_quota = probe_quota(root, cgroups, mountinfo);
  const double quota = limits.cpu_quota.value_or(limits.processors);
  limits.default_threads =
      std::max(1, static_cast<int>(std::min<double>(limits.processors, std::floor(quota))));
  return limits;
}

}  // namespace plimsoll
