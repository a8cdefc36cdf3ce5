#include "engine/sampling_defaults.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"

namespace plimsoll {
namespace {

[[noreturn]] void out_of_range(std::string_view key, double found, std::string_view wanted) {
  throw Error(ErrorCode::invalid_model,
              fmt::format("key {}: wanted {}, found {}", key, wanted, found),
              "the file is damaged or was converted wrongly");
}

}  // namespace

SamplingOptions sampling_defaults(const Metadata& metadata, SamplingOptions otherwise) {
  SamplingOptions options = otherwise;
  const auto take = [&](std::string_view key, double most, double& value) {
    const auto found = metadata.number(key);
    if (!found) return;
    if (!(*found >= 0 && *found <= most)) out_of_range(key, *found, fmt::format("0 to {}", most));
    value = std::round(*found * 1e6) / 1e6;  // 0.7, not what 32 bits make of it
  };
  take("general.sampling.temp", 100, options.temperature);
  take("general.sampling.top_p", 1, options.top_p);
  take("general.sampling.min_p", 1, options.min_p);
  constexpr std::string_view penalty = "general.sampling.penalty_repeat";
  take(penalty, 100, options.repetition_penalty);
  if (!(options.repetition_penalty > 0)) out_of_range(penalty, 0, "a number above 0");
  // 0 and less mean all.
  if (const auto found = metadata.integer("general.sampling.top_k"))
    options.top_k = std::max<std::int64_t>(*found, 0);
  // Less than 0 means the whole text.
  if (const auto found = metadata.integer("general.sampling.penalty_last_n"))
    options.repetition_window =
        *found < 0 ? std::numeric_limits<std::int64_t>::max() : *found;
  return options;
}

}  // namespace plimsoll
