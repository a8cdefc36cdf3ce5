// The names under which plan/loading_time.cpp, which is on its way to another folder, knows the
// rows' way (rows/row_converter.h). Goes when it has arrived there.
#pragma once

#include <algorithm>

#include "rows/row_converter.h"

namespace plimsoll {

using MatrixSource = Conversion;

inline Bytes chunk_staging_bytes(const TensorInfo& info) {
  return piece_staging_bytes(*info.format, std::min(chunk_rows(info), info.rows()), info.columns());
}

inline const std::uint8_t* read_chunk(const ModelFile& file, const TensorInfo& info,
                                      std::int64_t begin, std::int64_t end, std::byte* staging) {
  return read_piece(file, info, {begin, end - begin, 0, info.columns()}, staging);
}

}  // namespace plimsoll
