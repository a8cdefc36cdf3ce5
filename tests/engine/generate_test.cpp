#include <gtest/gtest.h>

#include <filesystem>

#include "base/error.h"
#include "support/fixture.h"

namespace plimsoll {
namespace {

const std::string stories = std::string(PLIMSOLL_SHARED) + "/models/stories260k-f32.gguf";
// Greedy, the same in llama.cpp and llama2.c (the shared models' README).
const std::string story =
    ", there was a little girl named Lily. She loved to play outside in the park. One day, she saw "
    "a big, red ball. "
    "She wanted to play with it, but it was too high.";

Generated tell(test::Loaded& loaded, GenerateOptions options,
               const std::string& prompt = "Once upon a time",
               const std::function<bool(std::string_view)>& emit = {}) {
  options.sampling.temperature = 0;
  return generate(*loaded.session, prompt_tokens(loaded.engine->tokenizer(), prompt, false),
                  options, emit);
}

class Stories : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(stories))
      GTEST_SKIP() << "needs the shared models, which are not here: " << stories;
  }
};

TEST_F(Stories, TellsTheKnownStory) {
  for (const int threads : {1, 2}) {
    test::LoadOptions load;
    load.threads = threads;
    test::Loaded loaded(stories, load);
    GenerateOptions options;
    options.max_tokens = 60;
    std::string streamed;
    const Generated result = tell(loaded, options, "Once upon a time", [&](std::string_view text) {
      streamed += text;
      return true;
    });
    EXPECT_EQ(result.text.substr(0, story.size()), story);
    EXPECT_EQ(streamed, result.text);
    EXPECT_EQ(result.reason, FinishReason::length);
    EXPECT_EQ(result.tokens.size(), 60u);
  }
}

TEST_F(Stories, StopTextsEndTheAnswerAcrossTokenBorders) {
  test::Loaded loaded(stories);
  for (const std::string stop :
       {"Lily", "ily. She lo", "red ball.", "y", " girl named Lily. She loved to play"}) {
    GenerateOptions options;
    options.max_tokens = 60;
    options.stops = {"never to be found", stop};
    std::string streamed;
    loaded.session->clear();
    const Generated result = tell(loaded, options, "Once upon a time", [&](std::string_view text) {
      streamed += text;
      return true;
    });
    EXPECT_EQ(result.reason, FinishReason::stop);
    EXPECT_EQ(result.text, story.substr(0, story.find(stop))) << stop;
    EXPECT_EQ(streamed, result.text) << "no beginning of a stop text may leak";
  }
}

TEST_F(Stories, TextHeldBackForAStopThatNeverCameIsNotLost) {
  test::Loaded loaded(stories);
  GenerateOptions options;
  options.max_tokens = 10;
  const std::string plain = tell(loaded, options).text;
  loaded.session->clear();
  options.stops = {plain.substr(plain.size() - 4) +
                   "#"};  // its beginning is the very end of the text
  const Generated result = tell(loaded, options);
  EXPECT_EQ(result.text, plain);
  EXPECT_EQ(result.reason, FinishReason::length);
}

TEST_F(Stories, AFullContextIsACleanStop) {
  test::LoadOptions load;
  load.context = 20;
  test::Loaded loaded(stories, load);
  const Generated result = tell(loaded, {});
  EXPECT_EQ(result.reason, FinishReason::context_full);
  EXPECT_EQ(name(result.reason), "length");
  EXPECT_EQ(result.text, story.substr(0, result.text.size()));
  // 20 positions hold the prompt and every token but the last, which needs none.
  EXPECT_EQ(result.prompt_tokens + static_cast<std::int64_t>(result.tokens.size()), 21);
}

TEST_F(Stories, EmittingCanCancel) {
  test::Loaded loaded(stories);
  int pieces = 0;
  const Generated result =
      tell(loaded, {}, "Once upon a time", [&](std::string_view) { return ++pieces < 5; });
  EXPECT_EQ(result.reason, FinishReason::cancelled);
  EXPECT_LT(result.tokens.size(), 10u);
}

TEST_F(Stories, TheSameSeedGivesTheSameText) {
  std::string texts[3];
  for (int i = 0; i < 3; ++i) {
    test::LoadOptions load;
    load.threads = 1 + i % 2;
    test::Loaded loaded(stories, load);
    GenerateOptions options;
    options.max_tokens = 80;
    options.sampling.seed = i == 2 ? 43 : 42;
    const auto prompt = prompt_tokens(loaded.engine->tokenizer(), "Once", false);
    texts[i] = generate(*loaded.session, prompt, options).text;
  }
  EXPECT_EQ(texts[0], texts[1]);
  EXPECT_NE(texts[0], texts[2]);
}

TEST(Generate, AnEmptyPromptBeginsWithBosOrIsRefused) {
  test::Loaded loaded(test::bundled_model());
  GenerateOptions options;
  options.max_tokens = 3;
  EXPECT_EQ(tell(loaded, options, "").tokens.size(), 3u);
  loaded.session->clear();
  try {
    generate(*loaded.session, {}, options);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::empty_prompt);
  }
}

}  // namespace
}  // namespace plimsoll
