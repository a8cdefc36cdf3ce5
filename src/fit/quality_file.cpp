#include "fit/quality_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/small_file.h"
#include "file/output_file.h"
#include "text/hash.h"

namespace plimsoll {
namespace {

/// Changes whenever what is measured or how changes.
constexpr int file_version = 3;
/// Of a tensor's data that are part of its fingerprint.
constexpr Bytes sampled_bytes = 1024;

constexpr std::array<const char*, rounding_count> rounding_names = {"plain", "with_feedback"};

std::string file_of(const std::string& folder, const std::string& fingerprint) {
  return folder + "/quality/" + fingerprint + ".json";
}

/// No text of to_json() for these tensors is longer: a name and, for each format and rounding, another
/// with a number. What a damaged or foreign one would take is many times its bytes.
Bytes most_quality_bytes(std::span<const TensorUse> uses) {
  constexpr Bytes of_file = 4 * KiB, of_tensor = 512, of_number = 64;
  Bytes bytes = of_file;
  for (const TensorUse& use : uses)
    bytes += of_tensor + 2 * use.slot.name.size() +
             rounding_names.size() * formats().size() * of_number;
  return bytes;
}

std::optional<QualitySource> source_named(std::string_view text) {
  for (const QualitySource source :
       {QualitySource::prior, QualitySource::quick, QualitySource::own_text, QualitySource::text})
    if (text == name(source)) return source;
  return {};
}

std::size_t position(const Format& f) { return static_cast<std::size_t>(&f - formats().data()); }

/// A finite number that is not negative.
std::optional<double> amount(const nlohmann::json& json) {
  if (!json.is_number() || !std::isfinite(json.get<double>()) || json.get<double>() < 0) return {};
  return json.get<double>();
}

}  // namespace

nlohmann::json to_json(const QualityModel& quality, std::span<const TensorUse> uses) {
  nlohmann::json tensors = nlohmann::json::object();
  for (std::size_t i = 0; i < uses.size(); ++i) {
    if (uses[i].slot.is_vector()) continue;
    const TensorQuality& tensor = quality.tensors[i];
    nlohmann::json& out = tensors[uses[i].slot.name];
    out["sensitivity"] = tensor.sensitivity;
    out["lookup_share"] = tensor.lookup_share;
    out["input_errors"] = tensor.input_errors;
    for (std::size_t rounding = 0; rounding < rounding_names.size(); ++rounding) {
      nlohmann::json& errors = out["errors"][rounding_names[rounding]] = nlohmann::json::object();
      for (std::size_t f = 0; f < formats().size(); ++f)
        if (tensor.errors[rounding][f] >= 0)
          errors[std::string(formats()[f].name)] = tensor.errors[rounding][f];
    }
  }
  return {{"version", file_version}, {"source", name(quality.source)}, {"tensors", tensors}};
}

std::optional<QualityModel> parse_quality(std::string_view text,
                                          std::span<const TensorUse> uses) try {
  constexpr int most_levels = 8;
  if (text.size() > most_quality_bytes(uses) || is_nested_deeper(text, most_levels)) return {};
  const nlohmann::json json = nlohmann::json::parse(text);
  if (json.at("version") != file_version) return {};
  const std::optional<QualitySource> source = source_named(json.at("source").get<std::string>());
  if (!source) return {};
  QualityModel quality;
  quality.source = *source;
  for (const TensorUse& use : uses) {
    TensorQuality& tensor = quality.tensors.emplace_back();
    tensor.errors.fill(std::vector<double>(formats().size(), -1));
    if (use.slot.is_vector()) continue;
    const nlohmann::json& in = json.at("tensors").at(use.slot.name);
    const auto sensitivity = amount(in.at("sensitivity")), lookup = amount(in.at("lookup_share"));
    if (!sensitivity || !lookup || in.at("input_errors").size() != tensor.input_errors.size())
      return {};
    tensor.sensitivity = *sensitivity;
    tensor.lookup_share = *lookup;
    for (std::size_t i = 0; i < tensor.input_errors.size(); ++i) {
      const auto error = amount(in.at("input_errors")[i]);
      if (!error) return {};
      tensor.input_errors[i] = *error;
    }
    for (std::size_t rounding = 0; rounding < rounding_names.size(); ++rounding)
      for (const auto& [format_name, value] :
           in.at("errors").at(rounding_names[rounding]).items()) {
        const Format* f = find_format(format_name);
        const auto error = amount(value);
        if (!f || !error) return {};
        tensor.errors[rounding][position(*f)] = *error;
      }
  }
  return quality;
} catch (const nlohmann::json::exception&) {
  return {};
}

std::string quality_note(const QualityModel& quality, Rounding rounding,
                         std::span<const Format* const> held, std::span<const TensorUse> uses) {
  QualityModel noted = quality;
  // Many times that of other metadata otherwise.
  const auto shorten = [](double& value) { value = std::stod(fmt::format("{:.4g}", value)); };
  for (std::size_t i = 0; i < uses.size(); ++i) {
    TensorQuality& tensor = noted.tensors[i];
    const auto rounded = tensor.errors[static_cast<std::size_t>(rounding)];
    auto& plain = tensor.errors[static_cast<std::size_t>(Rounding::plain)];
    for (const Format* level : levels_below(*held[i])) {
      // What the other bits repair is independent of what they leave.
      double& error = plain[position(*level)] = rounded[position(*level)];
      if (error >= 0) error = std::max(0.0, error - std::max(0.0, rounded[position(*held[i])]));
    }
    if (!uses[i].slot.is_vector()) plain[position(*held[i])] = 0;
    tensor.errors[static_cast<std::size_t>(Rounding::with_feedback)].assign(formats().size(), -1);
    for (double& error : plain) shorten(error);
    for (double& error : tensor.input_errors) shorten(error);
    shorten(tensor.sensitivity);
    shorten(tensor.lookup_share);
  }
  return to_json(noted, uses).dump();
}

std::optional<QualityModel> known_quality(const ModelFile& file, std::span<const TensorUse> uses,
                                          const std::string& folder) {
  if (const auto note = file.metadata().string(quality_key))
    if (std::optional<QualityModel> quality = parse_quality(*note, uses)) return quality;
  return load_quality(folder, model_fingerprint(file), uses);
}

std::string model_fingerprint(const ModelFile& file) {
  std::uint64_t hash = 0;
  std::string piece;
  for (const TensorInfo& info : file.tensors()) {
    const Bytes bytes = std::min(sampled_bytes, info.bytes);
    piece.resize(bytes);
    // Somewhere else in each, since neighbours in a model may begin alike.
    const std::uint64_t name_hash = hash_text(info.name);
    const Bytes room = info.bytes - bytes;
    file.read(info.offset + (room > 0 ? name_hash % room : 0), bytes, piece.data());
    piece += fmt::format("{} {} {} {}", info.name, info.format->name, info.rows(), info.columns());
    hash = mix(hash ^ hash_text(piece), 0x9E3779B97F4A7C15u | 1);
  }
  return fmt::format("{:016x}", hash);
}

std::optional<QualityModel> load_quality(const std::string& folder, const std::string& fingerprint,
                                         std::span<const TensorUse> uses) {
  if (folder.empty()) return {};
  const std::optional<std::string> text = read_small_file(file_of(folder, fingerprint), most_quality_bytes(uses));
  if (!text) return {};
  return parse_quality(*text, uses);
}

void save_quality(const std::string& folder, const std::string& fingerprint,
                  const QualityModel& quality, std::span<const TensorUse> uses) {
  if (folder.empty()) return;
  const std::string path = file_of(folder, fingerprint);
  std::error_code ignored;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), ignored);
  try {
    const std::string text = to_json(quality, uses).dump(1) + "\n";
    OutputFile file(path);
    file.append({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
    file.commit();
  } catch (const Error&) {
    // It will be measured again.
  }
}

}  // namespace plimsoll
