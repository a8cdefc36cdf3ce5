// What a benchmark found: as a table, and as JSON.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "app/benchmark.h"
#include "base/cpu.h"
#include "terminal/terminal.h"

namespace plimsoll {

/// Refers to model and plan.
struct BenchReport {
  const OpenModel* model;
  const Plan* plan;
  Isa isa;
  BenchRequest request;
  BenchResult result;
  PromptWork work;
  double load_seconds = 0;
  Bytes peak = 0;

  const BatchTimings* one() const {
    for (const BatchTimings& batch : result.batches)
      if (batch.batch == 1) return &batch;
    return nullptr;
  }
};

/// The table that people read.
std::string describe_benchmark(const BenchReport& report, const Terminal& terminal);
nlohmann::ordered_json to_json(const BenchReport& report);

}  // namespace plimsoll
