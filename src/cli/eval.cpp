// plimsoll eval: how likely a text is to models, and how far they are from a reference.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/process.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/eval_report.h"
#include "cli/eval_resume.h"
#include "cli/input.h"
#include "cli/models.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "engine/evaluate.h"
#include "file/output_file.h"
#include "plan/facts.h"
#include "text/hash.h"

namespace plimsoll {
namespace {

/// Rows of logits that are looked at together.
constexpr std::int64_t scored_rows = 64;
constexpr std::int64_t default_chunk = 256;
/// Scoring maps more of the program than generating does (RssFile grows by up to 1,080 KiB after
/// planning; measured over the formats, with and without a reference).
constexpr Bytes scoring_allowance = 448 * KiB;
/// An interruption loses no more than this, or one chunk.
constexpr auto saved_every = std::chrono::seconds(1);

struct EvalOptions {
  CommonOptions common;
  std::vector<std::string> models;
  std::vector<Bytes> budgets;  ///< none: what this machine has to give
  std::optional<std::string> text, reference;
  std::optional<OutputPath> html, resume;
  std::optional<std::int64_t> chunks;

  bool parse(const Arguments& arguments) {
    Options options("eval",
                    "Perplexity on a text, in chunks that begin with BOS and whose second half is "
                    "scored; with a reference, also the KL divergence from it. Several models and "
                    "budgets are evaluated one after the other.");
    OptionDeclaration& declared =
        options.positionals("MODEL", models, "GGUF files; without one, the bundled model");
    declared.shared = declared.reads = true;
    options
        .sizes("--memory", budgets,
               "All that this process may hold: weights that do not fit are rounded; with "
               "several sizes, each model is evaluated under each")
        .shared = true;
    common.declare_workers(options);
    common.declare_measuring(options);
    options.count("--context", common.context, 4, std::int64_t{1} << 30,
                  fmt::format("Tokens per chunk (default {})", default_chunk));
    options.input("--text", "FILE", text, "The text (required)");
    options.input("--against", "REFERENCE", reference,
                 "Another model file, to compare with; it must fit the budget beside each model");
    options.count("--chunks", chunks, 1, std::int64_t{1} << 30,
                  "Use only the first N chunks of the text");
    options.output("--html", "FILE", html, eval_page_kind,
                   "Also write a web page with the table and plots");
    options.output("--resume", "FILE", resume, ResumeFile::kind,
                   "Keep what is found in FILE and go on from there after an interruption");
    if (!options.parse(arguments)) return false;
    if (!text) throw Error(ErrorCode::usage, "there is no text to score", "give --text FILE");
    for (std::string& model : models) model = resolve_model(model);
    if (models.empty()) models.push_back(common.model_path());
    if (reference) reference = resolve_model(*reference);
    if (!common.context) common.context = default_chunk;
    if (!budgets.empty()) common.memory = *std::max_element(budgets.begin(), budgets.end());
    refuse_twins();
    return true;
  }

 private:
  static std::filesystem::path canonical(const std::string& path) {
    std::error_code ignored;
    return std::filesystem::weakly_canonical(std::filesystem::absolute(path), ignored);
  }

  void refuse_twins() const {
    std::vector<std::filesystem::path> seen;
    for (const std::string& model : models) {
      const auto path = canonical(model);
      if (std::find(seen.begin(), seen.end(), path) != seen.end())
        throw Error(ErrorCode::usage, fmt::format("{} is given twice", model),
                    "name each model once");
      seen.push_back(path);
    }
    for (auto budget = budgets.begin(); budget != budgets.end(); ++budget)
      if (std::find(budgets.begin(), budget, *budget) != budget)
        throw Error(ErrorCode::usage,
                    fmt::format("--memory has {} ({} bytes) twice", format_bytes(*budget), *budget),
                    "name each budget once");
  }
};

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
  explicit Evaluating(const EvalOptions& options)
      : options_(options),
        common_(options.common),
        budgets_(options.budgets),
        budget_(decide_budget(common_.memory)) {
    if (budgets_.empty()) budgets_.push_back(budget_);
    least_budget_ = *std::min_element(budgets_.begin(), budgets_.end());
    for (const std::string& path : options.models)
      for (const Bytes budget : budgets_) entries_.push_back({path, budget});
    if (options.reference) reference_ = OpenModel::open(*options.reference, header_room(budget_));
    // Whether something is in the way is known before the work, when all that is read is known.
    if (options.html || options.resume)
      for (const Entry& entry : entries_) open(entry);
    if (options.html) html_.emplace(*options.html);
    open(entries_.front());
    read_text();
    if (options.resume)
      resume_.emplace(*options.resume, [this, &options](Bytes size) {
        refuse_beyond_budget(fmt::format("reading {} of {}", options.resume->path(), format_bytes(size)),
                             checked_multiply(size, ResumeFile::bytes_per_byte), least_budget_);
      });
    plan();
    if (resume_) recall();
  }

  void write_page(const EvalReport& report) {
    if (!html_) return;
    const std::string page = report_page(report);
    html_->append({reinterpret_cast<const std::uint8_t*>(page.data()), page.size()});
    html_->commit();
  }

  EvalReport run() {
    const auto context = make_context(common_);
    context->ledger.set_budget(least_budget_);  // the reference is there in every entry
    const bool anything_left = std::any_of(entries_.begin(), entries_.end(), [this](const auto& e) {
      return e.found.scores.chunks() < chunks_.count;
    });
    std::unique_ptr<Engine> reference_engine;
    std::optional<Session> reference_session;
    if (reference_ && anything_left) {
      reference_engine = load_engine(*context, *reference_, *reference_plan_);
      reference_session.emplace(*reference_engine);
    }
    const auto caps = ledger_caps(context->ledger);
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      Entry& entry = entries_[i];
      if (entry.found.scores.chunks() == chunks_.count) continue;
      if (i > 0) {
        highest_peak_ = std::max(highest_peak_, process_memory().peak);
        if (entry.path != entries_[i - 1].path) open_.reset();
        trim_allocator();
        restart_peak();
      }
      // Budget and caps of the entry before went with it.
      context->ledger.set_budget(entry.budget);
      for (const Account account : all_accounts)
        context->ledger.set_cap(account, caps[static_cast<std::size_t>(account)]);
      evaluate_entry(entry, i, *context, reference_session ? &*reference_session : nullptr);
    }
    return report();
  }

 private:
  static std::array<Bytes, account_count> ledger_caps(const Ledger& ledger) {
    std::array<Bytes, account_count> caps{};
    for (const Account account : all_accounts)
      caps[static_cast<std::size_t>(account)] = ledger.cap(account);
    return caps;
  }

  /// One model at a time is open, beside the reference.
  const OpenModel& open(const Entry& entry) {
    if (!open_ || open_->file.path() != entry.path) {
      open_.reset();
      open_ = OpenModel::open(entry.path, header_room(entry.budget));
    }
    return *open_;
  }

  void read_text() {
    const std::string text = read_text_file(
        *options_.text, [this](Bytes size) { refuse_long_text(size, least_budget_); });
    text_inputs_ = {{"bytes", text.size()}, {"hash", fmt::format("{:016x}", hash_text(text))}};
    ids_ = open_->tokenizer->encode(text);
    ids_.shrink_to_fit();
    chunks_ = cut(*open_->tokenizer, static_cast<std::int64_t>(ids_.size()), *common_.context,
                  options_.chunks.value_or(0));
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
    needs.logit_rows = scored_rows;
    needs.counts_process = false;
    needs.budget = budget;
    reference_plan_ = plan_model(*reference_, common_, needs);
  }

  void plan_entries() {
    PlanNeeds needs;
    needs.logit_rows = scored_rows;
    // With a budget the question is how good a model is inside it; without one, how good its file.
    if (common_.memory) needs.policy = WeightPolicy::fit;
    needs.still_to_come = scoring_allowance + 2 * Scores::memory_bytes(chunks_) +
                          (resume_ ? ResumeFile::memory_bytes(chunks_, entries_.size()) : 0);
    if (reference_) needs.counted_elsewhere = reference_->facts.text_bytes;
    refused_ = nullptr;
    for (Entry& entry : entries_) {
      const OpenModel& model = open(entry);
      refuse_other_vocabulary(model);
      needs.budget = entry.budget;
      if (reference_) *needs.budget -= std::min(entry.budget, reference_plan_->peak_bytes);
      entry.plan = plan_model(model, common_, needs);
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
      if (common_.memory) entry.inputs["budget"] = entry.budget;
      if (reference_)
        entry.inputs["reference"] =
            file_identity(reference_->file.path(), input_files(reference_->file));
      const auto found = resume_->find(entry.inputs, chunks_, reference_.has_value());
      if (!found) continue;
      ++known;
      entry.found = *found;
      notice(fmt::format("{}: {} of {} chunks were scored before",
                         budgets_.size() == 1
                             ? entry.path
                             : fmt::format("{} under {}", entry.path, format_bytes(entry.budget)),
                         entry.found.scores.chunks(), chunks_.count));
    }
    if (const std::size_t others = resume_->count() - known; others > 0)
      notice(fmt::format("{} also holds {} of other inputs; {} there", resume_->path(),
                         others == 1 ? "an evaluation" : fmt::format("{} evaluations", others),
                         others == 1 ? "it stays" : "they stay"));
    resume_->save();
  }

  void evaluate_entry(Entry& entry, std::size_t index, Context& context, Session* reference) {
    // Of several, the report has what it says.
    if (!common_.json && entries_.size() == 1) notice_rounding(open(entry), entry.plan);
    std::vector<std::string> unsaid;
    const auto engine = load_engine(context, open(entry), entry.plan, nullptr, false,
                                    common_.json ? &unsaid : nullptr);
    Session session(*engine);
    ProgressBar bar(entries_.size() == 1
                        ? "scoring"
                        : fmt::format("scoring {} of {}", index + 1, entries_.size()),
                    ProgressBar::Unit::chunks);
    auto saved = std::chrono::steady_clock::now();
    Found& found = entry.found;
    const Bytes peak_before = found.peak_bytes;
    evaluate(*engine, session, reference, ids_, chunks_, found.scores, [&] {
      const std::int64_t done = found.scores.chunks();
      bar.update(static_cast<std::uint64_t>(done), static_cast<std::uint64_t>(chunks_.count));
      const auto now = std::chrono::steady_clock::now();
      if (!resume_ || (done < chunks_.count && now - saved < saved_every)) return;
      found.peak_bytes = std::max(peak_before, process_memory().peak);
      resume_->put(entry.inputs, found);
      resume_->save();
      saved = now;
    });
    found.peak_bytes = std::max(peak_before, process_memory().peak);
  }

  EvalReport report() {
    EvalReport report;
    report.reference = options_.reference;
    report.text = *options_.text;
    report.context = chunks_.context;
    report.budget_bytes = budget_;
    report.peak_bytes = std::max(highest_peak_, process_memory().peak);
    for (const Entry& entry : entries_)
      report.peak_bytes = std::max(report.peak_bytes, entry.found.peak_bytes);
    report.models = short_names(options_.models);
    report.budgets = budget_names(budgets_);
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      Entry& entry = entries_[i];
      EvalResult result;
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

  const EvalOptions& options_;
  const CommonOptions& common_;
  std::vector<Bytes> budgets_;  ///< one at least
  Bytes budget_;                ///< the largest
  Bytes least_budget_ = 0;      ///< for what comes before the entries and stays beside them
  std::vector<Entry> entries_;  ///< every model under every budget, by model
  std::optional<OpenModel> reference_, open_;
  std::optional<std::pair<std::string, std::uint64_t>> vocabulary_;  ///< whose, and its hash
  nlohmann::json text_inputs_;
  std::vector<TokenId> ids_;
  Chunks chunks_;
  std::optional<OutputFile> html_;
  std::optional<ResumeFile> resume_;
  std::optional<Plan> reference_plan_;
  const Entry* refused_ = nullptr;  ///< the largest that does not fit
  Bytes highest_peak_ = 0;
};

}  // namespace

int eval_command(const Arguments& arguments) {
  EvalOptions options;
  if (!options.parse(arguments)) return 0;
  choose_isa();
  Evaluating evaluating(options);
  const EvalReport report = evaluating.run();
  evaluating.write_page(report);
  if (options.common.json)
    print_json(report_json(report));
  else
    write_out(describe_report(report, Terminal::of(STDOUT_FILENO)));
  return 0;
}

}  // namespace plimsoll
