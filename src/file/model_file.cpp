#include "file/model_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <utility>
#include <vector>

#include "base/error.h"
#include "file/header_bytes.h"
#include "file/hf_folder.h"
#include "file/input_file.h"
#include "file/metadata_reader.h"
#include "file/tensor_table.h"

namespace plimsoll {

struct ModelFile::State {
  explicit State(std::unique_ptr<InputFile> input) : header(*input), file(std::move(input)) {}
  State(const std::string& path, std::string made, std::unique_ptr<ByteSource> bytes)
      : header(path, std::move(made)), file(std::move(bytes)) {}

  /// What the parts take beside the file's own `other` bytes.
  void count_bytes(Bytes other) {
    header_bytes = header.filled() + MetadataReader::table_bytes(metadata) +
                   table.tensors.capacity() * sizeof(TensorInfo) +
                   table.by_name.capacity() * sizeof(std::uint32_t) + other;
  }

  HeaderBytes header;  ///< what the views in metadata and table point into
  std::unique_ptr<ByteSource> file;
  Bytes header_bytes = 0;
  std::uint32_t version = 0;
  std::string container;
  Metadata metadata;
  TensorTable table;
};

namespace {

constexpr std::string_view magic = "GGUF";
constexpr std::uint32_t oldest_version = 2;
constexpr std::uint32_t newest_version = 3;

void check_magic(HeaderCursor& cursor) {
  const auto* found = reinterpret_cast<const char*>(cursor.skip(magic.size(), "magic"));
  if (std::string_view(found, magic.size()) != magic)
    throw Error(ErrorCode::file_corrupt,
                fmt::format("{}: not a GGUF file: wanted \"{}\" as its first bytes, found {}",
                            cursor.path(), magic, quoted({found, magic.size()})),
                "give a .gguf file; a small text file in its place is often a Git LFS pointer or a "
                "failed download");
}

std::uint32_t checked_version(HeaderCursor& cursor) {
  const std::uint32_t version = cursor.u32("version");
  if (version >= oldest_version && version <= newest_version) return version;
  const std::uint32_t swapped = __builtin_bswap32(version);
  if (swapped >= 1 && swapped <= 0xffff)
    throw Error(
        ErrorCode::unsupported_version,
        fmt::format("{}: wanted a little-endian file, found a big-endian one of GGUF version {}",
                    cursor.path(), swapped),
        "convert the model on a little-endian machine");
  if (version == 1)
    throw Error(ErrorCode::unsupported_version,
                fmt::format("{}: wanted GGUF version {} or {}, found version 1", cursor.path(),
                            oldest_version, newest_version),
                "files of version 1 must be converted: convert the original model again");
  throw Error(ErrorCode::unsupported_version,
              fmt::format("{}: wanted GGUF version {} or {}, found {}", cursor.path(),
                          oldest_version, newest_version, version),
              "convert the model again, or look for a newer release of this program");
}

std::int64_t checked_alignment(const HeaderCursor& cursor, const Metadata& metadata) {
  const MetadataValue* value = metadata.find(alignment_key);
  if (!value) return default_alignment;
  std::int64_t alignment = 0;
  try {
    alignment = metadata.integer(alignment_key).value_or(0);
  } catch (const Error& error) {
    cursor.corrupt(error.message());
  }
  if (!is_alignment(alignment))
    cursor.corrupt(fmt::format("key {}: wanted a power of two from 8 up, found {}",
                               quoted(alignment_key), alignment));
  return alignment;
}

}  // namespace

ModelFile::ModelFile(std::unique_ptr<State> state) : state_(std::move(state)) {}
ModelFile::ModelFile(ModelFile&&) noexcept = default;
ModelFile& ModelFile::operator=(ModelFile&&) noexcept = default;
ModelFile::~ModelFile() = default;

ModelFile ModelFile::open(const std::string& path) {
  return names_hf_folder(path) ? open_folder(path) : open_gguf(path);
}

ModelFile ModelFile::open_gguf(const std::string& path) {
  auto state = std::make_unique<State>(std::make_unique<InputFile>(path));
  HeaderCursor cursor(state->header);
  if (state->file->size() == 0) cursor.corrupt("wanted a GGUF file, found an empty one");
  check_magic(cursor);
  state->version = checked_version(cursor);
  state->container = fmt::format("GGUF version {}", state->version);
  const std::uint64_t tensors = cursor.u64("number of tensors");
  const std::uint64_t keys = cursor.u64("number of metadata keys");
  state->metadata = MetadataReader::read(cursor, keys);
  const std::int64_t alignment = checked_alignment(cursor, state->metadata);
  state->table = read_tensor_table(cursor, tensors, alignment, state->file->size());
  state->header.trim(cursor.position());
  state->count_bytes(0);
  return ModelFile(std::move(state));
}

ModelFile ModelFile::open_folder(const std::string& path) {
  HfFolder folder = open_hf_folder(path);
  std::string header = std::move(folder.metadata);
  for (const std::string& name : folder.names) header += name;
  const std::size_t files = folder.bytes->files();
  const Bytes source_bytes = folder.bytes->memory_bytes();
  auto state = std::make_unique<State>(path, std::move(header), std::move(folder.bytes));
  state->container = fmt::format("safetensors in {} file{}", files, files == 1 ? "" : "s");
  HeaderCursor cursor(state->header);
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

const std::string& ModelFile::path() const { return state_->file->path(); }
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
