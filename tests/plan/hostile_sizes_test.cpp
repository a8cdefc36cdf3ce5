// Headers and flags that claim what no machine has: refused with a size, and nothing overflows on
// the way (the suite asan looks for that).
#include <gtest/gtest.h>

#include "base/bounded.h"
#include "base/error.h"
#include "cache/kv_shape.h"
#include "plan/plan.h"

namespace plimsoll {
namespace {

ModelFacts hostile_facts() {
  ModelFacts facts;
  Description& d = facts.description;
  d.layers = 4096;
  d.heads = d.kv_heads = 4096;
  d.head_dim = 1024;
  d.width = d.feed_forward = 1 << 20;
  d.vocabulary = 1 << 20;
  d.trained_context = std::int64_t{1} << 31;
  d.rope_dim = 1024;
  d.ropes.resize(1);
  d.per_layer.resize(4096);
  facts.weight_bytes = Bytes{1} << 40;
  facts.parameters = std::int64_t{1} << 40;
  return facts;
}

TEST(HostileSizes, TheCacheOfTheLargestHeaderDoesNotWrapRound) {
  // 4096 layers, keys and values, 4096 heads, 1024 codes of two bytes, 2^31 positions: 2^67.
  const auto bytes = [](std::size_t layers, KvLayerShape layer, std::int64_t context) {
    return KvNeeds(KvShape(layers, layer), {.context = context}).bytes;
  };
  EXPECT_GE(bytes(4096, {4096, 1024}, std::int64_t{1} << 31), most_bytes);
  // 2^64, which would be nothing at all.
  EXPECT_GE(bytes(4096, {4096, 1024}, std::int64_t{1} << 28), most_bytes);
  // What fits is exact: rows of codes with a unit each, in whole steps.
  EXPECT_EQ(bytes(32, {8, 128}, 4096),
            round_up(Bytes{32} * 2 * 8 * 4096 * (128 * 2 + 2) + kv_page_overhang, 2 * MiB));
}

TEST(HostileSizes, PlansRefuseThem) {
  const ModelFacts facts = hostile_facts();
  // The last ones multiply to 2^64 and 2^65.
  for (const std::int64_t context : {std::int64_t{1} << 31, std::int64_t{1} << 30,
                                     std::int64_t{1} << 29, std::int64_t{1} << 28})
    for (const std::int64_t sessions : {1, 2, 16, 256}) {
      PlanRequest request;
      request.budget = 64 * GiB;
      request.context = context;
      request.sessions = sessions;
      request.runtime_bytes = 8 * MiB;
      const Plan plan = make_plan(facts, request);
      EXPECT_FALSE(plan.fits) << context << " tokens, " << sessions << " sessions";
      EXPECT_GE(plan.peak_bytes, most_bytes) << context << " tokens, " << sessions << " sessions";
      EXPECT_THROW(refuse_unless_it_fits(plan), Error);
    }
}

TEST(HostileSizes, BoundedArithmetic) {
  constexpr std::uint64_t large = std::uint64_t{1} << 63;
  EXPECT_EQ(bounded_product({}), 1u);
  EXPECT_EQ(bounded_product({3, 5, 7}), 105u);
  EXPECT_EQ(bounded_product({large, large, 0}), 0u);
  EXPECT_EQ(bounded_product({0, large}), 0u);
  EXPECT_EQ(bounded_product({large, 2}), most_bytes);
  EXPECT_EQ(bounded_product({~std::uint64_t{0}, ~std::uint64_t{0}}), most_bytes);
  EXPECT_EQ(bounded_product({most_bytes, 1}), most_bytes);
  EXPECT_EQ(bounded_product({most_bytes / 2, 2}), most_bytes);
  EXPECT_EQ(bounded_sum({1, 2, 3}), 6u);
  EXPECT_EQ(bounded_sum({large, large}), most_bytes);
  EXPECT_EQ(bounded_sum({most_bytes, most_bytes, 1}), most_bytes);
}

}  // namespace
}  // namespace plimsoll
