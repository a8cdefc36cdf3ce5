#include "format/format.h"

#include <algorithm>

#include "base/error.h"
#include "format/codecs.h"

namespace plimsoll {
namespace {

template <class Codec>
constexpr Format dense(FormatId id, std::string_view name) {
  return {.id = id,
          .name = name,
          .kind = Format::Kind::dense,
          .block_values = Codec::block_values,
          .block_bytes = Codec::block_bytes,
          .layout = {},
          .split = nullptr,
          .join = nullptr,
          .decode = Codec::decode,
          .encode = Codec::encode,
          .encode_weighted = nullptr,
          .leading = nullptr};
}

template <class Codec>
constexpr Format coded(FormatId id, std::string_view name) {
  return {.id = id,
          .name = name,
          .kind = Format::Kind::coded,
          .block_values = Codec::block_values,
          .block_bytes = Codec::block_bytes,
          .layout = Codec::layout,
          .split = Codec::split,
          .join = Codec::join,
          .decode = Codec::decode,
          .encode = Codec::encode,
          .encode_weighted = nullptr,
          .leading = nullptr};
}

template <class Codec>
constexpr Format codebook(FormatId id, std::string_view name) {
  return {.id = id,
          .name = name,
          .kind = Format::Kind::coded,
          .block_values = Codec::block_values,
          .block_bytes = Codec::block_bytes,
          .layout = Codec::layout,
          .split = Codec::split,
          .join = nullptr,
          .decode = Codec::decode,
          .encode = Codec::encode,
          .encode_weighted = Codec::encode_weighted,
          .leading = nullptr};
}

/// Its leading four bits are rounded first, where they stand in its own blocks.
template <class Codec>
constexpr Format leading_of = coded<codecs::Nested<4, Codec::block_bytes>>(FormatId::NEST4,
                                                                           "NEST4");

template <class Codec>
constexpr Format nested(FormatId id, std::string_view name) {
  Format f = coded<Codec>(id, name);
  f.leading = &leading_of<Codec>;
  return f;
}

constexpr Format table[] = {
    dense<codecs::F32>(FormatId::F32, "F32"),
    dense<codecs::F16>(FormatId::F16, "F16"),
    coded<codecs::Q4_0>(FormatId::Q4_0, "Q4_0"),
    coded<codecs::Q4_1>(FormatId::Q4_1, "Q4_1"),
    coded<codecs::Q5_0>(FormatId::Q5_0, "Q5_0"),
    coded<codecs::Q5_1>(FormatId::Q5_1, "Q5_1"),
    coded<codecs::Q8_0>(FormatId::Q8_0, "Q8_0"),
    coded<codecs::Q2_K>(FormatId::Q2_K, "Q2_K"),
    coded<codecs::Q3_K>(FormatId::Q3_K, "Q3_K"),
    coded<codecs::Q4_K>(FormatId::Q4_K, "Q4_K"),
    coded<codecs::Q5_K>(FormatId::Q5_K, "Q5_K"),
    coded<codecs::Q6_K>(FormatId::Q6_K, "Q6_K"),
    codebook<codecs::IQ2_XXS>(FormatId::IQ2_XXS, "IQ2_XXS"),
    codebook<codecs::IQ2_XS>(FormatId::IQ2_XS, "IQ2_XS"),
    codebook<codecs::IQ3_XXS>(FormatId::IQ3_XXS, "IQ3_XXS"),
    codebook<codecs::IQ1_S>(FormatId::IQ1_S, "IQ1_S"),
    coded<codecs::IQ4_NL>(FormatId::IQ4_NL, "IQ4_NL"),
    codebook<codecs::IQ3_S>(FormatId::IQ3_S, "IQ3_S"),
    codebook<codecs::IQ2_S>(FormatId::IQ2_S, "IQ2_S"),
    coded<codecs::IQ4_XS>(FormatId::IQ4_XS, "IQ4_XS"),
    codebook<codecs::IQ1_M>(FormatId::IQ1_M, "IQ1_M"),
    dense<codecs::BF16>(FormatId::BF16, "BF16"),
    coded<codecs::TQ1_0>(FormatId::TQ1_0, "TQ1_0"),
    coded<codecs::TQ2_0>(FormatId::TQ2_0, "TQ2_0"),
    coded<codecs::MXFP4>(FormatId::MXFP4, "MXFP4"),
    coded<codecs::NVFP4>(FormatId::NVFP4, "NVFP4"),
    coded<codecs::Nested<4>>(FormatId::NEST4, "NEST4"),
    nested<codecs::Nested<6>>(FormatId::NEST6, "NEST6"),
    nested<codecs::Nested<8>>(FormatId::NEST8, "NEST8"),
};

constexpr bool in_order_of_id() {
  return std::is_sorted(std::begin(table), std::end(table),
                        [](const Format& a, const Format& b) { return a.id < b.id; });
}
static_assert(in_order_of_id());

}  // namespace

std::span<const Format> formats() { return table; }

const Format* find_format(std::uint32_t id) {
  const auto row = std::ranges::lower_bound(
      table, id, {}, [](const Format& f) { return static_cast<std::uint32_t>(f.id); });
  return row != std::end(table) && static_cast<std::uint32_t>(row->id) == id ? row : nullptr;
}

const Format* find_format(std::string_view name) {
  const auto row = std::ranges::find(table, name, &Format::name);
  return row != std::end(table) ? row : nullptr;
}

std::span<const Format* const> levels_below(const Format& f) {
  static const Format* const nested_levels[] = {&format(FormatId::NEST4), &format(FormatId::NEST6)};
  const std::span<const Format* const> all = nested_levels;
  return f.id == FormatId::NEST8 ? all : f.id == FormatId::NEST6 ? all.first(1) : all.first(0);
}

bool is_level_of(const Format& f, const Format& level) {
  return std::ranges::find(levels_below(f), &level) != levels_below(f).end();
}

void lower(const Format& from, const Format& level, const std::uint8_t* blocks,
           std::uint8_t* lowered, std::int64_t count) {
  BlockParts parts;
  for (std::int64_t b = 0; b < count; ++b) {
    from.split(blocks + b * from.block_bytes, &parts, 1);
    for (int i = 0; i < from.block_values; ++i)
      parts.codes[i] =
          static_cast<std::uint8_t>(parts.codes[i] >> (from.layout.bits - level.layout.bits));
    level.join(&parts, lowered + b * level.block_bytes, 1);
  }
}

const Format& format(FormatId id) {
  const Format* row = find_format(static_cast<std::uint32_t>(id));
  if (!row)
    throw Error(ErrorCode::internal,
                "format " + std::to_string(static_cast<std::uint32_t>(id)) + " has no row");
  return *row;
}

}  // namespace plimsoll
