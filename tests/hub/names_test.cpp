// What people write and paste for a model, and what may not pass for one.
#include "hub/names.h"

#include <gtest/gtest.h>

#include <random>

#include "base/error.h"
#include "hub/choice.h"
#include "hub/known_models.h"

namespace plimsoll::test {
namespace {

constexpr const char* endpoint = "http://127.0.0.1:1234";

struct Parsed {
  const char* text;
  const char *repo, *revision, *file, *quant;
};

TEST(Names, WaysToWriteOne) {
  const Parsed cases[] = {
      {"Qwen/Qwen3-8B-GGUF", "Qwen/Qwen3-8B-GGUF", "main", "", ""},
      {"hf:Qwen/Qwen3-8B-GGUF", "Qwen/Qwen3-8B-GGUF", "main", "", ""},
      {"hf://Qwen/Qwen3-8B-GGUF", "Qwen/Qwen3-8B-GGUF", "main", "", ""},
      {"HF:Qwen/Qwen3-8B-GGUF:q4_k_m", "Qwen/Qwen3-8B-GGUF", "main", "", "q4_k_m"},
      {"a/b:Q4_K_M", "a/b", "main", "", "Q4_K_M"},
      {"a/b:UD-Q4_K_XL", "a/b", "main", "", "UD-Q4_K_XL"},
      {"a/b:x.gguf", "a/b", "main", "x.gguf", ""},
      {"a/b:sub/x", "a/b", "main", "sub/x", ""},
      {"a/b:sub/x.gguf@v1.0", "a/b", "v1.0", "sub/x.gguf", ""},
      {"a/b@refs/pr/1:x.gguf", "a/b", "refs/pr/1", "x.gguf", ""},
      {"a/b@0123abc", "a/b", "0123abc", "", ""},
      {"hf.co/a/b", "a/b", "main", "", ""},
      {"hf.co/a/b:Q8_0", "a/b", "main", "", "Q8_0"},
      {"huggingface.co/a/b/", "a/b", "main", "", ""},
      {"https://huggingface.co/a/b", "a/b", "main", "", ""},
      {"https://huggingface.co/a/b/tree/main", "a/b", "main", "", ""},
      {"https://huggingface.co/a/b/tree/v2/dir", "a/b", "v2", "", ""},
      {"https://huggingface.co/a/b/resolve/main/x.gguf", "a/b", "main", "x.gguf", ""},
      {"https://huggingface.co/a/b/resolve/main/x.gguf?download=true", "a/b", "main", "x.gguf", ""},
      {"https://HuggingFace.co/a/b/blob/v1/d/x%20y.gguf#L1", "a/b", "v1", "d/x y.gguf", ""},
      {"http://hf.co/a/b/raw/main/x.gguf", "a/b", "main", "x.gguf", ""},
      {"http://127.0.0.1:1234/a/b/resolve/main/x.gguf", "a/b", "main", "x.gguf", ""},
  };
  for (const Parsed& c : cases) {
    const auto name = parse_model_name(c.text, endpoint);
    ASSERT_TRUE(name) << c.text;
    EXPECT_EQ(name->source, ModelName::Source::hub) << c.text;
    EXPECT_EQ(name->repo, c.repo) << c.text;
    EXPECT_EQ(name->revision, c.revision) << c.text;
    EXPECT_EQ(name->file, c.file) << c.text;
    EXPECT_EQ(name->quant, c.quant) << c.text;
    // What is shown leads back.
    const auto again = parse_model_name(name->text(), endpoint);
    ASSERT_TRUE(again) << name->text();
    EXPECT_EQ(again->text(), name->text());
    EXPECT_EQ(again->repo, name->repo);
    EXPECT_EQ(again->file, name->file);
  }
}

TEST(Names, OtherAddressesAndStores) {
  const auto url = parse_model_name("https://example.com/x/y.gguf?sig=1#part", endpoint);
  ASSERT_TRUE(url);
  EXPECT_EQ(url->source, ModelName::Source::url);
  EXPECT_EQ(url->url, "https://example.com/x/y.gguf?sig=1");
  const auto ollama = parse_model_name("ollama:llama3.2:1b", endpoint);
  ASSERT_TRUE(ollama);
  EXPECT_EQ(ollama->source, ModelName::Source::ollama);
  EXPECT_EQ(ollama->text(), "ollama:llama3.2:1b");
  EXPECT_EQ(parse_model_name("ollama:llama3.2", endpoint)->text(), "ollama:llama3.2:latest");
}

TEST(Names, PathsAreNoNames) {
  for (const char* text : {"", ".", "..", "/", "a.gguf", "./a/b", "../a/b", "/a/b", "a/b/c", "models/x.gguf", "a/",
                           "a//b", "a/b.safetensors", "x y/z", "-a/b", "nonsense", "C:\\x", "a/..", "~/models/x"})
    EXPECT_FALSE(parse_model_name(text, endpoint)) << text;
}

TEST(Names, WhatBeginsAsOneAndIsWrongIsRefused) {
  for (const char* text :
       {"hf:", "hf:a", "hf:a/b/c", "hf:a/b:", "hf:a/b:../x.gguf", "hf:a/b:/x.gguf", "hf:a/b@", "hf:../b",
        "https://", "https://huggingface.co/datasets/a/b/x", "https://user:pass@example.com/x.gguf",
        "https://huggingface.co/a/b/resolve/main/../../x", "https://a b/x.gguf", "ollama:", "ollama:../x",
        "hf:a/b:dir/%2e%2e\\x.gguf"}) {
    try {
      const auto name = parse_model_name(text, endpoint);
      ADD_FAILURE() << text << " is taken for " << (name ? name->text() : "no name");
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::usage) << text;
    }
  }
}

TEST(Names, KnownOnesAreWholeAndDistinct) {
  for (const KnownModel& known : known_models()) {
    const auto name = parse_model_name(known.name, endpoint);
    ASSERT_TRUE(name);
    EXPECT_EQ(name->known, &known);
    EXPECT_EQ(name->text(), known.name);
    EXPECT_TRUE(is_safe_path(known.file));
    EXPECT_NE(quant_of(known.file), "") << known.file;
    const auto as_repo = parse_model_name("hf:" + std::string(known.repo), endpoint);
    ASSERT_TRUE(as_repo) << known.repo;
    if (known.packaged) {
      EXPECT_EQ(known.packaged->sha256.size(), 64u);
    }
  }
  EXPECT_EQ(parse_model_name("smollm2", endpoint)->known->name, "smollm2:135m");
  EXPECT_EQ(parse_model_name("SmolLM2:1.7B", endpoint)->known->name, "smollm2:1.7b");
  // The hub's own file of a name that is packaged elsewhere is that file.
  EXPECT_EQ(parse_model_name("HuggingFaceTB/SmolLM2-135M-Instruct-GGUF:smollm2-135m-instruct-q8_0.gguf", endpoint)->known,
            nullptr);
}

TEST(Names, SafePaths) {
  for (const char* good : {"a", "a/b", "a b/c..d", "x.gguf", "...", "a/.b"}) EXPECT_TRUE(is_safe_path(good)) << good;
  for (const char* bad : {"", "/a", "a/", "a//b", ".", "..", "a/../b", "./a", "a\\b", "a\nb", "a\x7f"})
    EXPECT_FALSE(is_safe_path(bad)) << bad;
  EXPECT_FALSE(is_safe_path(std::string("a\0b", 3)));
  EXPECT_FALSE(is_safe_path(std::string(300, 'a')));
}

TEST(Names, NearestComeFirst) {
  const std::vector<std::string> names = {"smollm2", "smollm2:1.7b", "qwen3", "gemma3"};
  EXPECT_EQ(nearest_names("smolm2", names).front(), "smollm2");
  EXPECT_EQ(nearest_names("gwen3", names).front(), "qwen3");
  EXPECT_TRUE(nearest_names("zebra crossing", names).empty());
}

TEST(Names, NoTextBreaksTheParser) {
  std::mt19937 random(7);
  const std::string alphabet = "ab/:@.%?#-_ hfHT\\\n\x80~ollamahttps://";
  for (int round = 0; round < 20'000; ++round) {
    std::string text;
    for (std::size_t length = random() % 24; text.size() < length;) text += alphabet[random() % alphabet.size()];
    if (round % 3 == 0) text = "hf:" + text;
    if (round % 3 == 1) text = "https://huggingface.co/" + text;
    try {
      const auto name = parse_model_name(text, endpoint);
      if (name && !name->file.empty()) {
        EXPECT_TRUE(is_safe_path(name->file)) << text;
      }
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::usage);
    }
  }
}

}  // namespace
}  // namespace plimsoll::test
