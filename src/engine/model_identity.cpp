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
#include "model/row_rounder.h"

namespace plimsoll {
namespace {

/// Another way of hashing, of cutting into chunks or of noting gets another number.
constexpr std::string_view version = "plimsoll identity 1";

std::int64_t chunk_count(const TensorInfo& info) {
  const std::int64_t step = chunk_rows(info);
  return (info.rows() + step - 1) / step;
}

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
  std::size_t chunks = 0;
  for (const TensorUse& use : tensors) {
    first_.push_back(chunks);
    chunks += static_cast<std::size_t>(chunk_count(*use.info));
  }
  digests_.resize(chunks);
}

void IdentityHash::add(std::size_t i, std::int64_t first_row, std::span<const std::uint8_t> bytes) {
  const auto chunk = static_cast<std::size_t>(first_row / chunk_rows(*tensors_[i].info));
  const XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
  digests_[first_[i] + chunk] = {hash.low64, hash.high64};
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
                        static_cast<std::size_t>(chunk_count(info)) * sizeof(Digest));
  }
  return digits(XXH3_128bits_digest(&state));
}

std::string identify(Context& context, const ModelFile& file, std::span<const TensorUse> tensors) {
  struct Chunk {
    std::size_t tensor;
    std::int64_t row;
  };
  std::vector<Chunk> chunks;
  Bytes stride = page_bytes;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const TensorInfo& info = *tensors[i].info;
    stride = std::max(stride, chunk_staging_bytes(info));
    for (std::int64_t row = 0; row < info.rows(); row += chunk_rows(info))
      chunks.push_back({i, row});
  }
  const Region staging(context.ledger, Account::io,
                       stride * static_cast<Bytes>(context.threads.size()), Region::Pages::normal);
  IdentityHash hash(tensors);
  context.threads.parallel_for(
      std::ssize(chunks), 1, [&](std::int64_t begin, std::int64_t end, int worker) {
        for (std::int64_t c = begin; c < end; ++c) {
          const auto [tensor, row] = chunks[static_cast<std::size_t>(c)];
          const TensorInfo& info = *tensors[tensor].info;
          const std::int64_t last = std::min(row + chunk_rows(info), info.rows());
          const std::uint8_t* const bytes = read_chunk(
              file, info, row, last, staging.data() + stride * static_cast<Bytes>(worker));
          hash.add(
              tensor, row,
              {bytes, static_cast<Bytes>(last - row) * row_bytes(*info.format, info.columns())});
        }
      });
  file.check_unchanged();
  return hash.finish();
}

KnownIdentity::KnownIdentity(const ModelFile& file, std::string besides)
    : file_(file), besides_(std::move(besides)) {
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
  std::string lines = fmt::format("{}\n{}\n", version, besides_);
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
    OutputFile file(note_path_);
    file.append({reinterpret_cast<const std::uint8_t*>(note.data()), note.size()});
    file.commit();
  } catch (const Error&) {
    // It will be read again.
  }
}

}  // namespace plimsoll
