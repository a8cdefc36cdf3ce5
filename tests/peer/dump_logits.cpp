// Prints the log-probabilities of the next token after every one of the given tokens, as raw f32
// [tokens][vocabulary] in the machine's byte order, for compare.mjs to hold against the peer's.
//
//   plimsoll_dump_logits MODEL CONTEXT CHUNK THREADS < token ids, separated by white space
//
// CHUNK is the number of tokens that go through the model together: 1 takes the way of decoding.
#include <fmt/format.h>

#include <cmath>
#include <cstdio>
#include <iostream>
#include <string>
#include <vector>

#include "base/error.h"
#include "engine/engine.h"

namespace plimsoll::test {
namespace {

/// logits -> log-probabilities, summed in double.
void log_softmax(std::span<float> row) {
  float largest = row[0];
  for (const float value : row) largest = std::max(largest, value);
  double sum = 0;
  for (const float value : row) sum += std::exp(static_cast<double>(value - largest));
  const double shift = largest + std::log(sum);
  for (float& value : row) value = static_cast<float>(value - shift);
}

int dump_logits(const std::string& path, std::int64_t context_length, std::int64_t chunk,
                int threads) {
  std::vector<TokenId> tokens;
  for (TokenId token; std::cin >> token;) tokens.push_back(token);

  Context context(threads, choose_isa());
  const OpenModel model = OpenModel::open(path);
  PlanRequest request;
  request.budget = GiB * 1024;
  request.context = context_length;
  request.threads = threads;
  request.logit_rows = 16;
  const Plan plan = make_plan(model.facts, request);
  const Engine engine(context, model, plan);
  Session session(engine);
  bool written = true;
  for (std::size_t done = 0; done < tokens.size();) {
    const std::size_t count = std::min(static_cast<std::size_t>(chunk), tokens.size() - done);
    session.append_scored(
        std::span(tokens).subspan(done, count), 0, [&](std::int64_t, std::span<float> row) {
          log_softmax(row);
          written &= std::fwrite(row.data(), sizeof(float), row.size(), stdout) == row.size();
        });
    done += count;
  }
  if (!written || std::fflush(stdout) != 0)
    throw Error(ErrorCode::write_failed, "cannot write to standard output");
  return 0;
}

}  // namespace
}  // namespace plimsoll::test

int main(int argc, char** argv) {
  if (argc != 5) {
    fmt::print(stderr, "usage: plimsoll_dump_logits MODEL CONTEXT CHUNK THREADS < TOKENS\n");
    return 2;
  }
  try {
    return plimsoll::test::dump_logits(argv[1], std::stoll(argv[2]), std::stoll(argv[3]),
                                       std::stoi(argv[4]));
  } catch (const plimsoll::Error& error) {
    fmt::print(stderr, "plimsoll_dump_logits: {} ({})\n", error.message(), error.hint());
    return plimsoll::exit_code(error.code());
  } catch (const std::exception& error) {
    fmt::print(stderr, "plimsoll_dump_logits: {}\n", error.what());
    return 2;
  }
}
