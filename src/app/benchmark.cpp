#include "app/benchmark.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <limits>
#include <memory>
#include <random>

#include "base/bounded.h"
#include "base/error.h"
#include "base/limits.h"
#include "plan/speed.h"
#include "probe/hardware.h"

namespace plimsoll {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Any tokens do, as long as they are the same in every run.
std::vector<TokenId> some_tokens(std::int64_t count, std::int64_t vocabulary) {
  std::mt19937_64 random(1876);  // the year of the load line's law
  std::vector<TokenId> tokens(static_cast<std::size_t>(count));
  for (TokenId& token : tokens)
    token = static_cast<TokenId>(random() % static_cast<std::uint64_t>(vocabulary));
  return tokens;
}

/// Likeliest token, as greedy decoding takes it.
TokenId likeliest(std::span<const float> logits) {
  // In lanes, so that looking takes no part of the time that counts.
  constexpr std::size_t lanes = 32;
  std::array<float, lanes> best;
  best.fill(-std::numeric_limits<float>::infinity());
  std::size_t i = 0;
  for (; i + lanes <= logits.size(); i += lanes)
    for (std::size_t lane = 0; lane < lanes; ++lane)
      best[lane] = logits[i + lane] > best[lane] ? logits[i + lane] : best[lane];
  float largest = *std::ranges::max_element(best);
  for (; i < logits.size(); ++i) largest = std::max(largest, logits[i]);
  return static_cast<TokenId>(std::ranges::find(logits, largest) - logits.begin());
}

/// Counts what has been done of all that is to do.
class Counter {
 public:
  Counter(std::int64_t total, const Watch& watch) : total_(total), watch_(watch) {}
  void add(std::int64_t tokens) {
    watch_.check();
    watch_.show("measuring", Watch::Unit::tokens, done_ += tokens, total_);
  }

 private:
  std::int64_t done_ = 0, total_;
  const Watch& watch_;
};

class Bench {
 public:
  Bench(const Engine& engine, const PromptWork& work, const BenchRequest& request, Counter& counter,
        BenchResult& result)
      : engine_(engine),
        work_(work),
        request_(request),
        counter_(counter),
        result_(result),
        spans_(engine.weights().decode_spans()),
        tokens_(some_tokens(request.context(), engine.description().vocabulary)) {
    for (const auto& span : spans_) result.weight_bytes += span.size();
  }

  void run_depth(Session& session, std::int64_t depth) {
    DepthTimings& timings = result_.depths.emplace_back();
    timings.depth = depth;
    const auto before = tokens(0, depth), prompt = tokens(depth, request_.prompt);
    session.resume(before);
    const auto filled = static_cast<std::int64_t>(session.tokens().size());
    session.append(before.subspan(static_cast<std::size_t>(filled)),
                   [&, done = filled](std::int64_t now, std::int64_t) mutable {
                     counter_.add(now + filled - done);
                     done = now + filled;
                     return true;
                   });
    session.mark_end();
    // The first pass warms up caches and page tables.
    for (std::int64_t repeat = -1; repeat < request_.repeats; ++repeat) {
      session.append(before.subspan(static_cast<std::size_t>(session.resume(before))));
      const double integer = integer_limit(), floating = float_limit();
      auto start = Clock::now();
      TokenId token = likeliest(session.append(prompt).logits);
      const double first = seconds_since(start);
      const double bandwidth = read_limit();
      start = Clock::now();
      for (std::int64_t i = 0; i < request_.tokens; ++i) {
        token = likeliest(session.append({&token, 1}).logits);
      }
      const double decode = seconds_since(start);
      counter_.add(request_.prompt + request_.tokens);
      if (repeat < 0) continue;
      const auto prompt_tokens = static_cast<double>(request_.prompt),
                 decoded = static_cast<double>(request_.tokens);
      timings.first_token.values.push_back(first);
      timings.prefill.values.push_back(prompt_tokens / first);
      timings.decode.values.push_back(decoded / decode);
      timings.mixed.values.push_back((prompt_tokens + decoded) / (first + decode));
      timings.compute_fraction.values.push_back(
          (work_.integer_operations / integer + work_.float_operations / floating) * prompt_tokens /
          first);
      timings.bandwidth_fraction.values.push_back(static_cast<double>(result_.weight_bytes) *
                                                  decoded / decode / bandwidth);
    }
  }

  void run_batch(std::int64_t batch) {
    BatchTimings& timings = result_.batches.emplace_back();
    timings.batch = batch;
    const auto count = static_cast<std::size_t>(batch);
    std::vector<std::unique_ptr<Session>> sessions;
    std::vector<Session*> refer;
    for (std::size_t i = 0; i < count; ++i) {
      sessions.push_back(std::make_unique<Session>(engine_, request_.batch_context(batch)));
      refer.push_back(sessions.back().get());
    }
    const std::int64_t vocabulary = engine_.description().vocabulary;
    for (std::int64_t repeat = -1; repeat < request_.repeats; ++repeat) {
      for (Session* session : refer) session->clear();
      auto next = tokens(0, batch);
      std::vector<TokenId> row(next.begin(), next.end());
      auto start = Clock::now();
      for (std::int64_t step = 0; step < request_.tokens; ++step) {
        const auto logits = Session::append_each(refer, row);
        for (std::size_t i = 0; i < count; ++i)
          row[i] = likeliest(logits.subspan(i * static_cast<std::size_t>(vocabulary),
                                            static_cast<std::size_t>(vocabulary)));
      }
      const double together = seconds_since(start);
      counter_.add(request_.tokens * batch);
      double verify = 0;
      const std::int64_t passes = std::max<std::int64_t>(1, request_.tokens / batch);
      sessions[0]->clear();
      start = Clock::now();
      for (std::int64_t pass = 0; pass < passes; ++pass) {
        if (sessions[0]->room() < batch) sessions[0]->clear();
        sessions[0]->append_scored(tokens(pass, batch), 0, [&](std::int64_t, std::span<float> x) {
          row[0] = likeliest(x);
        });
      }
      verify = seconds_since(start) / static_cast<double>(passes);
      counter_.add(passes * batch);
      if (repeat < 0) continue;
      timings.sequences.values.push_back(static_cast<double>(request_.tokens * batch) / together);
      timings.verify.values.push_back(verify);
    }
  }

 private:
  std::span<const TokenId> tokens(std::int64_t begin, std::int64_t count) const {
    return std::span(tokens_).subspan(static_cast<std::size_t>(begin),
                                      static_cast<std::size_t>(count));
  }

  double read_limit() {
    const double rate = measure_read(engine_.context(), spans_);
    result_.bytes_per_second.values.push_back(rate);
    return rate;
  }
  double integer_limit() {
    const double rate = measure_integer(engine_.context());
    result_.integer_operations_per_second.values.push_back(rate);
    return rate;
  }
  double float_limit() {
    const double rate = measure_float(engine_.context());
    result_.float_operations_per_second.values.push_back(rate);
    return rate;
  }

  const Engine& engine_;
  const PromptWork& work_;
  const BenchRequest& request_;
  Counter& counter_;
  BenchResult& result_;
  std::vector<std::span<const std::byte>> spans_;
  std::vector<TokenId> tokens_;
};

/// Whether there is room for what is asked for, and what there would be room for.
class Room {
 public:
  Room(const OpenModel& model, const PlanRequest& request) : model_(model), request_(request) {}

  static std::int64_t most_rows(const BenchRequest& bench) {
    std::int64_t most = 1;
    for (const std::int64_t batch : bench.batches) most = std::max(most, batch);
    return most;
  }

  /// With what one process and the next differ by to spare.
  bool holds(const BenchRequest& bench, Bytes budget) const {
    PlanRequest request = request_;
    request.budget = budget;
    request.context = bench.context();
    request.logit_rows = most_rows(bench);
    request.branches = most_rows(bench);
    request.runtime_bytes += request.runtime_slack;
    const Plan plan = make_plan(model_.facts, request);
    return plan.fits && plan.chunk_tokens >= request.logit_rows;
  }

  /// The budget that would do; empty where the machine has no such.
  std::optional<Bytes> memory_for(const BenchRequest& bench) const {
    constexpr Bytes step = 64 * KiB;
    Bytes low = request_.budget, high = probe_limits().usable;
    if (!holds(bench, high)) return {};
    while (high - std::min(low, high) > step) {
      const Bytes middle = low + (high - low) / 2;
      (holds(bench, middle) ? high : low) = middle;
    }
    return high;
  }

  /// What to ask for so that `most` tokens of context and the budget are enough; empty where
  /// nothing does.
  std::string less(BenchRequest bench, std::int64_t most) const {
    std::vector<std::string> parts;
    const std::int64_t depth = *std::ranges::max_element(bench.depths), tokens = bench.tokens;
    if (depth + bench.prompt + tokens > most) {
      if (most < 2) return {};
      const bool is_depth = bench.prompt + tokens <= most;
      bench.depths = {is_depth ? most - bench.prompt - tokens : 0};
      bench.tokens = std::min(tokens, most - 1);
      bench.prompt = std::min(bench.prompt, most - bench.tokens);
      if (depth > 0) parts.push_back(fmt::format("--depths {}", bench.depths.front()));
      if (!is_depth) parts.push_back(fmt::format("--prompt {}", bench.prompt));
      if (bench.tokens < tokens) parts.push_back(fmt::format("--tokens {}", bench.tokens));
    }
    if (!bench.batches.empty() && !holds(bench, request_.budget)) {
      std::int64_t batch = most_rows(bench);
      do bench.batches = {--batch};
      while (batch > 0 && (bench.context() > most ||
                            !holds(bench, request_.budget)));
      if (batch == 0) return {};
      parts.push_back(fmt::format("--batches {}", batch));
    }
    return parts.empty() ? std::string() : fmt::format("{} or less", fmt::join(parts, " and "));
  }

 private:
  const OpenModel& model_;
  const PlanRequest& request_;
};

}  // namespace

double Spread::median() const {
  std::vector<double> sorted = values;
  std::sort(sorted.begin(), sorted.end());
  const std::size_t middle = sorted.size() / 2;
  return sorted.size() % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
double Spread::least() const { return *std::min_element(values.begin(), values.end()); }
double Spread::most() const { return *std::max_element(values.begin(), values.end()); }

std::int64_t BenchRequest::batch_context(std::int64_t batch) const {
  return std::max(tokens, batch);
}

std::int64_t BenchRequest::context() const {
  std::int64_t most = prompt + tokens;
  for (const std::int64_t depth : depths) most = std::max(most, depth + prompt + tokens);
  for (const std::int64_t batch : batches)
    most = std::max(most, batch * batch_context(batch));
  return most;
}

PromptWork prompt_work(const OpenModel& model, const Plan& plan) {
  PromptWork work;
  const std::vector<const Format*> formats = formats_held(model.facts, plan.formats);
  const std::vector<bool> is_product = find_products(model.facts.tensors);
  for (std::size_t i = 0; i < formats.size(); ++i) {
    const TensorUse& use = model.facts.tensors[i];
    // Only a prompt's last token needs logits.
    if (!is_product[i] || use.slot.layer < 0) continue;
    const double operations =
        2.0 * static_cast<double>(use.slot.rows) * static_cast<double>(use.slot.columns);
    (formats[i]->kind == Format::Kind::coded ? work.integer_operations : work.float_operations) +=
        operations;
  }
  return work;
}

void check_room(const OpenModel& model, const PlanRequest& request, const Plan& plan,
                const BenchRequest& bench) {
  const std::int64_t rows = Room::most_rows(bench);
  if (plan.fits && rows <= plan.chunk_tokens) return;
  const Room room(model, request);
  Remedies remedies{.context = false};
  Plan refused = plan;
  // Fewer workers leave room for a small chunk, which may be less than a pass.
  if (rows > 1) refused.offered_threads = 0;
  remedies.memory = room.memory_for(bench).value_or(most_bytes);
  if (std::string less = room.less(bench, plan.fits ? plan.context : plan.offered_context);
      !less.empty())
    remedies.more.push_back(std::move(less));
  refuse_unless_it_fits(refused, remedies);
  throw Error(ErrorCode::budget_refused,
              fmt::format("a pass of {} tokens does not fit: the plan has chunks of {}", rows,
                          plan.chunk_tokens),
              offer_remedies(refused, remedies));
}

BenchResult measure(const Engine& engine, const PromptWork& work, const BenchRequest& request,
                    const Watch& watch) {
  std::vector<std::int64_t> depths = request.depths;
  std::sort(depths.begin(), depths.end());
  const std::int64_t deepest = depths.empty() ? 0 : depths.back();
  const auto passes = static_cast<std::int64_t>(depths.size()) * (request.repeats + 1);
  std::int64_t total = deepest + passes * (request.prompt + request.tokens);
  for (const std::int64_t batch : request.batches)
    total += (request.repeats + 1) *
             (request.tokens * batch + std::max<std::int64_t>(1, request.tokens / batch) * batch);
  BenchResult result;
  Counter counter(total, watch);
  Bench bench(engine, work, request, counter, result);
  if (!depths.empty()) {
    Session session(engine);
    for (const std::int64_t depth : depths) bench.run_depth(session, depth);
  }
  for (const std::int64_t batch : request.batches) bench.run_batch(batch);
  return result;
}

}  // namespace plimsoll
