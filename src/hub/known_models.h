// The short list of names that stand for a model.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/bytes.h"

namespace plimsoll {

/// A Python package whose wheel holds the file: a second place, reached wherever packages can be.
struct PackagedFile {
  std::string_view package, version, member;  ///< `member` is the path inside the wheel
  std::string_view sha256;                    ///< of the member
  Bytes bytes = 0;                            ///< of the member
};

/// `name` is FAMILY:SIZE; the family alone means its first row.
struct KnownModel {
  std::string_view name;
  std::string_view repo, file;  ///< on the hub
  std::string_view summary;
  const PackagedFile* packaged = nullptr;  ///< asked first where there is one
};

std::span<const KnownModel> known_models();

/// By name in any case, with or without its size; null where there is none.
const KnownModel* find_known_model(std::string_view name);

}  // namespace plimsoll
