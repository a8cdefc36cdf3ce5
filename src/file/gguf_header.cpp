#include "file/gguf_header.h"

#include <fmt/format.h>

#include <string_view>

#include "base/error.h"
#include "file/file_kind.h"
#include "file/metadata_reader.h"

namespace plimsoll {
namespace {

constexpr std::string_view magic = "GGUF";
constexpr std::uint32_t oldest_version = 2;
constexpr std::uint32_t newest_version = 3;

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

GgufHeader read_gguf_header(const InputFile& file, Bytes room) {
  GgufHeader header;
  header.bytes = std::make_unique<HeaderBytes>(file, room);
  HeaderCursor cursor(*header.bytes);
  if (file.size() == 0) cursor.corrupt("wanted a GGUF file, found an empty one");
  const auto* found = reinterpret_cast<const char*>(cursor.skip(magic.size(), "magic"));
  if (std::string_view(found, magic.size()) != magic) throw_foreign(file);
  header.version = checked_version(cursor);
  const std::uint64_t tensors = cursor.u64("number of tensors");
  const std::uint64_t keys = cursor.u64("number of metadata keys");
  header.metadata = MetadataReader::read(cursor, keys);
  const std::int64_t alignment = checked_alignment(cursor, header.metadata);
  header.table = read_tensor_table(cursor, tensors, alignment, file.size());
  header.bytes->trim(cursor.position());
  return header;
}

}  // namespace plimsoll
