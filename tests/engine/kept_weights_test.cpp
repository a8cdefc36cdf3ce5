// Rounded weights kept in a file: the same weights again, and never others.
#include "engine/kept_weights.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <thread>

#include "base/error.h"
#include "engine/model_identity.h"
#include "fit/quality_file.h"
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
    const std::span<float> row = session.append(tokens).logits;
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
    if (threads == 1) {
      EXPECT_FALSE(find_kept(context, model, plan));
      const std::string path = keep_weights(context, model, plan);
      EXPECT_EQ(std::filesystem::path(path).parent_path(), kept_folder());
      EXPECT_EQ(context.ledger.used(), 0u);
      EXPECT_LT(context.ledger.peak(), plan.peak_bytes);
    }
    const std::optional<ModelFile> kept = find_kept(context, model, plan);
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
  const std::string path = keep_weights(context, whole, plan);
  const std::optional<ModelFile> kept = find_kept(context, split, plan);
  ASSERT_TRUE(kept);
  EXPECT_EQ(kept->path(), path);
  EXPECT_EQ(logits(context, split, plan, nullptr), of_whole) << "rounded while loading";
}

TEST_F(KeptWeights, OtherPlansAndModelsHaveOtherNames) {
  Context context(2, choose_isa());
  const OpenModel model = OpenModel::open(path_);
  const std::string path = keep_weights(context, model, fitted(model));
  EXPECT_EQ(keep_weights(context, model, fitted(model)), path);
  EXPECT_FALSE(find_kept(context, model, fitted(model, 0.45)));
  // The same header, other weights.
  model_.seed = 2;
  test::write_synthetic_model(folder_.file("other.gguf"), model_, 2);
  const OpenModel other = OpenModel::open(folder_.file("other.gguf"));
  ASSERT_EQ(fitted(other).formats, fitted(model).formats);
  EXPECT_FALSE(find_kept(context, other, fitted(other)));
}

/// The model with the same numbers of bytes but two rows of its embedding, far from any that one
/// would look at, in each other's place.
std::vector<std::uint8_t> with_permuted_rows(const std::string& path, std::int64_t rows) {
  std::vector<std::uint8_t> bytes = test::read_file(path);
  const ModelFile file = ModelFile::open(path);
  const TensorInfo& embedding = *file.find_tensor("token_embd.weight");
  const auto row = static_cast<std::ptrdiff_t>(row_bytes(*embedding.format, embedding.columns()));
  auto* const first = bytes.data() + embedding.offset;
  for (std::int64_t i = 0; i < rows; i += 2)
    std::swap_ranges(first + i * row, first + (i + 1) * row, first + (i + 1) * row);
  return bytes;
}

TEST_F(KeptWeights, OfAModelWithPermutedRowsAreItsOwn) {
  model_.vocabulary = 4096;
  test::write_synthetic_model(path_, model_, 2);
  const OpenModel model = OpenModel::open(path_);
  const Plan plan = fitted(model);
  Context context(2, choose_isa());
  keep_weights(context, model, plan);
  ASSERT_TRUE(find_kept(context, model, plan));
  // 1,100 rows, or just the first two, or the last bit of the last tensor.
  for (const std::int64_t rows : {1100, 2}) {
    const std::string other = folder_.file("other.gguf");
    test::write_file(other, with_permuted_rows(path_, rows));
    const OpenModel permuted = OpenModel::open(other);
    ASSERT_EQ(fitted(permuted).formats, plan.formats);
    EXPECT_FALSE(find_kept(context, permuted, plan)) << rows;
    const std::string kept = keep_weights(context, permuted, plan);
    EXPECT_EQ(find_kept(context, permuted, plan)->path(), kept);
    EXPECT_NE(find_kept(context, model, plan)->path(), kept);
  }
  // Under the name of the model that was kept, too.
  test::write_file(path_, with_permuted_rows(path_, 4));
  const OpenModel changed = OpenModel::open(path_);
  EXPECT_FALSE(find_kept(context, changed, plan));
}

TEST_F(KeptWeights, AModelIsReadOnceForItsIdentity) {
  Context context(2, choose_isa());
  const OpenModel model = OpenModel::open(path_);
  std::filesystem::copy_file(path_, folder_.file("copy.gguf"));
  std::this_thread::sleep_for(std::chrono::milliseconds(150));  // so that its times tell
  const std::string identity = identify(context, model.file, model.facts.tensors);
  EXPECT_EQ(identity.size(), 32u);
  {
    const KnownIdentity known(model.file, "x");
    EXPECT_FALSE(known.find());
    known.remember(identity);
    EXPECT_EQ(known.find(), identity);
    EXPECT_FALSE(KnownIdentity(model.file, "y").find());
  }
  EXPECT_EQ(KnownIdentity(model.file, "x").find(), identity);
  // Elsewhere it is another file with the same identity, however many threads read it.
  Context one(1, choose_isa());
  const OpenModel copy = OpenModel::open(folder_.file("copy.gguf"));
  EXPECT_FALSE(KnownIdentity(copy.file, "x").find());
  EXPECT_EQ(identify(one, copy.file, copy.facts.tensors), identity);
  // Written to, it is not known any more, though it has its size and time of modification.
  const auto time = std::filesystem::last_write_time(path_);
  test::write_file(path_, with_permuted_rows(path_, 2));
  std::filesystem::last_write_time(path_, time);
  const OpenModel again = OpenModel::open(path_);
  EXPECT_FALSE(KnownIdentity(again.file, "x").find());
  EXPECT_NE(identify(context, again.file, again.facts.tensors), identity);
}

TEST_F(KeptWeights, AModelThatChangesWhileItIsReadIsNotKept) {
  Context context(2, choose_isa());
  const OpenModel model = OpenModel::open(path_);
  const std::vector<std::uint8_t> bytes = test::read_file(path_);
  bool changed = false;
  EXPECT_THROW(keep_weights(context, model, fitted(model),
                            [&](Weights::Progress) {
                              if (!changed) test::write_file(path_, bytes);
                              changed = true;
                            }),
               Error);
  EXPECT_TRUE(changed);
  EXPECT_TRUE(std::filesystem::is_empty(kept_folder()));
}

TEST_F(KeptWeights, DamagedOrMisnamedFilesAreNotUsed) {
  Context context(2, choose_isa());
  const OpenModel model = OpenModel::open(path_);
  const Plan plan = fitted(model);
  const std::string path = keep_weights(context, model, plan);
  const std::vector<std::uint8_t> whole = test::read_file(path);

  std::vector<std::uint8_t> half(whole.begin(),
                                 whole.begin() + static_cast<std::ptrdiff_t>(whole.size() / 2));
  test::write_file(path, half);
  EXPECT_THROW(find_kept(context, model, plan), Error);

  // Two bytes, in no row that is looked at.
  std::vector<std::uint8_t> flipped = whole;
  std::swap(flipped[flipped.size() / 2], flipped[flipped.size() / 2 + 1]);
  flipped[flipped.size() / 2] ^= 1;
  test::write_file(path, flipped);
  EXPECT_THROW(find_kept(context, model, plan), Error);

  // Brought back, it is what was written.
  test::write_file(path, whole);
  EXPECT_TRUE(find_kept(context, model, plan));

  const Plan other = fitted(model, 0.45);
  const std::string other_path = keep_weights(context, model, other);
  test::write_file(other_path, whole);
  EXPECT_THROW(find_kept(context, model, other), Error);
}

}  // namespace
}  // namespace plimsoll
