// plimsoll fit: a model rewritten to a number of bytes, with the loss said beforehand.
#include "fit/fit.h"
#include "file/hf_pipeline.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <chrono>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/bounded.h"
#include "base/error.h"
#include "base/process.h"
#include "base/region.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/input.h"
#include "cli/measure.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "engine/own_text.h"
#include "fit/analysis.h"
#include "fit/fit_memory.h"
#include "fit/recipes.h"
#include "plan/candidates.h"
#include "plan/facts.h"
#include "plan/machine.h"
#include "plan/quality_file.h"
#include "text/hash.h"

namespace plimsoll {
namespace {

/// What the model writes to be measured on is the same every time.
constexpr std::uint64_t own_text_seed = 1;
struct FitCommand {
  CommonOptions common;
  std::optional<Bytes> size;
  double bits = 0;
  std::optional<std::string> output, text, effort, format_name;
  const Format* format = nullptr;  ///< that of the name

  bool parse(const Arguments& arguments) {
    Options options("fit",
                    "Rewrites a model's weights so that they take no more than a number of bytes "
                    "and lose as little as these allow. The result is a standard GGUF file.");
    common.declare(options);
    common.declare_measuring(options);
    options.size("--size", size, "Bytes of the file to write");
    options.number("--bits", bits, 1, 32, "The same, as bits for each weight");
    options.choice(
        "--format", "NAME", format_names(), format_name,
        "Instead of a size: every matrix in this format (Q4_K, IQ4_XS, F16, ...), or in Q8_0 "
        "or as it is where no block divides its rows. NEST8, for this program only, is one "
        "file for many budgets: the leading 4 and 6 bits of its codes are codes of their "
        "own, and loading takes as many of them as --memory allows. The name of a mix of "
        "llama.cpp's (Q4_K_M, ...) means the size: as many bits for each weight as that "
        "takes, in the formats that lose least");
    options.text("-o,--output", "OUT.gguf", output, "The file to write (required)");
    options.text("--text", "FILE", text,
                 "A text like those that the model is for, to measure on; without one, text that "
                 "the model writes itself");
    options.choice("--effort", "", {"fast", "thorough"}, effort,
                   "thorough measures the model and rounds with error feedback; fast does neither "
                   "(default thorough)");
    options.exclusive("--size", "--bits");
    for (const char* other : {"--size", "--bits"}) options.exclusive("--format", other);
    if (!options.parse(arguments)) return false;
    if (!output) throw Error(ErrorCode::usage, "there is no file to write", "give -o OUT.gguf");
    if (format_name) {
      format = find_format(std::string_view(*format_name));
      if (!format) bits = recipe_bits(*format_name).value();
    }
    if (!has_target() && !common.memory)
      throw Error(ErrorCode::usage, "nothing says how large the file may be",
                  "give --size SIZE, --bits B, --memory SIZE for what running it may take, or "
                  "--format NAME");
    if (text && !is_thorough())
      throw Error(ErrorCode::usage,
                  fmt::format("--text is measured on, and {} measures nothing",
                              is_dense() ? "--format " + *format_name : "--effort fast"),
                  "leave one of them out");
    return true;
  }
  /// Of the file; otherwise --memory says how large it may be.
  bool has_target() const { return size || bits > 0 || format; }
  /// Each number by itself: there is nothing to be measured, and no error to be fed back.
  bool is_dense() const { return format && format->kind == Format::Kind::dense; }
  bool is_thorough() const { return !is_dense() && (!effort || *effort == "thorough"); }

 private:
  static std::vector<std::string> format_names() {
    std::vector<std::string> names;
    for (const Format& f : formats()) names.emplace_back(f.name);
    for (const Recipe& recipe : recipes()) names.emplace_back(recipe.name);
    return names;
  }
};

class Fitting {
 public:
  explicit Fitting(const FitCommand& command)
      : command_(command),
        // Alone, --memory is for running the result.
        budget_(decide_budget(command.has_target() ? command.common.memory : std::nullopt)),
        model_(OpenModel::open(command.common.model_path(), command.common.header_room())),
        uses_(model_.facts.tensors),
        target_(target_bytes()),
        fitted_(checked_output(), model_.file, uses_),
        context_(make_context(command.common)) {
    context_->ledger.set_budget(budget_);
  }

  void run() {
    const auto start = std::chrono::steady_clock::now();
    if (command_.format) check_format();
    const bool copies = target_ && *target_ >= fitted_.header_bytes() + source_bytes();
    is_thorough_ = command_.is_thorough() && !copies;
    if (!copies) {
      refuse_too_small();
      find_known();
    }
    plan_memory();
    const QualityModel quality = copies ? prior() : know_quality();
    if (command_.format)
      take_format(quality);
    else
      choose(quality);
    if (!command_.common.json) {
      if (command_.format_name && !command_.format)
        notice(
            fmt::format("{} as a size: {:.2f} bits for each weight, as llama.cpp's mix of that "
                        "name takes in a model of 8 billion",
                        *command_.format_name, command_.bits));
      notice(describe());
    }
    write(quality);
    seconds_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    report(quality);
  }

 private:
  std::optional<Bytes> target_bytes() const {
    if (command_.size) return command_.size;
    if (command_.bits > 0)
      return static_cast<Bytes>(command_.bits / 8 * static_cast<double>(model_.facts.parameters));
    return {};  // --memory: what the plan says
  }

  const std::string& checked_output() const {
    std::vector<std::string> inputs = input_files(model_.file);
    if (command_.text) inputs.push_back(*command_.text);
    refuse_to_overwrite("-o", *command_.output, inputs);
    return *command_.output;
  }

  Rounding rounding() const {
    return command_.is_thorough() ? Rounding::with_feedback : Rounding::plain;
  }

  /// Of what the file's tensors may become.
  CandidateRules rules(bool codebooks) const {
    return {.place = CandidateRules::Place::file,
            .rounding = rounding(),
            .engine = ProductEngine::llama_cpp,
            .codebooks = codebooks};
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
    if (command_.format) return;
    if (!target_) return refuse_unless_it_fits(make_plan(model_.facts, running(prior())), false);
    const Candidates choices = find_candidates(uses_, prior(), rules(true));
    const Selection smallest = frontier(choices.choices).smallest;
    const Bytes least = smallest.bytes + fitted_.header_bytes();
    if (*target_ >= least) return;
    throw Error(
        ErrorCode::budget_refused,
        fmt::format("{} ({} bytes) are too few: the smallest file takes {} ({} bytes) and loses "
                    "about {} nats ({})",
                    format_bytes(*target_), *target_, format_bytes(least), least,
                    format_nats(smallest.loss), plimsoll::describe(QualitySource::prior)),
        fmt::format("give --size {} or more", least));
  }

  /// What was measured before, and of which text that would be.
  void find_known() {
    if (!is_thorough_) return;
    fingerprint_ = of_text_ = model_fingerprint(model_.file);
    if (command_.text) {
      text_ =
          read_text_file(*command_.text, [this](Bytes bytes) { refuse_long_text(bytes, budget_); });
      of_text_ += fmt::format("-{:016x}", hash_text(*text_));
    }
    known_ = load_quality(cache_folder(), of_text_, uses_);
    if (known_ && known_->source != source()) known_.reset();
  }

  /// What the fit holds at its peak within a budget: of a smaller one it measures on less text.
  Bytes needed_within(Bytes budget, Bytes held) const {
    const Description& d = model_.facts.description;
    const int workers = context_->threads.size();
    const CalibrationSize size = size_within(budget - std::min(budget, held));
    Bytes most = writing_bytes(d, uses_, size, is_thorough_, workers);
    if (is_thorough_ && !known_) most = std::max(most, analysis_bytes(d, uses_, size, workers));
    if (is_thorough_ && !text_) most = std::max(most, text_bytes(size));
    const Bytes peak = bounded_sum({held, most});
    return peak + peak / 512;  // page tables
  }

  CalibrationSize size_within(Bytes room) const {
    return calibration_size(model_.facts.description, model_.facts.parameters, matrices(), room);
  }

  /// Least that writing a text takes: one sequence, with the smallest weights.
  Bytes text_bytes(const CalibrationSize& size) const {
    PlanRequest request = text_request(1, size);
    request.budget = 1;
    return make_plan(model_.facts, request).peak_bytes;
  }
  PlanRequest text_request(std::int64_t sequences, const CalibrationSize& size) const {
    PlanRequest request;
    request.threads = context_->threads.size();
    request.policy = WeightPolicy::fit;
    request.logit_rows = sequences;
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
    const Bytes process = runtime_bytes(model_.facts, workers) + model_.facts.text_bytes;
    const Bytes held = process + fitting_heap_bytes(d, uses_, is_thorough_);
    if (const Bytes needed = needed_within(budget_, held); needed > budget_) {
      Bytes low = budget_, high = needed;
      while (needed_within(high, held) > high && high < most_bytes) high *= 2;
      while (high - low > page_bytes) {
        const Bytes middle = low + (high - low) / 2;
        (needed_within(middle, held) > middle ? low : high) = middle;
      }
      // One process and the next differ by some pages.
      constexpr Bytes slack = 256 * KiB;
      const Bytes least = round_up(high + slack, page_bytes);
      const Bytes fast = process + fitting_heap_bytes(d, uses_, false) +
                         writing_bytes(d, uses_, {}, false, workers) + slack;
      std::string hint = command_.has_target() ? fmt::format("give --memory {} or more", least)
                                               : std::string("take a machine with more memory");
      if (is_thorough_ && fast + fast / 512 <= budget_)
        hint += fmt::format(", or --effort fast, which takes {}", format_bytes(fast));
      throw Error(ErrorCode::budget_refused,
                  fmt::format("fitting this model{} takes {} ({} bytes) itself; the budget is {}",
                              is_thorough_ ? " thoroughly" : "", format_bytes(least), least,
                              format_bytes(budget_)),
                  hint);
    }
    runtime_ = context_->ledger.reserve(Account::runtime, held);
    if (is_thorough_) size_ = size_within(budget_ - held);
  }

  QualityModel know_quality() {
    if (command_.is_dense()) return prior();
    if (!is_thorough_) {
      if (std::optional<QualityModel> known = quality_of(model_, command_.common, budget_))
        return *known;
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
    {
      ProgressBar bar("measuring", ProgressBar::Unit::chunks);
      AnalysisOptions options;
      options.source = source();
      if (!folder.empty()) options.interim = fmt::format("{}/measuring-{}.part", folder, of_text_);
      options.resumed = [&](std::int64_t layers) {
        resumed_layers_ = layers;
        if (!command_.common.json)
          notice(fmt::format("going on with an interrupted measuring: {} of {} layers are done",
                             layers, model_.facts.description.layers));
      };
      quality =
          analyse(*context_, model_.file, model_.facts.description, uses_, calibration_.moments,
                  calibration_.probes, options, [&bar](std::int64_t done, std::int64_t total) {
                    bar.update(static_cast<std::uint64_t>(done), static_cast<std::uint64_t>(total));
                  });
    }
    save_quality(folder, of_text_, quality, uses_);
    if (of_text_ != fingerprint_) save_quality(folder, fingerprint_, quality, uses_);
    return quality;
  }

  QualitySource source() const {
    return command_.text ? QualitySource::text : QualitySource::own_text;
  }

  void write_text() {
    const std::int64_t sequences = size_.moments + size_.probes, tokens = size_.sequence_tokens;
    const std::string folder = cache_folder();
    const std::string path = folder.empty() ? folder
                                            : fmt::format("{}/text-{}-{}-{}.json", folder,
                                                          fingerprint_, sequences, tokens);
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
    const Bytes room = budget_ - std::min(budget_, context_->ledger.used());
    // As many at a time as there is room for.
    Plan plan;
    PlanRequest request;
    for (std::int64_t together = std::min<std::int64_t>(sequences, 32); together > 0;
         together /= 2) {
      request = text_request(together, size_);
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
    std::vector<Sequence> texts;
    {
      ProgressBar bar("writing a text to measure on", ProgressBar::Unit::tokens);
      const Engine engine(*context_, model_, plan);
      texts = write_own_text(
          engine, sequences, tokens, own_text_seed, [&bar](std::int64_t done, std::int64_t total) {
            bar.update(static_cast<std::uint64_t>(done), static_cast<std::uint64_t>(total));
          });
    }
    for (const Account account : {Account::weights, Account::kv, Account::activations})
      context_->ledger.set_cap(account, Ledger::no_cap);
    return texts;
  }

  bool takes_format(const TensorUse& use) const {
    return use.slot.is_vector() ? command_.format->id == FormatId::F32
                                : use.info->columns() % command_.format->block_values == 0;
  }

  /// Throws Error(unsupported_format) where no matrix could have the format.
  void check_format() const {
    std::set<std::int64_t> columns;
    for (const TensorUse& use : uses_)
      if (!use.slot.is_vector()) columns.insert(use.info->columns());
    const auto divides = [&columns](const Format& f) {
      return std::ranges::any_of(columns, [&f](auto n) { return n % f.block_values == 0; });
    };
    if (divides(*command_.format)) return;
    std::string names;
    for (const Format& f : formats())
      if (divides(f)) names += fmt::format("{}{}", names.empty() ? "" : ", ", f.name);
    throw Error(
        ErrorCode::unsupported_format,
        fmt::format("no matrix of this model can be {}: its blocks have {} columns, the "
                    "matrices' rows {}",
                    command_.format->name, command_.format->block_values, fmt::join(columns, ", ")),
        "what can be written of it: " + names);
  }

  void take_format(const QualityModel& quality) {
    const Format& format = *command_.format;
    const Format& instead = plimsoll::format(FormatId::Q8_0);
    for (const TensorUse& use : uses_) {
      const std::int64_t columns = use.info->columns();
      const Format* own = use.info->format;
      const bool takes = takes_format(use);
      if (!takes && !use.slot.is_vector()) ++tensors_without_format_;
      const bool is_smaller = !use.slot.is_vector() && columns % instead.block_values == 0 &&
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
  bool has_levels() const { return command_.format && !levels_below(*command_.format).empty(); }

  void choose(const QualityModel& quality) {
    if (!target_) return choose_for_memory(quality);
    // Codebooks take long to search: in a hurry they are for what nothing else can reach.
    Candidates choices = find_candidates(uses_, quality, rules(command_.is_thorough()));
    const Bytes header = fitted_.header_bytes();
    const auto within_target = [&]() -> std::optional<Selection> {
      if (*target_ <= header) return {};
      return solve(choices.choices, *target_ - header);
    };
    std::optional<Selection> best = within_target();
    if (!best && !command_.is_thorough()) {
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
    request.budget = *command_.common.memory;
    request.threads = context_->threads.size();
    request.runtime_bytes = runtime_bytes(model_.facts, request.threads);
    request.policy = WeightPolicy::fit;
    request.quality = quality;
    request.rounding = rounding();
    return request;
  }

  /// So that running the file, with what else a run needs, stays below the line.
  void choose_for_memory(const QualityModel& quality) {
    const Plan plan = make_plan(model_.facts, running(quality));
    refuse_unless_it_fits(plan, false);
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

  std::int64_t kept_tensors() const { return count_uncodable(uses_); }

  double bits_per_weight() const {
    return 8 * static_cast<double>(file_bytes_) / static_cast<double>(model_.facts.parameters);
  }

  std::map<std::string, Bytes> mix() const {
    std::map<std::string, Bytes> result;
    for (std::size_t i = 0; i < uses_.size(); ++i)
      result[std::string(formats_[i]->name)] += tensor_bytes(i);
    return result;
  }

  std::string describe() const {
    if (is_copy())
      return fmt::format("the file's own weights take {}: copying them",
                         format_bytes(model_.file.size()));
    std::string formats;
    for (const auto& [format_name, bytes] : mix())
      formats +=
          fmt::format("{}{} {}", formats.empty() ? "" : ", ", format_name, format_bytes(bytes));
    return fmt::format("{} at {:.2f} bits per weight: {}", format_bytes(file_bytes_),
                       bits_per_weight(), formats);
  }

  void write(const QualityModel& quality) {
    ProgressBar bar("rounding", ProgressBar::Unit::bytes);
    const auto progress = [&bar](FitProgress at) { bar.update(at.done, at.total); };
    if (!is_thorough_ || is_copy()) return fitted_.write(*context_, formats_, {}, progress);
    Weights weights = Weights::without_matrices(*context_, model_.file, model_.facts.description);
    LayerRunner runner(*context_, model_.facts.description, weights, size_.sequence_tokens);
    MomentsWalk walk(*context_, model_.file, model_.facts.description, weights, runner,
                     calibration_.moments);
    fitted_.write(*context_, formats_, {&walk, &quality}, progress);
  }

  void report(const QualityModel& quality) const {
    if (command_.common.json) {
      nlohmann::ordered_json json = {
          {"output", *command_.output},
          {"file_bytes", file_bytes_},
          {"target_bytes", target_ ? nlohmann::ordered_json(*target_) : nullptr},
          {"bits_per_weight", bits_per_weight()},
          {"kl_nats", kl_nats_json()},
          {"quality", is_copy() ? "exact" : name(quality.source)},
          {"formats", mix()},
          {"kept_tensors", command_.is_dense() ? 0 : kept_tensors()},
          {"seconds", seconds_},
          {"peak_bytes", process_memory().peak}};
      if (tensors_without_format_ > 0) json["tensors_without_format"] = tensors_without_format_;
      if (resumed_layers_ > 0) json["resumed_layers"] = resumed_layers_;
      if (has_levels()) json["kl_nats_of_leading_bits"] = kl_nats_of_leading_;
      if (!has_named_tokenizer()) json["tokenizer_has_gguf_name"] = false;
      print_json(json);
      return;
    }
    std::string out = fmt::format("{}  {}, {:.2f} bits per weight\n", *command_.output,
                                  format_bytes(file_bytes_), bits_per_weight());
    out += is_copy()  ? "loses nothing: the source's own weights\n"
           : kl_nats_ ? fmt::format("loses {} nats per token, predicted ({})\n",
                                    format_nats(*kl_nats_), plimsoll::describe(quality.source))
                      : "loses what nobody has measured in this format: see eval --against\n";
    if (has_levels())
      out += fmt::format("with the leading four bits alone {} nats; give run --memory SIZE\n",
                         format_nats(kl_nats_of_leading_));
    if (tensors_without_format_ > 0)
      out +=
          fmt::format("{} tensors are in Q8_0 or as they were: no block of {} divides their rows\n",
                      tensors_without_format_, command_.format->name);
    if (const std::int64_t kept = kept_tensors(); kept > 0 && !command_.is_dense())
      out +=
          fmt::format("{} tensors stay as they were: no format's blocks divide their rows\n", kept);
    if (!has_named_tokenizer())
      out +=
          "GGUF has no name for this model's way of cutting text: Plimsoll reads the file, other "
          "programs refuse it\n";
    write_out(out + fmt::format("took {:.0f} s, peak {}\n", seconds_,
                                format_bytes(process_memory().peak)));
  }

  nlohmann::ordered_json kl_nats_json() const {
    if (is_copy()) return 0;
    return kl_nats_ ? nlohmann::ordered_json(*kl_nats_) : nlohmann::ordered_json(nullptr);
  }

  /// False for a folder's tokenizer that other readers of GGUF could only take for another one.
  bool has_named_tokenizer() const {
    return model_.file.metadata().string("tokenizer.ggml.model") != unnamed_tokenizer;
  }

  static constexpr Bytes file_alignment = 32;

  const FitCommand& command_;
  Bytes budget_;
  OpenModel model_;
  std::span<const TensorUse> uses_;
  std::optional<Bytes> target_;  ///< of the file
  FittedFile fitted_;
  std::unique_ptr<Context> context_;
  Reservation runtime_;
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
  double seconds_ = 0;
};

}  // namespace

int fit_command(const Arguments& arguments) {
  FitCommand command;
  if (!command.parse(arguments)) return 0;
  choose_isa();  // a wrong PLIMSOLL_ISA is refused as run would
  Fitting(command).run();
  return 0;
}

}  // namespace plimsoll
