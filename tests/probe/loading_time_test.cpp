// What loading is said to take.
#include "probe/loading_time.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "model/architecture.h"
#include "support/synthetic_model.h"
#include "support/temporary_folder.h"

namespace plimsoll {
namespace {

class Loading : public ::testing::Test {
 protected:
  Loading() {
    test::SyntheticModel model;
    model.layers = 3;
    test::write_synthetic_model(folder_.file("model.gguf"), model, 2);
  }
  test::TemporaryFolder folder_;
};

TEST_F(Loading, SamplesWithinTheRoomAndLeavesNothingBehind) {
  const ModelFile file = ModelFile::open(folder_.file("model.gguf"));
  const std::vector<TensorUse> uses = find_tensors(file, describe(file));
  Weights::Formats formats;
  const FormatId ids[] = {FormatId::Q4_K, FormatId::F16, FormatId::Q8_0, FormatId::MXFP4};
  for (std::size_t i = 0; i < uses.size(); ++i)
    formats.push_back(uses[i].slot.columns % 256 == 0 ? &format(ids[i % 4]) : uses[i].info->format);
  for (const int threads : {1, 3})
    for (const Weights::Formats& held : {Weights::Formats{}, formats}) {
      Context context(threads, choose_isa());
      constexpr Bytes room = 4 * MiB;
      const auto found = predict_loading(context, file, uses, held, room);
      ASSERT_TRUE(found);
      EXPECT_TRUE(std::isfinite(found->seconds));
      EXPECT_GT(found->seconds, 0);
      EXPECT_GT(found->storage_bytes_per_second, 1e5);
      EXPECT_EQ(context.ledger.used(), 0u);
      EXPECT_LE(context.ledger.peak(), room);
      EXPECT_GT(context.ledger.peak(), 0u);
    }
}

TEST_F(Loading, SaysNothingWhereNothingCanBeSampled) {
  const ModelFile file = ModelFile::open(folder_.file("model.gguf"));
  const std::vector<TensorUse> uses = find_tensors(file, describe(file));
  Context context(2, choose_isa());
  EXPECT_FALSE(predict_loading(context, file, uses, {}, 4 * KiB));
  EXPECT_FALSE(predict_loading(context, file, {}, {}, GiB));
  EXPECT_EQ(context.ledger.peak(), 0u);
}

}  // namespace
}  // namespace plimsoll
