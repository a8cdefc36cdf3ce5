#include "probe/process_envelope.h"

#include <gtest/gtest.h>

#include <vector>

namespace plimsoll {
namespace {

/// What a process holds at a moment differs from start to start.
TEST(ProcessEnvelope, PagesMoreOrLessOfTheProcessChangeNothing) {
  ModelFacts facts;
  facts.text_bytes = 2 * MiB;
  const Bytes before = runtime_bytes(facts, 2);
  for (const std::size_t bytes : {5000, 20000, 60000}) {
    const std::vector<char> held(bytes, 'x');
    EXPECT_EQ(runtime_bytes(facts, 2), before);
  }
  EXPECT_EQ(runtime_bytes(facts, 3), before + stack_bytes_per_thread);
  // What is more than declared is counted.
  const std::vector<char> held(12 * MiB, 'x');
  EXPECT_GE(runtime_bytes(facts, 2), before + 7 * MiB);
}

}  // namespace
}  // namespace plimsoll
