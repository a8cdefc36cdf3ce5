// Files are written as planned, the walk through layers is the forward pass, and predictions hold.
#include "fit/fit.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <random>

#include "base/error.h"
#include "fit/analysis.h"
#include "fit/fit_memory.h"
#include "fit/quality_file.h"
#include "plan/candidates.h"
#include "support/fixture.h"

namespace plimsoll {
namespace {

std::vector<Sequence> random_sequences(std::int64_t count, std::int64_t tokens,
                                       std::int64_t vocabulary, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<Sequence> sequences(static_cast<std::size_t>(count));
  for (Sequence& sequence : sequences)
    for (std::int64_t i = 0; i < tokens; ++i)
      sequence.push_back(static_cast<TokenId>(random() % static_cast<std::uint32_t>(vocabulary)));
  return sequences;
}

class Families : public testing::TestWithParam<const char*> {
 protected:
  Families() {
    test::SyntheticModel model;
    model.family = GetParam();
    model.layers = 3;
    model.tied = model.family.starts_with("gemma");
    test::write_synthetic_model(path(), model, 2);
  }
  std::string path() const { return (folder_.path() / "model.gguf").string(); }
  std::string output() const { return (folder_.path() / "fitted.gguf").string(); }
  test::TemporaryFolder folder_;
};

TEST_P(Families, LayerByLayerIsTheForwardPass) {
  test::Loaded loaded(path());
  const Description& d = loaded.model.facts.description;
  const Sequence tokens = random_sequences(1, 40, d.vocabulary, 1)[0];
  const std::span<float> last = loaded.session->append(tokens).logits;
  const std::vector<float> expected(last.begin(), last.end());

  Context context(2, choose_isa());
  Weights weights = Weights::without_matrices(context, loaded.model.file, d);
  LayerRunner runner(context, d, weights, 64);
  std::vector<float> residual(tokens.size() * static_cast<std::size_t>(d.width));
  weights.take_layer(context, loaded.model.file, -1);
  runner.embed(tokens, residual.data());
  for (std::int64_t layer = 0; layer < d.layers; ++layer) {
    weights.take_layer(context, loaded.model.file, layer);
    runner.run(layer, 40, residual.data());
  }
  weights.take_layer(context, loaded.model.file, -1);
  const std::span<float> found = runner.logits(residual.data() + 39 * d.width, 1);
  for (std::size_t i = 0; i < expected.size(); ++i) ASSERT_NEAR(found[i], expected[i], 1e-4) << i;
}

TEST_P(Families, FilesHoldWhatWasAskedFor) {
  const OpenModel model = OpenModel::open(path());
  const std::vector<TensorUse>& uses = model.facts.tensors;
  Context context(2, choose_isa());
  const auto sequences = random_sequences(6, 64, model.facts.description.vocabulary, 2);
  const QualityModel quality =
      analyse(context, model.file, model.facts.description, uses, sequences,
              random_sequences(2, 64, model.facts.description.vocabulary, 3), {},
              [](std::int64_t, std::int64_t) {});
  const Candidates choices = find_candidates(uses, quality,
                                             {.place = CandidateRules::Place::file,
                                              .rounding = Rounding::with_feedback,
                                              .engine = ProductEngine::llama_cpp});
  Bytes all = 0;
  for (const TensorUse& use : uses) all += round_up(use.info->bytes, 32);
  for (const double share : {0.2, 0.35, 0.6}) {
    FittedFile fitted(OutputPath::own(output()), model.file, uses);
    const Bytes header = fitted.header_bytes();
    const auto limit = static_cast<Bytes>(share * static_cast<double>(all));
    const std::optional<Selection> best = solve(choices.choices, limit);
    ASSERT_TRUE(best);
    std::vector<const Format*> formats;
    for (std::size_t i = 0; i < uses.size(); ++i)
      formats.push_back(choices.formats[i][static_cast<std::size_t>(best->choices[i])]);
    Weights weights = Weights::without_matrices(context, model.file, model.facts.description);
    LayerRunner runner(context, model.facts.description, weights, 64);
    MomentsWalk walk(context, model.file, model.facts.description, weights, runner, sequences);
    fitted.write(context, formats, {&walk, &quality}, {});

    const OpenModel written = OpenModel::open(output());
    EXPECT_EQ(written.file.size(), header + best->bytes);
    EXPECT_LE(written.file.size(), header + limit);
    EXPECT_GE(static_cast<double>(best->bytes), 0.97 * static_cast<double>(limit));
    for (std::size_t i = 0; i < uses.size(); ++i) {
      const TensorInfo* info = written.file.find_tensor(uses[i].info->name);
      ASSERT_TRUE(info);
      EXPECT_EQ(info->format, formats[i]) << info->name;
      EXPECT_EQ(info->shape, uses[i].info->shape) << info->name;
    }
    // It runs.
    test::Loaded loaded(output());
    for (const float logit : loaded.session->append(sequences[0]).logits) ASSERT_TRUE(std::isfinite(logit));
  }
}

TEST_P(Families, TheHeaderTellsWhatFittingHolds) {
  const OpenModel model = OpenModel::open(path());
  const Description& d = model.facts.description;
  const std::vector<TensorUse>& uses = model.facts.tensors;
  constexpr int workers = 2;
  const CalibrationSize size{.sequence_tokens = 64, .moments = 6, .probes = 2, .probe_tokens = 48};
  const auto moments = random_sequences(6, 64, d.vocabulary, 2),
             probes = random_sequences(2, 48, d.vocabulary, 3);
  Context context(workers, choose_isa());
  const QualityModel quality =
      analyse(context, model.file, d, uses, moments, probes, {}, [](std::int64_t, std::int64_t) {});
  EXPECT_LE(context.ledger.peak(), analysis_bytes(d, uses, size, workers));
  EXPECT_GE(context.ledger.peak(), analysis_bytes(d, uses, size, workers) / 2);
  EXPECT_EQ(context.ledger.used(), 0u);

  std::vector<const Format*> mix;
  for (const TensorUse& use : uses)
    mix.push_back(use.slot.is_vector() ? use.info->format : &format(FormatId::Q4_0));
  Context writing(workers, choose_isa());
  FittedFile fitted(OutputPath::own(output()), model.file, uses);
  Weights weights = Weights::without_matrices(writing, model.file, d);
  LayerRunner runner(writing, d, weights, 64);
  MomentsWalk walk(writing, model.file, d, weights, runner, moments);
  fitted.write(writing, mix, {&walk, &quality}, {});
  EXPECT_LE(writing.ledger.peak(), writing_bytes(d, uses, size, true, rounding_formats(), workers));
  EXPECT_GE(writing.ledger.peak(), writing_bytes(d, uses, size, true, rounding_formats(), workers) / 2);
}

INSTANTIATE_TEST_SUITE_P(All, Families,
                         testing::Values("llama", "qwen2", "qwen3", "gemma2", "gemma3", "phi3"),
                         [](const auto& test) { return std::string(test.param); });

TEST(Interim, AnInterruptedAnalysisGoesOnWhereItWas) {
  const test::TemporaryFolder folder;
  test::SyntheticModel small;
  small.family = "gemma3";
  small.layers = 3;
  small.width = 64;
  small.feed_forward = 96;
  small.vocabulary = 300;
  small.tied = true;
  test::write_synthetic_model(folder.file("model.gguf"), small, 2);
  const OpenModel model = OpenModel::open(folder.file("model.gguf"));
  const Description& d = model.facts.description;
  const std::vector<TensorUse>& uses = model.facts.tensors;
  const auto moments = random_sequences(4, 64, d.vocabulary, 2),
             probes = random_sequences(2, 64, d.vocabulary, 3);
  Context context(2, choose_isa());
  const auto nothing = [](std::int64_t, std::int64_t) {};
  const std::string expected =
      to_json(analyse(context, model.file, d, uses, moments, probes, {}, nothing), uses).dump();

  AnalysisOptions options;
  options.interim = folder.file("interim/file");
  std::int64_t resumed = 0;
  options.resumed = [&resumed](std::int64_t layers) { resumed = layers; };
  const auto interrupted = [&](std::int64_t after) {
    EXPECT_THROW(analyse(context, model.file, d, uses, moments, probes, options,
                         [after](std::int64_t done, std::int64_t) {
                           if (done == after) throw Error(ErrorCode::interrupted, "stopped");
                         }),
                 Error);
    EXPECT_TRUE(std::filesystem::exists(options.interim));
    EXPECT_EQ(context.ledger.used(), 0u);
  };
  interrupted(1);
  EXPECT_EQ(resumed, 0);
  interrupted(3);
  EXPECT_EQ(resumed, 1);
  const std::vector<std::uint8_t> saved = test::read_file(options.interim);
  const auto finish = [&](std::span<const Sequence> of_probes) {
    resumed = 0;
    return to_json(analyse(context, model.file, d, uses, moments, of_probes, options, nothing),
                   uses)
        .dump();
  };
  EXPECT_EQ(finish(probes), expected);
  EXPECT_GE(resumed, 1);
  EXPECT_FALSE(std::filesystem::exists(options.interim)) << "at the end it is removed";
  // Of another text it is not used, nor when it is cut off.
  test::write_file(options.interim, saved);
  EXPECT_NE(finish(random_sequences(2, 64, d.vocabulary, 4)), expected);
  EXPECT_EQ(resumed, 0);
  for (const std::size_t length :
       {std::size_t{0}, std::size_t{7}, std::size_t{30}, saved.size() - 4}) {
    test::write_file(options.interim,
                     {saved.begin(), saved.begin() + static_cast<std::ptrdiff_t>(length)});
    EXPECT_EQ(finish(probes), expected) << length;
    EXPECT_EQ(resumed, 0) << length;
  }
}

/// On a trained model: with a text of its own kind, measured on it, and scored on other tokens.
class Trained : public testing::Test {
 protected:
  static double divergence(const std::string& path) {
    test::LoadOptions options;
    options.logit_rows = 32;
    test::Loaded reference(test::bundled_model(), options), model(path, options);
    const std::vector<Sequence> texts = own_text(3, 4);
    const std::int64_t vocabulary = reference.model.facts.description.vocabulary;
    double total = 0;
    std::int64_t scored = 0;
    for (const Sequence& text : texts) {
      std::vector<float> expected;
      reference.session->clear();
      reference.session->append_scored(text, 32, [&](std::int64_t, std::span<float> logits) {
        expected.insert(expected.end(), logits.begin(), logits.end());
      });
      model.session->clear();
      std::size_t at = 0;
      model.session->append_scored(text, 32, [&](std::int64_t, std::span<float> logits) {
        const Kernels& kernels = model.context.kernels;
        const float* const p = expected.data() + at;
        const float p_norm = kernels.log_sum_exp(p, vocabulary),
                    q_norm = kernels.log_sum_exp(logits.data(), vocabulary);
        for (std::size_t i = 0; i < logits.size(); ++i)
          total += std::exp(static_cast<double>(p[i] - p_norm)) *
                   ((p[i] - p_norm) - static_cast<double>(logits[i] - q_norm));
        at += logits.size();
        ++scored;
      });
    }
    return total / static_cast<double>(scored);
  }

  /// Drawn from the model itself.
  static std::vector<Sequence> own_text(std::int64_t count, std::uint64_t seed) {
    test::Loaded loaded(test::bundled_model());
    std::mt19937_64 random(seed);
    std::vector<Sequence> texts;
    for (std::int64_t i = 0; i < count; ++i) {
      Sequence text = {*loaded.model.tokenizer->bos()};
      loaded.session->clear();
      std::span<float> logits = loaded.session->append(text).logits;
      while (text.size() < 256) {
        loaded.context.kernels.softmax(logits.data(), static_cast<std::int64_t>(logits.size()));
        std::discrete_distribution<TokenId> distribution(logits.begin(), logits.end());
        text.push_back(distribution(random));
        if (text.size() < 256) logits = loaded.session->append({&text.back(), 1}).logits;
      }
      texts.push_back(std::move(text));
    }
    return texts;
  }
};

TEST_F(Trained, PredictionsHoldAndFeedbackPays) {
  const OpenModel model = OpenModel::open(test::bundled_model());
  const Description& d = model.facts.description;
  const std::vector<TensorUse>& uses = model.facts.tensors;
  const test::TemporaryFolder folder;
  const std::string output = (folder.path() / "fitted.gguf").string();
  Context context(2, choose_isa());
  const std::vector<Sequence> moments = own_text(16, 1), probes = own_text(4, 2);
  const QualityModel quality =
      analyse(context, model.file, d, uses, moments, probes, {}, [](std::int64_t, std::int64_t) {});

  const auto fit = [&](FormatId id, bool feedback) {
    std::vector<const Format*> formats;
    for (const TensorUse& use : uses)
      formats.push_back(use.slot.is_vector() ? use.info->format : &format(id));
    FittedFile file(OutputPath::own(output), model.file, uses);
    if (!feedback) {
      file.write(context, formats, {}, {});
    } else {
      Weights weights = Weights::without_matrices(context, model.file, d);
      LayerRunner runner(context, d, weights, 256);
      MomentsWalk walk(context, model.file, d, weights, runner, moments);
      file.write(context, formats, {&walk, &quality}, {});
    }
    return divergence(output);
  };
  const auto predicted = [&](FormatId id, Rounding rounding) {
    double sum = 0;
    for (std::size_t i = 0; i < uses.size(); ++i)
      if (!uses[i].slot.is_vector())
        sum += quality.tensors[i].loss(format(id), rounding, ProductEngine::plimsoll);
    return sum;
  };
  for (const FormatId id : {FormatId::Q3_K, FormatId::Q4_K}) {
    const double plain = fit(id, false), with_feedback = fit(id, true);
    EXPECT_LT(with_feedback, 0.75 * plain) << format(id).name;
    // Few tokens of calibration and of text: a looser bound than docs/quality.md gives.
    EXPECT_NEAR(std::log(predicted(id, Rounding::with_feedback) / with_feedback), 0, 0.35)
        << format(id).name;
    EXPECT_NEAR(std::log(predicted(id, Rounding::plain) / plain), 0, 0.5) << format(id).name;
  }
  // Without any of that: within a factor of two.
  const QualityModel prior = prior_quality(d, uses);
  double sum = 0;
  for (std::size_t i = 0; i < uses.size(); ++i)
    if (!uses[i].slot.is_vector())
      sum +=
          prior.tensors[i].loss(format(FormatId::Q4_K), Rounding::plain, ProductEngine::plimsoll);
  EXPECT_NEAR(std::log2(sum / fit(FormatId::Q4_K, false)), 0, 1);
}

TEST(FittedFile, WeightsThatAreNoNumbersAreNamedAndTheTargetStays) {
  const test::TemporaryFolder folder;
  const std::string path = (folder.path() / "model.gguf").string(),
                    output = (folder.path() / "fitted.gguf").string();
  test::SyntheticModel shape;
  shape.layers = 1;
  shape.feed_forward = 512;
  test::write_synthetic_model(path, shape, 1);
  const OpenModel model = OpenModel::open(path);
  const TensorInfo& broken = *model.file.find_tensor("blk.0.ffn_up.weight");
  {
    std::FILE* file = std::fopen(path.c_str(), "r+b");
    const std::uint16_t infinity = 0x7c00;
    std::fseek(file, static_cast<long>(broken.offset + 2 * 1000), SEEK_SET);
    std::fwrite(&infinity, 2, 1, file);
    std::fclose(file);
    file = std::fopen(output.c_str(), "wb");
    std::fputs("as it was", file);
    std::fclose(file);
  }
  Context context(2, choose_isa());
  std::vector<const Format*> formats;
  for (const TensorUse& use : model.facts.tensors)
    formats.push_back(use.slot.is_vector() ? use.info->format : &format(FormatId::Q4_K));
  try {
    FittedFile(OutputPath::own(output), model.file, model.facts.tensors).write(context, formats, {}, {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_weights);
    EXPECT_NE(error.message().find("blk.0.ffn_up.weight"), std::string::npos) << error.message();
  }
  char text[16] = {};
  std::FILE* file = std::fopen(output.c_str(), "rb");
  EXPECT_EQ(std::fread(text, 1, sizeof text, file), 9u);
  std::fclose(file);
  EXPECT_STREQ(text, "as it was");
}

TEST(FittedFile, WhatHalvesCannotHoldBecomesTheirLargest) {
  const test::TemporaryFolder folder;
  const std::string path = folder.file("model.gguf"), output = folder.file("fitted.gguf");
  test::SyntheticModel shape;
  shape.layers = 1;
  shape.format = shape.embedding_format = shape.output_format = FormatId::F32;
  test::write_synthetic_model(path, shape, 1);
  const std::uint64_t offset =
      ModelFile::open(path).find_tensor("blk.0.ffn_up.weight")->offset + 4 * 1000;
  std::FILE* file = std::fopen(path.c_str(), "r+b");
  const float huge = -1e6f;
  std::fseek(file, static_cast<long>(offset), SEEK_SET);
  std::fwrite(&huge, 4, 1, file);
  std::fclose(file);

  const OpenModel model = OpenModel::open(path);
  Context context(2, choose_isa());
  std::vector<const Format*> formats;
  for (const TensorUse& use : model.facts.tensors)
    formats.push_back(use.slot.is_vector() ? use.info->format : &format(FormatId::F16));
  FittedFile(OutputPath::own(output), model.file, model.facts.tensors).write(context, formats, {}, {});
  const ModelFile written = ModelFile::open(output);
  std::uint16_t half = 0;
  written.read(written.find_tensor("blk.0.ffn_up.weight")->offset + 2 * 1000, 2, &half);
  EXPECT_EQ(half, 0xfbff);  // -65504
}

}  // namespace
}  // namespace plimsoll
