#include "fit/recipes.h"

#include <algorithm>

namespace plimsoll {
namespace {

/// Of Llama 3.1 8B, as the table in llama.cpp's tools/quantize/README.md has them.
constexpr Recipe table[] = {{"IQ2_M", 2.9294},  {"IQ3_XS", 3.4977}, {"IQ3_M", 3.7628},
                            {"Q2_K_S", 2.9697}, {"Q3_K_S", 3.6429}, {"Q3_K_M", 3.9960},
                            {"Q3_K_L", 4.2979}, {"Q4_K_S", 4.6672}, {"Q4_K_M", 4.8944},
                            {"Q5_K_S", 5.5704}, {"Q5_K_M", 5.7036}};

}  // namespace

std::span<const Recipe> recipes() { return table; }

std::optional<double> recipe_bits(std::string_view name) {
  const auto* row = std::ranges::find(table, name, &Recipe::name);
  return row != std::end(table) ? std::optional(row->bits) : std::nullopt;
}

}  // namespace plimsoll
