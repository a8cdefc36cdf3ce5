// What the forward pass must not depend on, and what it must: chunks, threads, instruction sets,
// positions.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "base/error.h"
#include "base/process.h"
#include "model/architecture.h"
#include "support/fixture.h"

namespace plimsoll {
namespace {

std::vector<TokenId> random_tokens(std::int64_t count, std::int64_t vocabulary,
                                   std::uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<TokenId> tokens(static_cast<std::size_t>(count));
  for (TokenId& token : tokens)
    token = static_cast<TokenId>(random() % static_cast<std::uint32_t>(vocabulary));
  return tokens;
}

std::vector<float> logits_after(Session& session, std::span<const TokenId> tokens) {
  const std::span<float> logits = session.append(tokens).logits;
  return {logits.begin(), logits.end()};
}

/// KL(p || q) of two rows of logits, in nats.
double divergence(const std::vector<float>& p, const std::vector<float>& q) {
  const auto log_sum = [](const std::vector<float>& x) {
    const double top = *std::max_element(x.begin(), x.end());
    double sum = 0;
    for (const float v : x) sum += std::exp(v - top);
    return top + std::log(sum);
  };
  const double p_sum = log_sum(p), q_sum = log_sum(q);
  double result = 0;
  for (std::size_t i = 0; i < p.size(); ++i)
    result += std::exp(p[i] - p_sum) * ((p[i] - p_sum) - (q[i] - q_sum));
  return result;
}

/// Small models of every family, with block formats that reach each kind of kernel.
struct FamilyCase {
  std::string family;
  FormatId format;
};
class EveryFamily : public ::testing::TestWithParam<FamilyCase> {
 protected:
  void SetUp() override {
    test::SyntheticModel model;
    model.family = GetParam().family;
    model.format = GetParam().format;
    model.embedding_format = GetParam().format;
    model.layers = 7;  // Gemma 3 has one layer without a window in six
    model.feed_forward = 512;
    model.window = 24;
    model.context = 256;
    path_ = folder_.file("model.gguf");
    test::write_synthetic_model(path_, model, 2);
  }
  test::TemporaryFolder folder_;
  std::string path_;
};

/// Another instruction set's order of summation may turn the rounding of an activation to 8 bits
/// the other way, which is a step of 1/127 of its block: noise at the scale of quantisation, far
/// below what a mistake would make. Dense models have only f32 rounding, and rounded keys and
/// values.
double summation_noise(FormatId id) { return format(id).kind == Format::Kind::coded ? 1e-3 : 1e-6; }

TEST_P(EveryFamily, ThreadsDoNotChangeTheResult) {
  const auto tokens = random_tokens(77, 512, 1);
  test::LoadOptions options;
  options.threads = 1;
  test::Loaded one(path_, options);
  const std::vector<float> expected = logits_after(*one.session, tokens);
  for (const int threads : {2, 3}) {
    options.threads = threads;
    test::Loaded loaded(path_, options);
    EXPECT_EQ(expected, logits_after(*loaded.session, tokens)) << threads << " threads";
  }
}

TEST_P(EveryFamily, ChunksDoNotChangeTheResult) {
  const auto tokens = random_tokens(77, 512, 1);
  test::LoadOptions options;
  test::Loaded whole(path_, options);
  const std::vector<float> expected = logits_after(*whole.session, tokens);
  for (const std::int64_t chunk : {16, 19, 32}) {
    options.chunk_tokens = chunk;
    test::Loaded loaded(path_, options);
    EXPECT_EQ(expected, logits_after(*loaded.session, tokens)) << "chunks of " << chunk;
  }
  // Token by token, as in decoding.
  whole.session->clear();
  std::vector<float> found;
  for (const TokenId token : tokens) found = logits_after(*whole.session, {&token, 1});
  EXPECT_EQ(expected, found);
}

TEST_P(EveryFamily, InstructionSetsAgree) {
  const auto tokens = random_tokens(48, 512, 2);
  test::LoadOptions options;
  options.isa = Isa::reference;
  test::Loaded plain(path_, options);
  const std::vector<float> expected = logits_after(*plain.session, tokens);
  for (const Isa isa : supported_isas()) {
    if (isa == Isa::reference) continue;
    options.isa = isa;
    test::Loaded loaded(path_, options);
    EXPECT_LT(divergence(expected, logits_after(*loaded.session, tokens)),
              summation_noise(GetParam().format))
        << name(isa);
  }
}

TEST_P(EveryFamily, RewindingForgetsWhatCameAfter) {
  test::Loaded loaded(path_);
  const auto tokens = random_tokens(40, 512, 3);
  const std::vector<float> expected = logits_after(*loaded.session, tokens);
  loaded.session->append(random_tokens(30, 512, 4));
  EXPECT_EQ(loaded.session->rewind_to_prefix_of(std::span(tokens).first(39)), 39);
  EXPECT_EQ(expected, logits_after(*loaded.session, std::span(tokens).last(1)));
}

TEST_P(EveryFamily, SequencesTogetherAreTheSameAsAlone) {
  test::LoadOptions options;
  options.logit_rows = 11;
  options.branches = 13;
  options.context = 64 * 24;  // 22 sessions, in whole pages each
  test::Loaded loaded(path_, options);
  loaded.session.reset();
  const std::int64_t vocabulary = loaded.engine->description().vocabulary;
  // Prompts of different lengths, and more sequences than go through the products' small paths.
  for (const std::size_t count :
       {std::size_t{2}, std::size_t{3}, std::size_t{8}, std::size_t{11}}) {
    std::vector<std::unique_ptr<Session>> together, alone;
    std::vector<Session*> refer;
    for (std::size_t i = 0; i < count; ++i) {
      const auto prompt =
          random_tokens(1 + static_cast<std::int64_t>(i) * 3, 512, static_cast<std::uint32_t>(i));
      together.push_back(std::make_unique<Session>(*loaded.engine, 64));
      alone.push_back(std::make_unique<Session>(*loaded.engine, 64));
      together.back()->append(prompt);
      alone.back()->append(prompt);
      refer.push_back(together.back().get());
    }
    for (std::uint32_t step = 0; step < 3; ++step) {
      const auto tokens = random_tokens(static_cast<std::int64_t>(count), 512, 100 + step);
      const std::span<float> all = Session::append_each(refer, tokens);
      const std::vector<float> found(all.begin(), all.end());
      ASSERT_EQ(found.size(), count * static_cast<std::size_t>(vocabulary));
      for (std::size_t i = 0; i < count; ++i) {
        const std::vector<float> expected =
            logits_after(*alone[i], std::span(tokens).subspan(i, 1));
        const auto row = found.begin() + static_cast<std::ptrdiff_t>(i) * vocabulary;
        EXPECT_EQ(expected, std::vector<float>(row, row + vocabulary)) << i << " of " << count;
        EXPECT_EQ(together[i]->tokens(), alone[i]->tokens());
      }
    }
    EXPECT_THROW(Session::append_each(refer, std::vector<TokenId>(count + 1)), Error);
    EXPECT_THROW(
        Session::append_each(std::vector<Session*>(12, refer[0]), std::vector<TokenId>(12)), Error);
    EXPECT_THROW(Session::append_each({}, {}), Error);
    const std::vector<TokenId> wrong(count, 512);
    const std::vector<TokenId> before = together[0]->tokens();
    EXPECT_THROW(Session::append_each(refer, wrong), Error);
    EXPECT_EQ(together[0]->tokens(), before);
  }
}

TEST_P(EveryFamily, DecodingReadsWhatThePlanHolds) {
  test::Loaded loaded(path_);
  Bytes bytes = 0;
  for (const auto& span : loaded.engine->weights().decode_spans()) bytes += span.size();
  const Bytes held = loaded.plan.account(Account::weights);
  EXPECT_LE(bytes, held);
  EXPECT_GT(bytes, held / 2);  // the embedding may be looked up only; vectors are small
}

TEST_P(EveryFamily, HoldsWhatThePlanSays) {
  test::LoadOptions options;
  options.context = 200;
  test::Loaded loaded(path_, options);
  const Ledger& ledger = loaded.context.ledger;
  for (const Account account :
       {Account::weights, Account::activations, Account::text, Account::runtime})
    EXPECT_EQ(ledger.used(account), loaded.plan.account(account)) << name(account);
  // The KV cache grows with what is in it, up to what was said. With windows, layers hold more than
  // theirs only while a pass is in them.
  EXPECT_EQ(ledger.used(Account::kv), 0u);
  loaded.session->append(random_tokens(200, 512, 4));
  const Bytes said = loaded.plan.account(Account::kv);
  const bool has_windows = std::ranges::any_of(
      loaded.engine->description().per_layer,
      [](const LayerDescription& layer) { return layer.window > 0; });
  if (has_windows)
    EXPECT_LE(ledger.used(Account::kv), said);
  else
    EXPECT_EQ(ledger.used(Account::kv), said);
  // What it has begun with stays for others until the room is wanted.
  loaded.session.reset();
  while (loaded.engine->prefixes().reclaim()) {
  }
  loaded.engine->pages().trim();
  EXPECT_EQ(ledger.used(Account::kv), 0u);
  EXPECT_EQ(loaded.context.ledger.used(Account::io), 0u);
  EXPECT_LE(loaded.context.ledger.peak(), loaded.plan.peak_bytes);
}

INSTANTIATE_TEST_SUITE_P(
    Session, EveryFamily,
    ::testing::Values(FamilyCase{"llama", FormatId::Q4_0}, FamilyCase{"qwen2", FormatId::Q4_K},
                      FamilyCase{"qwen3", FormatId::Q6_K}, FamilyCase{"gemma2", FormatId::F16},
                      FamilyCase{"gemma3", FormatId::Q8_0}, FamilyCase{"phi3", FormatId::BF16}),
    [](const auto& row) { return row.param.family; });

TEST(Session, SlidingWindowsHideWhatLiesBefore) {
  test::TemporaryFolder folder;
  test::SyntheticModel model;
  model.family = "gemma3";
  model.layers = 2;  // both windowed
  model.window = 8;
  const std::string path = folder.file("model.gguf");
  test::write_synthetic_model(path, model, 1);
  test::Loaded loaded(path);
  // Two layers of window 8 reach 15 tokens back; what differs before that cannot be seen, what
  // differs within can.
  auto tokens = random_tokens(40, 512, 5);
  const std::vector<float> expected = logits_after(*loaded.session, tokens);
  tokens[40 - 16] ^= 1;
  loaded.session->clear();
  EXPECT_EQ(expected, logits_after(*loaded.session, tokens));
  tokens[40 - 15] ^= 1;
  loaded.session->clear();
  EXPECT_NE(expected, logits_after(*loaded.session, tokens));
}

/// Long contexts, whose single queries are split over their positions.
class LongContext : public ::testing::TestWithParam<std::string> {
 protected:
  static constexpr std::int64_t count = 2 * attention_part + 102;
  void SetUp() override {
    test::SyntheticModel model;
    model.family = GetParam();
    model.format = model.embedding_format = FormatId::F16;
    model.layers = 3;
    model.heads = 4;
    model.kv_heads = 1;
    model.window = attention_part + 90;  // some layers see two parts of three
    model.context = count + 10;
    test::write_synthetic_model(path_, model, 2);
    options_.context = count + 10;
  }
  test::TemporaryFolder folder_;
  std::string path_ = folder_.file("model.gguf");
  test::LoadOptions options_;
  std::vector<TokenId> tokens_ = random_tokens(count, 512, 9);
};

TEST_P(LongContext, SplitQueriesAreWhatWholeOnesAre) {
  test::Loaded loaded(path_, options_);
  EXPECT_EQ(loaded.context.ledger.used(Account::activations),
            loaded.plan.account(Account::activations));
  Session& session = *loaded.session;
  const std::span<const TokenId> tokens(tokens_);
  const std::vector<float> expected = logits_after(session, tokens);
  // Nearly all of a last chunk of several queries is forgotten, and its last token decoded.
  EXPECT_EQ(session.rewind_to_prefix_of(tokens.first(count - 1)), count - 1);
  EXPECT_EQ(expected, logits_after(session, tokens.last(1)));
}

TEST_P(LongContext, ThreadsDoNotChangeTheResult) {
  std::vector<float> expected;
  for (const int threads : {1, 2, 3}) {
    options_.threads = threads;
    test::Loaded loaded(path_, options_);
    const std::span<const TokenId> tokens(tokens_);
    loaded.session->append(tokens.first(count - 1));
    const std::vector<float> found = logits_after(*loaded.session, tokens.last(1));
    if (expected.empty()) expected = found;
    EXPECT_EQ(found, expected) << threads << " threads";
  }
}

INSTANTIATE_TEST_SUITE_P(Families, LongContext, ::testing::Values("llama", "gemma2", "gemma3"));

TEST(Session, RefusesWhatDoesNotFitBeforeDoingAnything) {
  test::LoadOptions options;
  options.context = 32;
  test::Loaded loaded(test::bundled_model(), options);
  const auto tokens = random_tokens(33, 4096, 6);
  try {
    loaded.session->append(tokens);
    FAIL() << "33 tokens went into a context of 32";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::context_exceeded);
    EXPECT_NE(error.message().find("33 tokens do not fit: the context has 32 tokens"),
              std::string::npos);
  }
  EXPECT_TRUE(loaded.session->tokens().empty());
  loaded.session->append(std::span(tokens).first(32));
  EXPECT_EQ(loaded.session->room(), 0);
}

TEST(Session, StopsBetweenChunksWhenAsked) {
  test::LoadOptions options;
  options.chunk_tokens = 16;
  test::Loaded loaded(test::bundled_model(), options);
  const auto tokens = random_tokens(100, 4096, 7);
  EXPECT_FALSE(
      loaded.session->append(tokens, [](std::int64_t done, std::int64_t) { return done < 32; })
          .is_complete);
  EXPECT_EQ(loaded.session->tokens().size(), 32u);
}

TEST(Engine, DoesNotLoadBeyondItsBudget) {
  test::LoadOptions options;
  options.budget = 4 * MiB;
  try {
    const test::Loaded loaded(test::bundled_model(), options);
    FAIL() << "loaded within 4 MiB";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::budget_refused);
    EXPECT_NE(error.message().find("short by"), std::string::npos);
    EXPECT_NE(error.hint().find("--memory"), std::string::npos);
  }
}

TEST(Engine, NamesTheTensorWithNaNWeights) {
  for (const FormatId format : {FormatId::F16, FormatId::Q4_0, FormatId::Q4_K}) {
    test::TemporaryFolder folder;
    test::SyntheticModel model;
    model.layers = 1;
    model.format = format;
    const std::string path = folder.file("model.gguf");
    test::write_synthetic_model(path, model, 1);
    std::uint64_t at = 0;
    {
      const ModelFile file = ModelFile::open(path);
      at = file.find_tensor("blk.0.attn_k.weight")->offset;
    }
    // The first two bytes are an f16 value or scale in all three.
    std::FILE* file = std::fopen(path.c_str(), "r+b");
    std::fseek(file, static_cast<long>(at), SEEK_SET);
    const unsigned char nan[2] = {0x00, 0x7e};
    std::fwrite(nan, 1, 2, file);
    std::fclose(file);
    try {
      const test::Loaded loaded(path);
      FAIL() << "NaN went unseen";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid_weights);
      EXPECT_NE(error.message().find("blk.0.attn_k.weight"), std::string::npos) << error.message();
    }
  }
}

}  // namespace
}  // namespace plimsoll
