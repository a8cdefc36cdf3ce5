#include "fit/calibration.h"

#include <gtest/gtest.h>

#include <numeric>
#include <set>

#include "base/error.h"

namespace plimsoll {
namespace {

std::vector<TokenId> counting(std::int64_t count) {
  std::vector<TokenId> ids(static_cast<std::size_t>(count));
  std::iota(ids.begin(), ids.end(), 10);
  return ids;
}

TEST(Calibration, SequencesBeginWithBosAndNeverOverlap) {
  const CalibrationSize size = {
      .sequence_tokens = 64, .moments = 12, .probes = 4, .probe_tokens = 64};
  for (const std::int64_t tokens : {1024, 1100, 2000, 50000}) {
    const Calibration found = calibrate_on(counting(tokens), TokenId{1}, size);
    EXPECT_GE(found.probes.size(), 1u);
    EXPECT_GE(found.moments.size(), found.probes.size());
    EXPECT_LE(found.probes.size(), 4u);
    EXPECT_LE(found.moments.size(), 12u);
    std::set<TokenId> seen;
    for (const auto* part : {&found.probes, &found.moments})
      for (const Sequence& sequence : *part) {
        EXPECT_EQ(sequence.size(), 64u);
        EXPECT_EQ(sequence[0], 1);
        for (std::size_t i = 1; i < sequence.size(); ++i) {
          EXPECT_EQ(sequence[i], sequence[1] + static_cast<TokenId>(i) - 1);
          EXPECT_TRUE(seen.insert(sequence[i]).second) << tokens << ": " << sequence[i];
        }
      }
    // All of a text counts, not only its beginning.
    EXPECT_GT(*seen.rbegin(), tokens - 64);
  }
}

TEST(Calibration, WithoutBosSequencesAreTextAlone) {
  const Calibration found = calibrate_on(counting(4096), {}, {32, 8, 2, 20});
  EXPECT_EQ(found.moments.size(), 8u);
  EXPECT_EQ(found.probes.size(), 2u);
  for (const Sequence& sequence : found.moments) EXPECT_GE(sequence[0], 10);
  for (const Sequence& sequence : found.probes) EXPECT_EQ(sequence.size(), 20u);
}

TEST(Calibration, ShortTextsAreRefused) {
  try {
    calibrate_on(counting(least_calibration_tokens - 1), TokenId{1}, {256, 16, 1, 256});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_text);
    EXPECT_NE(error.message().find("1023"), std::string::npos) << error.message();
  }
}

TEST(Calibration, LargerModelsGetLess) {
  Description d;
  d.width = 4096;
  d.trained_context = 8192;
  std::int64_t before = 1 << 30;
  for (const std::int64_t parameters : {1'000'000LL, 1'000'000'000LL, 8'000'000'000LL}) {
    const CalibrationSize size = calibration_size(d, parameters, 200, 8 * GiB);
    EXPECT_EQ(size.sequence_tokens, 256);
    EXPECT_GE(size.moments, 16);
    EXPECT_GE(size.probes, 1);
    EXPECT_GE(size.probe_tokens, 128);
    EXPECT_LE(size.probe_tokens, 256);
    EXPECT_LE(size.moments, before);
    before = size.moments;
  }
  d.trained_context = 100;
  EXPECT_EQ(calibration_size(d, 1000, 10, GiB).sequence_tokens, 100);
  EXPECT_EQ(calibration_size(d, 1000, 10, GiB).probe_tokens, 100);
}

}  // namespace
}  // namespace plimsoll
