// Reads one GGUF file's header: what it says of itself, and where its tensors are.
#pragma once

#include <cstdint>
#include <memory>

#include "file/header_bytes.h"
#include "file/input_file.h"
#include "file/metadata.h"
#include "file/tensor_table.h"

namespace plimsoll {

struct GgufHeader {
  std::unique_ptr<HeaderBytes> bytes;  ///< what the views in metadata and table point into
  std::uint32_t version = 0;
  Metadata metadata;
  TensorTable table;
};

/// Throws as ModelFile::open does for such a file.
/// `room`: bytes that it may take; throws Error(budget_refused) beyond.
GgufHeader read_gguf_header(const InputFile& file, Bytes room);

}  // namespace plimsoll
