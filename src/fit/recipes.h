// Names of mixes of formats that llama.cpp's quantiser knows, as sizes: users ask for files by
// them.
#pragma once

#include <optional>
#include <span>
#include <string_view>

namespace plimsoll {

/// Names that are formats too (Q6_K, IQ4_XS) are no recipes here: they mean the format.
struct Recipe {
  std::string_view name;  ///< "Q4_K_M"
  double bits;            ///< for each weight
};
std::span<const Recipe> recipes();

/// Empty for another name.
std::optional<double> recipe_bits(std::string_view name);

}  // namespace plimsoll
