// How long the header of a model file is, from its first bytes.
#pragma once

#include <cstdint>
#include <span>

#include "base/bytes.h"

namespace plimsoll {

struct HeaderScan {
  bool is_complete = false;
  /// The header's length when complete; otherwise a length that it certainly reaches, more than was given.
  Bytes bytes = 0;
};

/// Of a GGUF file (versions 2 and 3), up to the last entry of its tensor table. Throws Error(file_corrupt) for what is none,
/// which names a web page as such; versions and contents are for opening to judge.
HeaderScan scan_gguf_header(std::span<const std::uint8_t> begin);

/// Of a safetensors file: eight bytes of length and a JSON object. Throws likewise.
HeaderScan scan_safetensors_header(std::span<const std::uint8_t> begin);

/// Throws Error(network_failed) when the first bytes of a body are those of a web page, and `path` should be none.
void refuse_web_page(std::span<const std::uint8_t> begin, std::string_view path);

}  // namespace plimsoll
