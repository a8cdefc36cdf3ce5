#include "file/joined_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace plimsoll {
namespace {

constexpr Bytes page = 4 * KiB;

}  // namespace

JoinedFiles::JoinedFiles(std::string path, std::vector<std::unique_ptr<InputFile>> files)
    : path_(std::move(path)), files_(std::move(files)) {
  std::uint64_t begin = 0;
  for (const auto& file : files_) {
    begins_.push_back(begin);
    begin = round_up(begin + file->size(), page);
  }
}

std::size_t JoinedFiles::file_at(std::uint64_t offset) const {
  const auto next = std::ranges::upper_bound(begins_, offset);
  return static_cast<std::size_t>(next - begins_.begin()) - 1;
}

std::vector<std::string> JoinedFiles::paths() const {
  std::vector<std::string> paths;
  for (const auto& file : files_) paths.push_back(file->path());
  return paths;
}

Bytes JoinedFiles::size() const {
  Bytes bytes = 0;
  for (const auto& file : files_) bytes += file->size();
  return bytes;
}

void JoinedFiles::read(std::uint64_t offset, Bytes bytes, void* destination) const {
  auto* to = static_cast<std::uint8_t*>(destination);
  for (std::size_t i = file_at(offset); bytes > 0; ++i) {
    const std::uint64_t inside = offset - begins_[i];
    const bool is_last = i + 1 == files_.size();
    // Beyond the end of the last file its own reading says what is wrong.
    const Bytes stored = files_[i]->size() > inside ? files_[i]->size() - inside : 0;
    const Bytes piece = is_last ? bytes : std::min(bytes, stored);
    if (piece > 0) files_[i]->read(inside, piece, to);
    if (is_last) return;
    const Bytes gap = std::min(bytes - piece, begins_[i + 1] - (offset + piece));
    std::memset(to + piece, 0, gap);
    offset += piece + gap;
    to += piece + gap;
    bytes -= piece + gap;
  }
}

std::vector<FileStamp> JoinedFiles::stamps() const {
  std::vector<FileStamp> stamps;
  for (const auto& file : files_) stamps.push_back(file->stamp());
  return stamps;
}

void JoinedFiles::check_unchanged() const {
  for (const auto& file : files_) file->check_unchanged();
}

Bytes JoinedFiles::memory_bytes() const {
  Bytes bytes = files_.capacity() * sizeof(files_[0]) + begins_.capacity() * sizeof(begins_[0]);
  for (const auto& file : files_) bytes += sizeof(InputFile) + file->path().capacity();
  return bytes;
}

}  // namespace plimsoll
