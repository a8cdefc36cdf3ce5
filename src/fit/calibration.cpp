#include "fit/calibration.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/small_file.h"
#include "file/output_file.h"

namespace plimsoll {
namespace {

constexpr std::int64_t longest_sequence = 256;
constexpr std::int64_t shortest_probe = 128;
/// Multiply-adds that each of the two measurements may take.
constexpr double work = 5e12;
/// What the residual streams of all probes may hold at most; and of the room, the part that they
/// may, and as much those that second moments are made of.
constexpr Bytes most_probe_bytes = 256 * MiB;
constexpr Bytes room_share = 4;

std::int64_t sequences(double tokens, std::int64_t length, std::int64_t least, std::int64_t most) {
  return std::clamp(static_cast<std::int64_t>(tokens) / length, least, most);
}

}  // namespace

CalibrationSize calibration_size(const Description& d, std::int64_t parameters,
                                 std::int64_t matrices, Bytes room) {
  CalibrationSize size{};
  const auto probe_bytes = static_cast<double>(std::min(most_probe_bytes, room / room_share));
  const double stream_bytes = static_cast<double>(d.width) * sizeof(float);
  size.sequence_tokens = std::min(longest_sequence, d.trained_context);
  const auto weights = static_cast<double>(parameters),
             branches = static_cast<double>(matrices + 1);
  size.moments = std::min(sequences(work / weights, size.sequence_tokens, 16, 128),
                          sequences(static_cast<double>(room / room_share) / stream_bytes,
                                    size.sequence_tokens, 4, 128));
  // Each branch runs half of the model on average.
  const double tokens =
      std::min(2 * work / weights / branches, probe_bytes / branches / stream_bytes);
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

void save_sequences(const std::string& path, std::span<const Sequence> sequences) {
  if (path.empty()) return;
  std::error_code ignored;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), ignored);
  try {
    OutputFile file(OutputPath::own(path));
    std::string text;
    for (const Sequence& sequence : sequences) {
      text += text.empty() ? "[[" : "],\n[";
      for (std::size_t i = 0; i < sequence.size(); ++i)
        text += fmt::format("{}{}", i == 0 ? "" : ",", sequence[i]);
    }
    text += "]]\n";
    file.append({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
    file.commit();
  } catch (const Error&) {
    // It will be written again.
  }
}

std::vector<Sequence> load_sequences(const std::string& path, std::int64_t count,
                                     std::int64_t tokens, std::int64_t vocabulary) {
  if (path.empty()) return {};
  // Seven digits and a comma for each, as a document sixteen bytes.
  constexpr Bytes longest_id = 8;
  const Bytes most = KiB + static_cast<Bytes>(count * (tokens + 1)) * longest_id;
  const std::optional<std::string> text = read_small_file(path, most);
  if (!text || is_nested_deeper(*text, 2)) return {};
  const nlohmann::json json = nlohmann::json::parse(*text, nullptr, false);
  if (!json.is_array() || std::ssize(json) != count) return {};
  std::vector<Sequence> sequences;
  for (const nlohmann::json& ids : json) {
    if (!ids.is_array() || std::ssize(ids) != tokens) return {};
    Sequence& sequence = sequences.emplace_back();
    for (const nlohmann::json& id : ids) {
      if (!id.is_number_integer() || id < 0 || id >= vocabulary) return {};
      sequence.push_back(id.get<TokenId>());
    }
  }
  return sequences;
}

}  // namespace plimsoll
