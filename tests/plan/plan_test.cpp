#include "plan/plan.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace plimsoll {
namespace {

/// The shape of a 1B model of the llama family.
ModelFacts facts() {
  ModelFacts facts;
  Description& d = facts.description;
  d.layers = 16;
  d.width = 2048;
  d.heads = 32;
  d.kv_heads = 8;
  d.head_dim = 64;
  d.feed_forward = 8192;
  d.vocabulary = 32000;
  d.trained_context = 8192;
  d.rope_dim = 64;
  d.ropes.resize(1);
  d.per_layer.resize(16);
  facts.weight_bytes = 640 * MiB;
  facts.staging_bytes_per_worker = 2 * MiB;
  facts.text_bytes = 3 * MiB;
  facts.parameters = 1'100'000'000;
  return facts;
}

PlanRequest request(Bytes budget, std::optional<std::int64_t> context = {}) {
  PlanRequest request;
  request.budget = budget;
  request.context = context;
  request.threads = 2;
  request.runtime_bytes = 6 * MiB;
  return request;
}

TEST(Plan, CountsTheKvCacheExactly) {
  // 16 layers x 8 heads x (64 codes and a unit of 2 bytes) x keys and values: 32.5 KiB for each
  // token, in pages of 64; and in whole steps, of 16 KiB up to 32 MiB and of 2 MiB beyond, with what
  // kernels may read behind the last page.
  EXPECT_EQ(make_plan(facts(), request(4 * GiB, 600)).account(Account::kv),
            640u * 65 * KiB / 2 + 16 * KiB);
  EXPECT_EQ(make_plan(facts(), request(4 * GiB, 1024)).account(Account::kv), 34 * MiB);
}

TEST(Plan, TakesTheDefaultContextWhereItFitsAndLessWhereNot) {
  EXPECT_EQ(make_plan(facts(), request(4 * GiB)).context, default_context);
  const Plan tight = make_plan(facts(), request(720 * MiB));
  EXPECT_TRUE(tight.fits);
  EXPECT_LT(tight.context, default_context);
  EXPECT_GE(tight.context, tight.largest_context / 2);
  EXPECT_LE(tight.peak_bytes, 720 * MiB);
}

TEST(Plan, AWantedContextIsKeptOrRefused) {
  const Plan plan = make_plan(facts(), request(720 * MiB, 4096));
  EXPECT_FALSE(plan.fits);
  EXPECT_EQ(plan.context, 4096);
  EXPECT_GT(plan.largest_context, 0);
  try {
    refuse_unless_it_fits(plan);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::budget_refused);
    EXPECT_EQ(exit_code(error.code()), 3);
    EXPECT_NE(error.hint().find(std::to_string(plan.largest_context)), std::string::npos);
    EXPECT_NE(error.hint().find(std::to_string(plan.peak_bytes)), std::string::npos);
  }
  // What the refusal offers works, and nothing less does.
  EXPECT_TRUE(make_plan(facts(), request(720 * MiB, plan.largest_context)).fits);
  EXPECT_FALSE(make_plan(facts(), request(720 * MiB, plan.largest_context + 1)).fits);
  EXPECT_TRUE(make_plan(facts(), request(plan.peak_bytes, 4096)).fits);
  EXPECT_FALSE(make_plan(facts(), request(plan.peak_bytes - 1, 4096)).fits);
}

TEST(Plan, GivesUpChunkBeforeContext) {
  const Plan roomy = make_plan(facts(), request(4 * GiB, 4096));
  EXPECT_EQ(roomy.chunk_tokens, 256);
  const Plan tight = make_plan(facts(), request(roomy.peak_bytes - 8 * MiB, 4096));
  EXPECT_TRUE(tight.fits);
  EXPECT_LT(tight.chunk_tokens, 256);
}

TEST(Plan, NeverAsksForMoreThanTheModelWasTrainedFor) {
  ModelFacts small = facts();
  small.description.trained_context = 256;
  const Plan plan = make_plan(small, request(4 * GiB));
  EXPECT_EQ(plan.context, 256);
  EXPECT_EQ(plan.largest_context, 256);
}

TEST(Plan, OffersMoreThanTheModelWasTrainedForWhenThatWasAsked) {
  ModelFacts small = facts();
  small.description.trained_context = 256;
  const Bytes budget = make_plan(small, request(4 * GiB, 1000)).peak_bytes;
  const Plan plan = make_plan(small, request(budget - 4 * MiB, 100'000));
  EXPECT_FALSE(plan.fits);
  EXPECT_GT(plan.largest_context, 256);
  EXPECT_TRUE(make_plan(small, request(budget - 4 * MiB, plan.largest_context)).fits);
  EXPECT_FALSE(make_plan(small, request(budget - 4 * MiB, plan.largest_context + 1)).fits);
}

TEST(Plan, WhatIsOfferedHasTheSlackToSpare) {
  PlanRequest asked = request(720 * MiB, 100'000);
  asked.runtime_slack = 2 * MiB;
  const Plan plan = make_plan(facts(), asked);
  ASSERT_FALSE(plan.fits);
  ASSERT_GT(plan.offered_context, 0);
  EXPECT_LT(plan.offered_context, plan.largest_context);
  PlanRequest again = request(720 * MiB, plan.offered_context);
  again.runtime_bytes += 2 * MiB;
  EXPECT_TRUE(make_plan(facts(), again).fits);
  again.context = plan.offered_context + 1;
  EXPECT_FALSE(make_plan(facts(), again).fits);
}

TEST(Plan, TheLeastIsThatOfTheContextThatIsNamed) {
  ModelFacts small = facts();
  small.description.trained_context = 256;
  const Plan plan = make_plan(small, request(1 * KiB, 4096));
  EXPECT_EQ(plan.least_context, 256);
  EXPECT_TRUE(make_plan(small, request(plan.least_bytes, plan.least_context)).fits);
  EXPECT_FALSE(make_plan(small, request(plan.least_bytes - 1, plan.least_context)).fits);
}

TEST(Plan, TheSmallestBudgetIsRefusedWithoutAContext) {
  const Plan plan = make_plan(facts(), request(1 * KiB));
  EXPECT_FALSE(plan.fits);
  EXPECT_EQ(plan.largest_context, 0);
  EXPECT_THROW(refuse_unless_it_fits(plan), Error);
  // The least that it names is enough for a short context, and no byte less is.
  EXPECT_TRUE(make_plan(facts(), request(plan.least_bytes, short_context)).fits);
  EXPECT_FALSE(make_plan(facts(), request(plan.least_bytes - 1, short_context)).fits);
}

TEST(Plan, PeakCoversEveryAccountAndPageTables) {
  const Plan plan = make_plan(facts(), request(4 * GiB, 512));
  Bytes sum = 0;
  for (const Account account : all_accounts) sum += plan.account(account);
  EXPECT_EQ(sum, plan.running_bytes);
  EXPECT_GT(plan.peak_bytes, sum);
  EXPECT_LT(static_cast<double>(plan.peak_bytes), 1.003 * static_cast<double>(sum));
  EXPECT_LT(plan.loading_bytes, plan.running_bytes + 16 * MiB);
}

TEST(Plan, JsonHasTheKeysOfTheContract) {
  const nlohmann::json json = to_json(make_plan(facts(), request(4 * GiB)));
  for (const char* key :
       {"budget_bytes", "peak_bytes", "accounts", "context", "prefill_tokens_per_second",
        "decode_tokens_per_second", "kl_nats", "bits_per_weight", "fits"})
    EXPECT_TRUE(json.contains(key)) << key;
  EXPECT_EQ(json["accounts"]["weights"], 640 * MiB);
}

}  // namespace
}  // namespace plimsoll
