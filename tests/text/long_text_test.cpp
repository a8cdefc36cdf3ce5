// Long texts in bounded memory: in parts, in windows and from a stream, with the ids of the whole.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "file/model_file.h"
#include "support/temporary_folder.h"
#include "text/merge.h"
#include "text/pre_tokenizer.h"
#include "text/token_stream.h"
#include "text/tokenizer.h"
#include "text/unicode.h"
#include "text/utf8.h"
#include "tokenizer_folder.h"
#include "vocabulary_builder.h"

namespace plimsoll {
namespace {

using Ids = std::vector<TokenId>;

std::size_t below(std::mt19937& random, std::size_t count) { return random() % count; }

/// Text of what tokenizers treat in their own ways, in runs.
std::string random_text(std::mt19937& random, std::size_t bytes) {
  static const std::vector<std::string> pool = {"a",
                                                "b",
                                                "the",
                                                "word",
                                                "I'll",
                                                "it's",
                                                "'S",
                                                "don't",
                                                "x1",
                                                "12",
                                                "3",
                                                " ",
                                                " ",
                                                "  ",
                                                "\n",
                                                "\n\n",
                                                "\r\n",
                                                "\t",
                                                ".",
                                                ",",
                                                "!?",
                                                "(",
                                                "-",
                                                "é",
                                                "e\u0301",
                                                "ß",
                                                "Ǆ",
                                                "\u0301",
                                                "漢字",
                                                "かな",
                                                "한국",
                                                "ไทย",
                                                "عرب",
                                                "\u0600",
                                                "👩‍👩‍👧",
                                                "🙂",
                                                "\u200B",
                                                "\u3000",
                                                "\u0085",
                                                "½",
                                                "٣",
                                                std::string(1, '\0'),
                                                "<|im_end|>",
                                                "<s>",
                                                "</s>",
                                                "▁",
                                                "<unk>",
                                                "\u2028",
                                                "Ⅷ",
                                                "ſ",
                                                "$",
                                                "/",
                                                "\\",
                                                "\u1100\u1161",
                                                "A",
                                                "ACGT",
                                                "e",
                                                "\u180E"};
  std::string text;
  while (text.size() < bytes) {
    const std::string& one = pool[below(random, pool.size())];
    const std::size_t times = below(random, 6) == 0 ? 1 + below(random, 300) : 1 + below(random, 2);
    for (std::size_t i = 0; i < times && text.size() < bytes; ++i) text += one;
  }
  return text;
}

std::string prose(std::mt19937& random, std::size_t bytes) {
  static const std::vector<std::string> words = {"the",  "Plimsoll", "line",  "of",
                                                 "1876", "ship",     "isn't", "überladen",
                                                 "und",  "漢字",     "sinks."};
  std::string text;
  while (text.size() < bytes) {
    text += words[below(random, words.size())];
    text += below(random, 12) == 0 ? "\n" : " ";
  }
  return text;
}

std::string letters(std::mt19937& random, std::string_view alphabet, std::size_t bytes) {
  std::string text;
  for (std::size_t i = 0; i < bytes; ++i) text += alphabet[below(random, alphabet.size())];
  return text;
}

std::optional<Ids> encode_whole(const Tokenizer& tokenizer, std::string_view text) {
  try {
    return tokenizer.encode(text);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_text) << error.what();
    return std::nullopt;  // no token for something
  }
}

/// As a stream would, with blocks of random sizes up to `most` bytes; `taken` gets what was certain
/// before the end.
Ids encode_in_parts(const Tokenizer& tokenizer, std::string_view text, std::size_t most,
                    std::mt19937& random, std::size_t& taken) {
  Ids out;
  Tokenizer::Progress progress;
  std::size_t size = 0;
  while (!text.empty()) {
    size += 1 + below(random, most);
    if (size >= text.size()) break;
    std::size_t whole = size;
    while (whole > 0 && (text[whole] & 0xC0) == 0x80) --whole;
    const std::size_t part = tokenizer.encode_beginning(text.substr(0, whole), progress, out);
    EXPECT_LE(part, whole);
    text.remove_prefix(part);
    size -= part;
    taken += part;
  }
  tokenizer.encode_end(text, progress, out);
  return out;
}

/// Texts of up to `bytes` bytes, which are tokenized as a whole otherwise.
void expect_parts_equal(const Tokenizer& tokenizer, std::size_t bytes, int rounds,
                        std::size_t* all_taken = nullptr) {
  std::mt19937 random(7);
  std::size_t taken = 0;
  for (int round = 0; round < rounds; ++round) {
    const std::string text =
        round % 4 == 3 ? prose(random, bytes) : random_text(random, 1 + below(random, bytes));
    const std::optional<Ids> wanted = encode_whole(tokenizer, text);
    if (!wanted) continue;
    const std::size_t most = round % 2 ? 40 : 1500;
    ASSERT_EQ(encode_in_parts(tokenizer, text, most, random, taken), *wanted)
        << "round " << round << ": " << text.substr(0, 200);
  }
  if (all_taken) *all_taken = taken;
}

/// Each byte, and merges out of what is there already.
VocabularyBuilder byte_pairs(std::mt19937& random, const std::string& pre, std::size_t merges) {
  VocabularyBuilder builder;
  builder.pre = pre;
  std::vector<std::string> texts;
  for (int byte = 0; byte < 256; ++byte) {
    const bool is_plain = (byte >= 33 && byte < 127) || (byte >= 161 && byte != 173);
    static int extra = 0;
    if (byte == 0) extra = 0;
    std::string text;
    append_character(text, static_cast<char32_t>(is_plain ? byte : 256 + extra++));
    texts.push_back(text);
    builder.add(text);
  }
  std::vector<std::string> seeds = {"Ġ", "t", "h", "e", "a", "c", "g", "Ċ", "A", "C", "Ã", "©"};
  std::map<std::string, bool> known;
  for (std::size_t i = 0; i < merges; ++i) {
    const std::string left = seeds[below(random, seeds.size())];
    const std::string right = seeds[below(random, seeds.size())];
    if (known[left + " " + right] || left.size() + right.size() > 24) continue;
    known[left + " " + right] = true;
    builder.merges.push_back(left + " " + right);
    if (!known[left + right]) {
      known[left + right] = true;
      builder.add(left + right);
      seeds.push_back(left + right);
    }
  }
  return builder;
}

TEST(LongText, EveryKindOfCuttingTakesParts) {
  std::string names = known_pre_tokenizer_names();
  int kinds = 0, in_parts = 0;
  std::vector<const PreTokenizerKind*> seen;
  while (!names.empty()) {
    const std::size_t comma = std::min(names.find(", "), names.size());
    const std::string name = names.substr(0, comma);
    names.erase(0, comma + 2);
    const PreTokenizerKind* kind = find_pre_tokenizer_kind(name);
    if (std::ranges::find(seen, kind) != seen.end()) continue;
    seen.push_back(kind);
    std::mt19937 random(3);
    VocabularyBuilder builder = byte_pairs(random, name, 60);
    builder.add("<|im_end|>", VocabularyBuilder::control);
    builder.add("im", VocabularyBuilder::user_defined);
    builder.add("word", VocabularyBuilder::user_defined);
    SCOPED_TRACE(name);
    std::size_t taken = 0;
    expect_parts_equal(*builder.build(), 3000, 60, &taken);
    ++kinds;
    in_parts += taken > 50'000;
  }
  EXPECT_GT(kinds, 25);
  // Not those that count digits or look back, nor falcon's; and bytes don't spell gemma's tokens.
  EXPECT_GE(in_parts, kinds - 5) << "of " << kinds;
}

TEST(LongText, PublishedVocabulariesTakeParts) {
  std::vector<std::string> folders = {std::string(PLIMSOLL_SHARED) + "/vocab"};
  if (const char* more = std::getenv("PLIMSOLL_VOCABULARIES")) folders.emplace_back(more);
  int count = 0;
  for (const std::string& folder : folders) {
    if (!std::filesystem::exists(folder)) continue;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      if (entry.path().extension() != ".gguf") continue;
      SCOPED_TRACE(entry.path());
      std::unique_ptr<Tokenizer> tokenizer;
      try {
        tokenizer = Tokenizer::from_metadata(ModelFile::open(entry.path()).metadata());
      } catch (const Error&) {
        continue;  // not a vocabulary
      }
      expect_parts_equal(*tokenizer, 5000, 40);
      // Long enough for several parts and windows, whatever way they come.
      std::mt19937 random(11);
      for (const std::string& text :
           {random_text(random, 400'000), prose(random, 400'000), letters(random, "acgt", 100'000),
            std::string(100'000, 'a'), std::string(100'000, '\0'), std::string(100'000, ' '),
            std::string(100'000, '\n'), letters(random, "a ", 100'000)}) {
        const std::optional<Ids> wanted = encode_whole(*tokenizer, text);
        if (!wanted) continue;
        TokenStream stream(*tokenizer, 1 << 30);
        Ids found;
        for (std::size_t at = 0; at < text.size();) {
          const std::size_t size = 1 + below(random, 70'000);
          stream.push(std::string_view(text).substr(at, size), found);
          at += size;
        }
        stream.finish(found);
        EXPECT_EQ(found.size(), wanted->size());
        EXPECT_TRUE(found == *wanted);
      }
      ++count;
    }
  }
  if (count == 0) GTEST_SKIP() << "../shared/vocab is not here";
}

TEST(LongText, TokenizersOfFoldersTakeParts) {
  std::ifstream in(PLIMSOLL_MODELS "/../tests/text/golden/tokenizers.json");
  const nlohmann::json all = nlohmann::json::parse(in);
  for (const auto& one : all["cases"]) {
    SCOPED_TRACE(one["name"].get<std::string>());
    test::TemporaryFolder folder;
    write_text(folder.file("tokenizer.json"), one["tokenizer"].dump());
    write_model(folder.path().string(), one["size"]);
    const auto tokenizer =
        Tokenizer::from_metadata(ModelFile::open(folder.path().string()).metadata());
    expect_parts_equal(*tokenizer, 3000, 60);
  }
}

}  // namespace
}  // namespace plimsoll
