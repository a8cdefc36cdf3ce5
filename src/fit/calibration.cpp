#include "fit/calibration.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"

namespace plimsoll {
namespace {

constexpr std::int64_t longest_sequence = 256;
constexpr std::int64_t shortest_probe = 128;
/// Multiply-adds that each of the two measurements may take.
constexpr double work = 5e12;
/// What the residual streams of all probes may hold.
constexpr double probe_bytes = 256.0 * MiB;

std::int64_t sequences(double tokens, std::int64_t length, std::int64_t least, std::int64_t most) {
  return std::clamp(static_cast<std::int64_t>(tokens) / length, least, most);
}

}  // namespace

CalibrationSize calibration_size(const Description& d, std::int64_t parameters,
                                 std::int64_t matrices) {
  CalibrationSize size{};
  size.sequence_tokens = std::min(longest_sequence, d.trained_context);
  const auto weights = static_cast<double>(parameters),
             branches = static_cast<double>(matrices + 1);
  size.moments = sequences(work / weights, size.sequence_tokens, 16, 128);
  // Each branch runs half of the model on average.
  const double tokens =
      std::min(2 * work / weights / branches,
               probe_bytes / branches / (static_cast<double>(d.width) * sizeof(float)));
  size.probes = sequences(tokens, size.sequence_tokens, 1, 32);
  size.probe_tokens =
      std::clamp(static_cast<std::int64_t>(tokens), std::min(shortest_probe, size.sequence_tokens),
                 size.sequence_tokens);
  return size;
}

Calibration calibrate_on(std::span<const TokenId> text, std::optional<TokenId> bos,
                         const CalibrationSize& size) {
  const auto total = static_cast<std::int64_t>(text.size());
  if (total < least_calibration_tokens)
    throw Error(ErrorCode::invalid_text,
                fmt::format("the text has {} tokens; to measure on it takes {}", total,
                            least_calibration_tokens),
                "give a longer text, or none");
  const std::int64_t body = size.sequence_tokens - (bos ? 1 : 0);
  const std::int64_t there = total / body;
  const std::int64_t probes = std::min(size.probes, std::max<std::int64_t>(1, there / 5));
  const std::int64_t moments = std::min(size.moments, std::max<std::int64_t>(1, there - probes));
  Calibration result;
  // Probes and the rest take turns through the text, so that both see all of it.
  const std::int64_t wanted = probes + moments;
  for (std::int64_t i = 0; i < wanted; ++i) {
    const std::int64_t place = i * (there - 1) / std::max<std::int64_t>(1, wanted - 1) * body;
    Sequence sequence;
    if (bos) sequence.push_back(*bos);
    const auto part = text.subspan(static_cast<std::size_t>(place),
                                   static_cast<std::size_t>(std::min(body, total - place)));
    sequence.insert(sequence.end(), part.begin(), part.end());
    const bool is_probe = (i + 1) * probes / wanted > i * probes / wanted;
    if (is_probe) sequence.resize(static_cast<std::size_t>(size.probe_tokens));
    (is_probe ? result.probes : result.moments).push_back(std::move(sequence));
  }
  return result;
}

}  // namespace plimsoll
