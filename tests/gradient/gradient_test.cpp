// Gradients against finite differences of the loss, for every family and kind of tensor, and the
// loss against the forward pass that users run.
#include "gradient/gradient.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <random>

#include "model/architecture.h"
#include "support/fixture.h"
#include "support/synthetic_model.h"

namespace plimsoll {
namespace {

using Sequences = std::vector<std::vector<TokenId>>;
using Key = std::pair<Role, std::int64_t>;

constexpr int directions = 5;

Sequences random_sequences(std::int64_t vocabulary) {
  std::mt19937 random(11);
  Sequences sequences;
  for (const std::size_t tokens : {11u, 1u, 6u}) {
    auto& sequence = sequences.emplace_back();
    for (std::size_t i = 0; i < tokens; ++i)
      sequence.push_back(static_cast<TokenId>(random() % static_cast<std::uint32_t>(vocabulary)));
  }
  return sequences;
}

/// Nats of each next token; the last one of a sequence is followed by none.
LogitLoss cross_entropy(const Sequences& sequences) {
  return [&sequences](std::int64_t sequence, std::int64_t position, std::span<float> logits) {
    const auto& tokens = sequences[static_cast<std::size_t>(sequence)];
    const auto next = static_cast<std::size_t>(position) + 1;
    if (next >= tokens.size()) return no_loss(logits);
    const auto wanted = static_cast<std::size_t>(tokens[next]);
    double most = logits[0], sum = 0;
    for (const float logit : logits) most = std::max<double>(most, logit);
    for (const float logit : logits) sum += std::exp(logit - most);
    const double loss = most + std::log(sum) - logits[wanted];
    for (std::size_t i = 0; i < logits.size(); ++i)
      logits[i] = static_cast<float>(std::exp(logits[i] - most) / sum - (i == wanted ? 1 : 0));
    return loss;
  };
}

struct Case {
  const char* name;
  test::SyntheticModel model;
};

std::vector<Case> cases() {
  std::vector<Case> result;
  for (const Family& family : families()) {
    test::SyntheticModel model;
    model.family = family.name;
    model.layers = 3;
    model.width = 32;
    model.heads = 4;
    model.kv_heads = 2;
    model.feed_forward = 56;
    model.vocabulary = 270;
    model.format = model.embedding_format = model.output_format = FormatId::F32;
    model.tied = model.family.starts_with("gemma");
    if (model.tied) model.window = 4;
    model.optional_biases = true;
    result.push_back({family.name.data(), model});
  }
  Case partial = result.front();
  partial.name = "partial_rope_one_kv_head";
  partial.model.kv_heads = 1;
  partial.model.rope_dim = 4;
  partial.model.rope_scaling = test::RopeScaling::yarn;
  partial.model.rope_factor = 4;
  partial.model.rope_original_context = 64;
  result.push_back(partial);
  Case coded = result.front();
  coded.name = "coded";
  coded.model.format = FormatId::Q8_0;
  coded.model.feed_forward = 64;
  result.push_back(coded);
  return result;
}

class GradientOf : public testing::TestWithParam<Case> {
 protected:
  GradientOf() : path_((folder_.path() / "model.gguf").string()) {
    test::write_synthetic_model(path_, GetParam().model, 1);
  }
  test::TemporaryFolder folder_;
  std::string path_;
};

TEST_P(GradientOf, LossIsThatOfTheForwardPass) {
  test::Loaded loaded(path_);
  const Description& d = loaded.model.facts.description;
  const Sequences sequences = random_sequences(d.vocabulary);
  const LogitLoss loss = cross_entropy(sequences);
  double expected = 0;
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    loaded.session->clear();
    loaded.session->append_scored(
        sequences[i], 0, [&](std::int64_t index, std::span<float> row) {
          expected += loss(static_cast<std::int64_t>(i), index, row);
        });
  }
  Context context(2, choose_isa());
  Weights weights = Weights::without_matrices(context, loaded.model.file, d);
  Gradient gradient(context, loaded.model.file, d, weights, sequences);
  // The forward pass keeps K and V in 16 bits, and rounds the inputs of coded products.
  EXPECT_NEAR(gradient.run(loss, nullptr), expected, 0.002 * expected);
}

TEST_P(GradientOf, AgreesWithFiniteDifferences) {
  const OpenModel model = OpenModel::open(path_);
  const Description& d = model.facts.description;
  const Sequences sequences = random_sequences(d.vocabulary);
  const LogitLoss loss = cross_entropy(sequences);
  Context context(2, choose_isa());
  Weights weights = Weights::without_matrices(context, model.file, d);
  Gradient gradient(context, model.file, d, weights, sequences);

  // The gradient of each matrix from those of its products: sum over tokens of y's times x.
  struct Found {
    std::int64_t rows = 0, columns = 0;
    std::vector<float> values;     ///< of the matrix
    std::vector<double> gradient;  ///< in them
  };
  std::map<Key, Found> found;
  std::size_t looked_up = 0;  // tokens so far
  std::vector<TokenId> all;
  for (const auto& sequence : sequences) all.insert(all.end(), sequence.begin(), sequence.end());
  gradient.run(loss, [&](const ProductGradient& p) {
    Found& f = found[{p.role, p.layer}];
    if (f.values.empty()) {
      f.rows = p.matrix->rows();
      f.columns = p.matrix->columns();
      f.values.resize(static_cast<std::size_t>(f.rows * f.columns));
      f.gradient.resize(f.values.size());
      for (std::int64_t r = 0; r < f.rows; ++r)
        p.matrix->dequantise_row(r, f.values.data() + r * f.columns);
    }
    for (std::int64_t t = 0; t < p.tokens; ++t) {
      const float* const y = p.y_gradient + t * p.y_stride;
      if (p.role == Role::token_embedding) {
        const auto row = static_cast<std::int64_t>(all[looked_up++]);
        for (std::int64_t k = 0; k < f.columns; ++k)
          f.gradient[static_cast<std::size_t>(row * f.columns + k)] +=
              static_cast<double>(y[k]) * d.embedding_scale;
        continue;
      }
      for (std::int64_t r = 0; r < f.rows; ++r)
        for (std::int64_t k = 0; k < f.columns; ++k)
          f.gradient[static_cast<std::size_t>(r * f.columns + k)] +=
              static_cast<double>(y[r]) * p.x[t * p.x_stride + k];
    }
  });
  EXPECT_EQ(looked_up, all.size());
  const std::size_t per_layer = (d.fused_qkv ? 1u : 3u) + (d.fused_gate_up ? 1u : 2u) + 2u;
  ASSERT_EQ(found.size(), static_cast<std::size_t>(d.layers) * per_layer + 2);

  std::mt19937 random(5);
  std::normal_distribution<double> gaussian;
  for (auto& [key, f] : found) {
    double power = 0, slope_power = 0;
    for (const float value : f.values) power += static_cast<double>(value) * value;
    for (const double slope : f.gradient) slope_power += slope * slope;
    const double rms = std::sqrt(power / static_cast<double>(f.values.size()));
    // Of a random direction with as large steps.
    const double usual = std::sqrt(slope_power) * rms;
    constexpr double step = 2e-3;
    for (int direction = 0; direction < directions; ++direction) {
      std::vector<float> steps(f.values.size()), moved(f.values.size());
      double expected = 0;
      for (std::size_t i = 0; i < steps.size(); ++i) {
        steps[i] = static_cast<float>(gaussian(random) * rms);
        expected += f.gradient[i] * steps[i];
      }
      double losses[2];
      for (const int side : {0, 1}) {
        for (std::size_t i = 0; i < steps.size(); ++i)
          moved[i] = f.values[i] + static_cast<float>(side == 0 ? -step : step) * steps[i];
        const Matrix matrix(DenseView{moved.data(), DenseView::Type::f32, f.rows, f.columns});
        gradient.replace(key.first, key.second, &matrix);
        losses[side] = gradient.run(loss, nullptr);
      }
      gradient.replace(Role::token_embedding, -1, nullptr);
      // One per cent, of no less than a third of what is usual.
      EXPECT_NEAR((losses[1] - losses[0]) / (2 * step), expected,
                  0.01 * std::max(std::fabs(expected), usual / 3))
          << "role " << static_cast<int>(key.first) << " layer " << key.second;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, GradientOf, testing::ValuesIn(cases()),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace plimsoll
