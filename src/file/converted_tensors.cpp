#include "file/converted_tensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "base/error.h"

namespace plimsoll {
namespace {

constexpr Bytes page = 4 * KiB;
/// Rows that are put in another order pass through a buffer of about this size.
constexpr Bytes buffer_bytes = 512 * KiB;
constexpr Bytes vector_alignment = 32;

/// Where value or row `row` of what comes out stands in the file.
std::int64_t source_row(std::int64_t row, std::int64_t head_rows) {
  if (head_rows == 0) return row;
  const std::int64_t in_head = row % head_rows;
  return row - in_head + in_head % 2 * (head_rows / 2) + in_head / 2;
}

/// The whole of a vector as F32.
std::vector<float> vector_values(const ConvertedTensor& tensor) {
  if (!tensor.file) return tensor.values;
  std::vector<std::uint8_t> raw(row_bytes(*tensor.stored, tensor.columns));
  tensor.file->read(tensor.from, raw.size(), raw.data());
  std::vector<float> values(static_cast<std::size_t>(tensor.columns));
  tensor.stored->decode(raw.data(), values.data(), tensor.columns);
  for (float& value : values) value += tensor.added;
  if (tensor.head_rows == 0) return values;
  std::vector<float> ordered(values.size());
  for (std::size_t i = 0; i < values.size(); ++i)
    ordered[i] = values[static_cast<std::size_t>(
        source_row(static_cast<std::int64_t>(i), tensor.head_rows))];
  return ordered;
}

/// Reads a range of bytes of a matrix whose heads' rows are interleaved: blocks of rows as they
/// stand in the file into a buffer, from there each row to its place.
class InterleavedReader {
 public:
  InterleavedReader(const ConvertedTensor& tensor, std::uint64_t begin, Bytes bytes,
                    std::uint8_t* destination)
      : tensor_(tensor),
        row_(row_bytes(*tensor.stored, tensor.columns)),
        begin_(begin),
        end_(begin + bytes),
        destination_(destination),
        block_rows_(static_cast<std::int64_t>(std::max<Bytes>(1, buffer_bytes / row_))),
        buffer_(static_cast<std::uint8_t*>(std::aligned_alloc(
                    page, round_up(static_cast<Bytes>(block_rows_) * row_ + page, page))),
                std::free) {
    if (!buffer_) throw std::bad_alloc();
  }

  void read() {
    const std::int64_t head = tensor_.head_rows, half = head / 2;
    auto row = static_cast<std::int64_t>(begin_ / row_);
    const auto last = static_cast<std::int64_t>((end_ + row_ - 1) / row_);
    while (row < last) {
      const std::int64_t first_of_head = row - row % head;
      if (head <= block_rows_) {
        // Whole heads: their rows stand together in the file.
        const std::int64_t heads = std::min(block_rows_, last - first_of_head + head - 1) / head;
        take(first_of_head, heads * head);
        row = first_of_head + heads * head;
        continue;
      }
      // Both halves of a few pairs.
      const std::int64_t pair = (row - first_of_head) / 2;
      const std::int64_t pairs =
          std::min({block_rows_, half - pair, (last - first_of_head + 1) / 2 - pair});
      take(first_of_head + pair, pairs);
      take(first_of_head + half + pair, pairs);
      row = first_of_head + 2 * (pair + pairs);
    }
  }

 private:
  /// Reads `count` rows of the file from `first` on and puts them, or what is wanted of them, in
  /// their places.
  void take(std::int64_t first, std::int64_t count) {
    const std::uint64_t from = tensor_.from + static_cast<Bytes>(first) * row_;
    std::uint8_t* const rows = buffer_.get() + from % page;
    tensor_.file->read(from, static_cast<Bytes>(count) * row_, rows);
    const std::int64_t head = tensor_.head_rows, half = head / 2;
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t in_head = (first + i) % head;
      const std::int64_t target = first + i - in_head + in_head % half * 2 + in_head / half;
      const std::uint64_t row_begin = static_cast<Bytes>(target) * row_;
      const std::uint64_t begin = std::max(begin_, row_begin);
      const std::uint64_t end = std::min(end_, row_begin + row_);
      if (begin < end)
        std::memcpy(destination_ + (begin - begin_),
                    rows + static_cast<Bytes>(i) * row_ + (begin - row_begin), end - begin);
    }
  }

  const ConvertedTensor& tensor_;
  Bytes row_;
  std::uint64_t begin_, end_;  ///< of the matrix's bytes
  std::uint8_t* destination_;
  std::int64_t block_rows_;
  std::unique_ptr<std::uint8_t, void (*)(void*)> buffer_;
};

void read_tensor(const ConvertedTensor& tensor, std::uint64_t begin, Bytes bytes,
                 std::uint8_t* destination) {
  if (tensor.is_vector) {
    const std::vector<float> values = vector_values(tensor);
    std::memcpy(destination, reinterpret_cast<const std::uint8_t*>(values.data()) + begin, bytes);
  } else if (tensor.head_rows > 0) {
    InterleavedReader(tensor, begin, bytes, destination).read();
  } else {
    tensor.file->read(tensor.from + begin, bytes, destination);
  }
}

}  // namespace

const Format& ConvertedTensor::format() const {
  return is_vector ? plimsoll::format(FormatId::F32) : *stored;
}

Bytes ConvertedTensor::bytes() const {
  return static_cast<Bytes>(rows) * row_bytes(format(), columns);
}

ConvertedTensors::ConvertedTensors(std::string path, std::vector<std::unique_ptr<InputFile>> files)
    : path_(std::move(path)), files_(std::move(files)) {
  for (const auto& file : files_) size_ += file->size();
}

std::uint64_t ConvertedTensors::add(ConvertedTensor tensor) {
  const Bytes bytes = tensor.bytes();
  std::uint64_t offset = round_up(end_, vector_alignment);
  if (!tensor.is_vector) {
    offset = round_down(end_, page) + tensor.from % page;
    if (offset < end_) offset += page;
  }
  end_ = offset + bytes;
  placed_.push_back({offset, bytes, std::move(tensor)});
  return offset;
}

void ConvertedTensors::read(std::uint64_t offset, Bytes bytes, void* destination) const {
  auto* to = static_cast<std::uint8_t*>(destination);
  auto next = std::ranges::upper_bound(placed_, offset, {}, &Placed::offset);
  if (next != placed_.begin()) --next;
  while (bytes > 0) {
    if (next == placed_.end())
      throw Error(ErrorCode::file_corrupt,
                  fmt::format("{}: wanted {} bytes behind the last tensor", path_, bytes));
    const std::uint64_t end = next->offset + next->bytes;
    if (offset >= end) {
      ++next;
      continue;
    }
    // Between tensors there is nothing: zeros.
    const bool is_gap = offset < next->offset;
    const Bytes piece = std::min(bytes, (is_gap ? next->offset : end) - offset);
    if (is_gap)
      std::memset(to, 0, piece);
    else
      read_tensor(next->tensor, offset - next->offset, piece, to);
    offset += piece;
    to += piece;
    bytes -= piece;
  }
}

std::vector<std::string> ConvertedTensors::paths() const {
  std::vector<std::string> paths;
  for (const auto& file : files_) paths.push_back(file->path());
  return paths;
}

std::vector<FileStamp> ConvertedTensors::stamps() const {
  std::vector<FileStamp> stamps;
  for (const auto& file : files_) stamps.push_back(file->stamp());
  return stamps;
}

void ConvertedTensors::check_unchanged() const {
  for (const auto& file : files_) file->check_unchanged();
}

Bytes ConvertedTensors::memory_bytes() const {
  Bytes bytes = placed_.capacity() * sizeof(Placed) + files_.capacity() * sizeof(files_[0]) +
                files_.size() * sizeof(InputFile);
  for (const Placed& placed : placed_) bytes += placed.tensor.values.capacity() * sizeof(float);
  return bytes;
}

}  // namespace plimsoll
