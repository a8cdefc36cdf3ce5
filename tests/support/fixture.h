// A loaded model in a few lines, for tests of the layers above it.
#pragma once

#include <memory>
#include <string>

#include "engine/engine.h"
#include "support/synthetic_model.h"
#include "support/temporary_folder.h"

namespace plimsoll::test {

struct LoadOptions {
  int threads = 2;
  Isa isa = choose_isa();
  std::int64_t context = 256;
  std::int64_t chunk_tokens = 256;
  std::int64_t logit_rows = 1;
  std::int64_t branches = 1;  ///< sequences that share the context
  KvTiers kv;
  Bytes budget = 8 * GiB;
};

/// Everything between a path and a session, in order of construction.
struct Loaded {
  OpenModel model;
  Plan plan;
  Context context;
  std::unique_ptr<Engine> engine;
  std::unique_ptr<Session> session;

  explicit Loaded(const std::string& path, const LoadOptions& options = {})
      : model(OpenModel::open(path)),
        plan(make_plan(model.facts, request(options, model.facts.description.layers))),
        context(options.threads, options.isa),
        engine(std::make_unique<Engine>(context, model, plan)),
        session(std::make_unique<Session>(*engine)) {}

  static PlanRequest request(const LoadOptions& options, std::int64_t layers = 0) {
    PlanRequest request;
    request.budget = options.budget;
    request.context = options.context;
    request.threads = options.threads;
    request.chunk_tokens = options.chunk_tokens;
    request.logit_rows = options.logit_rows;
    request.branches = options.branches;
    if (options.kv != KvTiers{}) request.kv.assign(static_cast<std::size_t>(layers), options.kv);
    request.runtime_bytes = 8 * MiB;
    return request;
  }
};

/// The bundled model.
inline std::string bundled_model() {
  return std::string(PLIMSOLL_MODELS) + "/plimsoll-docs-4m-f16.gguf";
}

}  // namespace plimsoll::test
