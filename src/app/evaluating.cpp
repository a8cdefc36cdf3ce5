#include "app/evaluating.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "app/evaluation_file.h"
#include "app/loading.h"
#include "app/planning.h"
#include "app/text_hold.h"
#include "base/error.h"
#include "base/process.h"
#include "file/text_input.h"
#include "text/hash.h"

namespace plimsoll {
namespace {

/// Rows of logits that are looked at together.
constexpr std::int64_t scored_rows = 64;
/// An interruption loses no more than this, or one chunk.
constexpr auto saved_every = std::chrono::seconds(1);

/// One model under one budget.
struct Entry {
  std::string path;
  Bytes budget = 0;
  Plan plan = {};
  Bytes file_bytes = 0;
  std::vector<std::string> files = {};
  nlohmann::json inputs = {};  ///< of its evaluation, as the resume file knows them
  Found found = {};
};

/// What `tokenizer` makes of a text's tokens: equal for equal vocabularies.
std::uint64_t vocabulary_hash(const Tokenizer& tokenizer) {
  std::uint64_t hash = static_cast<std::uint64_t>(tokenizer.bos().value_or(-1));
  for (TokenId token = 0; token < tokenizer.vocabulary_size(); ++token)
    hash = mix(hash ^ hash_text(tokenizer.piece(token)), 0x9E3779B97F4A7C15u);
  return hash;
}

/// Equal for plans that hold every tensor in the same format.
std::string formats_hash(const Plan& plan) {
  std::string names;
  for (const Format* format : plan.formats) names += fmt::format("{} ", format->name);
  return fmt::format("{:016x}", hash_text(names));
}

/// From options to a report: everything is planned before anything big is loaded.
class Evaluating {
 public:
  Evaluating(Host& host, const EvaluationRequest& request)
      : host_(host), request_(request), budgets_(request.budgets), budget_(host.line.budget()) {
    if (budgets_.empty()) budgets_.push_back(budget_);
    least_budget_ = *std::min_element(budgets_.begin(), budgets_.end());
    for (const std::string& path : request.models)
      for (const Bytes budget : budgets_) entries_.push_back({path, budget});
    if (request.reference) reference_ = open_model(host_, *request.reference);
    if (request.opened || request.resume)
      for (const Entry& entry : entries_) open(entry);
    if (request.opened) request.opened();
    open(entries_.front());
    host_.line.ledger().set_budget(least_budget_);
    read_text();
    if (request.resume)
      resume_.emplace(*request_.resume, [this](Bytes size) {
        (void)host_.line.hold_text(
            fmt::format("reading {} of {}", request_.resume->path(), format_bytes(size)),
            checked_multiply(size, ResumeFile::bytes_per_byte));
      });
    plan();
    if (resume_) recall();
  }

  EvaluationReport run() {
    const auto context = host_.make_context();
    context->ledger.set_budget(least_budget_);  // the reference is there in every entry
    const bool anything_left = std::any_of(entries_.begin(), entries_.end(), [this](const auto& e) {
      return e.found.scores.chunks() < chunks_.count;
    });
    LoadedModel loaded;
    std::optional<Session> reference_session;
    if (reference_ && anything_left) {
      loaded = load_model(host_, *context, *reference_, *reference_plan_);
      reference_session.emplace(*loaded.engine);
    }
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      Entry& entry = entries_[i];
      if (entry.found.scores.chunks() == chunks_.count) continue;
      if (i > 0) {
        highest_peak_ = std::max(highest_peak_, process_memory().peak);
        if (entry.path != entries_[i - 1].path) open_.reset();
        trim_allocator();
        restart_peak();
      }
      context->ledger.set_budget(entry.budget);
      evaluate_entry(entry, i, *context, reference_session ? &*reference_session : nullptr);
    }
    return report();
  }

 private:
  /// One model at a time is open, beside the reference.
  const OpenModel& open(const Entry& entry) {
    if (!open_ || open_->file.path() != entry.path) {
      open_.reset();
      host_.line.ledger().set_budget(entry.budget);
      open_ = open_model(host_, entry.path);
    }
    return *open_;
  }

  void read_text() {
    TextHold hold(host_.line);
    const std::string text = read_text_file(request_.text, [&](Bytes size) { hold.grow_to(size); });
    text_inputs_ = {{"bytes", text.size()}, {"hash", fmt::format("{:016x}", hash_text(text))}};
    ids_ = open_->tokenizer->encode(text);
    ids_.shrink_to_fit();
    held_text_ = hold.settle(ids_.size() * sizeof(TokenId));
    chunks_ = cut(*open_->tokenizer, static_cast<std::int64_t>(ids_.size()), request_.context,
                  request_.chunks);
  }

  /// The text is cut into tokens once, for all.
  void refuse_other_vocabulary(const OpenModel& model) {
    const std::uint64_t hash = vocabulary_hash(*model.tokenizer);
    if (!vocabulary_) vocabulary_ = {model.file.path(), hash};
    if (vocabulary_->second == hash) return;
    throw Error(
        ErrorCode::invalid_model,
        fmt::format("{} and {} have different vocabularies", vocabulary_->first, model.file.path()),
        "compare models of the same vocabulary");
  }

  /// Throws Error(budget_refused) when one of them does not fit beside the reference.
  void plan() {
    plan_reference(least_budget_);
    plan_entries();
    // The reference took what it liked: now the least that it can do with, before weights are
    // rounded for it.
    if (reference_ && std::any_of(entries_.begin(), entries_.end(), [](const Entry& entry) {
          return !entry.plan.fits || !entry.plan.formats.empty();
        })) {
      plan_reference(1);
      plan_reference(reference_plan_->peak_bytes);
      plan_entries();
    }
    if (refused_ == nullptr) return;
    Plan both = refused_->plan;
    both.peak_bytes = peak_with(*refused_);
    both.budget_bytes = refused_->budget;
    both.least_bytes += both.peak_bytes - refused_->plan.peak_bytes;
    // A shorter chunk is worth its score; one of a few tokens is not.
    constexpr std::int64_t least_chunk = 16;
    try {
      refuse_unless_it_fits(both, {.least_context = least_chunk});
    } catch (const Error& error) {
      if (entries_.size() == 1) throw;
      throw Error(error.code(),
                  fmt::format("{} under {}: {}", refused_->path, format_bytes(refused_->budget),
                              error.message()),
                  error.hint());
    }
  }

  void plan_reference(Bytes budget) {
    if (!reference_) return;
    refuse_other_vocabulary(*reference_);
    PlanNeeds needs;
    needs.work = Work::scoring;
    needs.logit_rows = scored_rows;
    needs.context = request_.context;
    needs.counts_process = false;
    needs.budget = budget;
    reference_plan_ = plan_model(host_, *reference_, needs);
  }

  void plan_entries() {
    PlanNeeds needs;
    needs.logit_rows = scored_rows;
    needs.context = request_.context;
    needs.kv = request_.kv;
    // With a budget the question is how good a model is inside it; without one, how good its file.
    if (host_.line.is_given()) needs.policy = WeightPolicy::fit;
    needs.work = Work::scoring;
    needs.still_to_come = 2 * Scores::memory_bytes(chunks_) +
                          (resume_ ? ResumeFile::memory_bytes(chunks_, entries_.size()) : 0);
    needs.held_text = held_text_.bytes();
    refused_ = nullptr;
    for (Entry& entry : entries_) {
      const OpenModel& model = open(entry);
      refuse_other_vocabulary(model);
      needs.budget = entry.budget;
      if (reference_) *needs.budget -= std::min(entry.budget, reference_plan_->peak_bytes);
      entry.plan = plan_model(host_, model, needs);
      entry.file_bytes = model.file.size();
      entry.files = input_files(model.file);
      if (!entry.plan.fits && (refused_ == nullptr || peak_with(entry) > peak_with(*refused_)))
        refused_ = &entry;
    }
  }

  /// Of the process, with the reference.
  Bytes peak_with(const Entry& entry) const {
    return entry.plan.peak_bytes + (reference_ ? reference_plan_->peak_bytes : 0);
  }

  /// Gives every entry what the resume file has of it, and makes sure that it can be written.
  void recall() {
    std::size_t known = 0;
    for (Entry& entry : entries_) {
      entry.inputs = {{"model", file_identity(entry.path, entry.files)},
                      {"budget", nullptr},
                      {"formats", formats_hash(entry.plan)},
                      {"reference", nullptr},
                      {"text", text_inputs_},
                      {"context", chunks_.context},
                      {"chunks", chunks_.count}};
      if (host_.line.is_given()) entry.inputs["budget"] = entry.budget;
      if (!entry.plan.kv.empty()) entry.inputs["kv"] = describe(entry.plan.kv);
      if (reference_)
        entry.inputs["reference"] =
            file_identity(reference_->file.path(), input_files(reference_->file));
      const auto found = resume_->find(entry.inputs, chunks_, reference_.has_value());
      if (!found) continue;
      ++known;
      entry.found = *found;
      host_.watch.tell(fmt::format(
          "{}: {} of {} chunks were scored before",
          budgets_.size() == 1 ? entry.path
                               : fmt::format("{} under {}", entry.path, format_bytes(entry.budget)),
          entry.found.scores.chunks(), chunks_.count));
    }
    if (const std::size_t others = resume_->count() - known; others > 0)
      host_.watch.tell(
          fmt::format("{} also holds {} of other inputs; {} there", resume_->path(),
                      others == 1 ? "an evaluation" : fmt::format("{} evaluations", others),
                      others == 1 ? "it stays" : "they stay"));
    resume_->save();
  }

  void evaluate_entry(Entry& entry, std::size_t index, Context& context, Session* reference) {
    // Of several, the report has what it says.
    if (request_.planned && entries_.size() == 1) request_.planned(open(entry), entry.plan);
    const LoadedModel loaded = load_model(host_, context, open(entry), entry.plan);
    Session session(*loaded.engine);
    const std::string what = entries_.size() == 1
                                 ? "scoring"
                                 : fmt::format("scoring {} of {}", index + 1, entries_.size());
    auto saved = std::chrono::steady_clock::now();
    Found& found = entry.found;
    const Bytes peak_before = found.peak_bytes;
    evaluate(*loaded.engine, session, reference, ids_, chunks_, found.scores, [&] {
      const std::int64_t done = found.scores.chunks();
      host_.watch.show(what, Watch::Unit::chunks, done, chunks_.count);
      const auto now = std::chrono::steady_clock::now();
      if (!resume_ || (done < chunks_.count && now - saved < saved_every)) return;
      found.peak_bytes = std::max(peak_before, process_memory().peak);
      resume_->put(entry.inputs, found);
      resume_->save();
      saved = now;
      host_.watch.check();
    });
    found.peak_bytes = std::max(peak_before, process_memory().peak);
  }

  EvaluationReport report() {
    EvaluationReport report;
    report.reference = request_.reference;
    report.text = request_.text;
    report.context = chunks_.context;
    report.budget_bytes = budget_;
    report.peak_bytes = std::max(highest_peak_, process_memory().peak);
    for (const Entry& entry : entries_)
      report.peak_bytes = std::max(report.peak_bytes, entry.found.peak_bytes);
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      Entry& entry = entries_[i];
      EvaluationResult result;
      result.path = entry.path;
      result.model = i / budgets_.size();
      result.budget = i % budgets_.size();
      result.budget_bytes = entry.budget;
      result.file_bytes = entry.file_bytes;
      result.predicted_peak_bytes = peak_with(entry);
      result.peak_bytes = entry.found.peak_bytes;
      result.plan = std::move(entry.plan);
      result.evaluation = summarise(entry.found.scores, chunks_);
      report.results.push_back(std::move(result));
    }
    return report;
  }

  Host& host_;
  const EvaluationRequest& request_;
  std::vector<Bytes> budgets_;  ///< one at least
  Bytes budget_;                ///< the largest
  Bytes least_budget_ = 0;      ///< for what comes before the entries and stays beside them
  std::vector<Entry> entries_;  ///< every model under every budget, by model
  std::optional<OpenModel> reference_, open_;
  std::optional<std::pair<std::string, std::uint64_t>> vocabulary_;  ///< whose, and its hash
  nlohmann::json text_inputs_;
  std::vector<TokenId> ids_;
  Reservation held_text_;
  Chunks chunks_;
  std::optional<ResumeFile> resume_;
  std::optional<Plan> reference_plan_;
  const Entry* refused_ = nullptr;  ///< the largest that does not fit
  Bytes highest_peak_ = 0;
};

}  // namespace

EvaluationReport evaluate_models(Host& host, const EvaluationRequest& request) {
  return Evaluating(host, request).run();
}

}  // namespace plimsoll
