#include "engine/transcript.h"

#include <gtest/gtest.h>

#include <random>

#include "base/error.h"
#include "engine/chat_vocabulary.h"

namespace plimsoll {
namespace {

using Parts = std::vector<TextPart>;
using test::ChatVocabulary;

std::string text_of(const Tokenizer& tokenizer, std::span<const TokenId> tokens) {
  std::string text;
  for (const TokenId token : tokens) text += tokenizer.bytes_of(token, true);
  return text;
}

/// "hello" in pieces that its tokenizer would never make.
std::vector<TokenId> odd_hello(const Tokenizer& tokenizer) {
  return {*tokenizer.find("h"), *tokenizer.find("e"), *tokenizer.find("ll"), *tokenizer.find("o")};
}

TEST(Transcript, WhatWasSaidKeepsItsIds) {
  const ChatVocabulary v = ChatVocabulary::byte_level();
  const Tokenizer& tokenizer = *v.tokenizer;
  Transcript transcript(tokenizer);
  const std::string before = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n";
  transcript.read(Parts{{before, false}});
  const std::vector<TokenId> prompt = transcript.tokens();
  EXPECT_EQ(prompt, tokenizer.encode(before, true));
  const std::vector<TokenId> said = odd_hello(tokenizer);
  transcript.say(said);

  for (const bool is_input : {false, true}) {
    Transcript next = transcript;
    const std::string rest = "<|im_end|>\n<|im_start|>user\nhello<|im_end|>\n";
    next.read(Parts{{before, false}, {"hello", is_input}, {rest, false}});
    std::vector<TokenId> expected = prompt;
    expected.insert(expected.end(), said.begin(), said.end());
    for (const TokenId token : tokenizer.encode(rest, true)) expected.push_back(token);
    EXPECT_EQ(next.tokens(), expected);
    EXPECT_NE(next.tokens(), tokenizer.encode(before + "hello" + rest, true));
  }
}

TEST(Transcript, WhatATemplateCutsOffIsCutOff) {
  const ChatVocabulary v = ChatVocabulary::byte_level();
  Transcript transcript(*v.tokenizer);
  const std::string before = "<|im_start|>assistant\n";
  transcript.read(Parts{{before, false}});
  const std::size_t prompt = transcript.tokens().size();
  std::vector<TokenId> said = odd_hello(*v.tokenizer);
  for (const TokenId token : v.tokenizer->encode("\n\n")) said.push_back(token);
  transcript.say(said);
  transcript.read(Parts{{before + "hello<|im_end|>\n", false}});
  EXPECT_EQ(text_of(*v.tokenizer, transcript.tokens()), before + "hello<|im_end|>\n");
  EXPECT_EQ(transcript.tokens()[prompt], *v.tokenizer->find("h"));  // still its own way
  // All of it, with what stands before: another text altogether.
  transcript.read(Parts{{"<|im_start|>assistant\nbye<|im_end|>\n", false}});
  EXPECT_EQ(transcript.tokens(),
            v.tokenizer->encode("<|im_start|>assistant\nbye<|im_end|>\n", true));
}

TEST(Transcript, TheSameTextOfAnotherOriginIsAnother) {
  const ChatVocabulary v = ChatVocabulary::byte_level();
  Transcript transcript(*v.tokenizer);
  transcript.read(Parts{{"<|im_start|>", false}, {"a<|im_end|>", true}});
  const std::vector<TokenId> typed = transcript.tokens();
  transcript.say(odd_hello(*v.tokenizer));
  transcript.read(Parts{{"<|im_start|>a<|im_end|>hello", false}});
  EXPECT_EQ(transcript.tokens(), v.tokenizer->encode("<|im_start|>a<|im_end|>hello", true));
  EXPECT_NE(transcript.tokens().size(), typed.size());
  transcript.read(Parts{{"<|im_start|>", false}, {"a<|im_end|>", true}});
  EXPECT_EQ(transcript.tokens(), typed);
}

TEST(Transcript, NoSpaceComesBeforeWhatFollows) {
  const ChatVocabulary v = ChatVocabulary::sentence_pieces();
  const Tokenizer& tokenizer = *v.tokenizer;
  Transcript transcript(tokenizer);
  transcript.read(Parts{{"<s>hello a", false}});
  transcript.say(odd_hello(tokenizer));
  const std::size_t before = transcript.tokens().size();
  transcript.read(Parts{{"<s>hello ahello hello</s>", false}});
  const std::vector<TokenId> rest(transcript.tokens().begin() + static_cast<std::ptrdiff_t>(before),
                                  transcript.tokens().end());
  EXPECT_EQ(rest, (std::vector<TokenId>{*tokenizer.find("\u2581hello"), 2}));
  transcript.read(Parts{{"<s>hello ahello!hello", false}});
  EXPECT_EQ(transcript.tokens().back(), *tokenizer.find("hello"));
  EXPECT_EQ(transcript.tokens()[before], *tokenizer.find("!"));
}

TEST(Transcript, BrokenTextChangesNothing) {
  const ChatVocabulary v = ChatVocabulary::byte_level();
  Transcript transcript(*v.tokenizer);
  transcript.read(Parts{{"hello", false}});
  const std::vector<TokenId> before = transcript.tokens();
  EXPECT_THROW(transcript.read(Parts{{"hello\xFF", true}}), Error);
  EXPECT_EQ(transcript.tokens(), before);
}

/// Whatever is read and said: the ids spell the text, and nothing that is input is a control token.
TEST(Transcript, TheIdsAlwaysSpellTheText) {
  const ChatVocabulary v = ChatVocabulary::byte_level();
  const Tokenizer& tokenizer = *v.tokenizer;
  std::mt19937 random(3);
  const std::vector<std::string> words = {"hello", " a",   "\n",      "<|im_end|>", "<|im_start|>",
                                          "user",  "é",    "\u4E2D",  "in",         "",
                                          "ans",   "<|im", "_end|>x", "🙂",       "  "};
  const auto word = [&] { return words[random() % words.size()]; };
  for (int round = 0; round < 200; ++round) {
    Transcript transcript(tokenizer);
    Parts parts;
    for (int turn = 0; turn < 6; ++turn) {
      for (std::size_t i = random() % 4; i-- > 0;) parts.push_back({word(), random() % 2 == 0});
      transcript.read(parts);
      std::string text;
      std::size_t marks = 0;
      for (const TextPart& part : parts) text += part.text;
      EXPECT_EQ(text_of(tokenizer, transcript.tokens()), text);
      Parts marked = parts;
      for (const TokenId token : tokenizer.encode(marked)) marks += tokenizer.is_control(token);
      std::size_t found = 0;
      for (const TokenId token : transcript.tokens()) found += tokenizer.is_control(token);
      EXPECT_LE(found, marks) << text;
      // Said a character at a time, as no tokenizer would; perhaps to be shown in part.
      std::vector<TokenId> said;
      for (const char c : word() + word()) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte < 0x80) said.push_back(tokenizer.encode(std::string(1, c)).front());
      }
      transcript.say(said);
      std::string spelled = text_of(tokenizer, said);
      if (random() % 3 == 0) spelled = spelled.substr(0, spelled.size() / 2);
      if (random() % 5 == 0) spelled.clear();
      parts.push_back({spelled, random() % 2 == 0});
      if (random() % 8 == 0) parts.erase(parts.begin());
    }
  }
}

}  // namespace
}  // namespace plimsoll
