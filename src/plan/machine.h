// What was measured of a machine, as a plain value that predicts speeds (plan/costs.h). The folder
// probe/ measures it and keeps it.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/bytes.h"
#include "base/cpu.h"
#include "format/format.h"

namespace plimsoll {

/// Tokens that products were measured with.
constexpr std::array<int, 7> measured_batches = {1, 2, 4, 8, 16, 64, 256};

/// Products with one format.
struct FormatSpeed {
  FormatId format = FormatId::F32;
  /// By measured_batches: seconds per weight of one worker for all tokens together, weights in
  /// cache.
  std::array<double, measured_batches.size()> weight_seconds{};
  /// By Machine::speeds: of the read bandwidth, what a product with one token reaches (measured
  /// with weights from memory).
  std::vector<double> bandwidth_fractions;
};

/// With one number of workers.
struct WorkerSpeeds {
  int workers = 1;
  double read_bytes_per_second = 0;         ///< from memory
  double cached_read_bytes_per_second = 0;  ///< from the last cache, of what no other holds
  double compute_factor = 1;                ///< of one worker's speed, in registers
  double dispatch_seconds = 0;              ///< to start workers on something and to wait for them
  /// Besides its part of one long read, what a product from memory takes: to start the workers,
  /// until as much is asked for as memory can give, and to wait for the last of it.
  double product_start_seconds = 0;
};

/// Where a pass reads weights from: the last cache, where all of them fit it.
enum class WeightPlace { memory, cache };

/// What a model's speed was, over what had been predicted; 0 where it was not seen.
struct ReachedSpeed {
  int workers = 1;
  WeightPlace place = WeightPlace::memory;
  double prefill = 0;
  double decode = 0;
};
enum class Phase { prefill, decode };

/// What is expected over what is promised, beside the lower quartile of what was reached lately:
/// most predictions are within a tenth, few beyond a fifth.
constexpr double promise_margin = 1.2;

/// What decides speeds; a machine that differs in any of it is measured anew.
struct MachineKey {
  std::string processor;
  Isa isa = Isa::reference;
  int threads = 1;
  double processors = 1;  ///< that this process may use: affinity and quota
  std::string version;    ///< of this program

  bool operator==(const MachineKey&) const = default;
};

struct Machine {
  MachineKey key;
  Bytes probe_bytes =
      0;  ///< that were read from memory: far more than cache_bytes, where it had room
  Bytes cache_bytes = 0;  ///< of the largest cache
  /// Of one worker: norms, activations and sums per number; rounding of a product's inputs.
  double element_seconds = 0;
  double quantise_seconds = 0;
  /// Of the speed that products reach by themselves, what they reach in a model, where weights,
  /// activations and other work follow each other through the caches: of computing, and of reading.
  double compute_share = 1;
  double reading_share = 1;
  /// Attention of one worker, K and V in cache, per position and dimension of a head: for a query
  /// alone, per head of keys and per head of queries that shares them, and for many queries
  /// together, per query head.
  double key_seconds = 0;
  double query_seconds = 0;
  double prefill_query_seconds = 0;
  std::vector<WorkerSpeeds> speeds;  ///< workers rise from 1 to key.threads
  std::vector<FormatSpeed> formats;  ///< those that were asked for so far

  /// What models reached before the last measurement (of the machine, or by bench), newest last: on
  /// a shared machine the middle of that is the best guess of what the next one will. What was
  /// reached since is noted apart (probe/reached.h) and changes no plan.
  std::vector<ReachedSpeed> reached;
  /// How that is read: not kept.
  double reach_quantile = 0.5, reach_margin = 1;

  void note(const ReachedSpeed& speed);  ///< see add_note()
  /// The median (reach_quantile) of what was noted for a number of workers and a place and of 1, as
  /// which the measurements themselves count, so that a single note moves it half of the way; less
  /// reach_margin.
  double usual_reach(int workers, WeightPlace place, Phase phase) const;
  /// This machine in its slower moments, for what is promised rather than expected: it reaches the
  /// lower quartile, less promise_margin.
  Machine cautious() const;

  /// Index of the most workers that were measured and are not more than `threads`.
  std::size_t with(int threads) const;
  const FormatSpeed* find(FormatId format) const;
};

nlohmann::json to_json(const Machine& machine);
/// Empty for anything but what to_json() gave as text.
std::optional<Machine> parse_machine(std::string_view json);

nlohmann::json to_json(const std::vector<ReachedSpeed>& speeds);
/// Throws nlohmann::json::exception or Error(file_corrupt) for anything but what to_json() gave.
std::vector<ReachedSpeed> parse_reached(const nlohmann::json& json);

/// Numbers that no two measurements share.
nlohmann::json measurement_json(const Machine& machine);
/// True where both hold the same measurements, formats that only one of them knows aside.
bool is_same_measurement(const Machine& a, const Machine& b);

/// Adds one to notes, and forgets the oldest of its kind where there are many.
void add_note(std::vector<ReachedSpeed>& notes, const ReachedSpeed& speed);

}  // namespace plimsoll
