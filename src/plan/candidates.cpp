#include "plan/candidates.h"

#include <algorithm>
#include <optional>

#include "file/tensor_table.h"
#include "model/weights.h"

namespace plimsoll {
namespace {

using Place = CandidateRules::Place;

Bytes file_bytes(const TensorInfo& info, const Format& format) {
  return static_cast<Bytes>(info.rows()) * row_bytes(format, info.columns());
}

Bytes bytes_in(Place place, const TensorInfo& info, const Format& format) {
  return place == Place::memory ? Matrix::memory_bytes({&info, &format})
                                : round_up(file_bytes(info, format), default_alignment);
}

bool shrinks(Place place, const TensorInfo& info, const Format& format) {
  return can_hold(format, info.columns()) &&
         file_bytes(info, format) < file_bytes(info, *info.format) &&
         (place == Place::file ||
          bytes_in(place, info, format) < bytes_in(place, info, *info.format));
}

}  // namespace

bool can_hold(const Format& format, std::int64_t columns) {
  return columns % format.block_values == 0;
}

std::int64_t count_uncodable(std::span<const TensorUse> uses) {
  return std::ranges::count_if(uses, [](const TensorUse& use) {
    return !use.slot.is_vector() &&
           std::ranges::none_of(rounding_formats(), [&use](const Format* format) {
             return format->kind == Format::Kind::coded && can_hold(*format, use.slot.columns);
           });
  });
}

std::vector<const Format*> allowed_formats(const Format& own, const CandidateRules& rules) {
  std::vector<const Format*> formats;
  const auto add = [&](const Format* format) {
    if (format != &own && (rules.codebooks || !format->encode_weighted)) formats.push_back(format);
  };
  if (rules.rounded) std::ranges::for_each(rounding_formats(), add);
  if (rules.levels) std::ranges::for_each(levels_below(own), add);
  return formats;
}

Candidates find_candidates(std::span<const TensorUse> uses, const QualityModel& quality,
                           const CandidateRules& rules) {
  Candidates result;
  for (std::size_t i = 0; i < uses.size(); ++i) {
    const TensorInfo& info = *uses[i].info;
    const bool is_vector = uses[i].slot.is_vector();
    std::vector<const Format*>& formats = result.formats.emplace_back();
    std::vector<Choice>& choices = result.choices.emplace_back();
    const auto add = [&](const Format& format, double loss) {
      const bool counts = !is_vector || rules.place == Place::file;
      formats.push_back(&format);
      choices.push_back({.bytes = counts ? bytes_in(rules.place, info, format) : 0, .loss = loss});
    };
    add(*info.format, 0);
    if (is_vector) continue;
    for (const Format* format : allowed_formats(*info.format, rules)) {
      if (!shrinks(rules.place, info, *format)) continue;
      const std::optional<double> loss =
          quality.tensors[i].added_loss(*info.format, *format, rules.rounding, rules.engine);
      if (loss) add(*format, *loss);
    }
  }
  return result;
}

}  // namespace plimsoll
