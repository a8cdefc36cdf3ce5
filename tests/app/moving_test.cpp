// The line moves because a file says so, on SIGHUP, while an answer goes on.
#include "app/moving.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "app/loading.h"
#include "app/planning.h"
#include "base/error.h"
#include "support/fixture.h"
#include "support/temporary_folder.h"

namespace plimsoll {
namespace {

class MovingLines : public ::testing::Test {
 protected:
  void SetUp() override {
    host_.watch.notice = [this](const std::string& text) { told_ += text + "\n"; };
    model_.emplace(open_model(host_, test::bundled_model()));
    PlanNeeds needs;
    needs.policy = WeightPolicy::fit;
    request_ = plan_request(host_, *model_, needs);
    context_ = host_.make_context();
    loaded_ = load_model(host_, *context_, *model_, make_plan(model_->facts, request_), false);
    session_.emplace(*loaded_.engine);
    line_.emplace(host_, *loaded_.engine, request_, file_);
  }
  void write(const std::string& text) { std::ofstream(file_) << text; }
  /// Tokens until the line rests.
  void answer() {
    TokenId token = 1;
    for (int i = 0; i < 20000; ++i) {
      if (session_->room() == 0) session_->clear();
      const auto logits = session_->append({&token, 1}).logits;
      token = static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());
      line_->between_tokens();
      ASSERT_LE(host_.line.ledger().used(), host_.line.ledger().budget());
      if (!line_->is_moving() && i > 3) break;
    }
  }

  test::TemporaryFolder folder_;
  std::string file_ = folder_.file("line.txt"), told_;
  Host host_{Bytes{64} * MiB, 2};
  std::optional<OpenModel> model_;
  PlanRequest request_;
  std::unique_ptr<Context> context_;
  LoadedModel loaded_;
  std::optional<Session> session_;
  std::optional<MovingLine> line_;
};

TEST_F(MovingLines, ASignalReadsTheFile) {
  const Plan before = loaded_.engine->plan();
  const Bytes low = before.peak_bytes - before.account(Account::weights) / 2;
  write(std::to_string(low) + "\n");
  std::raise(SIGHUP);
  answer();
  EXPECT_FALSE(line_->is_moving());
  EXPECT_EQ(line_->budget(), low);
  EXPECT_EQ(host_.line.budget(), low);
  EXPECT_LT(loaded_.engine->plan().account(Account::weights), before.account(Account::weights));
  EXPECT_NE(told_.find("the line moves to"), std::string::npos) << told_;
  EXPECT_NE(told_.find("the line is"), std::string::npos) << told_;
  EXPECT_EQ(line_->highest(), 64 * MiB);

  // Up again, and all of the weights are back.
  write("63MiB");
  std::raise(SIGHUP);
  answer();
  EXPECT_EQ(host_.line.budget(), 63 * MiB);
  EXPECT_EQ(loaded_.engine->plan().account(Account::weights), before.account(Account::weights));
}

TEST_F(MovingLines, WhatIsNoLineIsToldAndChangesNothing) {
  for (const char* text : {"lots", "1MiB", "", "-3"}) {
    told_.clear();
    write(text);
    std::raise(SIGHUP);
    answer();
    EXPECT_NE(told_.find("the line stays at 64.0 MiB"), std::string::npos) << text << told_;
    EXPECT_EQ(host_.line.budget(), 64 * MiB) << text;
    EXPECT_FALSE(line_->is_moving());
  }
  std::filesystem::remove(file_);
  told_.clear();
  std::raise(SIGHUP);
  answer();
  EXPECT_NE(told_.find("the line stays"), std::string::npos) << told_;
}

TEST_F(MovingLines, AMoveThatIsAskedForIsFinishedAtOnce) {
  const Bytes low = loaded_.engine->plan().peak_bytes - 2 * MiB;
  line_->move_to(low);
  line_->finish();
  EXPECT_FALSE(line_->is_moving());
  EXPECT_LE(host_.line.ledger().used(), low);
  EXPECT_THROW(line_->move_to(2 * MiB), Error);
  EXPECT_EQ(line_->budget(), low);
}

}  // namespace
}  // namespace plimsoll
