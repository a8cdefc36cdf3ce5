#include "engine/conversation.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "engine/chat_vocabulary.h"

namespace plimsoll {
namespace {

using Json = nlohmann::ordered_json;
using test::ChatVocabulary;

/// An answer in ids that its tokenizer would not choose: one a byte.
Generated answer_of(const Tokenizer& tokenizer, const std::string& text) {
  Generated generated;
  generated.text = text;
  for (const char c : text) {
    const std::vector<TokenId> one = tokenizer.encode(std::string(1, c));
    generated.tokens.insert(generated.tokens.end(), one.begin(), one.end());
  }
  return generated;
}

class Conversations : public ::testing::Test {
 protected:
  ChatVocabulary vocabulary = ChatVocabulary::byte_level();
  const Tokenizer& tokenizer = *vocabulary.tokenizer;
  Conversation conversation{*vocabulary.chat_template, tokenizer};

  std::string spelled(std::span<const TokenId> tokens) const {
    std::string text;
    for (const TokenId token : tokens) text += tokenizer.bytes_of(token, true);
    return text;
  }
  void exchange(const std::string& question, const std::string& answer,
                std::int64_t context = 100000) {
    conversation.ask(question, context);
    conversation.answered(answer_of(tokenizer, answer), {});
  }
  static bool holds(std::span<const TokenId> all, std::span<const TokenId> part) {
    return std::search(all.begin(), all.end(), part.begin(), part.end()) != all.end();
  }
};

TEST_F(Conversations, EachTurnReadsOnlyWhatIsNew) {
  conversation.set_system("be kind");
  std::vector<TokenId> before;
  for (int turn = 0; turn < 5; ++turn) {
    const ConversationPrompt prompt = conversation.ask("hello user", 100000);
    ASSERT_GT(prompt.tokens.size(), before.size());
    EXPECT_TRUE(std::equal(before.begin(), before.end(), prompt.tokens.begin()));
    const Generated answer = answer_of(tokenizer, "hello answer");
    before = prompt.tokens;
    before.insert(before.end(), answer.tokens.begin(), answer.tokens.end());
    conversation.answered(answer, {});
  }
  EXPECT_EQ(spelled(conversation.ask("x", 100000).tokens).substr(0, 100),
            "<|im_start|>system\nbe kind<|im_end|>\n<|im_start|>user\nhello user<|im_end|>\n"
            "<|im_start|>assistant\nhel");
}

TEST_F(Conversations, AFullContextForgetsAQuarterAtOnce) {
  conversation.set_system("be kind");
  const std::int64_t context = 400;
  std::int64_t forgotten = 0, times = 0;
  for (int turn = 0; turn < 40; ++turn) {
    const ConversationPrompt prompt = conversation.ask("question in turn", context);
    EXPECT_LE(std::ssize(prompt.tokens) + context / 4, context);
    EXPECT_EQ(spelled(prompt.tokens).rfind("<|im_start|>system\nbe kind<|im_end|>\n", 0), 0u);
    if (prompt.forgotten > 0) {
      ++times;
      forgotten += prompt.forgotten;
      // What stays keeps the ids that it was said in.
      EXPECT_TRUE(holds(prompt.tokens, answer_of(tokenizer, "hello user").tokens));
    }
    conversation.answered(answer_of(tokenizer, "hello user"), {});
  }
  EXPECT_GT(times, 3);
  EXPECT_GT(forgotten, times);  // several turns at a time
  EXPECT_EQ(conversation.system(), "be kind");
}

TEST_F(Conversations, WhatDoesNotFitIsRefusedAndNothingIsLost) {
  exchange("hello", "hello");
  const Json messages = conversation.messages();
  const std::string long_text(500, 'x');
  for (int i = 0; i < 2; ++i) {
    try {
      conversation.ask(long_text, 200);
      ADD_FAILURE();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::context_exceeded);
    }
    EXPECT_EQ(conversation.messages(), messages);
  }
  try {
    conversation.ask("caf\xE9", 200);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_text);
  }
  EXPECT_EQ(conversation.messages(), messages);
  EXPECT_EQ(conversation.ask("again", 100000).forgotten, 0);
  EXPECT_EQ(conversation.messages().size(), 3u);
}

TEST_F(Conversations, AnAnswerCanBeGivenAgain) {
  EXPECT_FALSE(conversation.take_back_answer());
  exchange("hello", "hello");
  const std::vector<TokenId> first = conversation.ask("and then", 100000).tokens;
  conversation.answered(answer_of(tokenizer, "nothing"), {});
  EXPECT_TRUE(conversation.take_back_answer());
  EXPECT_EQ(conversation.prompt(100000).tokens, first);
  conversation.answered(answer_of(tokenizer, "something"), {});
  EXPECT_EQ(conversation.messages().back()["content"], "something");
  EXPECT_EQ(conversation.messages().size(), 4u);
}

TEST_F(Conversations, AnotherSystemTextKeepsWhatWasSaid) {
  exchange("hello", "hello");
  conversation.set_system("be brief");
  EXPECT_EQ(conversation.system(), "be brief");
  const std::vector<TokenId> tokens = conversation.ask("in an", 100000).tokens;
  EXPECT_EQ(spelled(tokens),
            "<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\nhello<|im_end|>\n"
            "<|im_start|>assistant\nhello<|im_end|>\n<|im_start|>user\nin an<|im_end|>\n"
            "<|im_start|>assistant\n");
  EXPECT_TRUE(holds(tokens, answer_of(tokenizer, "hello").tokens));
  conversation.set_system("");
  EXPECT_EQ(conversation.system(), "");
  EXPECT_EQ(conversation.messages()[0]["role"], "user");
  conversation.clear();
  EXPECT_TRUE(conversation.messages().empty());
}

TEST_F(Conversations, ReasoningIsKeptApart) {
  conversation.ask("hello", 100000);
  conversation.answered(answer_of(tokenizer, "<think>\nin\n</think>\n\nuser"),
                        {"<think>", "</think>", false});
  EXPECT_EQ(conversation.messages().back()["content"], "user");
  EXPECT_EQ(conversation.messages().back()["reasoning_content"], "in");
}

TEST_F(Conversations, IdsComeBackFromAFileIfTheyCanHaveBeenSaid) {
  exchange("hello", "hello");
  const std::vector<TokenId> expected = conversation.ask("x", 100000).tokens;
  Json messages = conversation.messages();
  messages.erase(2);
  Json ids = conversation.token_ids();
  ids.erase(2);
  const auto loaded = [&](const Json& with) {
    Conversation other(*vocabulary.chat_template, tokenizer);
    other.set_messages(messages, with);
    return other.ask("x", 100000).tokens;
  };
  EXPECT_EQ(loaded(ids), expected);
  const std::vector<TokenId> plain = loaded({});
  EXPECT_NE(plain, expected);
  EXPECT_EQ(spelled(plain), spelled(expected));
  const TokenId mark = *tokenizer.find("<|im_start|>");
  for (const Json& wrong :
       {Json::array(), Json{nullptr, Json::array({1, 2})}, Json{nullptr, Json::array({-1})},
        Json{nullptr, Json::array({"a"})}, Json{nullptr, Json::array({1 << 30})},
        Json{nullptr, Json::array({mark})}, Json{nullptr, 7}, Json{ids[1], nullptr}, Json("x")})
    EXPECT_EQ(loaded(wrong), plain) << wrong.dump();
}

TEST_F(Conversations, MessagesThatAreNone) {
  for (const Json& wrong :
       {Json(), Json::array(), Json::object(), Json::array({"hello"}),
        Json::array({Json::object()}), Json::array({{{"role", 1}, {"content", "x"}}}),
        Json::array({{{"role", "user"}}}), Json::array({{{"role", "user"}, {"content", 3}}})}) {
    try {
      conversation.set_messages(wrong);
      ADD_FAILURE() << wrong.dump();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::usage) << wrong.dump();
    }
  }
  EXPECT_THROW(conversation.prompt(100), Error);
}

}  // namespace
}  // namespace plimsoll
