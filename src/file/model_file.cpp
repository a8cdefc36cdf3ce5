#include "file/model_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <utility>
#include <vector>

#include "base/error.h"
#include "file/gguf_header.h"
#include "file/gguf_parts.h"
#include "file/header_bytes.h"
#include "file/hf_folder.h"
#include "file/input_file.h"
#include "file/joined_files.h"
#include "file/metadata_reader.h"
#include "file/standard_layout.h"
#include "file/tensor_table.h"

namespace plimsoll {

struct ModelFile::State {
  explicit State(std::string given) : path(std::move(given)) {}

  /// What the parts take, with the `other` bytes of the file itself.
  void count_bytes(Bytes other) {
    header_bytes = header->filled() + (added ? added->filled() : 0) + names.capacity() +
                   MetadataReader::table_bytes(metadata) +
                   table.tensors.capacity() * sizeof(TensorInfo) +
                   table.by_name.capacity() * sizeof(std::uint32_t) + other;
  }

  std::string path;
  std::unique_ptr<HeaderBytes> header;  ///< what the views in metadata and table point into
  std::unique_ptr<HeaderBytes> added;   ///< the same, of keys that the file does not have so
  std::string names;                    ///< the same, of tensors in other parts than the first
  std::unique_ptr<ByteSource> file;
  Bytes header_bytes = 0;
  std::uint32_t version = 0;
  std::string container;
  Metadata metadata;
  TensorTable table;
};

namespace {

bool has_safetensors(const std::string& folder) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error))
    if (entry.path().extension() == ".safetensors") return true;
  return false;
}

std::unique_ptr<InputFile> open_input(const std::string& path) {
  try {
    return std::make_unique<InputFile>(path);
  } catch (const Error& error) {
    const std::string hint =
        error.code() == ErrorCode::file_not_found ? hint_for_absent(path) : std::string();
    if (hint.empty()) throw;
    throw Error(error.code(), error.message(), hint);
  }
}

/// The tensors of one part, with their places in all parts together. Names are put behind `names`
/// and have to be set when all are there.
void add_part(GgufHeader&& part, std::uint64_t begin, TensorTable& table, std::string& names) {
  for (TensorInfo& tensor : part.table.tensors) {
    tensor.offset += begin;
    names += tensor.name;
    table.tensors.push_back(tensor);
  }
}

}  // namespace

ModelFile::ModelFile(std::unique_ptr<State> state) : state_(std::move(state)) {}
ModelFile::ModelFile(ModelFile&&) noexcept = default;
ModelFile& ModelFile::operator=(ModelFile&&) noexcept = default;
ModelFile::~ModelFile() = default;

ModelFile ModelFile::open(const std::string& path, Bytes room) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error) && !has_safetensors(path))
    if (const auto file = gguf_in_folder(path)) return open_gguf(path, *file, room);
  return names_hf_folder(path) ? open_folder(path, room) : open_gguf(path, path, room);
}

ModelFile ModelFile::open_gguf(const std::string& path, const std::string& file, Bytes room) {
  auto state = std::make_unique<State>(path);
  auto input = open_input(file);
  GgufHeader header = read_gguf_header(*input, room);
  state->header = std::move(header.bytes);
  state->version = header.version;
  state->metadata = std::move(header.metadata);
  state->table = std::move(header.table);
  state->container = fmt::format("GGUF version {}", state->version);
  Bytes file_bytes = 0;
  if (const auto part = part_of(state->metadata, file)) {
    auto joined = join_parts(*state, *part, std::move(input), room);
    state->container += fmt::format(" in {} files", joined->files());
    file_bytes = joined->memory_bytes();
    state->file = std::move(joined);
  } else {
    state->file = std::move(input);
  }
  MetadataReader::remove(state->metadata,
                         [](std::string_view key) { return key.starts_with(split_keys); });
  StandardLayout layout = standardise(state->metadata, state->table, file);
  state->added = std::move(layout.added);
  if (!layout.note.empty()) state->container += ", " + layout.note;
  state->count_bytes(file_bytes);
  return ModelFile(std::move(state));
}

std::unique_ptr<JoinedFiles> ModelFile::join_parts(State& state, const GgufPart& first,
                                                   std::unique_ptr<InputFile> input, Bytes room) {
  const std::string given = input->path();
  const std::vector<std::string> paths = part_paths(given, first);
  allow_open_files(first.count);
  std::vector<std::unique_ptr<InputFile>> files;
  files.push_back(std::move(input));
  for (std::size_t i = 1; i < paths.size(); ++i)
    files.push_back(std::make_unique<InputFile>(paths[i]));
  auto joined = std::make_unique<JoinedFiles>(given, std::move(files));

  const std::size_t own = state.table.tensors.size();
  const MetadataValue* const family = state.metadata.find("general.architecture");
  for (std::size_t i = 1; i < joined->files(); ++i) {
    GgufHeader part = read_gguf_header(joined->file(i), room);
    check_part(part_of(part.metadata, paths[i]), paths[i], static_cast<std::int64_t>(i) + 1, first);
    const MetadataValue* const other = part.metadata.find("general.architecture");
    if (family && other && family->type() == MetadataType::string &&
        other->type() == family->type() && family->as_string() != other->as_string())
      throw Error(ErrorCode::invalid_model,
                  fmt::format("{}: wanted a part of a {} model, found one of {}", paths[i],
                              family->as_string(), quoted(other->as_string())),
                  "download or split the model again: its parts do not belong together");
    add_part(std::move(part), joined->begin_of(i), state.table, state.names);
  }
  state.names.shrink_to_fit();
  const char* name = state.names.data();
  for (std::size_t i = own; i < state.table.tensors.size(); ++i) {
    TensorInfo& tensor = state.table.tensors[i];
    tensor.name = {name, tensor.name.size()};
    name += tensor.name.size();
  }
  const auto found = static_cast<std::int64_t>(state.table.tensors.size());
  if (first.tensors && *first.tensors != found)
    throw Error(ErrorCode::invalid_model,
                fmt::format("{}: wanted {} tensors in its {} parts, found {}", given,
                            *first.tensors, first.count, found),
                "download or split the model again: its parts do not belong together");
  if (const auto twice = index_names(state.table)) {
    std::string places;
    for (const TensorInfo& tensor : state.table.tensors)
      if (tensor.name == *twice)
        places +=
            fmt::format("{}{}", places.empty() ? "" : " and ", joined->file_at(tensor.offset) + 1);
    throw Error(ErrorCode::invalid_model,
                fmt::format("{}: tensor {}: wanted in one part, found in parts {}", given,
                            quoted(*twice), places),
                "download or split the model again: its parts do not belong together");
  }
  return joined;
}

ModelFile ModelFile::open_folder(const std::string& path, Bytes room) {
  HfFolder folder = open_hf_folder(path, room);
  std::string header = std::move(folder.metadata);
  for (const std::string& name : folder.names) header += name;
  const std::size_t files = folder.bytes->files();
  const Bytes source_bytes = folder.bytes->memory_bytes();
  auto state = std::make_unique<State>(path);
  state->header = std::make_unique<HeaderBytes>(path, std::move(header));
  state->file = std::move(folder.bytes);
  state->container = fmt::format("safetensors in {} file{}", files, files == 1 ? "" : "s");
  HeaderCursor cursor(*state->header);
  state->metadata = MetadataReader::read(cursor, folder.keys);
  state->table.tensors = std::move(folder.tensors);
  for (std::size_t i = 0; i < folder.names.size(); ++i) {
    const Bytes length = folder.names[i].size();
    state->table.tensors[i].name = {
        reinterpret_cast<const char*>(cursor.skip(length, "tensor name")), length};
  }
  if (const auto twice = index_names(state->table))
    cursor.corrupt(fmt::format("tensor {}: wanted once, found twice", quoted(*twice)));
  state->count_bytes(source_bytes);
  return ModelFile(std::move(state));
}

const std::string& ModelFile::path() const { return state_->path; }
std::vector<std::string> ModelFile::files() const { return state_->file->paths(); }
std::vector<FileStamp> ModelFile::stamps() const { return state_->file->stamps(); }
Bytes ModelFile::size() const { return state_->file->size(); }
Bytes ModelFile::header_bytes() const { return state_->header_bytes; }
std::uint32_t ModelFile::version() const { return state_->version; }
const std::string& ModelFile::container() const { return state_->container; }
const Metadata& ModelFile::metadata() const { return state_->metadata; }
std::span<const TensorInfo> ModelFile::tensors() const { return state_->table.tensors; }

const TensorInfo* ModelFile::find_tensor(std::string_view name) const {
  const TensorTable& table = state_->table;
  const auto tensor_name = [&](std::uint32_t i) { return table.tensors[i].name; };
  const auto found = std::ranges::lower_bound(table.by_name, name, {}, tensor_name);
  return found != table.by_name.end() && tensor_name(*found) == name ? &table.tensors[*found]
                                                                     : nullptr;
}

void ModelFile::read(std::uint64_t offset, Bytes bytes, void* destination) const {
  state_->file->read(offset, bytes, destination);
}

void ModelFile::check_unchanged() const { state_->file->check_unchanged(); }

}  // namespace plimsoll
