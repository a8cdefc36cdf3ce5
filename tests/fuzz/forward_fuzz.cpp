// Mutated model files through a forward pass: each is refused with a typed error, or loads within a small budget, as it is or rounded,
// and gives logits for a token; the Ledger never holds more than the plan said.
#include <cstdint>
#include <cstdlib>

#include "base/error.h"
#include "base/process.h"
#include "engine/engine.h"
#include "memory_file.h"

using namespace plimsoll;

namespace {

constexpr Bytes budget = 24 * MiB;
/// Sizes that fit the budget may still take minutes to multiply under sanitizers.
constexpr std::int64_t most_layers = 64;

void run(const OpenModel& model, WeightPolicy policy) {
  PlanRequest request;
  request.budget = budget;
  request.context = 4;
  request.chunk_tokens = 16;
  request.policy = policy;
  const Plan plan = make_plan(model.facts, request);
  if (!plan.fits) return;
  if (plan.peak_bytes > budget) std::abort();
  Context context(1, choose_isa());
  const Engine engine(context, model, plan);
  Session session(engine);
  const TokenId tokens[] = {0, static_cast<TokenId>(model.facts.description.vocabulary - 1)};
  session.append(tokens);
  if (std::ssize(session.append({tokens, 1}).logits) != model.facts.description.vocabulary) std::abort();
  if (context.ledger.peak() > plan.peak_bytes) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const fuzz::MemoryFile input(data, size);
  try {
    const OpenModel model = OpenModel::open(input.path());
    if (model.facts.description.layers > most_layers) return 0;
    for (const WeightPolicy policy : {WeightPolicy::exact, WeightPolicy::fit}) {
      try {
        run(model, policy);
      } catch (const Error& error) {
        if (error.code() == ErrorCode::internal) std::abort();
      }
    }
  } catch (const Error& error) {
    if (error.code() == ErrorCode::internal) std::abort();
  }
  return 0;
}
