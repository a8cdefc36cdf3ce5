#include "engine/evaluate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "support/fixture.h"

namespace plimsoll {
namespace {

std::vector<TokenId> sample_ids(const test::Loaded& loaded) {
  std::string text;
  for (int i = 0; i < 40; ++i) text += "The file is read by the kernel when the device is opened. ";
  return loaded.engine->tokenizer().encode(text);
}

test::LoadOptions few_rows() {
  test::LoadOptions load;
  load.logit_rows = 24;
  return load;
}

TEST(Evaluate, AgreesWithItselfAndSeesADifference) {
  test::Loaded loaded(test::bundled_model(), few_rows());
  test::Loaded reference(test::bundled_model(), few_rows());
  const auto ids = sample_ids(loaded);
  const Chunks chunks =
      cut(loaded.engine->tokenizer(), static_cast<std::int64_t>(ids.size()), 64, 3);
  Scores scores;
  evaluate(*loaded.engine, *loaded.session, nullptr, ids, chunks, scores);
  const Evaluation alone = summarise(scores, chunks);
  EXPECT_EQ(alone.scored_tokens, 3 * 32);
  EXPECT_FALSE(alone.distance);
  EXPECT_GT(alone.nll, 0.1);
  EXPECT_LT(alone.nll, 8);

  Scores beside;
  evaluate(*loaded.engine, *loaded.session, reference.session.get(), ids, chunks, beside);
  const Evaluation same = summarise(beside, chunks);
  EXPECT_EQ(same.scored_tokens, alone.scored_tokens);
  EXPECT_NEAR(same.nll, alone.nll, 1e-4);
  ASSERT_TRUE(same.distance);
  EXPECT_NEAR(same.distance->reference_nll, same.nll, 1e-6);
  EXPECT_NEAR(same.distance->kl, 0, 1e-6);
  EXPECT_NEAR(same.distance->kl_max, 0, 1e-5);
  EXPECT_EQ(same.distance->same_top, 1.0);
}

TEST(Evaluate, AgreesWithProbabilitiesByHand) {
  test::Loaded loaded(test::bundled_model(), few_rows());
  const auto ids = sample_ids(loaded);
  const Chunks chunks = cut(loaded.engine->tokenizer(), static_cast<std::int64_t>(ids.size()), 17);
  Scores scores;
  evaluate(*loaded.engine, *loaded.session, nullptr, ids, chunks, scores);
  // Token by token, each chunk alone.
  std::vector<double> means;
  for (std::int64_t c = 0; c < chunks.count; ++c) {
    loaded.session->clear();
    std::vector<TokenId> chunk = {*loaded.engine->tokenizer().bos()};
    chunk.insert(chunk.end(), ids.begin() + c * 16, ids.begin() + (c + 1) * 16);
    double sum = 0;
    for (std::size_t i = 0; i < 16; ++i) {
      const std::span<float> logits =
          loaded.session->append(std::span(chunk).subspan(i, 1)).logits;
      if (i < 8) continue;  // the first of the second half is token 9
      double total = 0;
      for (const float logit : logits) total += std::exp(static_cast<double>(logit));
      sum += std::log(total) - logits[static_cast<std::size_t>(chunk[i + 1])];
    }
    means.push_back(sum / 8);
  }
  const double n = static_cast<double>(means.size());
  double mean = 0, squares = 0;
  for (const double value : means) mean += value / n;
  for (const double value : means) squares += (value - mean) * (value - mean);
  const Evaluation result = summarise(scores, chunks);
  EXPECT_EQ(result.scored_tokens, static_cast<std::int64_t>(means.size()) * 8);
  EXPECT_NEAR(result.nll, mean, 0.002);
  EXPECT_NEAR(*result.nll_error, std::sqrt(squares / (n * (n - 1))), 0.002);
}

TEST(Evaluate, GoesOnWhereItStopped) {
  const std::string path =
      std::string(PLIMSOLL_SHARED) + "/models/quantised/plimsoll-docs-4m-Q4_0.gguf";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no shared models: " << path;
  test::Loaded loaded(path, few_rows());
  test::Loaded reference(test::bundled_model(), few_rows());
  const auto ids = sample_ids(loaded);
  const Chunks chunks =
      cut(loaded.engine->tokenizer(), static_cast<std::int64_t>(ids.size()), 24, 20);
  const auto run = [&](Scores& scores, const std::function<void()>& done = {}) {
    evaluate(*loaded.engine, *loaded.session, reference.session.get(), ids, chunks, scores, done);
  };
  Scores whole;
  std::vector<Scores> stages;
  run(whole, [&] { stages.push_back(whole); });
  ASSERT_EQ(stages.size(), 20u);
  const Evaluation expected = summarise(whole, chunks);
  EXPECT_GT(expected.distance->kl, 0);
  EXPECT_LE(expected.distance->kl_p99, expected.distance->kl_max);
  EXPECT_GT(expected.distance->kl_p99, expected.distance->kl);
  EXPECT_EQ(whole.kl_tail.size(), static_cast<std::size_t>(chunks.tail()));
  for (const std::size_t stage : {0u, 7u, 19u}) {
    Scores scores = stages[stage];
    run(scores);
    const Evaluation result = summarise(scores, chunks);
    EXPECT_EQ(result.nll, expected.nll);
    EXPECT_EQ(result.distance->kl, expected.distance->kl);
    EXPECT_EQ(result.distance->kl_p99, expected.distance->kl_p99);
    EXPECT_EQ(result.distance->same_top, expected.distance->same_top);
  }
}

TEST(Evaluate, TheTailReachesTheNinetyNinthPercentile) {
  // Nearest rank: of n ascending values the one at rank ceil(0.99 n).
  for (const std::int64_t count : {1, 3, 12, 13, 25, 100, 1000}) {
    const Chunks chunks{.context = 16, .text = 15, .count = count};
    const std::int64_t n = chunks.scored_tokens();
    const auto rank = static_cast<std::int64_t>(std::ceil(0.99 * static_cast<double>(n) - 1e-9));
    EXPECT_EQ(chunks.tail(), n - rank + 1) << n;
  }
}

TEST(Evaluate, RefusesTextsThatAreTooShort) {
  test::Loaded loaded(test::bundled_model());
  const auto code = [&](std::int64_t tokens, std::int64_t context) {
    try {
      cut(loaded.engine->tokenizer(), tokens, context);
    } catch (const Error& error) {
      return error.code();
    }
    return ErrorCode::internal;
  };
  EXPECT_EQ(code(40, 64), ErrorCode::invalid_text);
  EXPECT_EQ(code(0, 4), ErrorCode::invalid_text);
  EXPECT_EQ(code(40, 3), ErrorCode::usage);
  EXPECT_EQ(cut(loaded.engine->tokenizer(), 63, 64).count, 1);
  EXPECT_EQ(cut(loaded.engine->tokenizer(), 1000, 64, 2).count, 2);
}

}  // namespace
}  // namespace plimsoll
