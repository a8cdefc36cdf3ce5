#include "file/gguf_header.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <string_view>
#include <vector>

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

/// The numbers and strings of a header one after the other through a small window, to learn how long it is.
class HeaderScan {
 public:
  explicit HeaderScan(const InputFile& file) : file_(file) {}

  std::uint64_t position() const { return at_; }
  template <class T>
  T number() {
    T value;
    if (at_ < begin_ || at_ + sizeof value > begin_ + window_.size()) {
      begin_ = at_;
      window_.resize(std::min<Bytes>(window_bytes, file_.size() - std::min(file_.size(), at_)));
      if (window_.size() < sizeof value) throw Error(ErrorCode::file_corrupt, "it ends early");
      file_.read(begin_, window_.size(), window_.data());
    }
    std::memcpy(&value, window_.data() + (at_ - begin_), sizeof value);
    at_ += sizeof value;
    return value;
  }
  void skip(Bytes bytes) {
    if (bytes > file_.size() - at_ || at_ + bytes > HeaderBytes::limit)
      throw Error(ErrorCode::file_corrupt, "it ends early");
    at_ += bytes;
  }
  void skip_string() { skip(number<std::uint64_t>()); }

 private:
  static constexpr Bytes window_bytes = 256 * KiB;
  const InputFile& file_;
  std::uint64_t at_ = 0, begin_ = 0;
  std::vector<std::uint8_t> window_;
};

/// All that read_gguf_header() would hold; at least `known` where the header is not what it should be.
Bytes measure_header(const InputFile& file, Bytes known) {
  Bytes tables = 0;
  HeaderScan scan(file);
  try {
    scan.skip(magic.size() + sizeof(std::uint32_t));
    const auto tensors = scan.number<std::uint64_t>(), keys = scan.number<std::uint64_t>();
    for (std::uint64_t i = 0; i < keys; ++i) {
      scan.skip_string();
      tables += sizeof(Metadata::Entry);
      auto type = static_cast<MetadataType>(scan.number<std::uint32_t>());
      std::uint64_t count = 1;
      if (const bool is_array = type == MetadataType::array; is_array) {
        type = static_cast<MetadataType>(scan.number<std::uint32_t>());
        count = scan.number<std::uint64_t>();
        if (type == MetadataType::string) tables += count * sizeof(std::uint32_t);
      }
      if (type == MetadataType::string) {
        for (std::uint64_t k = 0; k < count; ++k) scan.skip_string();
      } else {
        const Bytes element = element_bytes(type);
        if (element == 0 || count > file.size() / element) return known;
        scan.skip(count * element);
      }
    }
    for (std::uint64_t i = 0; i < tensors; ++i) {
      scan.skip_string();
      const auto rank = scan.number<std::uint32_t>();
      scan.skip(rank * sizeof(std::uint64_t) + sizeof(std::uint32_t) + sizeof(std::uint64_t));
      tables += sizeof(TensorInfo);
    }
  } catch (const Error&) {
    return known;
  }
  return std::max(known, scan.position() + tables);
}

GgufHeader read_within(const InputFile& file, Bytes room);

}  // namespace

GgufHeader read_gguf_header(const InputFile& file, Bytes room) {
  Bytes wanted = 0;
  try {
    return read_within(file, room);
  } catch (const HeaderRefusal& refusal) {
    wanted = refusal.wanted();  // and what was read is let go
  }
  throw HeaderRefusal(file.path(), measure_header(file, wanted), room);
}

namespace {

GgufHeader read_within(const InputFile& file, Bytes room) {
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

}  // namespace

}  // namespace plimsoll
