#include "kernels/kernels.h"

#include <cstddef>

namespace plimsoll {

namespace reference {
extern const Kernels table;
}
#if defined(__x86_64__)
namespace avx2 {
extern const Kernels table;
}
namespace avx512 {
extern const Kernels table;
}
#elif defined(__aarch64__)
namespace neon {
extern const Kernels table;
}
#endif

const Kernels& kernels_for(Isa isa) {
  switch (isa) {
#if defined(__x86_64__)
    case Isa::avx512:
      return avx512::table;
    case Isa::avx2:
      return avx2::table;
#elif defined(__aarch64__)
    case Isa::neon:
      return neon::table;
#endif
    default:
      return reference::table;
  }
}

namespace {
constexpr std::int64_t aligned(std::int64_t bytes) { return (bytes + 63) / 64 * 64; }
/// Room for pairs of tokens.
constexpr std::int64_t even(std::int64_t tokens) { return (tokens + 1) / 2 * 2; }
}  // namespace

std::int64_t quantised_bytes(std::int64_t tokens, std::int64_t columns) {
  const std::int64_t room = even(tokens) * columns;
  return aligned(room) + aligned(room / 8) + 3 * aligned(room / 4) + aligned(tokens * 4);
}

QuantisedActivations place_quantised(void* memory, std::int64_t tokens, std::int64_t columns) {
  auto* at = static_cast<std::byte*>(memory);
  const auto take = [&](std::int64_t bytes) {
    std::byte* place = at;
    at += aligned(bytes);
    return place;
  };
  const std::int64_t room = even(tokens) * columns;
  QuantisedActivations result{};
  result.codes = reinterpret_cast<std::int8_t*>(take(room));
  result.steps = reinterpret_cast<float*>(take(room / 4));
  result.sums = reinterpret_cast<std::int32_t*>(take(room / 4));
  result.weighted_sums16 = reinterpret_cast<float*>(take(room / 4));
  result.weighted_sums32 = reinterpret_cast<float*>(take(room / 8));
  result.row_scales = reinterpret_cast<float*>(take(tokens * 4));
  result.columns = columns;
  result.tokens = tokens;
  return result;
}

}  // namespace plimsoll
