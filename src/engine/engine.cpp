#include "engine/engine.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/process.h"
#include "model/architecture.h"

namespace plimsoll {

OpenModel OpenModel::open(const std::string& path, Bytes room) {
  ModelFile file = ModelFile::open(path, room);
  // The architecture comes first: a model that cannot run should say so, whatever its vocabulary.
  describe(file);
  std::unique_ptr<Tokenizer> tokenizer = Tokenizer::from_metadata(file.metadata());
  ModelFacts facts = model_facts(file, *tokenizer);
  return {std::move(file), std::move(tokenizer), std::move(facts)};
}

Engine::Engine(Context& context, const OpenModel& model, const Plan& plan,
               const std::function<void(Weights::Progress)>& progress, const ModelFile* kept,
               Accounts accounts)
    : context_(&context), model_(&model), plan_(plan) {
  refuse_unless_it_fits(plan);
  Ledger& ledger = context.ledger;
  if (ledger.budget() == Ledger::no_cap) ledger.set_budget(plan.budget_bytes);
  for (const Account a : {Account::weights, Account::kv, Account::activations})
    caps_.push_back(ledger.raise_cap(a, plan.account(a)));
  if (accounts == Accounts::held_by_engine) {
    runtime_ = ledger.reserve(Account::runtime, plan.account(Account::runtime));
    text_ = ledger.reserve(Account::text, plan.account(Account::text));
  }
  weights_ = std::make_unique<Weights>(context, kept ? *kept : model.file, model.facts.description,
                                       kept ? Weights::Formats() : plan.formats, progress);
  trim_allocator();
  transformer_ = std::make_unique<Transformer>(context, description(), *weights_, plan.context,
                                               plan.chunk_tokens, plan.logit_rows);
}

Session::Session(const Engine& engine, std::optional<std::int64_t> context)
    : engine_(&engine),
      cache_(engine.context().ledger,
             {engine.description().layers, engine.description().kv_heads,
              engine.description().head_dim},
             context.value_or(engine.plan().context)) {
  tokens_.reserve(static_cast<std::size_t>(cache_.context()));
}

void Session::check(std::span<const TokenId> tokens) const {
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
}

bool Session::append(std::span<const TokenId> tokens,
                     const std::function<bool(std::int64_t, std::int64_t)>& keep_going) {
  check(tokens);
  Transformer& transformer = engine_->transformer();
  const auto total = static_cast<std::int64_t>(tokens.size());
  for (std::int64_t done = 0; done < total;) {
    if (keep_going && !keep_going(done, total)) return false;
    const std::int64_t count = std::min(transformer.chunk_tokens(), total - done);
    const auto chunk =
        tokens.subspan(static_cast<std::size_t>(done), static_cast<std::size_t>(count));
    const SequencePart part{chunk, &cache_};
    transformer.forward({&part, 1});
    tokens_.insert(tokens_.end(), chunk.begin(), chunk.end());
    last_chunk_ = count;
    done += count;
  }
  if (keep_going && total > 0) keep_going(total, total);
  return true;
}

std::span<float> Session::logits() { return engine_->transformer().logits(last_chunk_ - 1, 1); }

std::span<float> Session::append_each(std::span<Session* const> sessions,
                                      std::span<const TokenId> tokens) {
  if (sessions.empty() || sessions.size() != tokens.size() ||
      static_cast<std::int64_t>(sessions.size()) > sessions[0]->engine_->plan().logit_rows)
    throw Error(ErrorCode::internal,
                fmt::format("a pass of {} sessions and {} tokens", sessions.size(), tokens.size()));
  std::vector<SequencePart> parts;
  for (std::size_t i = 0; i < sessions.size(); ++i) {
    sessions[i]->check(tokens.subspan(i, 1));
    parts.push_back({tokens.subspan(i, 1), &sessions[i]->cache_});
  }
  Transformer& transformer = sessions[0]->engine_->transformer();
  transformer.forward(parts);
  for (std::size_t i = 0; i < sessions.size(); ++i) {
    sessions[i]->tokens_.push_back(tokens[i]);
    sessions[i]->last_chunk_ = static_cast<std::int64_t>(i) + 1;
  }
  return transformer.logits(0, static_cast<std::int64_t>(sessions.size()));
}

void Session::append_scored(std::span<const TokenId> tokens, std::int64_t first_wanted,
                            const std::function<void(std::int64_t, std::span<float>)>& visit) {
  const auto total = static_cast<std::int64_t>(tokens.size());
  const std::int64_t vocabulary = engine_->description().vocabulary;
  Transformer& transformer = engine_->transformer();
  for (std::int64_t done = 0; done < total;) {
    const std::int64_t count = std::min(transformer.chunk_tokens(), total - done);
    append(tokens.subspan(static_cast<std::size_t>(done), static_cast<std::size_t>(count)));
    for (std::int64_t row = std::max<std::int64_t>(0, first_wanted - done); row < count;) {
      const std::int64_t rows = std::min(transformer.logit_rows(), count - row);
      const std::span<float> logits = transformer.logits(row, rows);
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
