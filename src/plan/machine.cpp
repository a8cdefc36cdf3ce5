#include "plan/machine.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/small_file.h"

namespace plimsoll {
namespace {

using Json = nlohmann::json;

Json key_json(const MachineKey& key) {
  return {{"processor", key.processor},
          {"isa", name(key.isa)},
          {"threads", key.threads},
          {"processors", key.processors},
          {"version", key.version}};
}

MachineKey parse_key(const Json& json) {
  MachineKey key;
  key.processor = json.at("processor");
  const std::string isa = json.at("isa");
  for (const Isa known : {Isa::reference, Isa::avx2, Isa::avx512, Isa::neon})
    if (name(known) == isa) key.isa = known;
  key.threads = json.at("threads");
  key.processors = json.at("processors");
  key.version = json.at("version");
  return key;
}

/// Every measured number is one that can be divided by.
double measured(const Json& json) {
  const double value = json;
  if (!std::isfinite(value) || value <= 0) throw Error(ErrorCode::file_corrupt, "not a rate");
  return value;
}

/// 0, or what speeds can be multiplied by.
double reach(const Json& json) { return json == 0 ? 0 : measured(json); }

WorkerSpeeds parse_speeds(const Json& json) {
  WorkerSpeeds speeds;
  speeds.workers = json.at("workers");
  speeds.read_bytes_per_second = measured(json.at("read_bytes_per_second"));
  speeds.cached_read_bytes_per_second = measured(json.at("cached_read_bytes_per_second"));
  speeds.compute_factor = measured(json.at("compute_factor"));
  speeds.dispatch_seconds = measured(json.at("dispatch_seconds"));
  speeds.product_start_seconds = measured(json.at("product_start_seconds"));
  return speeds;
}

FormatSpeed parse_format(const std::string& format_name, const Json& json, std::size_t counts) {
  const Format* const found = find_format(std::string_view(format_name));
  if (!found) throw Error(ErrorCode::file_corrupt, "unknown format");
  FormatSpeed speed;
  speed.format = found->id;
  for (std::size_t i = 0; i < measured_batches.size(); ++i)
    speed.weight_seconds[i] = measured(json.at("weight_seconds").at(i));
  for (std::size_t i = 0; i < counts; ++i)
    speed.bandwidth_fractions.push_back(measured(json.at("bandwidth_fractions").at(i)));
  return speed;
}

}  // namespace

std::size_t Machine::with(int threads) const {
  std::size_t found = 0;
  for (std::size_t i = 0; i < speeds.size(); ++i)
    if (speeds[i].workers <= threads) found = i;
  return found;
}

void add_note(std::vector<ReachedSpeed>& notes, const ReachedSpeed& speed) {
  constexpr std::ptrdiff_t most = 9;
  const auto same = [&speed](const ReachedSpeed& other) {
    return other.workers == speed.workers && other.place == speed.place;
  };
  if (std::ranges::count_if(notes, same) >= most) notes.erase(std::ranges::find_if(notes, same));
  notes.push_back(speed);
}

void Machine::note(const ReachedSpeed& speed) { add_note(reached, speed); }

double Machine::usual_reach(int workers, WeightPlace place, Phase phase) const {
  std::vector<double> values = {1};
  for (const ReachedSpeed& speed : reached) {
    const double value = phase == Phase::prefill ? speed.prefill : speed.decode;
    if (speed.workers == workers && speed.place == place && value > 0) values.push_back(value);
  }
  std::ranges::sort(values);
  const double rank = reach_quantile * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(rank);
  const std::size_t above = std::min(below + 1, values.size() - 1);
  return std::lerp(values[below], values[above], rank - std::floor(rank)) / reach_margin;
}

Machine Machine::cautious() const {
  Machine slow = *this;
  slow.reach_quantile = 0.25;
  slow.reach_margin = promise_margin;
  return slow;
}

const FormatSpeed* Machine::find(FormatId format) const {
  const auto found = std::find_if(formats.begin(), formats.end(),
                                  [&](const FormatSpeed& f) { return f.format == format; });
  return found == formats.end() ? nullptr : &*found;
}

nlohmann::json to_json(const std::vector<ReachedSpeed>& speeds) {
  Json reached = Json::array();
  for (const ReachedSpeed& r : speeds)
    reached.push_back({{"workers", r.workers},
                       {"in_cache", r.place == WeightPlace::cache},
                       {"prefill", r.prefill},
                       {"decode", r.decode}});
  return reached;
}

std::vector<ReachedSpeed> parse_reached(const Json& json) {
  std::vector<ReachedSpeed> speeds;
  for (const Json& reached : json)
    speeds.push_back({reached.at("workers"),
                      reached.at("in_cache") ? WeightPlace::cache : WeightPlace::memory,
                      reach(reached.at("prefill")), reach(reached.at("decode"))});
  return speeds;
}

nlohmann::json measurement_json(const Machine& m) {
  return {m.probe_bytes, m.element_seconds, m.key_seconds, m.query_seconds,
          m.speeds.empty() ? 0 : m.speeds.front().read_bytes_per_second};
}

nlohmann::json to_json(const Machine& m) {
  Json speeds = Json::array(), formats = Json::object();
  for (const WorkerSpeeds& s : m.speeds)
    speeds.push_back({{"workers", s.workers},
                      {"read_bytes_per_second", s.read_bytes_per_second},
                      {"cached_read_bytes_per_second", s.cached_read_bytes_per_second},
                      {"compute_factor", s.compute_factor},
                      {"dispatch_seconds", s.dispatch_seconds},
                      {"product_start_seconds", s.product_start_seconds}});
  for (const FormatSpeed& f : m.formats)
    formats[std::string(format(f.format).name)] = {{"weight_seconds", f.weight_seconds},
                                                   {"bandwidth_fractions", f.bandwidth_fractions}};
  return {{"key", key_json(m.key)},
          {"probe_bytes", m.probe_bytes},
          {"cache_bytes", m.cache_bytes},
          {"element_seconds", m.element_seconds},
          {"quantise_seconds", m.quantise_seconds},
          {"compute_share", m.compute_share},
          {"reading_share", m.reading_share},
          {"key_seconds", m.key_seconds},
          {"query_seconds", m.query_seconds},
          {"prefill_query_seconds", m.prefill_query_seconds},
          {"batches", measured_batches},
          {"speeds", speeds},
          {"formats", formats},
          {"reached", to_json(m.reached)}};
}

std::optional<Machine> parse_machine(std::string_view text) try {
  constexpr int most_levels = 8;
  if (is_nested_deeper(text, most_levels)) return {};
  const Json json = Json::parse(text);
  if (json.at("batches") != Json(measured_batches)) return {};
  Machine m;
  m.key = parse_key(json.at("key"));
  m.probe_bytes = json.at("probe_bytes");
  m.cache_bytes = json.at("cache_bytes");
  m.element_seconds = measured(json.at("element_seconds"));
  m.quantise_seconds = measured(json.at("quantise_seconds"));
  m.compute_share = measured(json.at("compute_share"));
  m.reading_share = measured(json.at("reading_share"));
  m.key_seconds = measured(json.at("key_seconds"));
  m.query_seconds = measured(json.at("query_seconds"));
  m.prefill_query_seconds = measured(json.at("prefill_query_seconds"));
  for (const Json& speeds : json.at("speeds")) m.speeds.push_back(parse_speeds(speeds));
  for (const auto& [name, speed] : json.at("formats").items())
    m.formats.push_back(parse_format(name, speed, m.speeds.size()));
  m.reached = parse_reached(json.at("reached"));
  if (m.speeds.empty()) return {};
  return m;
} catch (const nlohmann::json::exception&) {
  return {};
} catch (const Error&) {
  return {};
}

bool is_same_measurement(const Machine& a, const Machine& b) {
  return a.key == b.key && measurement_json(a) == measurement_json(b);
}

}  // namespace plimsoll
