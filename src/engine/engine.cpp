#include "engine/engine.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/process.h"
#include "model/architecture.h"

namespace plimsoll {

OpenModel OpenModel::open(const std::string& path) {
  ModelFile file = ModelFile::open(path);
  // The architecture comes first: a model that cannot run should say so, whatever its vocabulary.
  describe(file);
  std::unique_ptr<Tokenizer> tokenizer = Tokenizer::from_metadata(file.metadata());
  ModelFacts facts = model_facts(file, *tokenizer);
  return {std::move(file), std::move(tokenizer), std::move(facts)};
}

Engine::Engine(Context& context, const OpenModel& model, const Plan& plan,
               const std::function<void(Weights::Progress)>& progress)
    : context_(&context), model_(&model), plan_(plan) {
  refuse_unless_it_fits(plan);
  Ledger& ledger = context.ledger;
  if (ledger.budget() == Ledger::no_cap) ledger.set_budget(plan.budget_bytes);
  // Caps add up where two engines share a context.
  for (const Account a : {Account::weights, Account::kv, Account::activations})
    ledger.set_cap(a, (ledger.cap(a) == Ledger::no_cap ? 0 : ledger.cap(a)) + plan.account(a));
  runtime_ = ledger.reserve(Account::runtime, plan.account(Account::runtime));
  text_ = ledger.reserve(Account::text, plan.account(Account::text));
  weights_ = std::make_unique<Weights>(context, model.file, model.facts.description, progress);
  trim_allocator();
}

Session::Session(const Engine& engine)
    : engine_(&engine),
      cache_(engine.context().ledger,
             {engine.description().layers, engine.description().kv_heads,
              engine.description().head_dim},
             engine.plan().context),
      transformer_(engine.context(), engine.description(), engine.weights(), engine.plan().context,
                   engine.plan().chunk_tokens, engine.plan().logit_rows) {
  tokens_.reserve(static_cast<std::size_t>(engine.plan().context));
}

bool Session::append(std::span<const TokenId> tokens,
                     const std::function<bool(std::int64_t, std::int64_t)>& keep_going) {
  const auto total = static_cast<std::int64_t>(tokens.size());
  if (total > room())
    throw Error(
        ErrorCode::context_exceeded,
        fmt::format("{} tokens do not fit: the context has {} tokens, {} of them in use", total,
                    cache_.context(), cache_.length()),
        fmt::format("give --context {} or more, or a shorter prompt", cache_.length() + total));
  for (const TokenId token : tokens)
    if (token < 0 || token >= engine_->description().vocabulary)
      throw Error(ErrorCode::internal, fmt::format("token id {} is outside the vocabulary of {}",
                                                   token, engine_->description().vocabulary));
  for (std::int64_t done = 0; done < total;) {
    if (keep_going && !keep_going(done, total)) return false;
    const std::int64_t count = std::min(transformer_.chunk_tokens(), total - done);
    const auto chunk =
        tokens.subspan(static_cast<std::size_t>(done), static_cast<std::size_t>(count));
    transformer_.forward(chunk, cache_);
    tokens_.insert(tokens_.end(), chunk.begin(), chunk.end());
    last_chunk_ = count;
    done += count;
  }
  if (keep_going && total > 0) keep_going(total, total);
  return true;
}

std::span<float> Session::logits() { return transformer_.logits(last_chunk_ - 1, 1); }

void Session::append_scored(std::span<const TokenId> tokens, std::int64_t first_wanted,
                            const std::function<void(std::int64_t, std::span<float>)>& visit) {
  const auto total = static_cast<std::int64_t>(tokens.size());
  const std::int64_t vocabulary = engine_->description().vocabulary;
  for (std::int64_t done = 0; done < total;) {
    const std::int64_t count = std::min(transformer_.chunk_tokens(), total - done);
    append(tokens.subspan(static_cast<std::size_t>(done), static_cast<std::size_t>(count)));
    for (std::int64_t row = std::max<std::int64_t>(0, first_wanted - done); row < count;) {
      const std::int64_t rows = std::min(transformer_.logit_rows(), count - row);
      const std::span<float> logits = transformer_.logits(row, rows);
      for (std::int64_t i = 0; i < rows; ++i)
        visit(done + row + i, logits.subspan(static_cast<std::size_t>(i * vocabulary),
                                             static_cast<std::size_t>(vocabulary)));
      row += rows;
    }
    done += count;
  }
}

std::int64_t Session::rewind_to_prefix_of(std::span<const TokenId> tokens) {
  const auto common =
      std::mismatch(tokens_.begin(), tokens_.end(), tokens.begin(), tokens.end()).first -
      tokens_.begin();
  tokens_.resize(static_cast<std::size_t>(common));
  cache_.truncate(common);
  return common;
}

void Session::clear() { rewind_to_prefix_of({}); }

}  // namespace plimsoll
