// The cost model against sums by hand.
#include "plan/costs.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "planes/planes.h"

namespace plimsoll {
namespace {

/// Round numbers: reading 1 GB/s and 1.5 GB/s, some ten times that from caches.
Machine machine() {
  Machine m;
  m.cache_bytes = 32 * KiB;
  m.speeds = {{1, 1e9, 10e9, 1, 1e-6, 1e-6}, {2, 1.5e9, 20e9, 2, 2e-6, 2e-6}};
  // Seconds per weight for 1, 2, 4, 8, 16, 64 and 256 tokens.
  m.formats = {{FormatId::F16, {1e-9, 2e-9, 4e-9, 8e-9, 16e-9, 64e-9, 256e-9}, {0.8, 0.9}},
               {FormatId::Q8_0, {5e-9, 6e-9, 8e-9, 12e-9, 20e-9, 60e-9, 220e-9}, {0.5, 0.75}}};
  m.element_seconds = 1e-9;
  m.quantise_seconds = 3e-9;
  m.key_seconds = 10e-9;
  m.query_seconds = 2e-9;
  m.prefill_query_seconds = 7e-9;
  return m;
}

TEST(Costs, OneMatrixIsReadOrComputed) {
  const Machine m = machine();
  const Format &f16 = format(FormatId::F16), &q8 = format(FormatId::Q8_0);
  constexpr double weights = 512 * 1024;
  // F16 reads two bytes at 0.8 GB/s, 2.5 ns, computing takes 1.
  EXPECT_DOUBLE_EQ(decode_seconds(m, f16, 512, 1024, 1), weights * 2 / 0.8e9);
  EXPECT_DOUBLE_EQ(decode_seconds(m, f16, 512, 1024, 2), weights * 2 / (1.5e9 * 0.9));
  // Q8_0 computes for 5 ns, reading takes 2.1; with two workers 2.5 and 0.9.
  EXPECT_DOUBLE_EQ(decode_seconds(m, q8, 512, 1024, 1), weights * 5e-9);
  EXPECT_DOUBLE_EQ(decode_seconds(m, q8, 512, 1024, 2), weights * 2.5e-9);
  // More workers than were measured are no faster than those.
  EXPECT_EQ(decode_seconds(m, q8, 512, 1024, 9), decode_seconds(m, q8, 512, 1024, 2));
  EXPECT_THROW(decode_seconds(m, format(FormatId::Q4_0), 512, 1024, 1), Error);
}

/// One layer of the llama family: width 64, 4 heads of 16, 2 of keys, 128 in between, 1,000 tokens.
class Model {
 public:
  explicit Model(FormatId matrices, bool tied = false) {
    d_.layers = 1;
    d_.width = 64;
    d_.heads = 4;
    d_.kv_heads = 2;
    d_.head_dim = 16;
    d_.feed_forward = 128;
    d_.vocabulary = 1000;
    d_.per_layer.resize(1);
    const auto add = [&](Role role, std::int64_t layer, std::int64_t rows, std::int64_t columns) {
      uses_.push_back({{role, layer, "", rows, columns, true}, nullptr});
      formats_.push_back(&format(rows == 1 ? FormatId::F32 : matrices));
    };
    add(Role::token_embedding, -1, 1000, 64);
    if (!tied) add(Role::output, -1, 1000, 64);
    add(Role::output_norm, -1, 1, 64);
    add(Role::q, 0, 64, 64);
    add(Role::k, 0, 32, 64);
    add(Role::v, 0, 32, 64);
    add(Role::attention_output, 0, 64, 64);
    add(Role::gate, 0, 128, 64);
    add(Role::up, 0, 128, 64);
    add(Role::down, 0, 64, 128);
  }
  ModelShape shape() const { return {d_, uses_, formats_}; }
  Description& description() { return d_; }

  static constexpr double layer_weights = 64 * (64 + 32 + 32 + 64 + 3 * 128);
  static constexpr double output_weights = 1000 * 64;
  /// Of a token: inputs that are rounded, and everything else but the logits.
  static constexpr double inputs = 64 + 64 + 64 + 128, elements = 4 * 64 + 128 + 128;

 private:
  Description d_;
  std::vector<TensorUse> uses_;
  std::vector<const Format*> formats_;
};

TEST(Costs, DecodingIsTheSumOfItsParts) {
  const Machine m = machine();
  const Model model(FormatId::F16);
  const double rest = Model::inputs * 3e-9 + Model::elements * 1e-9 + 1000 * 1e-9;
  // 100,864 weights of two bytes are more than the caches hold. Each of 11 positions costs 2 heads
  // of 16 at 10 ns and 4 at 2 ns.
  EXPECT_NEAR(decode_seconds(m, model.shape(), 10, 1, 1),
              (Model::layer_weights + Model::output_weights) * 2 / 0.8e9 + rest + 6 * 1e-6 +
                  11 * (32 * 10e-9 + 64 * 2e-9),
              1e-15);
  // Two workers share the products and the heads; one does the rest.
  EXPECT_NEAR(decode_seconds(m, model.shape(), 10, 1, 2),
              (Model::layer_weights + Model::output_weights) * 2 / (1.5e9 * 0.9) + rest + 6 * 2e-6 +
                  11 * (32 * 10e-9 + 64 * 2e-9) / 2,
              1e-15);
}

TEST(Costs, WhatFitsTheCachesIsReadFromThere) {
  Machine m = machine();
  const Model model(FormatId::F16);
  const double from_memory = decode_seconds(m, model.shape(), 0, 1, 1);
  m.cache_bytes = 1 * MiB;
  EXPECT_NEAR(from_memory - decode_seconds(m, model.shape(), 0, 1, 1),
              (Model::layer_weights + Model::output_weights) * 1.5e-9, 1e-15);
}

TEST(Costs, ProductsAndTheRestAreTheWhole) {
  Machine m = machine();
  for (const WeightPlace place : {WeightPlace::memory, WeightPlace::cache})
    for (const bool tied : {false, true})
      for (const std::int64_t sequences : {1, 3, 20}) {
        m.cache_bytes = place == WeightPlace::cache ? 1 * MiB : 32 * KiB;
        const Model model(FormatId::Q8_0, tied);
        const ModelShape shape = model.shape();
        const std::vector<bool> is_product = find_products(shape.uses);
        double sum = decode_seconds_without_products(m, shape.description, 10, sequences, 2, place);
        for (std::size_t i = 0; i < is_product.size(); ++i)
          if (is_product[i])
            sum += decode_seconds(m, *shape.formats[i], shape.uses[i].slot.rows,
                                  shape.uses[i].slot.columns, 2, sequences, place);
        EXPECT_NEAR(sum, decode_seconds(m, shape, 10, sequences, 2), 1e-15);
      }
}

TEST(Costs, ATiedEmbeddingIsMultipliedAndAnotherIsNot) {
  const Machine m = machine();
  const Model tied(FormatId::F16, true), own(FormatId::F16, false);
  EXPECT_DOUBLE_EQ(decode_seconds(m, tied.shape(), 5, 1, 1),
                   decode_seconds(m, own.shape(), 5, 1, 1));
}

TEST(Costs, AWindowBoundsAttention) {
  const Machine m = machine();
  Model model(FormatId::Q8_0);
  const double deep = decode_seconds(m, model.shape(), 1000, 1, 1);
  model.description().per_layer[0].window = 100;
  EXPECT_NEAR(deep - decode_seconds(m, model.shape(), 1000, 1, 1), 901 * (32 * 10e-9 + 64 * 2e-9),
              1e-12);
}

TEST(Costs, PrefillGoesByChunks) {
  const Machine m = machine();
  const Model model(FormatId::Q8_0);
  const double token = Model::inputs * 3e-9 + Model::elements * 1e-9;
  // 40 tokens lie halfway between 16 and 64: (20 + 60) / 2 ns. Positions seen: 1 + 2 + ... + 40.
  const double chunk = Model::layer_weights * 40e-9 + 40 * token + 820.0 * 64 * 7e-9;
  EXPECT_NEAR(prefill_seconds(m, model.shape(), 0, 40, 40, 1),
              chunk + Model::output_weights * 5e-9 + 1000 * 1e-9 + 13 * 1e-6, 1e-12);
  // The second of two chunks sees 40 positions more per token; logits only once.
  EXPECT_NEAR(
      prefill_seconds(m, model.shape(), 0, 80, 40, 1),
      2 * chunk + 1600.0 * 64 * 7e-9 + Model::output_weights * 5e-9 + 1000 * 1e-9 + 26 * 1e-6,
      1e-12);
  EXPECT_NEAR(
      prefill_seconds(m, model.shape(), 40, 40, 40, 1) +
          prefill_seconds(m, model.shape(), 0, 40, 40, 1),
      prefill_seconds(m, model.shape(), 0, 80, 40, 1) + Model::output_weights * 5e-9 + 1000 * 1e-9,
      1e-12);
}

TEST(Costs, EveryProductFromMemoryHasToStart) {
  const Model model(FormatId::F16);
  Machine m = machine();
  m.cache_bytes = 0;
  const double before = decode_seconds(m, model.shape(), 100, 1, 1);
  m.speeds[0].product_start_seconds += 3e-6;
  const auto products = static_cast<double>(4 * model.shape().description.layers + 1);
  EXPECT_NEAR(decode_seconds(m, model.shape(), 100, 1, 1), before + products * 3e-6, 1e-12);
  m.cache_bytes = 1 << 30;
  const double cached = decode_seconds(m, model.shape(), 100, 1, 1);
  m.speeds[0].product_start_seconds += 3e-6;
  EXPECT_EQ(decode_seconds(m, model.shape(), 100, 1, 1), cached);
}

TEST(Costs, MoreWorkersAreNeverSlowerWhereDispatchIsCheap) {
  Machine m = machine();
  for (WorkerSpeeds& speeds : m.speeds)
    speeds.dispatch_seconds = speeds.product_start_seconds = 1e-9;
  for (const FormatId id : {FormatId::F16, FormatId::Q8_0}) {
    const Model model(id);
    for (const std::int64_t n : {1, 3, 8, 64, 300}) {
      EXPECT_LT(decode_seconds(m, model.shape(), 100, n, 2),
                decode_seconds(m, model.shape(), 100, n, 1));
      EXPECT_LT(prefill_seconds(m, model.shape(), 0, n, 256, 2),
                prefill_seconds(m, model.shape(), 0, n, 256, 1));
    }
    // Sequences together are cheaper than one after another, and more than one alone.
    EXPECT_LT(decode_seconds(m, model.shape(), 100, 8, 2),
              8 * decode_seconds(m, model.shape(), 100, 1, 2));
    EXPECT_GT(decode_seconds(m, model.shape(), 100, 8, 2),
              decode_seconds(m, model.shape(), 100, 1, 2));
  }
}

}  // namespace
}  // namespace plimsoll
