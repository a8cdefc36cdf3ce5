#include "plan/quality.h"

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

class Quality : public testing::Test {
 protected:
  static inline const std::string bundled = PLIMSOLL_MODELS "/plimsoll-docs-4m-f16.gguf";
  const ModelFile file_ = ModelFile::open(bundled);
  const Description description_ = describe(file_);
  const std::vector<TensorUse> uses_ = find_tensors(file_, description_);
};

TEST_F(Quality, FewerBitsLoseMoreInEveryTensor) {
  const QualityModel quality = prior_quality(description_, uses_);
  ASSERT_EQ(quality.tensors.size(), uses_.size());
  EXPECT_EQ(quality.source, QualitySource::prior);
  constexpr FormatId falling[] = {FormatId::IQ1_M, FormatId::IQ2_XXS, FormatId::Q2_K,
                                  FormatId::Q3_K,  FormatId::Q4_K,    FormatId::Q5_K,
                                  FormatId::Q6_K,  FormatId::Q8_0,    FormatId::F16};
  for (std::size_t i = 0; i < uses_.size(); ++i) {
    if (uses_[i].slot.is_vector()) {
      EXPECT_EQ(quality.tensors[i].sensitivity, 0);
      continue;
    }
    for (const Rounding rounding : {Rounding::plain, Rounding::with_feedback})
      for (const Reader reader : {Reader::plimsoll, Reader::llama_cpp}) {
        double before = 1e9;
        for (const FormatId id : falling) {
          const double loss = quality.tensors[i].loss(format(id), rounding, reader);
          EXPECT_GE(loss, 0);
          EXPECT_LT(loss, before) << uses_[i].slot.name << ' ' << format(id).name;
          before = loss;
        }
        EXPECT_EQ(quality.tensors[i].loss(*uses_[i].info->format, rounding, reader), 0);
      }
    EXPECT_LT(
        quality.tensors[i].loss(format(FormatId::Q4_K), Rounding::with_feedback, Reader::plimsoll),
        quality.tensors[i].loss(format(FormatId::Q4_K), Rounding::plain, Reader::plimsoll));
  }
}

TEST_F(Quality, InputsAreRoundedAsTheReaderDoes) {
  EXPECT_EQ(input_rounding(format(FormatId::F16), Reader::llama_cpp), InputRounding::none);
  EXPECT_EQ(input_rounding(format(FormatId::Q5_0), Reader::llama_cpp), InputRounding::blocks_of_32);
  EXPECT_EQ(input_rounding(format(FormatId::Q6_K), Reader::llama_cpp),
            InputRounding::blocks_of_256);
  for (const FormatId id : {FormatId::Q5_0, FormatId::Q6_K})
    EXPECT_EQ(input_rounding(format(id), Reader::plimsoll), InputRounding::rows);
}

TEST_F(Quality, LevelsOfNestedCodesLoseWhatThePriorSays) {
  constexpr std::int64_t rows = 64, columns = 1024, blocks = rows * columns / 256;
  const Format& all = format(FormatId::NEST8);
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> values(rows * columns), decoded(values.size());
  for (float& value : values) value = normal(random);
  std::vector<float> scratch(static_cast<std::size_t>(quantise_scratch_floats(columns)) + 16);
  const auto address = reinterpret_cast<std::uintptr_t>(scratch.data());
  std::vector<std::uint8_t> rounded(static_cast<std::size_t>(blocks * all.block_bytes)), level;
  quantise_rows(kernels_for(choose_isa()),
                {.format = &all,
                 .weights = values.data(),
                 .rows = rows,
                 .columns = columns,
                 .importance = nullptr,
                 .feedback = nullptr,
                 .thorough = false,
                 .unbiased = true,
                 .blocks = rounded.data(),
                 .scratch = scratch.data() + (64 - address % 64) % 64 / sizeof(float)});
  const QualityModel prior = prior_quality(description_, uses_);
  for (const FormatId id : {FormatId::NEST4, FormatId::NEST6, FormatId::NEST8}) {
    const Format& f = format(id);
    level.resize(static_cast<std::size_t>(blocks * f.block_bytes));
    if (id == FormatId::NEST8)
      level = rounded;
    else
      lower(all, f, rounded.data(), level.data(), blocks);
    f.decode(level.data(), decoded.data(), blocks);
    double squares = 0, power = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      squares += (values[i] - decoded[i]) * (values[i] - decoded[i]);
      power += values[i] * values[i];
    }
    const double relative = squares / power;
    for (std::size_t i = 0; i < uses_.size(); ++i) {
      if (uses_[i].slot.role != Role::q) continue;
      const double said =
          prior.tensors[i].errors[0][static_cast<std::size_t>(&f - formats().data())];
      EXPECT_NEAR(said, relative, 0.1 * relative) << f.name;
    }
  }
}

}  // namespace
}  // namespace plimsoll
