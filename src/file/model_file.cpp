#include "file/model_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <utility>
#include <vector>

#include "base/error.h"
#include "file/header_bytes.h"
#include "file/input_file.h"
#include "file/metadata_reader.h"
#include "file/tensor_table.h"

namespace plimsoll {

struct ModelFile::State {
  explicit State(const std::string& path) : file(path), header(file) {}

  InputFile file;
  HeaderBytes header;  ///< what the views in metadata and table point into
  Bytes header_bytes = 0;
  std::uint32_t version = 0;
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
  auto state = std::make_unique<State>(path);
  HeaderCursor cursor(state->file, state->header);
  if (state->file.size() == 0) cursor.corrupt("wanted a GGUF file, found an empty one");
  check_magic(cursor);
  state->version = checked_version(cursor);
  const std::uint64_t tensors = cursor.u64("number of tensors");
  const std::uint64_t keys = cursor.u64("number of metadata keys");
  state->metadata = MetadataReader::read(cursor, keys);
  const std::int64_t alignment = checked_alignment(cursor, state->metadata);
  state->table = read_tensor_table(cursor, tensors, alignment, state->file.size());

  state->header.trim(cursor.position());
  state->header_bytes = state->header.filled() + MetadataReader::table_bytes(state->metadata) +
                        state->table.tensors.capacity() * sizeof(TensorInfo) +
                        state->table.by_name.capacity() * sizeof(std::uint32_t);
  return ModelFile(std::move(state));
}

const std::string& ModelFile::path() const { return state_->file.path(); }
Bytes ModelFile::size() const { return state_->file.size(); }
Bytes ModelFile::header_bytes() const { return state_->header_bytes; }
std::uint32_t ModelFile::version() const { return state_->version; }
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
  state_->file.read(offset, bytes, destination);
}

}  // namespace plimsoll
