// The same request gives the same bits, whatever runs beside it, however it is split into passes
// and however many threads there are: every family and instruction set. What is named Deep takes
// minutes and belongs to `./test determinism`.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <random>

#include "support/fixture.h"

namespace plimsoll {
namespace {

constexpr std::int64_t vocabulary = 512;

std::vector<TokenId> random_tokens(std::int64_t count, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<TokenId> tokens(static_cast<std::size_t>(count));
  for (TokenId& token : tokens) token = static_cast<TokenId>(random() % vocabulary);
  return tokens;
}

std::vector<float> logits_after(Session& session, std::span<const TokenId> tokens) {
  const std::span<float> logits = session.append(tokens).logits;
  return {logits.begin(), logits.end()};
}

struct DeterminismCase {
  std::string family;
  FormatId format;
  Isa isa;
  const char* kv = "16";
};

class Determinism : public ::testing::TestWithParam<DeterminismCase> {
 protected:
  /// Heads of several to a KV head, windows that end within parts, and odd dimensions with them.
  void SetUp() override {
    test::SyntheticModel model;
    model.family = GetParam().family;
    model.format = model.embedding_format = model.output_format = GetParam().format;
    model.layers = model.family == "gemma3" ? 6 : 2;  // one in six has no window
    model.width = 256;
    model.heads = 4;
    model.kv_heads = 2;
    model.head_dim = model.family == "qwen2" ? 80 : 64;
    if (model.family == "phi3") model.head_dim = 0;
    model.feed_forward = 256;
    model.vocabulary = vocabulary;
    model.window = attention_part + 90;
    model.context = 8192;
    path_ = folder_.file("model.gguf");
    test::write_synthetic_model(path_, model, 2);
    options_.isa = GetParam().isa;
    options_.kv = *parse_kv_tiers(GetParam().kv);
  }

  /// The logits of every token from `depth` on, one pass each, after a prompt of `depth` tokens.
  std::vector<std::vector<float>> one_by_one(std::span<const TokenId> tokens, std::int64_t depth) {
    test::Loaded loaded(path_, options_);
    loaded.session->append(tokens.first(static_cast<std::size_t>(depth)));
    std::vector<std::vector<float>> result;
    for (std::size_t i = static_cast<std::size_t>(depth); i < tokens.size(); ++i)
      result.push_back(logits_after(*loaded.session, tokens.subspan(i, 1)));
    return result;
  }

  /// Passes of up to `chunk` tokens on `threads` threads, then 2 to 5 tokens at once as a guess is
  /// verified: what one_by_one gave.
  void check_passes(std::span<const TokenId> tokens, std::int64_t depth, std::int64_t chunk,
                    int threads, const std::vector<std::vector<float>>& expected) {
    options_.chunk_tokens = chunk;
    options_.threads = threads;
    test::Loaded loaded(path_, options_);
    const auto where = testing::Message() << "chunk " << chunk << " threads " << threads;
    std::size_t at = static_cast<std::size_t>(depth) + 1;
    ASSERT_EQ(logits_after(*loaded.session, tokens.first(at)), expected[0]) << where;
    for (std::size_t count = 2; at + count <= tokens.size(); count = count % 5 + 1) {
      const std::size_t first = at - static_cast<std::size_t>(depth);
      loaded.session->append_scored(
          tokens.subspan(at, count), 0, [&](std::int64_t index, std::span<float> row) {
            ASSERT_EQ(std::vector<float>(row.begin(), row.end()),
                      expected[first + static_cast<std::size_t>(index)])
                << where << " " << count << " at once, the one at " << index;
          });
      if (HasFatalFailure()) return;
      at += count;
    }
  }

  /// `sizes` sessions step together, the first of them at `depth`, the others elsewhere: each has
  /// the bits that it has alone.
  void check_sessions(std::span<const std::size_t> sizes, std::int64_t depth) {
    const std::size_t most = *std::max_element(sizes.begin(), sizes.end());
    constexpr std::size_t steps = 3;
    options_.logit_rows = static_cast<std::int64_t>(most);
    options_.branches = options_.logit_rows + 1;
    const std::int64_t each = depth + static_cast<std::int64_t>(steps * sizes.size()) + 8;
    options_.context = (each + 64) * static_cast<std::int64_t>(most + 1);
    test::Loaded loaded(path_, options_);
    loaded.session.reset();
    Session alone(*loaded.engine, each);
    std::vector<std::unique_ptr<Session>> sessions;
    std::vector<std::vector<TokenId>> tokens;
    for (std::size_t i = 0; i < most; ++i) {
      const std::int64_t prompt = i % 4 == 0 ? depth - static_cast<std::int64_t>(i)
                                             : 1 + static_cast<std::int64_t>(i) * depth / 40;
      tokens.push_back(random_tokens(prompt, static_cast<std::uint32_t>(100 + i)));
      sessions.push_back(std::make_unique<Session>(*loaded.engine, each));
      sessions.back()->append(tokens.back());
    }
    for (const std::size_t size : sizes) {
      std::vector<Session*> refer;
      for (std::size_t i = 0; i < size; ++i) refer.push_back(sessions[i].get());
      std::vector<std::vector<TokenId>> next;
      std::vector<std::vector<float>> found;
      for (std::size_t step = 0; step < steps; ++step) {
        next.push_back(random_tokens(static_cast<std::int64_t>(size),
                                     static_cast<std::uint32_t>(1000 * size + step)));
        const std::span<float> all = Session::append_each(refer, next.back());
        found.emplace_back(all.begin(), all.end());
      }
      // The deepest, the second and the last, alone.
      for (const std::size_t i : {std::size_t{0}, std::size_t{1} % size, size - 1}) {
        alone.clear();
        alone.append(tokens[i]);
        for (std::size_t step = 0; step < steps; ++step) {
          const auto row = found[step].begin() + static_cast<std::ptrdiff_t>(i) * vocabulary;
          ASSERT_EQ(logits_after(alone, std::span(next[step]).subspan(i, 1)),
                    std::vector<float>(row, row + vocabulary))
              << "session " << i << " of " << size << " at " << tokens[i].size();
        }
      }
      for (std::size_t i = 0; i < size; ++i)
        for (std::size_t step = 0; step < steps; ++step) tokens[i].push_back(next[step][i]);
    }
  }

  std::string path_;
  test::TemporaryFolder folder_;
  test::LoadOptions options_;
};

TEST_P(Determinism, Passes) {
  const std::int64_t depth = GetParam().isa == Isa::reference ? 70 : attention_part + 40;
  options_.context = depth + 20;
  const auto tokens = random_tokens(depth + 16, 1);
  const auto expected = one_by_one(tokens, depth);
  for (const auto& [chunk, threads] : {std::pair{97, 3}, std::pair{6, 1}})
    check_passes(tokens, depth, chunk, threads, expected);
}

TEST_P(Determinism, Sessions) {
  const std::size_t sizes[] = {2, 5, 9};
  check_sessions(sizes, GetParam().isa == Isa::reference ? 40 : attention_part + 40);
}

TEST_P(Determinism, DeepPasses) {
  if (!std::getenv("PLIMSOLL_DEEP")) GTEST_SKIP() << "./test determinism runs it";
  const std::vector<std::int64_t> depths = GetParam().isa == Isa::reference
                                               ? std::vector<std::int64_t>{attention_part + 40}
                                               : std::vector<std::int64_t>{1, 63, 300, 1500, 5000};
  for (const std::int64_t depth : depths) {
    options_.context = depth + 40;
    options_.chunk_tokens = 256;
    options_.threads = 2;
    const auto tokens = random_tokens(depth + 30, 2);
    const auto expected = one_by_one(tokens, depth);
    for (const auto& [chunk, threads] :
         {std::pair{1, 2}, std::pair{2, 3}, std::pair{3, 4}, std::pair{5, 8}, std::pair{6, 1},
          std::pair{7, 5}, std::pair{16, 2}, std::pair{33, 6}, std::pair{64, 7}, std::pair{100, 1},
          std::pair{128, 8}, std::pair{255, 3}, std::pair{256, 1}}) {
      check_passes(tokens, depth, chunk, threads, expected);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(Determinism, DeepSessions) {
  if (!std::getenv("PLIMSOLL_DEEP")) GTEST_SKIP() << "./test determinism runs it";
  const std::size_t sizes[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
  const std::size_t few[] = {1, 4, 5, 16};
  if (GetParam().isa == Isa::reference) {
    check_sessions(few, 200);
  } else {
    check_sessions(sizes, 1500);
    if (!HasFatalFailure()) check_sessions(few, 5000);
  }
}

std::vector<DeterminismCase> determinism_cases() {
  std::vector<DeterminismCase> cases;
  for (const Isa isa : supported_isas())
    for (const auto& [family, format] :
         {std::pair{"llama", FormatId::Q4_0}, std::pair{"qwen2", FormatId::Q4_K},
          std::pair{"qwen3", FormatId::Q6_K}, std::pair{"gemma2", FormatId::F16},
          std::pair{"gemma3", FormatId::Q8_0}, std::pair{"phi3", FormatId::BF16}})
      cases.push_back({family, format, isa});
  for (const Isa isa : supported_isas())
    for (const auto& [family, kv] :
         {std::pair{"llama", "8"}, std::pair{"qwen2", "8/4"}, std::pair{"gemma3", "4/2"},
          std::pair{"phi3", "16/4"}, std::pair{"qwen3", "2/16"}})
      cases.push_back({family, FormatId::Q8_0, isa, kv});
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Families, Determinism, ::testing::ValuesIn(determinism_cases()),
                         [](const auto& row) {
                           std::string text =
                               row.param.family + "_" + std::string(name(row.param.isa));
                           if (row.param.kv != std::string("16"))
                             text += "_kv_" + std::string(row.param.kv);
                           std::ranges::replace(text, '/', '_');
                           return text;
                         });

}  // namespace
}  // namespace plimsoll
