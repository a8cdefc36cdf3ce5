// A loaded model that moves to another line: never above the one that holds, no token lost, and what
// it says then is what a model loaded under that line says.
#include "engine/move.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include "base/error.h"
#include "plan/decisions.h"
#include "support/fixture.h"
#include "support/synthetic_model.h"
#include "support/temporary_folder.h"

namespace plimsoll {
namespace {

class Moves : public ::testing::TestWithParam<FormatId> {
 protected:
  void SetUp() override {
    test::SyntheticModel model;
    model.layers = 3;
    model.width = 512;
    model.heads = 8;
    model.kv_heads = 4;
    model.head_dim = 64;
    model.feed_forward = 1024;
    model.vocabulary = 1024;
    model.context = 1024;
    model.format = model.embedding_format = model.output_format = GetParam();
    path_ = folder_.file("model.gguf");
    test::write_synthetic_model(path_, model, 2);
    options_.context = 300;
    options_.chunk_tokens = 64;
    request_ = test::Loaded::request(options_);
  }

  /// Greedy, from what the session ends with.
  static std::vector<TokenId> go_on(Session& session, TokenId token, int count) {
    std::vector<TokenId> said;
    for (int i = 0; i < count; ++i) {
      const auto logits = session.append({&token, 1}).logits;
      token = static_cast<TokenId>(std::ranges::max_element(logits) - logits.begin());
      said.push_back(token);
    }
    return said;
  }
  Plan target(const test::Loaded& loaded, Bytes budget) const {
    return plan_move(loaded.model.facts, request_, loaded.engine->plan(), budget);
  }
  /// Between the least that a move could go to and what the whole model takes.
  Bytes budget_at(const test::Loaded& loaded, double share) const {
    const Plan least = target(loaded, 1 * MiB);
    EXPECT_FALSE(least.fits);
    const auto low = static_cast<double>(least.peak_bytes + 256 * KiB),
               high = static_cast<double>(loaded.plan.peak_bytes);
    return static_cast<Bytes>(low + share * (high - low));
  }
  void move(test::Loaded& loaded, Bytes budget) {
    const Ledger& ledger = loaded.context.ledger;
    Move move(*loaded.engine, target(loaded, budget));
    do {
      ASSERT_LE(ledger.used(), ledger.budget());
      // Everything can be used at every moment.
      ASSERT_EQ(go_on(*loaded.session, 5, 2).size(), 2u);
    } while (move.step());
    ASSERT_TRUE(move.is_done());
    EXPECT_EQ(ledger.budget(), budget);
    EXPECT_LE(ledger.used(), budget);
  }

  std::string path_;
  test::TemporaryFolder folder_;
  test::LoadOptions options_;
  PlanRequest request_;
};

TEST_P(Moves, DownAndUpGiveWhatLoadingGives) {
  test::Loaded loaded(path_, options_);
  const Bytes whole = loaded.plan.peak_bytes + 8 * MiB;
  for (const double share : {0.7, 0.1, 0.4, 1.2, 0.0, 2.0}) {
    const Bytes budget = share >= 2 ? whole : budget_at(loaded, share);
    loaded.session->clear();
    move(loaded, budget);
    if (HasFatalFailure()) return;
    loaded.session->clear();
    // What was moved to has the weights that the same plan loads.
    const Plan& plan = loaded.engine->plan();
    EXPECT_EQ(plan.budget_bytes, budget);
    Context context(2, choose_isa());
    const Engine engine(context, loaded.model, plan);
    Session fresh(engine), moved(*loaded.engine, 10, KvSequence::Room::found);
    const std::vector<TokenId> prompt = {1, 5, 9, 300, 700, 41};
    const auto expected = fresh.append(prompt).logits;
    const auto found = moved.append(prompt).logits;
    EXPECT_TRUE(std::ranges::equal(expected, found)) << share;
    EXPECT_EQ(loaded.context.ledger.used(Account::weights), plan.account(Account::weights));
  }
}

TEST_P(Moves, AnAnswerGoesOnWhileTheLineMoves) {
  test::Loaded loaded(path_, options_);
  const std::vector<TokenId> prompt = {1, 2, 3, 4, 5};
  loaded.session->append(prompt);
  Move move(*loaded.engine, target(loaded, budget_at(loaded, 0.3)));
  std::size_t said = 0;
  while (said < 200) {
    said += go_on(*loaded.session, static_cast<TokenId>(said), 5).size();
    move.step();
    ASSERT_LE(loaded.context.ledger.used(), loaded.context.ledger.budget());
  }
  EXPECT_TRUE(move.is_done());
  EXPECT_EQ(loaded.session->tokens().size(), prompt.size() + said);
}

TEST_P(Moves, ALineThatIsTooLowIsRefusedWithTheLeast) {
  test::Loaded loaded(path_, options_);
  const Bytes before = loaded.context.ledger.used(), line = loaded.context.ledger.budget();
  const Plan least = target(loaded, 3 * MiB);
  try {
    const Move refused(*loaded.engine, least);
    ADD_FAILURE() << "moved";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::budget_refused);
    EXPECT_NE(error.hint().find(std::to_string(least.peak_bytes)), std::string::npos);
  }
  EXPECT_EQ(loaded.context.ledger.used(), before);
  EXPECT_EQ(loaded.context.ledger.budget(), line);
  // What it says would do does.
  move(loaded, least.peak_bytes);
}

TEST_P(Moves, ManyLeaveNothingBehind) {
  test::Loaded loaded(path_, options_);
  const Bytes low = budget_at(loaded, 0.2), high = loaded.plan.peak_bytes + 4 * MiB;
  Bytes first = 0;
  for (int i = 0; i < 20; ++i) {
    Move(*loaded.engine, target(loaded, low)).step();  // left in the middle
    Move up(*loaded.engine, target(loaded, high));
    while (up.step()) {
    }
    if (i == 1) first = loaded.context.ledger.used();
    if (i > 1) {
      ASSERT_EQ(loaded.context.ledger.used(), first) << i;
    }
  }
}

TEST_P(Moves, UpLeftInTheMiddleGoesDown) {
  test::Loaded loaded(path_, options_);
  const Bytes low = budget_at(loaded, 0.1), lower = budget_at(loaded, 0.0);
  move(loaded, low);
  loaded.session->clear();
  {
    Move up(*loaded.engine, target(loaded, loaded.plan.budget_bytes));
    for (int i = 0; i < 12; ++i) up.step();
  }
  move(loaded, lower);
}

TEST_P(Moves, AFileThatCannotBeReadEndsInErrorsAlone) {
  test::Loaded loaded(path_, options_);
  Move move(*loaded.engine, target(loaded, budget_at(loaded, 0.2)));
  std::filesystem::resize_file(path_, 4096);
  EXPECT_THROW(while (move.step()) {}, Error);
  EXPECT_FALSE(loaded.engine->has_all_weights());
  EXPECT_THROW(go_on(*loaded.session, 3, 1), Error);
}

TEST_P(Moves, AFileThatWasChangedIsNotReadFrom) {
  test::Loaded loaded(path_, options_);
  const Bytes low = budget_at(loaded, 0.2);
  std::filesystem::last_write_time(
      path_, std::filesystem::last_write_time(path_) + std::chrono::seconds(1));
  const Bytes before = loaded.context.ledger.used();
  EXPECT_THROW(Move(*loaded.engine, target(loaded, low)), Error);
  EXPECT_EQ(loaded.context.ledger.used(), before);
  EXPECT_EQ(go_on(*loaded.session, 3, 4).size(), 4u);
}

INSTANTIATE_TEST_SUITE_P(Files, Moves,
                         ::testing::Values(FormatId::Q8_0, FormatId::F16, FormatId::BF16,
                                           FormatId::Q6_K),
                         [](const auto& row) { return std::string(format(row.param).name); });

}  // namespace
}  // namespace plimsoll
