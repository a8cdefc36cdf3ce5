#include "report/file_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "base/error.h"
#include "base/numbers.h"
#include "model/architecture.h"
#include "model/tensors.h"
#include "model/weights.h"
#include "terminal/json_writer.h"
#include "terminal/output.h"
#include "text/tokenizer.h"

namespace plimsoll {
namespace {

using Json = nlohmann::ordered_json;

/// A file's description, or why it has none.
struct Reading {
  std::optional<Description> description;
  std::string problem;  ///< empty when it can be run
};

Reading read_description(const ModelFile& file) {
  Reading reading;
  if (file.tensors().empty()) {
    reading.problem = "there are no tensors in it: a vocabulary only";
    return reading;
  }
  try {
    reading.description = describe(file);
    find_tensors(file, *reading.description);
    Tokenizer::from_metadata(file.metadata());
  } catch (const Error& error) {
    reading.problem = error.message();
  }
  return reading;
}

struct FormatTotal {
  std::int64_t tensors = 0;
  double parameters = 0;
  Bytes bytes = 0;

  double bits_per_weight() const {
    return parameters > 0 ? 8.0 * static_cast<double>(bytes) / parameters : 0;
  }
};

double parameters_of(const TensorInfo& tensor) {
  return static_cast<double>(tensor.columns()) * static_cast<double>(tensor.rows());
}

std::map<std::string_view, FormatTotal> totals_by_format(const ModelFile& file) {
  std::map<std::string_view, FormatTotal> totals;
  for (const TensorInfo& tensor : file.tensors()) {
    FormatTotal& total = totals[tensor.format->name];
    ++total.tensors;
    total.parameters += parameters_of(tensor);
    total.bytes += tensor.bytes;
  }
  return totals;
}

/// What tensors take in memory: vectors are kept as f32 whatever the file has. Which ones are
/// vectors follows from their roles, or from their shapes in a model that is not known.
class MemoryBytes {
 public:
  explicit MemoryBytes(const ModelFile& file) {
    try {
      for (const TensorUse& use : find_tensors(file, describe(file)))
        if (use.slot.is_vector()) vectors_.insert(use.info);
    } catch (const Error&) {
      for (const TensorInfo& tensor : file.tensors())
        if (tensor.rank == 1) vectors_.insert(&tensor);
    }
  }

  Bytes of(const TensorInfo& tensor) const {
    if (vectors_.contains(&tensor)) return static_cast<Bytes>(tensor.columns()) * sizeof(float);
    return Matrix::memory_bytes({&tensor, tensor.format});
  }

 private:
  std::set<const TensorInfo*> vectors_;
};

// --- JSON ---

Json element_json(const MetadataValue& value, std::uint64_t index) {
  const MetadataType type = value.is_array() ? value.element_type() : value.type();
  switch (type) {
    case MetadataType::string:
      return value.as_string(index);
    case MetadataType::boolean:
      return value.as_bool(index);
    case MetadataType::f32:
    case MetadataType::f64: {
      double number = value.as_float(index);
      // The shortest text that means the same f32: 1e-05, not 9.999999747378752e-06.
      if (type == MetadataType::f32 && std::isfinite(number))
        number = std::stod(fmt::format("{}", static_cast<float>(number)));
      return std::isfinite(number) ? Json(number) : Json(fmt::format("{}", number));
    }
    case MetadataType::u64:
      try {
        return value.as_integer(index);
      } catch (const Error&) {
        return value.as_float(index);  // above 63 bits
      }
    default:
      return value.as_integer(index);
  }
}

MetadataType element_type(const MetadataValue& value) {
  return value.is_array() ? value.element_type() : value.type();
}

/// A key may have megabytes.
void write_value(JsonWriter& json, std::string_view key, const MetadataValue& value) {
  const bool is_text = element_type(value) == MetadataType::string;
  const auto add = [&](std::string_view name, std::uint64_t i) {
    if (is_text)
      json.add_text(name, value.as_string(i));
    else
      json.add(name, element_json(value, i));
  };
  if (!value.is_array()) return add(key, 0);
  json.open(key, JsonWriter::Inside::flat_array);
  for (std::uint64_t i = 0; i < value.size(); ++i) add({}, i);
  json.close();
}

Json shape_json(const TensorInfo& tensor) {
  Json shape = Json::array();
  for (int i = 0; i < tensor.rank; ++i) shape.push_back(tensor.shape[static_cast<std::size_t>(i)]);
  return shape;
}

Json description_json(const Description& d) {
  return {{"family", d.family},
          {"name", d.name},
          {"layers", d.layers},
          {"width", d.width},
          {"heads", d.heads},
          {"kv_heads", d.kv_heads},
          {"head_dim", d.head_dim},
          {"feed_forward", d.feed_forward},
          {"vocabulary", d.vocabulary},
          {"trained_context", d.trained_context},
          {"tied_output", d.tied_output}};
}

void write_whole(const ModelFile& file, const Reading& reading) {
  JsonWriter json(false);
  json.add("path", file.path());
  json.add("file_bytes", file.size());
  json.add("container", file.container());
  json.add("gguf_version", file.version() ? Json(file.version()) : Json());
  json.add("runs", reading.problem.empty());
  json.add("problem", reading.problem.empty() ? Json() : Json(reading.problem));
  json.add("description", reading.description ? description_json(*reading.description) : Json());
  double parameters = 0;
  Bytes bytes = 0;
  const auto totals = totals_by_format(file);
  for (const auto& [name, total] : totals) {
    parameters += total.parameters;
    bytes += total.bytes;
  }
  json.add("parameters", parameters);
  json.add("tensor_bytes", bytes);
  json.open("formats", JsonWriter::Inside::array);
  for (const auto& [name, total] : totals)
    json.add({}, {{"name", name},
                  {"tensors", total.tensors},
                  {"parameters", total.parameters},
                  {"bytes", total.bytes},
                  {"bits_per_weight", total.bits_per_weight()}});
  json.close();
  json.open("metadata", JsonWriter::Inside::object);
  for (const Metadata::Entry& entry : file.metadata().entries())
    write_value(json, entry.key, entry.value);
  json.close();
  json.open("tensors", JsonWriter::Inside::array);
  const MemoryBytes memory(file);
  for (const TensorInfo& tensor : file.tensors())
    json.add({}, {{"name", tensor.name},
                  {"format", tensor.format->name},
                  {"shape", shape_json(tensor)},
                  {"file_bytes", tensor.bytes},
                  {"memory_bytes", memory.of(tensor)}});
  json.close();
  json.end();
}

// --- text ---

std::string value_text(const MetadataValue& value, std::size_t most) {
  const auto text = [&](std::uint64_t i, std::size_t limit) {
    return element_type(value) == MetadataType::string ? printable_line(value.as_string(i), limit)
                                                       : element_json(value, i).dump();
  };
  if (!value.is_array()) return text(0, most);
  std::string out = fmt::format("{} x {}", grouped(static_cast<std::int64_t>(value.size())),
                                name(value.element_type()));
  const char* separator = ": ";
  for (std::uint64_t i = 0; i < value.size(); ++i) {
    const std::string item = text(i, 16);
    if (columns_of(out) + columns_of(item) + 7 > static_cast<int>(most)) return out + ", ...";
    out += separator + item;
    separator = ", ";
  }
  return out;
}

std::string overview(const ModelFile& file, const Reading& reading, const Terminal& terminal) {
  std::string out =
      fmt::format("{}  {}, {}\n", terminal.styled(Style::strong, printable_line(file.path(), 200)),
                  format_bytes(file.size()), file.container());
  if (reading.description) {
    const Description& d = *reading.description;
    out += fmt::format(
        "{} family: {} layers of width {}, {} heads of {} on {} key-value heads, feed-forward {}, "
        "vocabulary {}, context {}{}\n",
        printable_line(d.family, 40), d.layers, grouped(d.width), d.heads, d.head_dim, d.kv_heads,
        grouped(d.feed_forward), grouped(d.vocabulary), grouped(d.trained_context),
        d.tied_output ? ", tied output" : "");
  }
  if (!reading.problem.empty())
    out += terminal.styled(Style::alarm, "cannot be run: ") + printable(reading.problem) + "\n";

  const auto totals = totals_by_format(file);
  FormatTotal all;
  const auto row = [&out](std::string_view name, const FormatTotal& total) {
    out += fmt::format("{:<10}{:>8}  {:>13}  {:>9}  {:>6.2f}\n", name, total.tensors,
                       format_count(total.parameters), format_bytes(total.bytes),
                       total.bits_per_weight());
  };
  if (!totals.empty())
    out += terminal.styled(Style::dim, fmt::format("\n{:<10}{:>8}  {:>13}  {:>9}  {:>6}", "format",
                                                   "tensors", "parameters", "bytes", "bits")) +
           "\n";
  for (const auto& [name, total] : totals) {
    row(name, total);
    all.tensors += total.tensors;
    all.parameters += total.parameters;
    all.bytes += total.bytes;
  }
  if (totals.size() > 1) row("all", all);
  return out;
}

std::string metadata_table(const ModelFile& file, const Terminal& terminal) {
  std::size_t widest = 0;
  for (const Metadata::Entry& entry : file.metadata().entries())
    widest = std::max(widest, entry.key.size());
  widest = std::min<std::size_t>(widest, 44);
  const auto room =
      static_cast<std::size_t>(std::max(terminal.width - static_cast<int>(widest) - 6, 24));
  std::string out = "\n";
  for (const Metadata::Entry& entry : file.metadata().entries())
    out += fmt::format("{:<{}}  {}\n", printable_line(entry.key, 200), widest,
                       value_text(entry.value, room));
  return out;
}

std::string tensor_table(const ModelFile& file, const Terminal& terminal) {
  std::size_t widest = 4;
  for (const TensorInfo& tensor : file.tensors()) widest = std::max(widest, tensor.name.size());
  widest = std::min<std::size_t>(widest, 48);
  std::string out =
      terminal.styled(Style::dim, fmt::format("\n{:<{}}  {:<8}{:>16}  {:>9}  {:>9}", "tensor",
                                              widest, "format", "shape", "in file", "in memory")) +
      "\n";
  const MemoryBytes memory(file);
  for (const TensorInfo& tensor : file.tensors()) {
    std::string shape;
    for (int i = 0; i < tensor.rank; ++i)
      shape += fmt::format("{}{}", i ? "x" : "", tensor.shape[static_cast<std::size_t>(i)]);
    out += fmt::format("{:<{}}  {:<8}{:>16}  {:>9}  {:>9}\n", printable_line(tensor.name, 200),
                       widest, tensor.format->name, shape, format_bytes(tensor.bytes),
                       format_bytes(memory.of(tensor)));
  }
  return out;
}

}  // namespace

void write_file_json(const ModelFile& file) { write_whole(file, read_description(file)); }

std::string describe_file(const ModelFile& file, bool with_tensors, const Terminal& terminal) {
  return overview(file, read_description(file), terminal) + metadata_table(file, terminal) +
         (with_tensors ? tensor_table(file, terminal) : "");
}

}  // namespace plimsoll
