#include "file/gguf_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <optional>
#include <set>
#include <utility>

#include "base/error.h"
#include "file/header_bytes.h"
#include "file/metadata_builder.h"
#include "file/output_file.h"
#include "file/tensor_table.h"

namespace plimsoll {
namespace {

constexpr std::uint32_t gguf_version = 3;

template <class T>
void put(std::string& out, const T& value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

std::span<const std::uint8_t> bytes_of(const std::string& text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

}  // namespace

struct GgufWriter::State {
  explicit State(OutputPath path) : file(std::move(path)) {}

  struct Declared {
    std::string name;
    const Format* format;
    std::vector<std::int64_t> shape;
    Bytes bytes;
  };

  OutputFile file;
  MetadataBuilder metadata;
  std::set<std::string, std::less<>> tensor_names;
  std::int64_t alignment = default_alignment;
  std::vector<Declared> tensors;
  bool header_written = false;
  bool finished = false;
  std::size_t current = 0;  ///< tensor that data go to
  Bytes current_bytes = 0;  ///< of it that are written

  MetadataBuilder& open_metadata() {
    if (header_written) throw Error(ErrorCode::internal, "metadata after tensor data");
    return metadata;
  }
  void set_alignment(std::int64_t value) {
    if (!is_alignment(value))
      throw Error(ErrorCode::internal,
                  fmt::format("alignment {} is no power of two from 8 up", value));
    alignment = value;
  }

  Bytes padded(Bytes bytes) const { return round_up(bytes, static_cast<Bytes>(alignment)); }

  void pad() {
    static constexpr std::array<std::uint8_t, 4096> zeros{};
    for (Bytes missing = padded(file.size()) - file.size(); missing > 0;) {
      const Bytes piece = std::min<Bytes>(missing, zeros.size());
      file.append({zeros.data(), piece});
      missing -= piece;
    }
  }

  void write_header() {
    if (header_written) return;
    header_written = true;
    std::string table;
    std::uint64_t offset = 0;
    for (const Declared& tensor : tensors) {
      MetadataBuilder::append_string(table, tensor.name);
      put(table, static_cast<std::uint32_t>(tensor.shape.size()));
      for (const std::int64_t dimension : tensor.shape)
        put(table, static_cast<std::uint64_t>(dimension));
      put(table, tensor.format->id);
      put(table, offset);
      offset += padded(tensor.bytes);
    }
    std::string head = "GGUF";
    put(head, gguf_version);
    put(head, static_cast<std::uint64_t>(tensors.size()));
    put(head, metadata.keys());
    const std::string entries = metadata.take();
    file.preallocate(padded(head.size() + entries.size() + table.size()) + offset);
    for (const std::string* part : {&std::as_const(head), &entries, &std::as_const(table)})
      file.append(bytes_of(*part));
    pad();
  }

  /// Moves on from tensors that have all their data.
  void skip_complete() {
    while (current < tensors.size() && current_bytes == tensors[current].bytes) {
      pad();
      ++current;
      current_bytes = 0;
    }
  }
};

GgufWriter::GgufWriter(OutputPath path) : state_(std::make_unique<State>(std::move(path))) {}
GgufWriter::~GgufWriter() = default;

void GgufWriter::add_integer(std::string_view key, std::int64_t value, MetadataType type) {
  if (key == alignment_key) state_->set_alignment(value);
  state_->open_metadata().add_integer(key, value, type);
}
void GgufWriter::add_number(std::string_view key, double value, MetadataType type) {
  state_->open_metadata().add_number(key, value, type);
}
void GgufWriter::add_bool(std::string_view key, bool value) {
  state_->open_metadata().add_bool(key, value);
}
void GgufWriter::add_string(std::string_view key, std::string_view value) {
  state_->open_metadata().add_string(key, value);
}
void GgufWriter::add_strings(std::string_view key, std::span<const std::string> values) {
  state_->open_metadata().add_strings(key, values);
}
void GgufWriter::add_integers(std::string_view key, std::span<const std::int32_t> values) {
  state_->open_metadata().add_integers(key, values);
}
void GgufWriter::add_numbers(std::string_view key, std::span<const float> values) {
  state_->open_metadata().add_numbers(key, values);
}
void GgufWriter::add_value(std::string_view key, const MetadataValue& value) {
  if (key == alignment_key) state_->set_alignment(value.as_integer());
  state_->open_metadata().add_value(key, value);
}

void GgufWriter::add_tensor(std::string_view name, const Format& format,
                            std::span<const std::int64_t> shape) {
  const auto refuse = [&](std::string_view why) {
    throw Error(ErrorCode::internal, fmt::format("tensor {} {}", quoted(name), why));
  };
  if (state_->header_written) refuse("declared after tensor data");
  if (name.empty() || !state_->tensor_names.emplace(name).second)
    refuse("without a name, or there already");
  if (shape.empty() || shape.size() > 4 || shape[0] % format.block_values != 0)
    refuse("has a shape that is no 1 to 4 dimensions with rows of whole blocks");
  std::optional<std::uint64_t> rows = 1;
  for (std::size_t d = 0; d < shape.size(); ++d) {
    if (shape[d] < 1) refuse("has an empty dimension");
    if (d > 0 && rows) rows = checked_multiply(*rows, static_cast<std::uint64_t>(shape[d]));
  }
  const std::optional<Bytes> bytes =
      rows && std::in_range<std::int64_t>(*rows)
          ? tensor_bytes(format, shape[0], static_cast<std::int64_t>(*rows))
          : std::nullopt;
  if (!bytes) refuse("is larger than 2^63 rows or 2^64 bytes");
  state_->tensors.push_back({std::string(name), &format, {shape.begin(), shape.end()}, *bytes});
}

Bytes GgufWriter::declaration_bytes(std::string_view name, int rank) {
  return sizeof(std::uint64_t) + name.size() + sizeof(std::uint32_t) +
         static_cast<Bytes>(rank) * sizeof(std::uint64_t) + sizeof(std::uint32_t) +
         sizeof(std::uint64_t);
}

Bytes GgufWriter::header_bytes(Bytes declarations) const {
  constexpr Bytes head = 4 + sizeof(gguf_version) + 2 * sizeof(std::uint64_t);
  for (const State::Declared& tensor : state_->tensors)
    declarations += declaration_bytes(tensor.name, static_cast<int>(tensor.shape.size()));
  return state_->padded(head + state_->metadata.bytes().size() + declarations);
}

void GgufWriter::write(std::span<const std::uint8_t> data) {
  State& s = *state_;
  s.write_header();
  while (!data.empty()) {
    if (s.current == s.tensors.size())
      throw Error(ErrorCode::internal,
                  fmt::format("{} bytes after the last tensor's data", data.size()));
    const Bytes piece = std::min<Bytes>(data.size(), s.tensors[s.current].bytes - s.current_bytes);
    s.file.append(data.first(piece));
    s.current_bytes += piece;
    data = data.subspan(piece);
    s.skip_complete();
  }
}

void GgufWriter::finish() {
  State& s = *state_;
  if (s.finished) throw Error(ErrorCode::internal, "a file that is finished already");
  s.write_header();
  if (s.current != s.tensors.size())
    throw Error(ErrorCode::internal, fmt::format("tensor {}: wanted {} bytes of data, found {}",
                                                 quoted(s.tensors[s.current].name),
                                                 s.tensors[s.current].bytes, s.current_bytes));
  s.file.commit();
  s.finished = true;
}

}  // namespace plimsoll
