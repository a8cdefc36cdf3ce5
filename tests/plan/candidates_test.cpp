// What each tensor may become: the file's own first, all others smaller, known and of whole blocks.
#include "plan/candidates.h"

#include <gtest/gtest.h>

#include "model/weights.h"
#include "plan/fitted_plan.h"

namespace plimsoll {
namespace {

using Place = CandidateRules::Place;

class CandidatesOf : public FittedPlan {
 protected:
  Candidates find(const CandidateRules& rules) const {
    return find_candidates(facts_.tensors, quality(), rules);
  }
};

TEST_F(CandidatesOf, OwnFormatsComeFirstAndAllOthersAreSmaller) {
  for (const FormatId id : {FormatId::F16, FormatId::Q8_0, FormatId::NEST8}) {
    describe(2048, 2, id);
    for (const Place place : {Place::memory, Place::file})
      for (const bool codebooks : {false, true}) {
        const CandidateRules rules = {.place = place, .levels = true, .codebooks = codebooks};
        const Candidates found = find(rules);
        ASSERT_EQ(found.formats.size(), facts_.tensors.size());
        for (std::size_t i = 0; i < found.formats.size(); ++i) {
          const TensorInfo& info = *facts_.tensors[i].info;
          ASSERT_EQ(found.formats[i].size(), found.choices[i].size());
          ASSERT_EQ(found.formats[i].front(), info.format);
          EXPECT_EQ(found.choices[i].front().loss, 0);
          if (facts_.tensors[i].slot.is_vector()) {
            EXPECT_EQ(found.formats[i].size(), 1u);
            continue;
          }
          EXPECT_GT(found.formats[i].size(), 4u);
          for (std::size_t c = 1; c < found.formats[i].size(); ++c) {
            const Format& f = *found.formats[i][c];
            EXPECT_EQ(info.columns() % f.block_values, 0);
            EXPECT_LT(row_bytes(f, info.columns()), row_bytes(*info.format, info.columns()));
            EXPECT_LT(found.choices[i][c].bytes, found.choices[i].front().bytes) << f.name;
            EXPECT_GE(found.choices[i][c].loss, 0);
            EXPECT_TRUE(codebooks || !f.encode_weighted);
            EXPECT_TRUE(is_standard(f.id) || is_level_of(*info.format, f));
            EXPECT_EQ(
                found.choices[i][c].bytes,
                place == Place::memory
                    ? Matrix::memory_bytes({&info, &f})
                    : round_up(static_cast<Bytes>(info.rows()) * row_bytes(f, info.columns()), 32));
          }
        }
      }
  }
}

TEST_F(CandidatesOf, LevelsAloneRoundNothingAgain) {
  describe(2048, 2, FormatId::NEST8);
  const Candidates found = find({.rounded = false, .levels = true});
  for (std::size_t i = 0; i < found.formats.size(); ++i)
    for (std::size_t c = 1; c < found.formats[i].size(); ++c)
      EXPECT_TRUE(is_level_of(*facts_.tensors[i].info->format, *found.formats[i][c]));
  const std::size_t matrix = 0;  // the embedding
  EXPECT_EQ(found.formats[matrix].size(), 1 + levels_below(format(FormatId::NEST8)).size());
}

TEST_F(CandidatesOf, WhatIsNotKnownIsNoCandidate) {
  describe(2048, 2, FormatId::F16);
  QualityModel unknown;
  unknown.tensors.resize(facts_.tensors.size());
  const Candidates found = find_candidates(facts_.tensors, unknown, {});
  for (const auto& formats : found.formats) EXPECT_EQ(formats.size(), 1u);
}

TEST_F(CandidatesOf, MatricesThatNoBlockDividesAreCounted) {
  describe(2048, 2, FormatId::F32);
  EXPECT_EQ(count_uncodable(facts_.tensors), 0);
  describe(960 + 16, 2, FormatId::F32);
  EXPECT_GT(count_uncodable(facts_.tensors), 0);
}

}  // namespace
}  // namespace plimsoll
