#include "app/fitting.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <set>

#include "app/planning.h"
#include "app/text_hold.h"
#include "base/bounded.h"
#include "base/cache_folder.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/region.h"
#include "engine/own_text.h"
#include "file/hf_pipeline.h"
#include "file/text_input.h"
#include "fit/analysis.h"
#include "fit/fit.h"
#include "fit/fit_memory.h"
#include "fit/quality_file.h"
#include "plan/candidates.h"
#include "text/hash.h"

namespace plimsoll {
namespace {

/// What the model writes to be measured on is the same every time.
constexpr std::uint64_t own_text_seed = 1;

class Fitting {
 public:
  Fitting(Host& host, const FitRequest& request)
      : host_(host),
        request_(request),
        budget_(host.line.budget()),
        model_(open_model(host, request.model)),
        uses_(model_.facts.tensors),
        target_(target_bytes()),
        fitted_(*request.output, model_.file, uses_),
        context_(host.make_context()) {}

  FitReport run(const std::function<void(const FitReport&)>& decided) {
    const auto start = std::chrono::steady_clock::now();
    if (request_.format) check_format();
    const bool copies = target_ && *target_ >= fitted_.header_bytes() + source_bytes();
    is_thorough_ = request_.is_thorough() && !copies;
    if (!copies) {
      refuse_too_small();
      find_known();
    }
    plan_memory();
    const QualityModel quality = copies ? prior() : know_quality();
    if (request_.format)
      take_format(quality);
    else
      choose(quality);
    FitReport report = report_of(quality);
    if (decided) decided(report);
    write(quality);
    report.seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return report;
  }

 private:
  std::optional<Bytes> target_bytes() const {
    if (request_.size) return request_.size;
    if (request_.bits > 0)
      return static_cast<Bytes>(request_.bits / 8 * static_cast<double>(model_.facts.parameters));
    return {};  // --memory: what the plan says
  }

  Rounding rounding() const {
    return request_.is_thorough() ? Rounding::with_feedback : Rounding::plain;
  }

  /// Of what the file's tensors may become.
  CandidateRules rules(bool codebooks) const {
    return {.place = CandidateRules::Place::file,
            .rounding = rounding(),
            .engine = ProductEngine::llama_cpp,
            .codebooks = codebooks};
  }

  /// The formats that matrices may come to have.
  std::vector<const Format*> targets() const {
    if (request_.format) return {request_.format, &plimsoll::format(FormatId::Q8_0)};
    return {rounding_formats().begin(), rounding_formats().end()};
  }

  Bytes source_bytes() const {
    Bytes total = 0;
    for (const TensorUse& use : uses_) total += round_up(use.info->bytes, file_alignment);
    return total;
  }

  QualityModel prior() const { return prior_quality(model_.facts.description, uses_); }

  std::optional<TokenId> bos() const {
    return model_.tokenizer->adds_bos() ? model_.tokenizer->bos() : std::nullopt;
  }

  std::int64_t matrices() const {
    return std::ranges::count_if(uses_, [](const TensorUse& use) { return !use.slot.is_vector(); });
  }

  /// Before anything is measured: the sizes of all formats are in the header.
  void refuse_too_small() const {
    if (request_.format) return;
    if (!target_)
      return refuse_unless_it_fits(make_plan(model_.facts, running(prior())), {.context = false});
    const Candidates choices = find_candidates(uses_, prior(), rules(true));
    const Selection smallest = frontier(choices.choices).smallest;
    const Bytes least = smallest.bytes + fitted_.header_bytes();
    if (*target_ >= least) return;
    constexpr double most_bits = 32;
    const double bits = std::ceil(8e4 * static_cast<double>(least) /
                                  static_cast<double>(model_.facts.parameters)) /
                        1e4;
    throw Error(
        ErrorCode::budget_refused,
        fmt::format("{} ({} bytes) are too few: the smallest file takes {} ({} bytes) and loses "
                    "about {} nats ({})",
                    format_bytes(*target_), *target_, format_bytes(least), least,
                    format_nats(smallest.loss), plimsoll::describe(QualitySource::prior)),
        request_.size ? fmt::format("give --size {} or more", least)
        : request_.is_named_format
            ? fmt::format("give --size {} or more instead of --format", least)
        : bits > most_bits  // a header larger than the weights
            ? fmt::format("give --size {} or more instead of --bits", least)
            : fmt::format("give --bits {:.4f} or more", bits));
  }

  /// What was measured before, and of which text that would be.
  void find_known() {
    if (!is_thorough_) return;
    fingerprint_ = of_text_ = model_fingerprint(model_.file);
    if (request_.text) {
      TextHold hold(host_.line);
      text_ = read_text_file(*request_.text, [&hold](Bytes bytes) { hold.grow_to(bytes); });
      held_text_ = hold.settle(text_->size());
      of_text_ += fmt::format("-{:016x}", hash_text(*text_));
    }
    known_ = load_quality(cache_folder(), of_text_, uses_);
    if (known_ && known_->source != source()) known_.reset();
  }

  /// What the fit holds at its peak, when writing a text to measure on takes `of_text`.
  Bytes peak_with(Bytes held, const CalibrationSize& size, Bytes of_text, int workers) const {
    const Description& d = model_.facts.description;
    Bytes most = std::max(of_text, writing_bytes(d, uses_, size, is_thorough_, targets(), workers));
    if (is_thorough_ && !known_) most = std::max(most, analysis_bytes(d, uses_, size, workers));
    const Bytes peak = bounded_sum({held, most});
    return peak + peak / 512;  // page tables
  }

  /// The same at least within a budget: of a smaller one it measures on less text.
  Bytes needed_within(Bytes budget, Bytes held, int workers) const {
    const CalibrationSize size = size_within(budget - std::min(budget, held));
    return peak_with(held, size, is_thorough_ && !text_ ? text_bytes(size, workers) : 0, workers);
  }

  /// Where the text that the model wrote is kept; empty without a place.
  std::string written_path(const CalibrationSize& size) const {
    const std::string folder = cache_folder();
    return folder.empty() ? folder
                          : fmt::format("{}/text-{}-{}-{}.json", folder, fingerprint_,
                                        size.moments + size.probes, size.sequence_tokens);
  }

  CalibrationSize size_within(Bytes room) const {
    return calibration_size(model_.facts.description, model_.facts.parameters, matrices(), room);
  }

  /// Least that writing a text takes: one sequence, with the smallest weights.
  Bytes text_bytes(const CalibrationSize& size, int workers) const {
    PlanRequest request = text_request(1, size);
    request.threads = workers;
    request.budget = 1;
    return make_plan(model_.facts, request).peak_bytes;
  }
  PlanRequest text_request(std::int64_t sequences, const CalibrationSize& size) const {
    PlanRequest request;
    request.threads = context_->threads.size();
    request.processors = allowed_processors();
    request.policy = WeightPolicy::fit;
    request.logit_rows = sequences;
    request.branches = sequences;
    request.context = size.sequence_tokens * sequences;
    request.quality = known_ ? *known_ : prior();
    // Where the next token is drawn from, and what each sequence has.
    request.runtime_bytes =
        static_cast<Bytes>(sequences) * 64 * KiB +
        2 * sizeof(float) * static_cast<Bytes>(model_.facts.description.vocabulary);
    return request;
  }

  /// Reserves what is on the heap besides, or refuses at once, with what would do.
  void plan_memory() {
    const Description& d = model_.facts.description;
    const int workers = context_->threads.size();
    const Bytes process =
        host_.line.declare_process(model_.facts, workers, Work::fitting).running + host_.line.ledger().used(Account::text);
    const Bytes heap = fitting_heap_bytes(d, uses_, is_thorough_), held = process + heap;
    if (const Bytes needed = needed_within(budget_, held, workers); needed > budget_) {
      Bytes low = budget_, high = needed;
      while (needed_within(high, held, workers) > high && high < most_bytes) high *= 2;
      while (high - low > page_bytes) {
        const Bytes middle = low + (high - low) / 2;
        (needed_within(middle, held, workers) > middle ? low : high) = middle;
      }
      // One process and the next differ by some pages.
      constexpr Bytes slack = 256 * KiB;
      const Bytes least = round_up(high + slack, page_bytes);
      const Bytes fast = process + fitting_heap_bytes(d, uses_, false) +
                         writing_bytes(d, uses_, {}, false, targets(), workers) + slack;
      std::vector<std::string> offers;
      if (request_.has_target() && least <= probe_limits().usable)
        offers.push_back(fmt::format("--memory {} or more", least));
      for (int fewer = workers - 1; fewer > 0; fewer = fewer > 8 ? fewer * 3 / 4 : fewer - 1) {
        const Bytes stacks = stack_bytes_per_thread * static_cast<Bytes>(workers - fewer);
        if (needed_within(budget_ - std::min(budget_, slack), held - stacks, fewer) + slack >
            budget_)
          continue;
        offers.push_back(fmt::format("--threads {} or fewer", fewer));
        break;
      }
      if (is_thorough_ && fast + fast / 512 <= budget_)
        offers.push_back(fmt::format("--effort fast{}, which takes {}",
                                     text_ ? " without --text" : "", format_bytes(fast)));
      const std::string hint = offers.empty() ? std::string("take a machine with more memory")
                                              : fmt::format("give {}", fmt::join(offers, ", or "));
      throw Error(ErrorCode::budget_refused,
                  fmt::format("fitting this model{} takes {} ({} bytes) itself; the budget is {}",
                              is_thorough_ ? " thoroughly" : "", format_bytes(least), least,
                              format_bytes(budget_)),
                  hint);
    }
    heap_ = context_->ledger.reserve(Account::runtime, heap);
    if (is_thorough_) size_ = size_within(budget_ - held);
    Bytes of_text = 0;
    if (is_thorough_ && !text_ && ::access(written_path(size_).c_str(), R_OK) != 0)
      // The text account is part of what is held.
      of_text = text_plan(budget_ - held, size_).peak_bytes - model_.facts.text_bytes;
    predicted_ = peak_with(held, size_, of_text, workers);
  }

  /// For writing as many sequences at a time as there is room for.
  Plan text_plan(Bytes room, const CalibrationSize& size) const {
    const std::int64_t sequences = size.moments + size.probes;
    Plan plan;
    PlanRequest request;
    for (std::int64_t together = std::min<std::int64_t>(sequences, 32); together > 0;
         together /= 2) {
      request = text_request(together, size);
      request.budget = room;
      plan = make_plan(model_.facts, request);
      if (plan.fits) break;
    }
    // A large model in half of its bytes writes as good a text in half of the time.
    constexpr std::int64_t large = 100'000'000;
    if (model_.facts.parameters > large && plan.formats.empty()) {
      request.budget = std::min(room, plan.peak_bytes / 100 * 55);
      if (Plan smaller = make_plan(model_.facts, request); smaller.fits) plan = std::move(smaller);
    }
    return plan;
  }

  QualityModel know_quality() {
    if (request_.is_dense()) return prior();
    if (!is_thorough_) {
      if (std::optional<QualityModel> known = quality_of(host_, model_, budget_)) return *known;
      return prior();
    }
    const std::string folder = cache_folder();
    if (text_) {
      calibration_ = calibrate_on(model_.tokenizer->encode(*text_), bos(), size_);
      text_ = std::string();
    } else {
      write_text();
    }
    if (known_) return *known_;
    QualityModel quality;
    AnalysisOptions options;
    options.source = source();
    if (!folder.empty()) options.interim = fmt::format("{}/measuring-{}.part", folder, of_text_);
    options.resumed = [&](std::int64_t layers) {
      resumed_layers_ = layers;
      host_.watch.tell(
          fmt::format("going on with an interrupted measuring: {} of {} layers are done", layers,
                      model_.facts.description.layers));
    };
    quality = analyse(*context_, model_.file, model_.facts.description, uses_, calibration_.moments,
                      calibration_.probes, options, [this](std::int64_t done, std::int64_t total) {
                        show("measuring", Watch::Unit::chunks, done, total);
                      });
    save_quality(folder, of_text_, quality, uses_);
    if (of_text_ != fingerprint_) save_quality(folder, fingerprint_, quality, uses_);
    return quality;
  }

  QualitySource source() const {
    return request_.text ? QualitySource::text : QualitySource::own_text;
  }

  void write_text() {
    const std::int64_t sequences = size_.moments + size_.probes, tokens = size_.sequence_tokens;
    const std::string path = written_path(size_);
    std::vector<Sequence> texts =
        load_sequences(path, sequences, tokens, model_.facts.description.vocabulary);
    if (texts.empty()) {
      texts = write_text(sequences, tokens);
      save_sequences(path, texts);
    }
    calibration_.probes.assign(texts.begin(), texts.begin() + size_.probes);
    for (Sequence& probe : calibration_.probes)
      probe.resize(static_cast<std::size_t>(size_.probe_tokens));
    calibration_.moments.assign(texts.begin() + size_.probes, texts.end());
  }

  std::vector<Sequence> write_text(std::int64_t sequences, std::int64_t tokens) {
    const Bytes used = context_->ledger.used();
    const Plan plan = text_plan(budget_ - std::min(budget_, used), size_);
    const Reservation drawing =
        context_->ledger.reserve(Account::runtime, plan.account(Account::runtime));
    const Engine engine(*context_, model_, plan, {}, nullptr, Engine::Accounts::held_by_caller);
    return write_own_text(engine, sequences, tokens, own_text_seed,
                          [this](std::int64_t done, std::int64_t total) {
                            show("writing a text to measure on", Watch::Unit::tokens, done, total);
                          });
  }

  void show(std::string_view what, Watch::Unit unit, std::int64_t done, std::int64_t total) const {
    host_.watch.check();
    host_.watch.show(what, unit, done, total);
  }

  bool takes_format(const TensorUse& use) const {
    return use.slot.is_vector() ? request_.format->id == FormatId::F32
                                : can_hold(*request_.format, use.info->columns());
  }

  /// Throws Error(unsupported_format) where no matrix could have the format.
  void check_format() const {
    std::set<std::int64_t> columns;
    for (const TensorUse& use : uses_)
      if (!use.slot.is_vector()) columns.insert(use.info->columns());
    const auto divides = [&columns](const Format& f) {
      return std::ranges::any_of(columns, [&f](auto n) { return can_hold(f, n); });
    };
    if (divides(*request_.format)) return;
    std::string names;
    for (const Format& f : formats())
      if (divides(f)) names += fmt::format("{}{}", names.empty() ? "" : ", ", f.name);
    throw Error(
        ErrorCode::unsupported_format,
        fmt::format("no matrix of this model can be {}: its blocks have {} columns, the "
                    "matrices' rows {}",
                    request_.format->name, request_.format->block_values, fmt::join(columns, ", ")),
        "what can be written of it: " + names);
  }

  void take_format(const QualityModel& quality) {
    const Format& format = *request_.format;
    const Format& instead = plimsoll::format(FormatId::Q8_0);
    for (const TensorUse& use : uses_) {
      const std::int64_t columns = use.info->columns();
      const Format* own = use.info->format;
      const bool takes = takes_format(use);
      if (!takes && !use.slot.is_vector()) ++tensors_without_format_;
      const bool is_smaller = !use.slot.is_vector() && can_hold(instead, columns) &&
                              row_bytes(instead, columns) < row_bytes(*own, columns);
      formats_.push_back(takes ? &format : is_smaller ? &instead : own);
    }
    if (has_levels()) fitted_.add_quality(quality_note(quality, rounding(), formats_, uses_));
    file_bytes_ = fitted_.header_bytes();
    kl_nats_ = 0;
    for (std::size_t i = 0; i < uses_.size(); ++i) {
      file_bytes_ += tensor_bytes(i);
      const std::optional<double> loss = loss_of(quality, i, *formats_[i]);
      kl_nats_ = kl_nats_ && loss ? std::optional(*kl_nats_ + *loss) : std::nullopt;
      if (has_levels() && formats_[i] == &format)
        kl_nats_of_leading_ += loss_of(quality, i, *levels_below(format).front()).value_or(0);
    }
  }

  /// Of one tensor in a format, beyond what products with the source's lose; empty where that is
  /// not known.
  std::optional<double> loss_of(const QualityModel& quality, std::size_t i,
                                const Format& format) const {
    const Format& own = *uses_[i].info->format;
    if (uses_[i].slot.is_vector() || &format == &own) return 0;
    const TensorQuality& tensor = quality.tensors[i];
    return tensor.added_loss(own, format, rounding(), ProductEngine::plimsoll);
  }

  /// Of the file: how many of the codes' bits are loaded is decided later.
  bool has_levels() const { return request_.format && !levels_below(*request_.format).empty(); }

  void choose(const QualityModel& quality) {
    if (!target_) return choose_for_memory(quality);
    // Codebooks take long to search: in a hurry they are for what nothing else can reach.
    Candidates choices = find_candidates(uses_, quality, rules(request_.is_thorough()));
    const Bytes header = fitted_.header_bytes();
    const auto within_target = [&]() -> std::optional<Selection> {
      if (*target_ <= header) return {};
      return solve(choices.choices, *target_ - header);
    };
    std::optional<Selection> best = within_target();
    if (!best && !request_.is_thorough()) {
      choices = find_candidates(uses_, quality, rules(true));
      best = within_target();
    }
    if (!best) throw Error(ErrorCode::internal, "a target that was found to be enough is not");
    kl_nats_ = best->loss;
    file_bytes_ = best->bytes + header;
    for (std::size_t i = 0; i < uses_.size(); ++i)
      formats_.push_back(choices.formats[i][static_cast<std::size_t>(best->choices[i])]);
  }

  /// What the result is run with.
  PlanRequest running(const QualityModel& quality) const {
    PlanRequest request;
    request.budget = *request_.running_memory;
    request.threads = context_->threads.size();
    request.processors = allowed_processors();
    const Declared declared = runtime_bytes(model_.facts, request.threads,
                                            host_.line.ledger().used(Account::text),
                                            host_.line.process(), Work::answering);
    request.runtime_bytes = declared.running;
    request.after_loading = declared.after_loading;
    request.of_rounding = declared.of_rounding;
    request.runtime_slack = running_slack;
    request.policy = WeightPolicy::fit;
    request.quality = quality;
    request.rounding = rounding();
    return request;
  }

  /// So that running the file, with what else a run needs, stays below the line.
  void choose_for_memory(const QualityModel& quality) {
    const Plan plan = make_plan(model_.facts, running(quality));
    refuse_unless_it_fits(plan, {.context = false});
    kl_nats_ = plan.kl_nats;
    file_bytes_ = fitted_.header_bytes();
    for (std::size_t i = 0; i < uses_.size(); ++i) {
      formats_.push_back(plan.formats.empty() ? uses_[i].info->format : plan.formats[i]);
      file_bytes_ += tensor_bytes(i);
    }
  }

  Bytes tensor_bytes(std::size_t i) const {
    return round_up(static_cast<Bytes>(uses_[i].info->rows()) *
                        row_bytes(*formats_[i], uses_[i].info->columns()),
                    file_alignment);
  }

  bool is_copy() const {
    for (std::size_t i = 0; i < uses_.size(); ++i)
      if (formats_[i] != uses_[i].info->format) return false;
    return true;
  }

  double bits_per_weight() const {
    return 8 * static_cast<double>(file_bytes_) / static_cast<double>(model_.facts.parameters);
  }

  FitReport report_of(const QualityModel& quality) const {
    FitReport report;
    report.file_bytes = file_bytes_;
    report.target_bytes = target_;
    report.predicted_peak_bytes = predicted_;
    report.bits_per_weight = bits_per_weight();
    report.is_copy = is_copy();
    if (!report.is_copy) report.kl_nats = kl_nats_;
    report.quality = quality.source;
    for (std::size_t i = 0; i < uses_.size(); ++i)
      report.formats[std::string(formats_[i]->name)] += tensor_bytes(i);
    report.kept_tensors = request_.is_dense() ? 0 : count_uncodable(uses_);
    report.tensors_without_format = tensors_without_format_;
    report.resumed_layers = resumed_layers_;
    report.has_levels = has_levels();
    report.kl_nats_of_leading_bits = kl_nats_of_leading_;
    report.has_named_tokenizer =
        model_.file.metadata().string("tokenizer.ggml.model") != unnamed_tokenizer;
    report.source_bytes = model_.file.size();
    return report;
  }

  void write(const QualityModel& quality) {
    const auto progress = [this](FitProgress at) {
      show("rounding", Watch::Unit::bytes, static_cast<std::int64_t>(at.done),
           static_cast<std::int64_t>(at.total));
    };
    if (!is_thorough_ || is_copy()) return fitted_.write(*context_, formats_, {}, progress);
    Weights weights = Weights::without_matrices(*context_, model_.file, model_.facts.description);
    LayerRunner runner(*context_, model_.facts.description, weights, size_.sequence_tokens);
    MomentsWalk walk(*context_, model_.file, model_.facts.description, weights, runner,
                     calibration_.moments);
    fitted_.write(*context_, formats_, {&walk, &quality}, progress);
  }

  static constexpr Bytes file_alignment = 32;
  /// One process and the next differ by some pages.
  static constexpr Bytes running_slack = 192 * KiB;

  Host& host_;
  const FitRequest& request_;
  Bytes budget_;
  OpenModel model_;
  std::span<const TensorUse> uses_;
  std::optional<Bytes> target_;  ///< of the file
  FittedFile fitted_;
  std::unique_ptr<Context> context_;
  Reservation heap_, held_text_;
  Bytes predicted_ = 0;       ///< peak of this process
  bool is_thorough_ = false;  ///< measures, and feeds errors back
  std::string fingerprint_, of_text_;
  std::optional<std::string> text_;    ///< that --text names
  std::optional<QualityModel> known_;  ///< measured before, on that
  std::int64_t resumed_layers_ = 0;    ///< that an interrupted measuring had done
  CalibrationSize size_{};
  Calibration calibration_;
  std::vector<const Format*> formats_;
  Bytes file_bytes_ = 0;
  std::optional<double> kl_nats_ = 0;        ///< empty where nobody knows it
  std::int64_t tensors_without_format_ = 0;  ///< that --format cannot hold
  double kl_nats_of_leading_ = 0;            ///< with four bits of the codes that nest
};

}  // namespace

FitReport fit_model(Host& host, const FitRequest& request,
                    const std::function<void(const FitReport&)>& decided) {
  return Fitting(host, request).run(decided);
}

}  // namespace plimsoll
