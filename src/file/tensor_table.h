// Reads the tensor table of a GGUF header and checks that the tensors lie inside the file, apart
// from each other.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "file/header_bytes.h"
#include "file/model_file.h"

namespace plimsoll {

constexpr std::int64_t default_alignment = 32;
constexpr std::string_view alignment_key = "general.alignment";
/// A power of two that is a multiple of 8, as the specification wants it.
constexpr bool is_alignment(std::int64_t value) { return value >= 8 && (value & (value - 1)) == 0; }

/// Bytes of `rows` rows of `columns` values, a multiple of the block; empty where they do not fit
/// 64 bits.
std::optional<Bytes> tensor_bytes(const Format& format, std::int64_t columns, std::int64_t rows);

struct TensorTable {
  std::vector<TensorInfo> tensors;     ///< in file order
  std::vector<std::uint32_t> by_name;  ///< indices, sorted by name
};

/// Fills by_name. The first name that is there twice, or empty.
std::optional<std::string_view> index_names(TensorTable& table);

/// `count` tensors from the cursor on, in a file of `file_bytes`. The data start at the next
/// multiple of `alignment`. Throws Error: file_corrupt (claims beyond the file's end, empty or
/// overflowing shapes, rows that are no whole number of blocks, misaligned or overlapping tensors,
/// duplicate names), unsupported_format naming the tensor and its type. Empty RoPE factors are left out.
TensorTable read_tensor_table(HeaderCursor& cursor, std::uint64_t count, std::int64_t alignment,
                              Bytes file_bytes);

}  // namespace plimsoll
