#include "fit/quality_file.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <random>

#include "kernels/kernels.h"
#include "kernels/quantise.h"
#include "model/architecture.h"
#include "support/synthetic_model.h"
#include "support/temporary_folder.h"

namespace plimsoll {
namespace {

class QualityFile : public testing::Test {
 protected:
  static inline const std::string bundled = PLIMSOLL_MODELS "/plimsoll-docs-4m-f16.gguf";
  const ModelFile file_ = ModelFile::open(bundled);
  const Description description_ = describe(file_);
  const std::vector<TensorUse> uses_ = find_tensors(file_, description_);

  /// With numbers of no meaning, all different.
  QualityModel some_model() const {
    QualityModel quality = prior_quality(description_, uses_);
    quality.source = QualitySource::own_text;
    std::mt19937 random(1);
    std::uniform_real_distribution<double> uniform(0.1, 1);
    for (TensorQuality& tensor : quality.tensors) {
      if (tensor.sensitivity == 0) continue;
      tensor.sensitivity = uniform(random);
      tensor.lookup_share = uniform(random);
      for (double& error : tensor.input_errors) error = uniform(random);
      for (auto& errors : tensor.errors)
        for (double& error : errors)
          if (error >= 0) error = uniform(random);
    }
    return quality;
  }
};

TEST_F(QualityFile, FilesGiveBackWhatWasMeasured) {
  const QualityModel quality = some_model();
  const std::string text = to_json(quality, uses_).dump();
  const std::optional<QualityModel> again = parse_quality(text, uses_);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->source, quality.source);
  for (std::size_t i = 0; i < uses_.size(); ++i) {
    EXPECT_EQ(again->tensors[i].sensitivity, quality.tensors[i].sensitivity);
    EXPECT_EQ(again->tensors[i].lookup_share, quality.tensors[i].lookup_share);
    EXPECT_EQ(again->tensors[i].input_errors, quality.tensors[i].input_errors);
    EXPECT_EQ(again->tensors[i].errors, quality.tensors[i].errors);
  }
}

TEST_F(QualityFile, WhatIsTooLongForTheseTensorsIsNotRead) {
  nlohmann::json json = to_json(some_model(), uses_);
  json["more"] = std::vector<int>(1 << 20);
  EXPECT_FALSE(parse_quality(json.dump(), uses_)) << "a document of eight times its bytes";
  json["more"] = nullptr;
  EXPECT_TRUE(parse_quality(json.dump(1), uses_)) << "with its spaces it is no longer than that";
  EXPECT_FALSE(parse_quality(std::string(1000, '['), uses_));
}

TEST_F(QualityFile, NotesAreOfWhatTheFileHolds) {
  const QualityModel quality = some_model();
  std::vector<const Format*> held;
  for (const TensorUse& use : uses_)
    held.push_back(use.slot.is_vector() ? use.info->format : &format(FormatId::NEST8));
  const std::string note = quality_note(quality, Rounding::with_feedback, held, uses_);
  const std::optional<QualityModel> found = parse_quality(note, uses_);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->source, QualitySource::own_text);
  const auto error = [](const TensorQuality& tensor, Rounding rounding, FormatId id) {
    return tensor.errors[static_cast<std::size_t>(rounding)]
                        [static_cast<std::size_t>(&format(id) - formats().data())];
  };
  for (std::size_t i = 0; i < uses_.size(); ++i) {
    if (uses_[i].slot.is_vector()) continue;
    const TensorQuality &before = quality.tensors[i], &noted = found->tensors[i];
    EXPECT_NEAR(noted.sensitivity, before.sensitivity, 1e-3 * before.sensitivity);
    // Losses are beyond the file's own, whose weights had feedback; what is rounded again has none.
    EXPECT_EQ(error(noted, Rounding::plain, FormatId::NEST8), 0);
    const double all = error(before, Rounding::with_feedback, FormatId::NEST8);
    for (const FormatId level : {FormatId::NEST4, FormatId::NEST6})
      EXPECT_NEAR(error(noted, Rounding::plain, level),
                  std::max(0.0, error(before, Rounding::with_feedback, level) - std::max(0.0, all)),
                  1e-3);
    EXPECT_NEAR(error(noted, Rounding::plain, FormatId::Q3_K),
                error(before, Rounding::plain, FormatId::Q3_K), 1e-3);
    EXPECT_EQ(error(noted, Rounding::with_feedback, FormatId::Q3_K), -1);
  }
}

// The prior's figures for levels, against rounding as it is done.
TEST_F(QualityFile, WhatIsNoSuchFileIsNoQuality) {
  const nlohmann::json good = to_json(some_model(), uses_);
  const auto refused = [this](nlohmann::json json) {
    EXPECT_FALSE(parse_quality(json.dump(), uses_)) << json.dump().substr(0, 200);
  };
  EXPECT_FALSE(parse_quality("", uses_));
  EXPECT_FALSE(parse_quality(good.dump().substr(0, good.dump().size() / 2), uses_));
  nlohmann::json changed = good;
  changed["version"] = 0;
  refused(changed);
  changed = good;
  changed["source"] = "hearsay";
  refused(changed);
  changed = good;
  changed["tensors"].erase("blk.1.ffn_up.weight");
  refused(changed);
  changed = good;
  changed["tensors"]["blk.1.ffn_up.weight"]["sensitivity"] = -1;
  refused(changed);
  changed = good;
  changed["tensors"]["blk.1.ffn_up.weight"]["errors"]["plain"]["Q9_Z"] = 0.1;
  refused(changed);
  changed = good;
  changed["tensors"]["blk.1.ffn_up.weight"]["input_errors"] = {0.1};
  refused(changed);
  refused(nlohmann::json::array());
}

TEST_F(QualityFile, FilesAreFoundByTheModelThatTheyAreOf) {
  const test::TemporaryFolder folder;
  const std::string cache = folder.path().string(), print = model_fingerprint(file_);
  EXPECT_EQ(print.size(), 16u);
  EXPECT_EQ(print, model_fingerprint(ModelFile::open(bundled)));
  EXPECT_FALSE(load_quality(cache, print, uses_));
  save_quality(cache, print, some_model(), uses_);
  EXPECT_TRUE(load_quality(cache, print, uses_));
  EXPECT_FALSE(load_quality(cache, "0123456789abcdef", uses_));
  // A folder that cannot be written loses nothing but the file.
  save_quality("/proc/nowhere", print, some_model(), uses_);
  save_quality("", print, some_model(), uses_);

  test::SyntheticModel shape;
  const std::string path = folder.file("one.gguf"), other = folder.file("two.gguf");
  test::write_synthetic_model(path, shape, 2);
  shape.seed = 2;
  test::write_synthetic_model(other, shape, 2);
  EXPECT_NE(model_fingerprint(ModelFile::open(path)), model_fingerprint(ModelFile::open(other)));
}

}  // namespace
}  // namespace plimsoll
