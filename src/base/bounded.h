// Sizes made of numbers that a file or a flag claims: sums and products that stop at a bound beyond
// every machine, so that none of them wraps round and seems to fit.
#pragma once

#include <algorithm>
#include <initializer_list>

#include "base/bytes.h"

namespace plimsoll {

/// More than any machine has, yet so far below 2^64 that rounding up and adding some of them is
/// exact.
constexpr Bytes most_bytes = Bytes{1} << 59;

constexpr Bytes bounded_product(std::initializer_list<std::uint64_t> factors) {
  Bytes product = 1;
  bool beyond = false;
  for (const std::uint64_t factor : factors) {
    if (factor == 0) return 0;
    beyond |= product > most_bytes / factor;
    if (!beyond) product *= factor;
  }
  return beyond ? most_bytes : product;
}

constexpr Bytes bounded_sum(std::initializer_list<Bytes> terms) {
  Bytes sum = 0;
  for (const Bytes term : terms) sum = std::min(most_bytes, sum + std::min(most_bytes, term));
  return sum;
}

}  // namespace plimsoll
