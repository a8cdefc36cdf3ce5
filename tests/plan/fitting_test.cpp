// Plans that round weights: never over the budget, never worse for more bytes, and refused below
// the least.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "plan/facts.h"
#include "plan/fitted_plan.h"

namespace plimsoll {
namespace {

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

TEST_F(FittedPlan, FewWorkersGetTheSameWeights) {
  PlanRequest wanted = request(700 * MiB);
  wanted.threads = 1;
  const Plan one = make_plan(facts_, wanted);
  ASSERT_FALSE(one.formats.empty());
  for (const int threads : {2, 3, 4}) {
    wanted.threads = threads;
    wanted.runtime_bytes += stack_bytes_per_thread;
    const Plan more = make_plan(facts_, wanted);
    ASSERT_TRUE(more.fits);
    EXPECT_EQ(more.formats, one.formats) << threads;
    EXPECT_EQ(more.context, one.context);
  }
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

TEST_F(FittedPlan, CodesThatNestLoseTheirLowerBitsFirst) {
  describe(2048, 16, FormatId::NEST8);
  const Plan whole = plan(4 * GiB);
  EXPECT_TRUE(whole.formats.empty());
  const Bytes weights = whole.account(Account::weights), besides = whole.peak_bytes - weights;
  // They lose less than what is rounded again, whatever its bytes.
  const auto plan_in = [&](Bytes budget) {
    PlanRequest wanted = request(budget);
    for (TensorQuality& tensor : wanted.quality->tensors)
      for (std::vector<double>& errors : tensor.errors)
        for (std::size_t f = 0; f < formats().size(); ++f)
          if (is_standard(formats()[f].id)) errors[f] += 1;
    return make_plan(facts_, wanted);
  };
  const Plan middle = plan_in(besides + weights * 3 / 4),
             least = plan_in(besides + weights * 13 / 25);
  ASSERT_TRUE(middle.fits && least.fits);
  for (const Plan* found : {&middle, &least})
    for (const FormatShare& share : found->shares)
      EXPECT_TRUE(!is_standard(share.format->id) || share.format->kind == Format::Kind::dense)
          << share.format->name;
  EXPECT_LT(middle.kl_nats, least.kl_nats);
  for (const Plan* found : {&middle, &least})
    EXPECT_EQ(found->account(Account::weights),
              Weights::memory_bytes(facts_.tensors, found->formats));
}

}  // namespace
}  // namespace plimsoll
