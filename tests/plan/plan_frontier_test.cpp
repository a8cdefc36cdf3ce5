// The frontier of plans, floors for their speed, and several sessions.
#include "plan/plan_frontier.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cache/kv_shape.h"
#include "plan/costs.h"
#include "plan/fitted_plan.h"
#include "plan/speed.h"

namespace plimsoll {
namespace {

class PlanFrontier : public FittedPlan {
 protected:
  PlanFrontier() { describe(512, 4, FormatId::F16); }
};

/// Reads 15 GB/s with both workers, and computes faster than that.
Machine machine() {
  Machine m;
  m.cache_bytes = 1 * MiB;
  m.speeds = {{1, 10e9, 40e9, 1, 1e-6}, {2, 15e9, 60e9, 2, 2e-6}};
  for (const Format& f : formats()) {
    FormatSpeed speed{f.id, {}, {0.8, 0.9}};
    for (std::size_t i = 0; i < measured_batches.size(); ++i)
      speed.weight_seconds[i] = 1e-12 * measured_batches[i];
    m.formats.push_back(speed);
  }
  m.element_seconds = m.quantise_seconds = 1e-9;
  m.key_seconds = m.query_seconds = m.prefill_query_seconds = 1e-10;
  return m;
}

TEST_F(PlanFrontier, BytesRiseAndLossFallsToNothing) {
  const std::vector<Plan> plans = plan_frontier(facts_, request(0, 1024));
  ASSERT_GE(plans.size(), 12u);
  ASSERT_LE(plans.size(), static_cast<std::size_t>(frontier_points));
  for (std::size_t i = 1; i < plans.size(); ++i) {
    EXPECT_GT(plans[i].budget_bytes, plans[i - 1].budget_bytes);
    EXPECT_GT(plans[i].account(Account::weights), plans[i - 1].account(Account::weights));
    EXPECT_LT(plans[i].kl_nats, plans[i - 1].kl_nats);
  }
  EXPECT_EQ(plans.back().kl_nats, 0);
  EXPECT_TRUE(plans.back().formats.empty());
  // From the least that there is: nothing smaller fits.
  EXPECT_TRUE(plans.front().fits);
  EXPECT_FALSE(plan(plans.front().budget_bytes - page_bytes, 1024).fits);
}

TEST_F(PlanFrontier, EveryPointIsWhatItsBudgetGets) {
  for (const Plan& point : plan_frontier(facts_, request(0, 1024))) {
    EXPECT_LE(point.peak_bytes, point.budget_bytes);
    const Plan again = plan(point.budget_bytes, 1024);
    EXPECT_TRUE(again.fits);
    EXPECT_EQ(again.formats, point.formats);
    EXPECT_EQ(again.peak_bytes, point.peak_bytes);
  }
}

TEST_F(PlanFrontier, OnePointWhereNothingCanBeRounded) {
  PlanRequest asked = request(0, 1024);
  facts_.tensors.clear();
  asked.quality.reset();
  const std::vector<Plan> plans = plan_frontier(facts_, asked);
  ASSERT_EQ(plans.size(), 1u);
  EXPECT_TRUE(plans[0].fits);
  EXPECT_EQ(plans[0].kl_nats, 0);
}

TEST_F(PlanFrontier, JsonHasUnitsInItsNames) {
  std::vector<Plan> plans = plan_frontier(facts_, request(0, 1024), 3);
  predict_speeds(machine(), facts_, plans[0]);
  const nlohmann::json points = frontier_json(plans);
  ASSERT_EQ(points.size(), 3u);
  EXPECT_EQ(points[0]["weight_bytes"], plans[0].account(Account::weights));
  EXPECT_EQ(points[0]["kl_nats"], plans[0].kl_nats);
  EXPECT_GT(points[0]["decode_tokens_per_second"], 0);
  EXPECT_TRUE(points[1]["prefill_tokens_per_second"].is_null());
  for (const char* key : {"budget_bytes", "peak_bytes", "bits_per_weight"})
    EXPECT_GT(points[0][key], 0) << key;
}

/// Floors between the speed of the file's own weights and that of the smallest ones.
TEST_F(PlanFrontier, SpeedFloorsAreKept) {
  const Machine m = machine();
  PlanRequest asked = request(1 * GiB, 1024);
  Plan exact = make_plan(facts_, asked);
  ASSERT_TRUE(exact.formats.empty());
  predict_speeds(m, facts_, exact);
  const double own_rate = *exact.decode_tokens_per_second;
  // What is fast enough is left alone.
  asked.speed = {own_rate / (promise_margin * 1.01), &m};
  EXPECT_TRUE(make_plan(facts_, asked).formats.empty());

  double loss = 0;
  for (const double times : {1.0, 1.3, 1.7, 2.2, 2.7}) {
    const double floor = own_rate * times;
    asked.speed = {floor, &m};
    const Plan found = make_plan(facts_, asked);
    EXPECT_TRUE(found.keeps_speed()) << times;
    EXPECT_NO_THROW(refuse_unless_it_fits(found));
    EXPECT_GT(found.kl_nats, loss);
    loss = found.kl_nats;
    EXPECT_EQ(*found.speed_floor, floor);
    EXPECT_EQ(found.context, exact.context);
    EXPECT_EQ(found.chunk_tokens, exact.chunk_tokens);
    // By the whole model's cost, not by the sum that the choice was made with.
    const ModelShape shape{facts_.description, facts_.tensors, found.formats};
    const double rate = 1 / decode_seconds(m, shape, usual_prompt, 1, 2);
    EXPECT_GE(rate, floor * promise_margin * (1 - 1e-9));
    EXPECT_DOUBLE_EQ(rate, *found.decode_tokens_per_second);
    // Nothing is rounded in vain: with any tensor as the file has it, it would be too slow.
    for (std::size_t i = 0; i < found.formats.size(); ++i) {
      if (found.formats[i] == facts_.tensors[i].info->format) continue;
      std::vector<const Format*> formats = found.formats;
      formats[i] = facts_.tensors[i].info->format;
      const ModelShape better{facts_.description, facts_.tensors, formats};
      EXPECT_LT(1 / decode_seconds(m, better, usual_prompt, 1, 2), floor * promise_margin) << i;
    }
    EXPECT_EQ(to_json(found)["speed_floor"], floor);
    EXPECT_GE(to_json(found)["promised_tokens_per_second"], floor * (1 - 1e-9));
  }
}

TEST_F(PlanFrontier, BothLimitsHoldAtOnce) {
  const Machine m = machine();
  const std::vector<Plan> plans = plan_frontier(facts_, request(0, 1024));
  const Plan& middle = plans[plans.size() / 3];
  PlanRequest asked = request(middle.budget_bytes, 1024);
  Plan unhurried = middle;
  predict_speeds(m, facts_, unhurried);
  asked.speed = {*unhurried.decode_tokens_per_second * 1.1, &m};
  const Plan found = make_plan(facts_, asked);
  EXPECT_TRUE(found.fits);
  EXPECT_TRUE(found.keeps_speed());
  EXPECT_LE(found.peak_bytes, middle.budget_bytes);
  EXPECT_GT(found.kl_nats, middle.kl_nats);
}

TEST_F(PlanFrontier, WhatIsTooFastIsRefusedWithTheBest) {
  const Machine m = machine();
  PlanRequest asked = request(1 * GiB, 1024);
  asked.speed = {1e9, &m};
  const Plan refused = make_plan(facts_, asked);
  EXPECT_TRUE(refused.fits);
  EXPECT_FALSE(refused.keeps_speed());
  try {
    refuse_unless_it_fits(refused);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::budget_refused);
    EXPECT_EQ(exit_code(error.code()), 3);
    // What the hint names is accepted, and little more is not.
    const double best = std::stod(error.hint().substr(error.hint().find("--speed ") + 8));
    asked.speed = {best, &m};
    EXPECT_TRUE(make_plan(facts_, asked).keeps_speed());
    asked.speed = {best * 1.02, &m};
    EXPECT_FALSE(make_plan(facts_, asked).keeps_speed());
  }
}

TEST_F(PlanFrontier, SmallWeightsAreReadFromTheCache) {
  Machine m = machine();
  PlanRequest asked = request(1 * GiB, 1024);
  asked.speed = {1e9, &m};
  const double from_memory = *make_plan(facts_, asked).decode_tokens_per_second;
  m.cache_bytes = 256 * MiB;
  const double from_cache = *make_plan(facts_, asked).decode_tokens_per_second;
  EXPECT_GT(from_cache, from_memory * 1.5);
  // Nothing is given up beyond what the cache has room for.
  asked.speed = {from_memory, &m};
  EXPECT_TRUE(make_plan(facts_, asked).keeps_speed());
}

TEST_F(PlanFrontier, EverySessionHasItsContext) {
  PlanRequest asked = request(1 * GiB, 1000);
  const Plan one = make_plan(facts_, asked);
  const Description& d = facts_.description;
  for (const std::int64_t sessions : {2, 7, 40}) {
    asked.sessions = sessions;
    const Plan several = make_plan(facts_, asked);
    EXPECT_TRUE(several.fits);
    EXPECT_EQ(several.context, 1000);
    EXPECT_EQ(several.sessions, sessions);
    EXPECT_EQ(several.account(Account::kv),
              KvNeeds(kv_shape(d), {.sequences = sessions, .context = 1000}).bytes);
    EXPECT_GT(several.account(Account::runtime), one.account(Account::runtime));
    // One pass has a token, and its logits, of each.
    EXPECT_GE(several.logit_rows, sessions);
    EXPECT_GE(several.chunk_tokens, sessions);
    EXPECT_EQ(to_json(several)["sessions"], sessions);
    EXPECT_LT(several.largest_context, one.largest_context + 1);
  }
  asked.budget = 64 * MiB;
  const Plan refused = make_plan(facts_, asked);
  EXPECT_FALSE(refused.fits);
  asked.budget = refused.peak_bytes;
  EXPECT_TRUE(make_plan(facts_, asked).fits);
}

}  // namespace
}  // namespace plimsoll
