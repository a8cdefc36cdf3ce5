// Prompts that begin alike: computed once, held once, and nobody can tell.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <vector>

#include "base/error.h"
#include "support/fixture.h"
#include "support/synthetic_model.h"
#include "support/temporary_folder.h"

namespace plimsoll {
namespace {

constexpr std::int64_t vocabulary = 512;

std::vector<TokenId> random_tokens(std::int64_t count, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<TokenId> tokens(static_cast<std::size_t>(count));
  for (TokenId& token : tokens) token = static_cast<TokenId>(random() % vocabulary);
  return tokens;
}

/// As an answer is begun: what is known stays, the rest is read.
std::vector<float> read(Session& session, std::span<const TokenId> tokens,
                        std::int64_t* known = nullptr) {
  const std::int64_t kept = session.resume(tokens.first(tokens.size() - 1));
  if (known != nullptr) *known = kept;
  const auto logits = session.append(tokens.subspan(static_cast<std::size_t>(kept))).logits;
  session.mark_end();
  return {logits.begin(), logits.end()};
}

struct PrefixCase {
  const char* family;
  const char* kv;
};

class Prefixes : public ::testing::TestWithParam<PrefixCase> {
 protected:
  void SetUp() override {
    test::SyntheticModel model;
    model.family = GetParam().family;
    model.layers = model.family == "gemma3" ? 6 : 2;  // one in six has no window
    model.width = 128;
    model.heads = 4;
    model.kv_heads = 2;
    model.head_dim = model.family == "phi3" ? 0 : 32;
    model.feed_forward = 128;
    model.vocabulary = vocabulary;
    has_windows_ = model.family == "gemma3" || model.family == "phi3";
    if (has_windows_) model.window = 150;
    model.context = 4096;
    path_ = folder_.file("model.gguf");
    test::write_synthetic_model(path_, model, 2);
    options_.kv = *parse_kv_tiers(GetParam().kv);
    options_.context = 1000;
    options_.chunk_tokens = 128;
  }

  std::vector<float> alone(std::span<const TokenId> tokens) {
    test::Loaded loaded(path_, options_);
    return read(*loaded.session, tokens);
  }

  bool has_windows_ = false;
  test::TemporaryFolder folder_;
  std::string path_;
  test::LoadOptions options_;
};

TEST_P(Prefixes, TheSamePromptAgainIsThereAndGivesTheSameBits) {
  options_.branches = 3;
  test::Loaded loaded(path_, options_);
  const auto prompt = random_tokens(300, 1);
  std::int64_t known = -1;
  const auto first = read(*loaded.session, prompt, &known);
  EXPECT_EQ(known, 0);
  Session other(*loaded.engine, 500, KvSequence::Room::found);
  EXPECT_EQ(read(other, prompt, &known), first);
  EXPECT_EQ(known, 256);  // whole pages
  EXPECT_EQ(alone(prompt), first);

  // One that goes another way after 200 tokens: where layers have windows, only ends can be gone on
  // from.
  auto parts = prompt;
  parts.resize(200);
  const auto more = random_tokens(150, 2);
  parts.insert(parts.end(), more.begin(), more.end());
  Session third(*loaded.engine, 500, KvSequence::Room::found);
  const auto logits = read(third, parts, &known);
  EXPECT_TRUE(known == (has_windows_ ? 0 : 192)) << known;
  EXPECT_EQ(logits, alone(parts));
}

TEST_P(Prefixes, AConversationGoesOnFromWhatAnotherSessionSaid) {
  options_.branches = 2;
  test::Loaded loaded(path_, options_);
  auto tokens = random_tokens(130, 3);
  read(*loaded.session, tokens);
  for (int turn = 0; turn < 3; ++turn) {
    const auto more = random_tokens(90, static_cast<std::uint32_t>(10 + turn));
    tokens.insert(tokens.end(), more.begin(), more.end());
    Session next(*loaded.engine, 500, KvSequence::Room::found);
    std::int64_t known = 0;
    const auto logits = read(next, tokens, &known);
    EXPECT_EQ(known, (std::ssize(tokens) - 90) / 64 * 64) << turn;
    EXPECT_EQ(logits, alone(tokens)) << turn;
  }
}

TEST_P(Prefixes, ManyOnOneHoldOneCopy) {
  options_.context = 32 * 200;
  options_.branches = 33;
  options_.logit_rows = 32;
  test::Loaded loaded(path_, options_);
  const auto system = random_tokens(640, 4);
  read(*loaded.session, system);
  const PagePool& pool = loaded.engine->pages();
  const std::int64_t one = pool.pages();
  std::vector<std::unique_ptr<Session>> sessions;
  std::vector<Session*> refer;
  for (std::uint32_t i = 0; i < 32; ++i) {
    auto tokens = system;
    const auto question = random_tokens(20, 50 + i);
    tokens.insert(tokens.end(), question.begin(), question.end());
    sessions.push_back(std::make_unique<Session>(*loaded.engine, 700, KvSequence::Room::found));
    refer.push_back(sessions.back().get());
    std::int64_t known = 0;
    read(*sessions.back(), tokens, &known);
    EXPECT_EQ(known, 640);
  }
  // Besides, a page in each layer for each.
  EXPECT_EQ(pool.pages(), one + 32 * loaded.engine->description().layers);
  EXPECT_EQ(loaded.context.ledger.used(Account::kv), pool.held_bytes());
  EXPECT_LE(pool.held_bytes(), pool.used_bytes() + 64 * KiB);
  // Together they say what each says alone.
  const std::vector<TokenId> next = random_tokens(32, 99);
  const std::span<float> logits = Session::append_each(refer, next);
  for (const std::size_t i : {0u, 7u, 31u}) {
    auto tokens = sessions[i]->tokens();
    EXPECT_EQ(tokens.back(), next[i]);
    const auto row = logits.subspan(i * vocabulary, vocabulary);
    EXPECT_EQ(std::vector<float>(row.begin(), row.end()), alone(tokens)) << i;
  }
}

TEST_P(Prefixes, WhatIsSharedIsReadOnceAndGivesTheSameBits) {
  options_.context = 2600 * 3;
  options_.branches = 7;
  options_.logit_rows = 7;
  test::Loaded loaded(path_, options_);
  loaded.session.reset();
  const auto system = random_tokens(2 * attention_part + 130, 6);
  std::vector<std::unique_ptr<Session>> sessions;
  std::vector<Session*> refer;
  // Five on the whole of it, one on half, one on nothing.
  for (std::uint32_t i = 0; i < 7; ++i) {
    auto tokens = system;
    if (i == 3) tokens.resize(attention_part + 70);
    if (i == 5) tokens = random_tokens(90, 3);
    const auto question = random_tokens(10 + i * 13, 70 + i);
    tokens.insert(tokens.end(), question.begin(), question.end());
    sessions.push_back(
        std::make_unique<Session>(*loaded.engine, 2500, KvSequence::Room::found));
    refer.push_back(sessions.back().get());
    read(*sessions.back(), tokens);
  }
  for (int step = 0; step < 3; ++step) {
    const std::vector<TokenId> next = random_tokens(7, 400 + static_cast<std::uint32_t>(step));
    const std::span<float> logits = Session::append_each(refer, next);
    std::vector<float> all(logits.begin(), logits.end());
    if (step != 2) continue;
    options_.context = 2500;
    options_.branches = options_.logit_rows = 1;
    for (std::size_t i = 0; i < 7; ++i) {
      const auto row = std::span(all).subspan(i * vocabulary, vocabulary);
      EXPECT_EQ(std::vector<float>(row.begin(), row.end()), alone(sessions[i]->tokens())) << i;
    }
  }
}

TEST_P(Prefixes, WhatNobodyUsesMakesRoom) {
  options_.context = 300;
  test::Loaded loaded(path_, options_);
  // One that comes back again and again, others that do not.
  const auto often = random_tokens(130, 1000);
  read(*loaded.session, often);
  std::int64_t known = 0;
  for (std::uint32_t i = 0; i < 30; ++i) {
    const auto prompt = random_tokens(100 + i * 5 % 190, 200 + i);
    const auto logits = read(*loaded.session, prompt, &known);
    EXPECT_EQ(known, 0);
    if (i % 10 == 9) {
      EXPECT_EQ(logits, alone(prompt));
    }
    EXPECT_LE(loaded.context.ledger.used(Account::kv), loaded.plan.account(Account::kv));
    if (i % 3 == 0) read(*loaded.session, often, &known);
  }
  // The whole context is one session's where it wants it.
  const auto all = random_tokens(300, 7);
  EXPECT_EQ(read(*loaded.session, all), alone(all));
}

TEST_P(Prefixes, WritingAFullPageAgainTakesNoMore) {
  // The whole context is this session's, and its last page full; it goes back into it, again and
  // again.
  options_.context = 320;
  test::Loaded loaded(path_, options_);
  const auto prompt = random_tokens(320, 11);
  for (const std::int64_t length : {310, 257, 319, 300}) {
    read(*loaded.session, prompt);
    loaded.session->truncate(length);
    const auto rest = random_tokens(320 - length, 12);
    auto tokens = loaded.session->tokens();
    tokens.insert(tokens.end(), rest.begin(), rest.end());
    const auto row = loaded.session->append(rest).logits;
    EXPECT_EQ(std::vector<float>(row.begin(), row.end()), alone(tokens)) << length;
  }
}

TEST_P(Prefixes, ATruncatedSessionGoesOnAsIfNothingHadBeen) {
  test::Loaded loaded(path_, options_);
  const auto prompt = random_tokens(700, 1);
  for (const std::int64_t length : {699, 520, 301, 64, 1}) {
    read(*loaded.session, prompt);
    loaded.session->truncate(length);
    EXPECT_EQ(std::ssize(loaded.session->tokens()), length);
    auto tokens = loaded.session->tokens();
    const auto more = random_tokens(10, static_cast<std::uint32_t>(length));
    tokens.insert(tokens.end(), more.begin(), more.end());
    const auto row = loaded.session->append(more).logits;
    EXPECT_EQ(std::vector<float>(row.begin(), row.end()), alone(tokens)) << length;
  }
}

INSTANTIATE_TEST_SUITE_P(Families, Prefixes,
                         ::testing::Values(PrefixCase{"llama", "16"}, PrefixCase{"gemma3", "16"},
                                           PrefixCase{"phi3", "16"}, PrefixCase{"llama", "8/4"},
                                           PrefixCase{"gemma3", "2"}, PrefixCase{"qwen3", "16/2"}),
                         [](const auto& row) {
                           std::string text = std::string(row.param.family) + "_" + row.param.kv;
                           std::ranges::replace(text, '/', '_');
                           return text;
                         });

}  // namespace
}  // namespace plimsoll
