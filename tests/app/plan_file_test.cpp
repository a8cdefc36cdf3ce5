// Plans that are written, read and carried out.
#include "app/plan_file.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/error.h"
#include "support/synthetic_model.h"
#include "support/temporary_folder.h"

namespace plimsoll {
namespace {

class PlanFile : public ::testing::Test {
 protected:
  static inline const std::string bundled = PLIMSOLL_MODELS "/plimsoll-docs-4m-f16.gguf";

  void SetUp() override { ::setenv("XDG_CACHE_HOME", folder_.path().c_str(), 1); }

  std::string write(const nlohmann::json& json) {
    const std::string path = folder_.file("plan.json");
    std::ofstream(path) << json.dump();
    return path;
  }

  static PlanNeeds fitting() {
    PlanNeeds needs;
    needs.policy = WeightPolicy::fit;
    return needs;
  }

  static std::string refusal(const std::function<void()>& action) {
    try {
      action();
    } catch (const Error& error) {
      return fmt_code(error) + ": " + error.message();
    }
    return "none";
  }
  static std::string fmt_code(const Error& error) { return std::string(name(error.code())); }

  const test::TemporaryFolder folder_;
};

TEST_F(PlanFile, IsCarriedOutAsItWasDecided) {
  for (const Bytes budget : {14 * MiB, 18 * MiB, 64 * MiB}) {
    Host host(budget, 2);
    const OpenModel model = open_model(host, bundled);
    const PlanRequest request = plan_request(host, model, fitting());
    const Plan plan = make_plan(model.facts, request);
    ASSERT_TRUE(plan.fits);
    const SavedPlan saved = read_plan(host.line, write(plan_json(model, plan)));
    EXPECT_EQ(saved.budget_bytes(), budget);
    EXPECT_EQ(saved.threads(), 2);
    const Plan again = carry_out(model, request, saved);
    EXPECT_EQ(decisions_of(again), decisions_of(plan));
    EXPECT_EQ(again.peak_bytes, plan.peak_bytes);
    EXPECT_EQ(again.kl_nats, plan.kl_nats);
  }
}

TEST_F(PlanFile, OfAnotherModelOrMachineIsRefusedByName) {
  Host host(64 * MiB, 1);
  const OpenModel model = open_model(host, bundled);
  const PlanRequest request = plan_request(host, model, fitting());
  const nlohmann::json good = plan_json(model, make_plan(model.facts, request));
  const auto refused = [&](const nlohmann::json& json) {
    return refusal([&] { carry_out(model, request, read_plan(host.line, write(json))); });
  };
  EXPECT_EQ(refused(good), "none");

  test::SyntheticModel shape;
  const std::string other = folder_.file("other.gguf");
  test::write_synthetic_model(other, shape, 2);
  const OpenModel second = open_model(host, other);
  const std::string of_other =
      refusal([&] { carry_out(second, request, read_plan(host.line, write(good))); });
  EXPECT_NE(of_other.find("plan_mismatch"), std::string::npos) << of_other;
  EXPECT_NE(of_other.find("Plimsoll docs 4M"), std::string::npos) << of_other;

  nlohmann::json changed = good;
  changed["made_for"]["machine"]["processor"] = "Abacus 9";
  EXPECT_NE(refused(changed).find("Abacus 9"), std::string::npos) << refused(changed);
  changed = good;
  changed["made_for"]["model"]["fingerprint"] = "0123456789abcdef";
  EXPECT_NE(refused(changed).find("plan_mismatch"), std::string::npos) << refused(changed);
  changed = good;
  changed["made_for"]["version"] = 2;
  EXPECT_NE(refused(changed).find("unsupported_version"), std::string::npos) << refused(changed);
}

TEST_F(PlanFile, WhatIsNoPlanIsRefused) {
  Host host(64 * MiB, 1);
  const OpenModel model = open_model(host, bundled);
  const PlanRequest request = plan_request(host, model, fitting());
  const nlohmann::json good = plan_json(model, make_plan(model.facts, request));
  const auto refused = [&](const nlohmann::json& json) {
    return refusal([&] {
      const SavedPlan saved = read_plan(host.line, write(json));
      (void)saved.budget_bytes();
      carry_out(model, request, saved);
    });
  };
  const auto expect = [&](const std::function<void(nlohmann::json&)>& change, const char* what) {
    nlohmann::json json = good;
    change(json);
    const std::string said = refused(json);
    EXPECT_NE(said.find("file_corrupt"), std::string::npos) << said;
    EXPECT_NE(said.find(what), std::string::npos) << said;
  };
  expect([](auto& json) { json = nlohmann::json::array(); }, "no plan");
  expect([](auto& json) { json.erase("decisions"); }, "no plan");
  expect([](auto& json) { json["decisions"] = 3; }, "no plan");
  expect([](auto& json) { json["made_for"] = "me"; }, "no plan");
  expect([](auto& json) { json["decisions"]["context"] = "long"; }, "context");
  expect([](auto& json) { json["decisions"]["context"] = -5; }, "context");
  expect([](auto& json) { json["decisions"]["budget_bytes"] = 0; }, "budget_bytes");
  expect([](auto& json) { json["decisions"]["threads"] = 1e9; }, "threads");
  expect([](auto& json) { json["decisions"]["chunk_tokens"] = 1 << 30; }, "contradict");
  expect([](auto& json) { json["decisions"]["formats"]["nowhere.weight"] = "Q4_0"; }, "nowhere");
  expect([](auto& json) { json["decisions"]["formats"]["token_embd.weight"] = "Q4_9"; }, "Q4_9");
  expect([](auto& json) { json["decisions"]["formats"]["token_embd.weight"] = 4; }, "no format");
  expect([](auto& json) { json["decisions"]["formats"]["output_norm.weight"] = "Q4_0"; },
         "cannot be");
  // A prompt that takes what the plan has not: the plan says that it does not fit.
  const SavedPlan saved = read_plan(host.line, write(good));
  PlanRequest more = request;
  more.held_text = 64 * MiB;
  EXPECT_FALSE(carry_out(model, more, saved).fits);
}

}  // namespace
}  // namespace plimsoll
