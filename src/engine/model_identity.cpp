#include "engine/model_identity.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/cache_folder.h"
#include "base/error.h"
#include "base/region.h"
#include "base/small_file.h"
#include "file/output_file.h"
#include "rows/pieces.h"

namespace plimsoll {
namespace {

/// Another way of hashing, of cutting into pieces or of noting gets another number.
constexpr std::string_view version = "plimsoll identity 1";

std::string digits(XXH128_hash_t hash) {
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

/// Longer than any file system's clock takes from one tick to the next.
constexpr std::int64_t settling_nanoseconds = 100'000'000;

std::int64_t now_nanoseconds() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

constexpr std::size_t identity_digits = 32;

}  // namespace

IdentityHash::IdentityHash(std::span<const TensorUse> tensors) : tensors_(tensors) {
  std::size_t pieces = 0;
  for (const TensorUse& use : tensors) {
    first_.push_back(pieces);
    pieces += static_cast<std::size_t>(FilePieces(*use.info).count());
  }
  digests_.resize(pieces);
}

void IdentityHash::add(std::size_t i, std::int64_t piece, std::span<const std::uint8_t> bytes) {
  const XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
  digests_[first_[i] + static_cast<std::size_t>(piece)] = {hash.low64, hash.high64};
}

std::string IdentityHash::finish() const {
  XXH3_state_t state;
  XXH3_128bits_reset(&state);
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    const TensorInfo& info = *tensors_[i].info;
    const std::string declaration =
        fmt::format("{} {} {} {}\n", info.name, info.format->name, info.rows(), info.columns());
    XXH3_128bits_update(&state, declaration.data(), declaration.size());
    XXH3_128bits_update(&state, digests_.data() + first_[i],
                        static_cast<std::size_t>(FilePieces(info).count()) * sizeof(Digest));
  }
  return digits(XXH3_128bits_digest(&state));
}

std::string identify(Context& context, const ModelFile& file, std::span<const TensorUse> tensors) {
  // The first of each tensor among all pieces.
  std::vector<std::int64_t> first;
  std::int64_t count = 0;
  Bytes stride = page_bytes;
  for (const TensorUse& use : tensors) {
    const FilePieces pieces(*use.info);
    const Piece largest = pieces.largest();
    stride =
        std::max(stride, piece_staging_bytes(*use.info->format, largest.rows, largest.columns));
    first.push_back(count);
    count += pieces.count();
  }
  const Region staging(context.ledger, Account::io,
                       stride * static_cast<Bytes>(context.threads.size()), Region::Pages::normal);
  IdentityHash hash(tensors);
  context.threads.parallel_for(count, 1, [&](std::int64_t begin, std::int64_t end, int worker) {
    std::byte* const room = staging.data() + static_cast<Bytes>(worker) * stride;
    for (std::int64_t i = begin; i < end; ++i) {
      const auto tensor =
          static_cast<std::size_t>(std::ranges::upper_bound(first, i) - first.begin()) - 1;
      const TensorInfo& info = *tensors[tensor].info;
      const std::int64_t at = i - first[tensor];
      const Piece piece = FilePieces(info)[at];
      const std::uint8_t* const bytes = read_piece(file, info, piece, room);
      hash.add(tensor, at,
               {bytes, static_cast<Bytes>(piece.rows) * row_bytes(*info.format, piece.columns)});
    }
  });
  file.check_unchanged();
  return hash.finish();
}

KnownIdentity::KnownIdentity(const ModelFile& file, std::string configuration)
    : file_(file), configuration_(std::move(configuration)) {
  const std::string cache = cache_folder();
  if (cache.empty()) return;
  std::string names;
  for (const std::string& path : file.files()) {
    std::error_code error;
    const std::filesystem::path whole = std::filesystem::canonical(path, error);
    names += (error ? path : whole.string()) + "\n";
  }
  note_path_ =
      fmt::format("{}/identities/{}", cache, digits(XXH3_128bits(names.data(), names.size())));
  const std::int64_t now = now_nanoseconds();
  for (const FileStamp& stamp : file.stamps())
    is_settled_ &= stamp.changed + settling_nanoseconds < now;
  stamps_ = stamp_lines();
}

std::string KnownIdentity::stamp_lines() const {
  std::string lines = fmt::format("{}\n{}\n", version, configuration_);
  for (const FileStamp& stamp : file_.stamps())
    lines += fmt::format("{} {} {} {} {}\n", stamp.device, stamp.inode, stamp.bytes, stamp.modified,
                         stamp.changed);
  return lines;
}

std::optional<std::string> KnownIdentity::find() const {
  if (note_path_.empty()) return {};
  const std::optional<std::string> note = read_small_file(note_path_, most_of_own_file);
  if (!note || note->size() != stamps_.size() + identity_digits || !note->starts_with(stamps_))
    return {};
  return note->substr(stamps_.size());
}

std::optional<std::string> KnownIdentity::find_by_name() const {
  if (note_path_.empty()) return {};
  const std::optional<std::string> note = read_small_file(note_path_, most_of_own_file);
  if (!note || !note->starts_with(version) || note->size() < version.size() + identity_digits)
    return {};
  return note->substr(note->size() - identity_digits);
}

void KnownIdentity::remember(const std::string& identity, bool is_own) const {
  if (note_path_.empty() || (!is_settled_ && !is_own)) return;
  if (!is_own && stamp_lines() != stamps_) return;
  try {
    std::error_code ignored;
    std::filesystem::create_directories(std::filesystem::path(note_path_).parent_path(), ignored);
    const std::string note = stamps_ + identity;
    OutputFile file(OutputPath::own(note_path_));
    file.append({reinterpret_cast<const std::uint8_t*>(note.data()), note.size()});
    file.commit();
  } catch (const Error&) {
    // It will be read again.
  }
}

}  // namespace plimsoll
