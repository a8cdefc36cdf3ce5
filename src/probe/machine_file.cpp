#include "probe/machine_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/limits.h"
#include "base/small_file.h"
#include "file/output_file.h"

namespace plimsoll {
namespace {

using Json = nlohmann::json;

/// The lines of /proc/cpuinfo that tell processors apart, of the first one.
std::string processor_name() {
  const std::string text = read_small_file("/proc/cpuinfo").value_or("");
  std::string name;
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = std::string_view(text).substr(at, end - at);
    at = end + 1;
    if (line.empty()) break;  // of the first processor
    for (const std::string_view key : {"model name", "CPU implementer", "CPU part", "CPU variant"})
      if (const std::size_t colon = line.find(": "); line.starts_with(key) && colon != line.npos) {
        if (!name.empty()) name += ' ';
        name += line.substr(colon + 2);
      }
  }
  return name;
}

std::string file_of(const std::string& folder, const MachineKey& key) {
  return fmt::format("{}/machine-{}-{}.json", folder, name(key.isa), key.threads);
}

/// Whole or not at all; that it cannot be written is no error.
void save_text(const std::string& path, const std::string& text) {
  std::error_code ignored;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), ignored);
  try {
    OutputFile file(path);
    file.append({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
    file.commit();
  } catch (const Error&) {
    // It will be measured again.
  }
}

std::string notes_of(const std::string& folder, const MachineKey& key) {
  return fmt::format("{}/reached-{}-{}.json", folder, name(key.isa), key.threads);
}

}  // namespace

MachineKey machine_key(int threads) {
  const MachineLimits limits = probe_limits();
  MachineKey key;
  key.processor = processor_name();
  key.isa = choose_isa();
  key.threads = threads;
  key.processors = std::min(static_cast<double>(limits.processors),
                            limits.cpu_quota.value_or(limits.processors));
  key.version = PLIMSOLL_VERSION;
  return key;
}

std::optional<Machine> load_machine(const std::string& folder, const MachineKey& key) {
  if (folder.empty()) return {};
  const std::optional<std::string> text = read_small_file(file_of(folder, key), most_of_own_file);
  if (!text) return {};
  std::optional<Machine> machine = parse_machine(*text);
  if (!machine || machine->key != key) return {};
  return machine;
}

void save_machine(const std::string& folder, const Machine& machine) {
  if (!folder.empty()) save_text(file_of(folder, machine.key), to_json(machine).dump(1) + "\n");
}

std::string machine_lock_path(const std::string& folder, const MachineKey& key) {
  std::error_code ignored;
  std::filesystem::create_directories(folder, ignored);
  return file_of(folder, key) + ".lock";
}

std::vector<ReachedSpeed> load_notes(const std::string& folder, const Machine& machine) try {
  if (folder.empty()) return {};
  const std::optional<std::string> text = read_small_file(notes_of(folder, machine.key), most_of_own_file);
  constexpr int most_levels = 8;
  if (!text || is_nested_deeper(*text, most_levels)) return {};
  const Json json = Json::parse(*text);
  if (json.at("measurement") != measurement_json(machine)) return {};
  return parse_reached(json.at("reached"));
} catch (const nlohmann::json::exception&) {
  return {};
} catch (const Error&) {
  return {};
}

void save_notes(const std::string& folder, const Machine& machine,
                const std::vector<ReachedSpeed>& notes) {
  if (folder.empty()) return;
  const Json json = {{"measurement", measurement_json(machine)}, {"reached", to_json(notes)}};
  save_text(notes_of(folder, machine.key), json.dump(1) + "\n");
}

}  // namespace plimsoll
