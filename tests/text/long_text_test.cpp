// Long texts in bounded memory: in parts, in windows and from a stream, with the ids of the whole.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/ledger.h"
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

/// Greedy merging by its definition, of a list of texts that only neighbours change; `priority_of`
/// gives no value for a pair that does not merge. Slow, but for the index of the pairs.
template <class Symbol, class PriorityOf, class Join>
std::vector<Symbol> merge_by_definition(std::vector<Symbol> symbols, const PriorityOf& priority_of,
                                        const Join& join) {
  std::vector<std::size_t> next(symbols.size()), previous(symbols.size());
  std::set<std::pair<double, std::size_t>> pairs;
  std::vector<std::optional<double>> known(symbols.size());
  const std::size_t count = symbols.size();
  const auto look = [&](std::size_t left) {
    if (left >= count) return;
    if (known[left]) pairs.erase({*known[left], left});
    known[left].reset();
    if (next[left] >= count) return;
    known[left] = priority_of(symbols[left], symbols[next[left]]);
    if (known[left]) pairs.insert({*known[left], left});
  };
  for (std::size_t i = 0; i < count; ++i) {
    next[i] = i + 1;
    previous[i] = i == 0 ? count : i - 1;
  }
  for (std::size_t i = 0; i < count; ++i) look(i);
  std::vector<bool> is_gone(count);
  while (!pairs.empty()) {
    const std::size_t left = pairs.begin()->second, right = next[left];
    if (known[right]) pairs.erase({*known[right], right});
    known[right].reset();
    is_gone[right] = true;
    symbols[left] = join(symbols[left], symbols[right]);
    next[left] = next[right];
    if (next[left] < count) previous[next[left]] = left;
    look(left);
    look(previous[left]);
  }
  std::vector<Symbol> merged;
  for (std::size_t i = 0; i < count; ++i)
    if (!is_gone[i]) merged.push_back(symbols[i]);
  return merged;
}

/// Long texts that are one piece each.
std::vector<std::string> long_pieces(std::mt19937& random) {
  const std::size_t bytes = 20'000 + below(random, 40'000);
  std::string pattern = letters(random, "acgt", 1 + below(random, 9)), repeated;
  while (repeated.size() < bytes) repeated += pattern;
  return {letters(random, "acgt", bytes), std::string(bytes, 'a'), letters(random, "ac", bytes),
          repeated, letters(random, "aaaaaaaaaaaaaaaaaaaaaac", bytes)};
}

/// Any texts over "acgt".
std::vector<std::string> random_words(std::mt19937& random, std::size_t count,
                                      std::size_t longest) {
  std::vector<std::string> words = {"a", "c", "g", "t"};
  while (words.size() < count) {
    // Grown out of others half of the time, as trained ones are.
    std::string word = random() % 2
                           ? words[below(random, words.size())] + words[below(random, words.size())]
                           : letters(random, "aacgt", 2 + below(random, longest));
    if (word.size() <= longest && std::ranges::find(words, word) == words.end())
      words.push_back(word);
    else if (random() % 50 == 0)
      break;
  }
  return words;
}

TEST(LongText, BytePairsInWindowsAreThoseOfTheWhole) {
  std::mt19937 random(17);
  for (int round = 0; round < 12; ++round) {
    const VocabularyBuilder builder = byte_pairs(random, "gpt-2", 20 + below(random, 400));
    const auto tokenizer = builder.build();
    std::map<std::pair<std::string, std::string>, double> ranks;
    for (std::size_t i = 0; i < builder.merges.size(); ++i) {
      const std::size_t space = builder.merges[i].find(' ');
      ranks[{builder.merges[i].substr(0, space), builder.merges[i].substr(space + 1)}] =
          static_cast<double>(i);
    }
    for (const std::string& text : long_pieces(random)) {
      std::vector<std::string> symbols;
      for (const char c : text) symbols.emplace_back(1, c);
      const auto merged = merge_by_definition(
          symbols,
          [&](const std::string& left, const std::string& right) -> std::optional<double> {
            const auto rank = ranks.find({left, right});
            return rank == ranks.end() ? std::nullopt : std::optional(rank->second);
          },
          std::plus<>());
      Ids wanted;
      for (const std::string& one : merged) wanted.push_back(*tokenizer->find(one));
      ASSERT_TRUE(tokenizer->encode(text) == wanted)
          << "round " << round << ": " << text.substr(0, 60);
    }
  }
}

TEST(LongText, ScoredPairsInWindowsAreThoseOfTheWhole) {
  std::mt19937 random(19);
  for (int round = 0; round < 16; ++round) {
    VocabularyBuilder builder;
    builder.model = "llama";
    builder.add("<unk>", VocabularyBuilder::unknown);
    builder.add("<s>", VocabularyBuilder::control);
    builder.add("</s>", VocabularyBuilder::control);
    std::map<std::string, double> scores;
    for (const std::string& word : random_words(random, 10 + below(random, 150), 12)) {
      // With ties in half of the rounds.
      const auto score = static_cast<float>(-static_cast<int>(below(random, round % 2 ? 5 : 9999)));
      builder.add(word, VocabularyBuilder::normal, score);
      scores[word] = static_cast<double>(score);
    }
    builder.add("\u2581", VocabularyBuilder::normal, -1e6f);
    builder.more = [](GgufWriter& writer) {
      writer.add_bool("tokenizer.ggml.add_space_prefix", false);
    };
    const auto tokenizer = builder.build();
    for (const std::string& text : long_pieces(random)) {
      std::vector<std::string> symbols;
      for (const char c : text) symbols.emplace_back(1, c);
      const auto merged = merge_by_definition(
          symbols,
          [&](const std::string& left, const std::string& right) -> std::optional<double> {
            const auto score = scores.find(left + right);
            return score == scores.end() ? std::nullopt : std::optional(-score->second);
          },
          std::plus<>());
      Ids wanted;
      for (const std::string& one : merged) wanted.push_back(*tokenizer->find(one));
      ASSERT_TRUE(tokenizer->encode(text) == wanted)
          << "round " << round << ": " << text.substr(0, 60);
    }
  }
}

TEST(LongText, UnigramInWindowsIsThatOfTheWhole) {
  std::mt19937 random(23);
  for (int round = 0; round < 16; ++round) {
    VocabularyBuilder builder;
    builder.model = "t5";
    builder.add("<pad>", VocabularyBuilder::control);
    builder.add("</s>", VocabularyBuilder::control);
    builder.add("<unk>", VocabularyBuilder::unknown, 0);
    std::map<std::string, double> scores;
    double worst = 0;
    std::size_t longest = 0;
    for (const std::string& word : random_words(random, 10 + below(random, 150), 12)) {
      if (word == "g" && round % 3 == 0) continue;  // unknown then, but in longer ones
      // As bad as long in half of the rounds: then many paths are equally good, and keep apart.
      const float score = round % 2 ? -0.5f * static_cast<float>(word.size())
                                    : -static_cast<float>(1 + below(random, 900)) / 100;
      builder.add(word, VocabularyBuilder::normal, score);
      scores[word] = static_cast<double>(score);
      worst = std::min(worst, scores[word]);
      longest = std::max(longest, word.size());
    }
    builder.more = [](GgufWriter& writer) {
      writer.add_bool("tokenizer.ggml.add_space_prefix", false);
    };
    const auto tokenizer = builder.build();
    for (const std::string& text : long_pieces(random)) {
      std::vector<double> best(text.size() + 1, 0);
      std::vector<std::size_t> from(text.size() + 1, text.size() + 1);
      from[0] = 0;
      for (std::size_t begin = 0; begin < text.size(); ++begin) {
        for (std::size_t size = 1; size <= longest && begin + size <= text.size(); ++size) {
          const auto token = scores.find(text.substr(begin, size));
          if (token == scores.end() && size > 1) continue;
          const double score = best[begin] + (token == scores.end() ? worst - 10 : token->second);
          if (from[begin + size] <= text.size() && score <= best[begin + size]) continue;
          best[begin + size] = score;
          from[begin + size] = begin;
        }
      }
      Ids wanted;
      std::size_t end = text.size();
      for (bool was_unknown = false; end > 0; end = from[end]) {
        const std::string one = text.substr(from[end], end - from[end]);
        const bool is_unknown = !scores.contains(one);
        if (!is_unknown) wanted.push_back(*tokenizer->find(one));
        if (is_unknown && !was_unknown) wanted.push_back(2);
        was_unknown = is_unknown;
      }
      std::ranges::reverse(wanted);
      const Ids found = tokenizer->encode(text);
      ASSERT_TRUE(found == wanted) << "round " << round << ": " << text.substr(0, 60);
    }
  }
}

TEST(LongText, WorkIsCountedAndBounded) {
  std::mt19937 random(29);
  const auto tokenizer = byte_pairs(random, "gpt-2", 200).build();
  Ledger ledger;
  tokenizer->count_in(ledger);
  const std::string text = letters(random, "acgt", 3'000'000);
  const Ids ids = tokenizer->encode(text);
  EXPECT_EQ(ledger.used(), 0u);
  EXPECT_GT(ledger.peak(Account::text), 0u);
  EXPECT_LT(ledger.peak(Account::text), 8 * MiB);
  EXPECT_LE(tokenizer->work_bytes(text.size()), 8 * MiB);
  EXPECT_EQ(tokenizer->work_bytes(text.size()), tokenizer->work_bytes(100 * text.size()));

  ledger.set_budget(64 * KiB);
  try {
    tokenizer->encode(text);
    FAIL() << "tokenized";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::budget_refused);
    EXPECT_NE(error.message().find("2.86 MiB"), std::string::npos) << error.message();
  }
  EXPECT_EQ(tokenizer->encode("a short one").size() > 0, true);
}

TEST(LongText, StreamsRefuseWhatHasNoEnd) {
  std::mt19937 random(31);
  const auto tokenizer = byte_pairs(random, "gpt-2", 50).build();
  TokenStream stream(*tokenizer, MiB);
  const std::string zeros(64 * KiB, '\0');
  Ids ids;
  stream.push("some words before ", ids);
  try {
    for (int i = 0; i < 64; ++i) stream.push(zeros, ids);
    FAIL() << "taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::budget_refused);
    EXPECT_NE(error.message().find("1.00 MiB"), std::string::npos) << error.message();
  }

  // Bytes that are no UTF-8 are found where they are, whatever the blocks.
  TokenStream broken(*tokenizer, MiB);
  std::string text = prose(random, 200'000);
  while (static_cast<signed char>(text.back()) < 0) text.pop_back();
  broken.push(text + "\xE6\xBC", ids);  // may still become a character
  try {
    broken.push("x", ids);
    FAIL() << "taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_text);
    EXPECT_NE(error.message().find(std::to_string(text.size())), std::string::npos)
        << error.message();
  }
}

}  // namespace
}  // namespace plimsoll
