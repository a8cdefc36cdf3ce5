#include "engine/engine.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/process.h"
#include "model/architecture.h"
#include "model/kv.h"

namespace plimsoll {

OpenModel OpenModel::open(const std::string& path, Bytes room) {
  ModelFile file = ModelFile::open(path, room);
  // The architecture comes first: a model that cannot run should say so, whatever its vocabulary.
  describe(file);
  std::unique_ptr<Tokenizer> tokenizer = Tokenizer::from_metadata(file.metadata());
  ModelFacts facts = model_facts(file, *tokenizer);
  return {std::move(file), std::move(tokenizer), std::move(facts)};
}

namespace {

/// What a position of attention costs, of all else that a token costs: multiplications.
double depth_cost(const Description& d) {
  const auto width = static_cast<double>(d.width), attended = static_cast<double>(d.heads * d.head_dim);
  return 2 * attended / (width * static_cast<double>(d.qkv_rows()) + width * attended +
                         3 * width * static_cast<double>(d.feed_forward));
}

}  // namespace

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
                                               plan.chunk_tokens, plan.logit_rows,
                                               plan.sessions * plan.branches);
  const KvShape shape = kv_shape(description(), plan.kv);
  pages_ = std::make_unique<PagePool>(
      ledger, context.kernels, shape,
      KvNeeds(shape, {plan.sessions, plan.branches, plan.context, plan.chunk_tokens}));
  prefixes_ = std::make_unique<PrefixIndex>(*pages_, depth_cost(description()));
  pages_->set_reclaim([prefixes = prefixes_.get()] { return prefixes->reclaim(); });
}

Session::Session(const Engine& engine, std::optional<std::int64_t> context, KvSequence::Room room)
    : engine_(&engine), sequence_(engine.pages(), context.value_or(engine.plan().context), room) {
  tokens_.reserve(static_cast<std::size_t>(sequence_.context()));
}

void Session::check(std::span<const TokenId> tokens) const {
  if (!engine_->has_all_weights())
    throw Error(ErrorCode::file_unreadable,
                "the model's file could not be read while its weights moved to another line",
                "load the model again");
  const auto total = static_cast<std::int64_t>(tokens.size());
  if (total > room())
    throw Error(
        ErrorCode::context_exceeded,
        fmt::format("{} tokens do not fit: the context has {} tokens, {} of them in use", total,
                    sequence_.context(), sequence_.length()),
        fmt::format("give --context {} or more, or a shorter prompt", sequence_.length() + total));
  for (const TokenId token : tokens)
    if (token < 0 || token >= engine_->description().vocabulary)
      throw Error(ErrorCode::internal, fmt::format("token id {} is outside the vocabulary of {}",
                                                   token, engine_->description().vocabulary));
}

/// The last pass had them.
void Session::add(std::span<const TokenId> tokens) {
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  engine_->prefixes().add(sequence_, tokens_, indexed_);
}

Session::Appended Session::append(
    std::span<const TokenId> tokens,
    const std::function<bool(std::int64_t, std::int64_t)>& keep_going) {
  check(tokens);
  Transformer& transformer = engine_->transformer();
  const std::int64_t total = std::ssize(tokens);
  std::span<float> logits;
  for (std::int64_t done = 0; done < total;) {
    if (keep_going && !keep_going(done, total)) return {};
    const std::int64_t count = std::min(transformer.chunk_tokens(), total - done);
    const auto chunk =
        tokens.subspan(static_cast<std::size_t>(done), static_cast<std::size_t>(count));
    const SequencePart part{chunk, &sequence_, done + count == total ? count - 1 : count};
    transformer.run({&part, 1}, [&](std::int64_t, std::int64_t, std::span<float> row) {
      logits = row;
    });
    add(chunk);
    done += count;
  }
  if (keep_going && total > 0) keep_going(total, total);
  return {true, logits};
}

std::span<float> Session::append_each(std::span<Session* const> sessions,
                                      std::span<const TokenId> tokens) {
  if (sessions.empty() || sessions.size() != tokens.size() ||
      static_cast<std::int64_t>(sessions.size()) > sessions[0]->engine_->plan().logit_rows)
    throw Error(ErrorCode::internal,
                fmt::format("a pass of {} sessions and {} tokens", sessions.size(), tokens.size()));
  std::vector<SequencePart> parts;
  for (std::size_t i = 0; i < sessions.size(); ++i) {
    sessions[i]->check(tokens.subspan(i, 1));
    parts.push_back({tokens.subspan(i, 1), &sessions[i]->sequence_, 0});
  }
  std::span<float> all;
  sessions[0]->engine_->transformer().run(
      parts, [&](std::int64_t, std::int64_t, std::span<float> row) {
        all = all.empty() ? row : std::span(all.data(), all.size() + row.size());
      });
  for (std::size_t i = 0; i < sessions.size(); ++i) sessions[i]->add(tokens.subspan(i, 1));
  return all;
}

void Session::append_scored(std::span<const TokenId> tokens, std::int64_t first_wanted,
                            const std::function<void(std::int64_t, std::span<float>)>& visit) {
  check(tokens);
  Transformer& transformer = engine_->transformer();
  const std::int64_t total = std::ssize(tokens);
  for (std::int64_t done = 0; done < total;) {
    const std::int64_t count = std::min(transformer.chunk_tokens(), total - done);
    const auto chunk =
        tokens.subspan(static_cast<std::size_t>(done), static_cast<std::size_t>(count));
    const SequencePart part{chunk, &sequence_,
                            std::clamp<std::int64_t>(first_wanted - done, 0, count)};
    transformer.run({&part, 1}, [&](std::int64_t, std::int64_t token, std::span<float> row) {
      visit(done + token, row);
    });
    add(chunk);
    done += count;
  }
}

std::int64_t Session::rewind_to_prefix_of(std::span<const TokenId> tokens) {
  const auto common =
      std::mismatch(tokens_.begin(), tokens_.end(), tokens.begin(), tokens.end()).first -
      tokens_.begin();
  if (common % kv_page_positions != 0)
    engine_->prefixes().forget(tokens_, common / kv_page_positions);
  const std::int64_t kept = sequence_.truncate(common);
  tokens_.resize(static_cast<std::size_t>(kept));
  if (kept < indexed_.pages * kv_page_positions) indexed_ = {};
  return kept;
}

std::int64_t Session::resume(std::span<const TokenId> tokens) {
  const std::int64_t kept = rewind_to_prefix_of(tokens);
  PrefixIndex& prefixes = engine_->prefixes();
  const auto known =
      tokens.first(static_cast<std::size_t>(std::min(std::ssize(tokens), sequence_.context())));
  if (prefixes.find(known) <= kept) return kept;
  clear();
  const std::int64_t length = prefixes.adopt(known, sequence_);
  tokens_.assign(tokens.begin(), tokens.begin() + length);
  return length;
}

void Session::truncate(std::int64_t length) {
  const std::vector<TokenId> kept(tokens_.begin(), tokens_.begin() + length);
  const std::int64_t there = resume(kept);
  append(std::span(kept).subspan(static_cast<std::size_t>(there)));
}

void Session::clear() { rewind_to_prefix_of({}); }

}  // namespace plimsoll
