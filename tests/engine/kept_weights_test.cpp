// Rounded weights kept in a file: the same weights again, and never others.
#include "engine/kept_weights.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/error.h"
#include "plan/quality_file.h"
#include "support/fixture.h"
#include "support/split_model.h"

namespace plimsoll {
namespace {

class KeptWeights : public ::testing::Test {
 protected:
  KeptWeights() : path_(folder_.file("model.gguf")) {
    model_.layers = 8;
    test::write_synthetic_model(path_, model_, 2);
    ::setenv("XDG_CACHE_HOME", folder_.file("cache").c_str(), 1);
  }
  ~KeptWeights() override { ::unsetenv("XDG_CACHE_HOME"); }

  /// A plan that has about this part of the weights' bytes for them.
  static Plan fitted(const OpenModel& model, double part = 0.6) {
    test::LoadOptions options;
    options.context = 64;
    options.chunk_tokens = 16;
    PlanRequest request = test::Loaded::request(options);
    request.budget = make_plan(model.facts, request).peak_bytes -
                     static_cast<Bytes>((1 - part) * static_cast<double>(model.facts.weight_bytes));
    request.policy = WeightPolicy::fit;
    return make_plan(model.facts, request);
  }

  static std::vector<float> logits(Context& context, const OpenModel& model, const Plan& plan,
                                   const ModelFile* kept) {
    const Engine engine(context, model, plan, {}, kept);
    Session session(engine);
    const std::vector<TokenId> tokens = {1, 270, 300, 11};
    session.append(tokens);
    const std::span<float> row = session.logits();
    return {row.begin(), row.end()};
  }

  test::TemporaryFolder folder_;
  test::SyntheticModel model_;
  std::string path_;
};

TEST_F(KeptWeights, AreTheSameWeights) {
  const OpenModel model = OpenModel::open(path_);
  const Plan plan = fitted(model);
  ASSERT_TRUE(plan.fits);
  ASSERT_FALSE(plan.formats.empty());
  std::vector<float> expected;
  {
    Context context(2, choose_isa());
    expected = logits(context, model, plan, nullptr);
  }
  for (const int threads : {1, 2}) {
    Context context(threads, choose_isa());
    const std::string path = kept_path(context, model, plan);
    EXPECT_EQ(std::filesystem::path(path).parent_path(), kept_folder());
    if (threads == 1) {
      EXPECT_FALSE(open_kept(context, model, path));
      keep_weights(context, model, plan, path);
      EXPECT_EQ(context.ledger.used(), 0u);
      EXPECT_LT(context.ledger.peak(), plan.peak_bytes);
    }
    const std::optional<ModelFile> kept = open_kept(context, model, path);
    ASSERT_TRUE(kept);
    EXPECT_EQ(logits(context, model, plan, &*kept), expected);
    EXPECT_LE(context.ledger.peak(), plan.peak_bytes);
  }
}

TEST_F(KeptWeights, OfASplitModelAreThoseOfTheWhole) {
  const OpenModel whole = OpenModel::open(path_);
  const std::vector<std::string> parts = test::split_model(path_, folder_.file("split"), {9, true});
  ASSERT_GT(parts.size(), 2u);
  const OpenModel split = OpenModel::open(parts.front());
  EXPECT_EQ(model_fingerprint(split.file), model_fingerprint(whole.file));
  const Plan plan = fitted(whole);
  ASSERT_FALSE(plan.formats.empty());
  std::vector<float> of_whole;
  {
    Context context(2, choose_isa());
    of_whole = logits(context, whole, plan, nullptr);
  }
  Context context(2, choose_isa());
  const std::string path = kept_path(context, whole, plan);
  EXPECT_EQ(kept_path(context, split, plan), path);
  keep_weights(context, whole, plan, path);
  EXPECT_TRUE(open_kept(context, split, path).has_value());
  EXPECT_EQ(logits(context, split, plan, nullptr), of_whole) << "rounded while loading";
}

TEST_F(KeptWeights, OtherPlansAndModelsHaveOtherNames) {
  Context context(2, choose_isa());
  const OpenModel model = OpenModel::open(path_);
  const std::string path = kept_path(context, model, fitted(model));
  EXPECT_EQ(kept_path(context, model, fitted(model)), path);
  EXPECT_NE(kept_path(context, model, fitted(model, 0.45)), path);
  // The same header, other weights.
  model_.seed = 2;
  test::write_synthetic_model(folder_.file("other.gguf"), model_, 2);
  const OpenModel other = OpenModel::open(folder_.file("other.gguf"));
  ASSERT_EQ(fitted(other).formats, fitted(model).formats);
  EXPECT_NE(kept_path(context, other, fitted(other)), path);
}

TEST_F(KeptWeights, DamagedOrMisnamedFilesAreNotUsed) {
  Context context(2, choose_isa());
  const OpenModel model = OpenModel::open(path_);
  const Plan plan = fitted(model);
  const std::string path = kept_path(context, model, plan);
  keep_weights(context, model, plan, path);
  const std::vector<std::uint8_t> whole = test::read_file(path);

  std::vector<std::uint8_t> half(whole.begin(),
                                 whole.begin() + static_cast<std::ptrdiff_t>(whole.size() / 2));
  test::write_file(path, half);
  EXPECT_THROW(open_kept(context, model, path), Error);

  std::vector<std::uint8_t> flipped = whole;
  for (std::size_t i = flipped.size() / 2; i < flipped.size(); ++i) flipped[i] ^= 1;
  test::write_file(path, flipped);
  EXPECT_THROW(open_kept(context, model, path), Error);

  const Plan other = fitted(model, 0.45);
  const std::string other_path = kept_path(context, model, other);
  test::write_file(other_path, whole);
  EXPECT_THROW(open_kept(context, model, other_path), Error);
}

}  // namespace
}  // namespace plimsoll
