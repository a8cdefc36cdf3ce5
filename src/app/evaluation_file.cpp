#include "app/evaluation_file.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "file/output_file.h"
#include "file/text_input.h"
#include "text/hash.h"

namespace plimsoll {
namespace {

using nlohmann::json;

std::string dumped(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

json to_json(const ClusterMean& mean) {
  return {{"chunks", mean.clusters}, {"mean", mean.mean}, {"squares", mean.squares}};
}

ClusterMean mean_from(const json& value) {
  return {value.at("chunks").get<std::int64_t>(), value.at("mean").get<double>(),
          value.at("squares").get<double>()};
}

/// Throws json::exception.
Found found_from(const json& line) {
  const json& scores = line.at("scores");
  Found found;
  found.scores.nll = mean_from(scores.at("nll"));
  found.scores.reference_nll = mean_from(scores.at("reference_nll"));
  found.scores.kl = mean_from(scores.at("kl"));
  found.scores.same_top = mean_from(scores.at("same_top"));
  found.scores.kl_tail = scores.at("kl_tail").get<std::vector<double>>();
  std::make_heap(found.scores.kl_tail.begin(), found.scores.kl_tail.end(), std::greater<>());
  found.peak_bytes = line.at("peak_bytes").get<Bytes>();
  return found;
}

/// Whether these can be the scores of some of `chunks`.
bool possible(const Scores& scores, const Chunks& chunks, bool has_reference) {
  const std::int64_t done = scores.chunks(), compared = has_reference ? done : 0;
  const std::int64_t tail = std::min(chunks.tail(), compared * chunks.scored());
  return done >= 0 && done <= chunks.count && scores.kl.clusters == compared &&
         scores.reference_nll.clusters == compared && scores.same_top.clusters == compared &&
         static_cast<std::int64_t>(scores.kl_tail.size()) == tail;
}

}  // namespace

json file_identity(const std::string& path, std::span<const std::string> files) {
  std::error_code ignored;
  off_t bytes = 0;
  std::string changed;
  for (const std::string& file : files) {
    struct stat status {};
    ::stat(file.c_str(), &status);
    bytes += status.st_size;
    changed += fmt::format("{}{}.{:09}", changed.empty() ? "" : " ", status.st_mtim.tv_sec,
                           status.st_mtim.tv_nsec);
  }
  if (files.size() > 1) changed = fmt::format("{:016x}", hash_text(changed));
  return {{"path", std::filesystem::weakly_canonical(path, ignored).string()},
          {"bytes", bytes},
          {"changed", changed}};
}

ResumeFile::ResumeFile(std::string path, const std::function<void(Bytes)>& accept)
    : path_(std::move(path)) {
  std::error_code ignored;
  if (!std::filesystem::exists(path_, ignored)) return;
  const std::string text = read_text_file(path_, accept);
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = std::string_view(text).substr(begin, end - begin);
    const std::size_t number = lines_.size() + 1;
    begin = end + 1;
    try {
      const json value = json::parse(line);
      found_from(value);
      lines_.push_back({dumped(value.at("inputs")), std::string(line)});
    } catch (const json::exception&) {
      fail(number, "is not what an evaluation writes");
    }
  }
}

void ResumeFile::fail(std::size_t line, const std::string& what) const {
  throw Error(ErrorCode::file_corrupt, fmt::format("{}: line {} {}", path_, line, what),
              "name another file for --resume, or remove this one to start over");
}

std::optional<Found> ResumeFile::find(const json& inputs, const Chunks& chunks,
                                      bool has_reference) const {
  const std::string wanted = dumped(inputs);
  for (std::size_t i = 0; i < lines_.size(); ++i) {
    if (lines_[i].inputs != wanted) continue;
    Found found = found_from(json::parse(lines_[i].text));
    if (!possible(found.scores, chunks, has_reference))
      fail(i + 1, fmt::format("has scores that {} chunks of {} tokens cannot have", chunks.count,
                              chunks.context));
    return found;
  }
  return std::nullopt;
}

void ResumeFile::put(const json& inputs, const Found& found) {
  const Scores& scores = found.scores;
  Line line{dumped(inputs), dumped({{"inputs", inputs},
                                    {"scores",
                                     {{"nll", to_json(scores.nll)},
                                      {"reference_nll", to_json(scores.reference_nll)},
                                      {"kl", to_json(scores.kl)},
                                      {"same_top", to_json(scores.same_top)},
                                      {"kl_tail", scores.kl_tail}}},
                                    {"peak_bytes", found.peak_bytes}})};
  const auto same = std::find_if(lines_.begin(), lines_.end(), [&line](const Line& other) {
    return other.inputs == line.inputs;
  });
  if (same != lines_.end())
    *same = std::move(line);
  else
    lines_.push_back(std::move(line));
}

void ResumeFile::save() const {
  OutputFile file(path_);
  const auto append = [&file](std::string_view text) {
    file.append({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
  };
  for (const Line& line : lines_) {
    append(line.text);
    append("\n");
  }
  file.commit();
}

Bytes ResumeFile::memory_bytes(const Chunks& chunks, std::size_t evaluations) {
  constexpr Bytes line = 2 * KiB;        // without the tail
  constexpr Bytes digits = 26;           // of a number in the tail, with its comma
  constexpr Bytes value = sizeof(json);  // while the line is put together
  constexpr Bytes output_buffer = 256 * KiB;
  const Bytes tail = static_cast<Bytes>(chunks.tail());
  return evaluations * (line + digits * tail) + tail * (2 * value + digits) + output_buffer;
}

}  // namespace plimsoll
