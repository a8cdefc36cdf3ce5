#include "engine/own_text.h"

#include <gtest/gtest.h>

#include "support/fixture.h"

namespace plimsoll {
namespace {

TEST(OwnText, IsDrawnFromTheModelAndTheSameForASeed) {
  test::LoadOptions options;
  options.logit_rows = 4;
  options.context = 512;  // a page for each of several
  test::Loaded loaded(test::bundled_model(), options);
  loaded.session.reset();  // its cache is all that the plan has
  std::int64_t last = 0;
  const auto texts =
      write_own_text(*loaded.engine, 6, 48, 1, [&](std::int64_t done, std::int64_t total) {
        EXPECT_GT(done, last);
        EXPECT_LE(done, total);
        last = done;
      });
  ASSERT_EQ(texts.size(), 6u);
  Session session(*loaded.engine, 48);
  double likelihood = 0;
  std::int64_t scored = 0;
  for (const auto& text : texts) {
    ASSERT_EQ(text.size(), 48u);
    EXPECT_EQ(text[0], *loaded.model.tokenizer->bos());
    session.clear();
    session.append_scored(text, 0, [&](std::int64_t at, std::span<float> logits) {
      if (at + 1 == 48) return;
      const float norm = loaded.context.kernels.log_sum_exp(
          logits.data(), static_cast<std::int64_t>(logits.size()));
      likelihood += logits[static_cast<std::size_t>(text[static_cast<std::size_t>(at + 1)])] - norm;
      ++scored;
    });
  }
  // Its entropy is some 3.9 nats; tokens drawn evenly would cost it log(4096) = 8.3 and more.
  EXPECT_NEAR(-likelihood / static_cast<double>(scored), 3.9, 1.2);
  session = Session(*loaded.engine, 1);
  EXPECT_NE(texts[0], texts[1]);
  EXPECT_EQ(write_own_text(*loaded.engine, 6, 48, 1), texts);
  EXPECT_NE(write_own_text(*loaded.engine, 6, 48, 2), texts);
}

}  // namespace
}  // namespace plimsoll
