// What the bytes of the codebook formats' blocks say, in one form for all of them.
#pragma once

#include <cstdint>
#include <cstring>

#include "format/bits.h"
#include "format/codebook_grids.h"
#include "format/codecs.h"

namespace plimsoll::codecs {

/// A block taken apart. A mark is a bit per column: a negative sign, or, in IQ1, a shift down.
struct CodebookBlock {
  std::uint16_t super_scale = 0;  ///< f16 bits
  std::uint8_t scales[16] = {};   ///< by scale_width columns, odd
  std::uint16_t points[64] = {};  ///< of the grid, by Grid::coordinates columns
  std::uint8_t marks[32] = {};    ///< by eight columns, the lowest bit for the first
};

/// Which marks a format can store.
enum class Marks {
  any,        ///< eight bits for eight columns
  even,       ///< seven: the number of ones is even
  octet,      ///< one: all eight columns or none
  all_group,  ///< one for all columns that share a scale
};

template <FormatId id>
struct CodebookRules;
template <>
struct CodebookRules<FormatId::IQ2_XXS> : IQ2_XXS {
  static constexpr const auto& grid = iq2_xxs_grid;
  static constexpr Marks marks = Marks::even;
  static constexpr int greatest_scale = 31;
};
template <>
struct CodebookRules<FormatId::IQ2_XS> : IQ2_XS {
  static constexpr const auto& grid = iq2_xs_grid;
  static constexpr Marks marks = Marks::even;
  static constexpr int greatest_scale = 31;
};
template <>
struct CodebookRules<FormatId::IQ2_S> : IQ2_S {
  static constexpr const auto& grid = iq2_s_grid;
  static constexpr Marks marks = Marks::any;
  static constexpr int greatest_scale = 31;
};
template <>
struct CodebookRules<FormatId::IQ3_XXS> : IQ3_XXS {
  static constexpr const auto& grid = iq3_xxs_grid;
  static constexpr Marks marks = Marks::even;
  static constexpr int greatest_scale = 31;
};
template <>
struct CodebookRules<FormatId::IQ3_S> : IQ3_S {
  static constexpr const auto& grid = iq3_s_grid;
  static constexpr Marks marks = Marks::any;
  static constexpr int greatest_scale = 31;
};
template <>
struct CodebookRules<FormatId::IQ1_S> : IQ1_S {
  static constexpr const auto& grid = iq1_grid;
  static constexpr Marks marks = Marks::all_group;
  static constexpr int greatest_scale = 15;
};
template <>
struct CodebookRules<FormatId::IQ1_M> : IQ1_M {
  static constexpr const auto& grid = iq1_grid;
  static constexpr Marks marks = Marks::octet;
  static constexpr int greatest_scale = 15;
};

template <FormatId id>
CodebookBlock unpack(const std::uint8_t* block);
template <FormatId id>
void pack(const CodebookBlock& parts, std::uint8_t* block);

/// The codes of eight columns, one to a byte.
template <class Rules>
inline std::uint64_t octet_codes(const CodebookBlock& parts, int octet) {
  constexpr auto& grid = Rules::grid;
  constexpr int each = 8 / grid.coordinates;
  std::uint64_t levels;
  auto* const bytes = reinterpret_cast<std::uint8_t*>(&levels);
  for (int i = 0; i < each; ++i)
    std::memcpy(bytes + i * grid.coordinates, grid.levels_of[parts.points[octet * each + i]],
                static_cast<std::size_t>(grid.coordinates));
  return levels | spread_bits(parts.marks[octet]) << mark_bit;
}

}  // namespace plimsoll::codecs
