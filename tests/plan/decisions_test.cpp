// Decisions apart from what follows from them.
#include "plan/decisions.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "plan/fitted_plan.h"

namespace plimsoll {
namespace {

/// Over budgets from too small to roomy: what make_plan() says follows from what it decides.
TEST_F(FittedPlan, EverythingFollowsFromTheDecisions) {
  for (const WeightPolicy policy : {WeightPolicy::fit, WeightPolicy::exact})
    for (const std::int64_t sessions : {1, 3})
      for (Bytes budget = 200 * MiB; budget < 3 * GiB; budget += 171 * MiB) {
        PlanRequest asked = request(budget, {}, policy);
        asked.sessions = sessions;
        const Plan plan = make_plan(facts_, asked);
        const Plan again = forecast_plan(facts_, asked, decisions_of(plan));
        EXPECT_EQ(to_json(again), to_json(plan)) << format_bytes(budget);
        EXPECT_EQ(decisions_of(again), decisions_of(plan));
        EXPECT_EQ(again.offered_context, plan.offered_context);
        EXPECT_EQ(again.slack_bytes, plan.slack_bytes);
      }
}

TEST_F(FittedPlan, DecisionsWithOtherFormatsSayWhatTheseLose) {
  const Plan plan = this->plan(700 * MiB);
  ASSERT_TRUE(plan.fits);
  Decisions changed = decisions_of(plan);
  for (const Format*& f : changed.formats)
    if (f != &format(FormatId::F32)) f = &format(FormatId::Q8_0);
  const Plan other = forecast_plan(facts_, request(700 * MiB), changed);
  EXPECT_FALSE(other.fits);
  EXPECT_GT(other.account(Account::weights), plan.account(Account::weights));
  EXPECT_LT(other.kl_nats, plan.kl_nats);
}

}  // namespace
}  // namespace plimsoll
