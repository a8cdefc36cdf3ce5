#include "probe/process_envelope.h"

#include <gtest/gtest.h>

#include <vector>

namespace plimsoll {
namespace {

/// What a process holds at a moment differs from start to start.
TEST(ProcessEnvelope, PagesMoreOrLessOfTheProcessChangeNothing) {
  ModelFacts facts;
  facts.text_bytes = 2 * MiB;
  const Bytes before = runtime_bytes(facts, 2, facts.text_bytes, Whose::own, Work::answering).running;
  for (const std::size_t bytes : {5000, 20000, 60000}) {
    const std::vector<char> held(bytes, 'x');
    EXPECT_EQ(runtime_bytes(facts, 2, facts.text_bytes, Whose::own, Work::answering).running, before);
  }
  EXPECT_EQ(runtime_bytes(facts, 3, facts.text_bytes, Whose::own, Work::answering).running, before + stack_bytes_per_thread);
  // What is more than declared is counted.
  const std::vector<char> held(12 * MiB, 'x');
  EXPECT_GE(runtime_bytes(facts, 2, facts.text_bytes, Whose::own, Work::answering).running, before + 7 * MiB);
}

/// What else is in a process that is somebody else's is not this code's to count.
TEST(ProcessEnvelope, OfASharedProcessOnlyTheGuestCounts) {
  ModelFacts facts;
  const Bytes before = runtime_bytes(facts, 2, 0, Whose::shared, Work::answering).running;
  EXPECT_GE(before, envelope_bytes(2, Whose::shared));
  EXPECT_LE(envelope_bytes(2, Whose::shared), envelope_bytes(2, Whose::own));
  const std::vector<char> others(64 * MiB, 'x');
  EXPECT_EQ(runtime_bytes(facts, 2, 0, Whose::shared, Work::answering).running, before);
}

}  // namespace
}  // namespace plimsoll
