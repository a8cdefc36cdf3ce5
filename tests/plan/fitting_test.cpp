// Plans that round weights: never over the budget, never worse for more bytes, and refused below
// the least.
#include <gtest/gtest.h>

#include <cmath>
#include <deque>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "model/weights.h"
#include "plan/plan.h"

namespace plimsoll {
namespace {

/// A model of the llama family as its header would say, with what rounding it costs.
class FittedPlan : public ::testing::Test {
 protected:
  FittedPlan() { describe(2048, 16, FormatId::F16); }

  void describe(std::int64_t width, std::int64_t layers, FormatId format_id) {
    facts_ = {};
    infos_.clear();
    Description& d = facts_.description;
    d.layers = layers;
    d.width = width;
    d.heads = width / 64;
    d.kv_heads = std::max<std::int64_t>(1, d.heads / 4);
    d.head_dim = 64;
    d.feed_forward = width * 3;
    d.vocabulary = 32000;
    d.trained_context = 8192;
    d.rope_dim = 64;
    d.ropes.resize(1);
    d.per_layer.resize(static_cast<std::size_t>(layers));
    std::uint64_t offset = 4096 + 32;
    for (const TensorSlot& slot : tensor_slots(d)) {
      const Format& of_slot = format(slot.is_vector() ? FormatId::F32 : format_id);
      TensorInfo info{};
      info.format = &of_slot;
      info.rank = slot.is_vector() ? 1 : 2;
      info.shape = {slot.columns, slot.rows, 1, 1};
      info.offset = offset;
      info.bytes = static_cast<Bytes>(slot.rows) * row_bytes(of_slot, slot.columns);
      offset += info.bytes;
      infos_.push_back(info);
      facts_.tensors.push_back({slot, &infos_.back()});
      facts_.parameters += slot.rows * slot.columns;
      facts_.file_tensor_bytes += info.bytes;
    }
    facts_.weight_bytes = Weights::memory_bytes(facts_.tensors);
    facts_.staging_bytes_per_worker = Weights::staging_bytes(facts_.tensors, 1);
    facts_.text_bytes = 3 * MiB;
  }

  /// Errors that fall by four for each bit; deeper layers mind less.
  QualityModel quality() const {
    QualityModel model;
    model.source = QualitySource::text;
    for (const TensorUse& use : facts_.tensors) {
      TensorQuality tensor;
      tensor.sensitivity = use.slot.is_vector() ? 0 : 0.4 / static_cast<double>(use.slot.layer + 2);
      for (std::vector<double>& errors : tensor.errors)
        for (const Format& f : formats())
          errors.push_back(
              &f == use.info->format
                  ? 0
                  : std::pow(4, -8.0 * f.block_bytes / static_cast<double>(f.block_values)));
      model.tensors.push_back(std::move(tensor));
    }
    return model;
  }

  Plan plan(Bytes budget, std::optional<std::int64_t> context = {},
            WeightPolicy policy = WeightPolicy::fit) const {
    PlanRequest request;
    request.budget = budget;
    request.context = context;
    request.threads = 2;
    request.runtime_bytes = 6 * MiB;
    request.policy = policy;
    request.quality = quality();
    return make_plan(facts_, request);
  }

  std::deque<TensorInfo> infos_;
  ModelFacts facts_;
};

TEST_F(FittedPlan, WhatFitsAsTheFileHasItIsLeftAlone) {
  const Plan exact = plan(4 * GiB, {}, WeightPolicy::exact);
  const Plan fitted = plan(4 * GiB);
  EXPECT_TRUE(fitted.fits);
  EXPECT_TRUE(fitted.formats.empty());
  EXPECT_EQ(fitted.kl_nats, 0);
  EXPECT_EQ(fitted.peak_bytes, exact.peak_bytes);
  EXPECT_EQ(fitted.context, exact.context);
  EXPECT_EQ(to_json(fitted)["quality"], "exact");
  // A shorter context than the default is no reason to round.
  const Plan tight = plan(exact.peak_bytes - 40 * MiB);
  EXPECT_TRUE(tight.formats.empty());
  EXPECT_GE(tight.context, fitted_context);
}

TEST_F(FittedPlan, EveryBudgetIsKeptAndMoreBytesNeverLoseMore) {
  double loss = 0;
  bool rounded = false;
  for (Bytes budget = 3 * GiB; budget > 200 * MiB; budget = budget * 19 / 20) {
    const Plan found = plan(budget, 1024);
    if (!found.fits) {
      EXPECT_LT(budget, plan(1, 1024).peak_bytes);
      continue;
    }
    EXPECT_LE(found.peak_bytes, budget);
    EXPECT_LE(found.loading_bytes, budget);
    if (found.formats.empty()) {
      EXPECT_FALSE(rounded) << "budgets fall: once rounded, always rounded";
      continue;
    }
    rounded = true;
    // Within the solver's gap.
    EXPECT_GE(found.kl_nats, loss * 0.99) << budget;
    loss = std::max(loss, found.kl_nats);
    // What is said is what loading will take.
    EXPECT_EQ(found.account(Account::weights),
              Weights::memory_bytes(facts_.tensors, found.formats));
    Bytes by_format = 0;
    for (const FormatShare& share : found.shares) by_format += share.bytes;
    EXPECT_EQ(by_format, found.account(Account::weights));
    double sum = 0;
    const QualityModel model = quality();
    for (std::size_t i = 0; i < found.formats.size(); ++i)
      sum += facts_.tensors[i].slot.is_vector()
                 ? 0
                 : model.tensors[i].loss(*found.formats[i], Rounding::plain, Reader::plimsoll);
    EXPECT_NEAR(found.kl_nats, sum, 1e-12);
    // The budget is used: what is free is less than a step of what the process holds, a chunk's
    // difference, and the gap of a tensor.
    EXPECT_GT(found.peak_bytes, budget - budget / 20);
  }
  EXPECT_TRUE(rounded);
}

TEST_F(FittedPlan, NeitherContextNorChunkEatTheWeights) {
  const Plan small = plan(600 * MiB);
  ASSERT_TRUE(small.fits);
  EXPECT_GE(small.context, short_context);
  EXPECT_LE(small.context, fitted_context);
  EXPECT_LE(small.account(Account::kv), 600 * MiB / 8);
  EXPECT_LE(small.account(Account::activations), 600 * MiB / 32);
  // One that was asked for is kept.
  const Plan asked = plan(600 * MiB, 4096);
  EXPECT_TRUE(asked.fits);
  EXPECT_EQ(asked.context, 4096);
  EXPECT_GT(asked.kl_nats, small.kl_nats);
}

TEST_F(FittedPlan, SmallDifferencesOfTheProcessChangeNothing) {
  PlanRequest request;
  request.budget = 700 * MiB;
  request.threads = 2;
  request.policy = WeightPolicy::fit;
  request.quality = quality();
  request.runtime_bytes = 6 * MiB;
  const Plan one = make_plan(facts_, request);
  request.runtime_bytes += 200 * KiB;
  EXPECT_EQ(make_plan(facts_, request).formats, one.formats);
}

TEST_F(FittedPlan, BelowTheLeastItIsRefusedWithWhatWouldDo) {
  const Plan refused = plan(100 * MiB);
  EXPECT_FALSE(refused.fits);
  EXPECT_GT(refused.least_bytes, 100 * MiB);
  EXPECT_GT(refused.least_kl_nats, 0);
  EXPECT_LT(refused.least_bytes, plan(100 * MiB, {}, WeightPolicy::exact).least_bytes / 4);
  try {
    refuse_unless_it_fits(refused);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(exit_code(error.code()), 3);
    EXPECT_NE(error.hint().find(std::to_string(refused.least_bytes)), std::string::npos);
    EXPECT_NE(error.message().find(format_nats(refused.least_kl_nats)), std::string::npos);
  }
  // What it offers works, and nothing less does.
  EXPECT_TRUE(plan(refused.least_bytes, short_context).fits);
  EXPECT_FALSE(plan(refused.least_bytes - 1, short_context).fits);
  EXPECT_TRUE(plan(refused.peak_bytes).fits);
}

TEST_F(FittedPlan, RowsThatNoBlockDividesAreKept) {
  describe(960 + 16, 2,
           FormatId::F32);  // 976 columns: no multiple of 32; feed-forward 2928 neither
  const Plan exact = plan(4 * GiB);
  const Plan found = plan(exact.account(Account::weights) * 3 / 4);
  ASSERT_TRUE(found.fits);
  EXPECT_GT(found.kept_tensors, 0);
  for (std::size_t i = 0; i < found.formats.size(); ++i)
    EXPECT_EQ(facts_.tensors[i].info->columns() % found.formats[i]->block_values, 0);
}

TEST_F(FittedPlan, CodedFilesAreRoundedFurther) {
  describe(2048, 16, FormatId::Q8_0);
  const Plan found = plan(plan(4 * GiB).account(Account::weights) * 2 / 3);
  ASSERT_TRUE(found.fits);
  EXPECT_LT(found.bits_per_weight, 6);
  EXPECT_GT(found.kl_nats, 0);
  const nlohmann::json json = to_json(found);
  EXPECT_EQ(json["quality"], "text");
  EXPECT_TRUE(json["formats"].is_object());
}

}  // namespace
}  // namespace plimsoll
