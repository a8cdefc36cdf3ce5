#include "fit/analysis.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "fit/format_errors.h"
#include "fit/interim_file.h"
#include "fit/rounded_matrix.h"

namespace plimsoll {
namespace {

/// Positions before this share of a sequence have too little before them to count.
constexpr double unscored_share = 0.25;

/// One tensor rounded by itself, and the residual streams of the probe sequences since then.
struct Branch {
  std::size_t use;
  /// Of a tied embedding: where tokens are looked up rather than in the output.
  bool in_lookup = false;
  float* residuals = nullptr;
  double error = 0;  ///< relative, of what was rounded
  double divergence = 0;
};

/// Divergence of the distribution of `logits` from that of `reference`, log-probabilities both;
/// nats.
double divergence(const Kernels& kernels, std::span<float> logits, const float* reference) {
  const float norm = kernels.log_sum_exp(logits.data(), static_cast<std::int64_t>(logits.size()));
  double total = 0;
  for (std::size_t i = 0; i < logits.size(); ++i)
    total += std::exp(static_cast<double>(reference[i])) *
             (static_cast<double>(reference[i]) - (logits[i] - norm));
  return total;
}

std::int64_t widest_probed(std::span<const TensorUse> uses) {
  std::int64_t widest = 0;
  for (const TensorUse& use : uses)
    if (!use.slot.is_vector() && probe_format(use.slot.columns))
      widest = std::max(widest, use.slot.columns);
  return widest;
}

class Analysis {
 public:
  Analysis(Context& context, const Description& description, std::span<const TensorUse> uses,
           const Weights& weights, std::span<const Sequence> moment_sequences,
           std::span<const Sequence> probes, const AnalysisOptions& options, LayerRunner& runner)
      : context_(context),
        description_(description),
        uses_(uses),
        weights_(weights),
        moment_sequences_(moment_sequences),
        probes_(probes),
        options_(options),
        runner_(runner),
        rounder_(context, widest_probed(uses)) {
    for (const TensorUse& use : uses) {
      if (use.slot.is_vector() || !probe_format(use.slot.columns)) continue;
      branch_count_ += use.slot.role == Role::token_embedding && description.tied_output ? 2 : 1;
    }
    for (const Sequence& probe : probes) tokens_ += static_cast<std::int64_t>(probe.size());
    residuals_ =
        Region::without_pages(context.ledger, Account::io, stream_stride() * static_cast<Bytes>(branch_count_ + 1));
    residuals_.take_back(0, stream_stride());
    branches_.reserve(static_cast<std::size_t>(branch_count_));
    result_.source = options.source;
    result_.tensors.resize(uses.size());
  }

  QualityModel run(MomentsWalk& walk,
                   const std::function<void(std::int64_t, std::int64_t)>& progress) {
    const std::int64_t steps = description_.layers + 1;
    InterimFile interim(options_.interim, interim_key());
    std::int64_t layer = 0;
    interim.read([&](InterimReader& reader) { layer = restore(reader, walk); });
    if (layer > 0) {
      walk.skip_to(layer);
      if (options_.resumed) options_.resumed(layer);
    } else {
      embed();
    }
    while (layer < description_.layers) {
      LayerMoments moments = walk.next();
      take_layer(layer, moments);
      ++layer;
      interim.write([&](InterimWriter& writer) { save(writer, layer, walk); });
      progress(layer, steps);
    }
    LayerMoments moments = walk.next();
    finish(moments);
    interim.remove();
    progress(steps, steps);
    return std::move(result_);
  }

 private:
  /// Whatever an interim state depends on.
  std::string interim_key() const {
    std::string key = fmt::format("{} {} {} {}\n", description_.family, tokens_, options_.damping,
                                  formats().size());
    for (const TensorUse& use : uses_)
      key += fmt::format("{} {}\n", use.info->name, use.info->format->name);
    for (const std::span<const Sequence> sequences : {moment_sequences_, probes_})
      for (const Sequence& sequence : sequences) {
        for (const TokenId id : sequence) {
          key += std::to_string(id);
          key += ' ';
        }
        key += '\n';
      }
    return key + options_.interim;
  }

  void save(InterimWriter& writer, std::int64_t layers, const MomentsWalk& walk) const {
    writer.value(layers);
    writer.value(static_cast<std::int64_t>(branches_.size()));
    for (const Branch& branch : branches_) {
      writer.value(static_cast<std::int64_t>(branch.use));
      writer.value(static_cast<std::int64_t>(branch.in_lookup));
      writer.value(branch.error);
    }
    for (const TensorQuality& tensor : result_.tensors) {
      for (const std::vector<double>& errors : tensor.errors)
        for (const double value : errors) writer.value(value);
      for (const double value : tensor.input_errors) writer.value(value);
    }
    writer.floats(walk.state());
    writer.floats({base(), stream()});
    for (const Branch& branch : branches_) writer.floats({branch.residuals, stream()});
  }

  /// The number of layers that were done; 0 where it is not what save() gave.
  std::int64_t restore(InterimReader& reader, MomentsWalk& walk) {
    if (reader.left() < 2 * sizeof(std::int64_t)) return 0;
    const auto layers = reader.value<std::int64_t>(), branches = reader.value<std::int64_t>();
    if (layers < 1 || layers > description_.layers || branches < 0 || branches > branch_count_)
      return 0;
    const Bytes of_branch = 2 * sizeof(std::int64_t) + sizeof(double);
    const Bytes of_tensor =
        (rounding_count * formats().size() + input_rounding_count) * sizeof(double);
    const auto values = walk.state().size() +
                        static_cast<std::size_t>((branches + 1) * tokens_ * description_.width);
    if (reader.left() != static_cast<Bytes>(branches) * of_branch + uses_.size() * of_tensor +
                             values * sizeof(float))
      return 0;
    for (std::int64_t i = 0; i < branches; ++i) {
      const auto use = reader.value<std::int64_t>();
      if (use < 0 || use >= std::ssize(uses_)) {
        branches_.clear();
        return 0;
      }
      Branch& branch = add_branch(static_cast<std::size_t>(use));
      branch.in_lookup = reader.value<std::int64_t>() != 0;
      branch.error = reader.value<double>();
    }
    for (TensorQuality& tensor : result_.tensors) {
      for (std::vector<double>& errors : tensor.errors)
        for (double& value : errors) value = reader.value<double>();
      for (double& value : tensor.input_errors) value = reader.value<double>();
    }
    reader.floats(walk.state());
    reader.floats({base(), stream()});
    for (const Branch& branch : branches_) reader.floats({branch.residuals, stream()});
    return layers;
  }

  /// Numbers in the residual streams of the base, or of a branch, over all probes.
  std::size_t stream() const { return static_cast<std::size_t>(tokens_ * description_.width); }
  /// The base and the branches begin on pages of their own, which come when they do.
  Bytes stream_stride() const { return round_up(stream() * sizeof(float), page_bytes); }

  TensorQuality& quality_of(std::size_t use) { return result_.tensors[use]; }
  const Matrix& matrix(std::size_t use) const { return weights_.matrix(uses_[use].slot.id()); }
  float* base() const { return residuals_.as<float>(); }

  Branch& add_branch(std::size_t use) {
    Branch& branch = branches_.emplace_back();
    branch.use = use;
    const Bytes offset = stream_stride() * branches_.size();
    residuals_.take_back(offset, stream_stride());
    branch.residuals = reinterpret_cast<float*>(residuals_.data() + offset);
    return branch;
  }

  template <class Visit>
  void for_each_probe(float* residuals, const Visit& visit) {
    for (const Sequence& probe : probes_) {
      visit(probe, residuals);
      residuals += static_cast<std::int64_t>(probe.size()) * description_.width;
    }
  }
  void run_layer(std::int64_t layer, float* residuals) {
    for_each_probe(residuals, [&](const Sequence& probe, float* residual) {
      runner_.run(layer, static_cast<std::int64_t>(probe.size()), residual);
    });
  }

  void embed() {
    for_each_probe(base(),
                   [&](const Sequence& probe, float* residual) { runner_.embed(probe, residual); });
    for (std::size_t use = 0; use < uses_.size(); ++use) {
      if (uses_[use].slot.role != Role::token_embedding) continue;
      const SampleRows rows = sample_rows(matrix(use));
      const Format* f = probe_format(rows.columns);
      if (!f) return measure_dense_errors(rounder_, rows, quality_of(use));
      Branch& branch = add_branch(use);
      branch.in_lookup = true;
      const RoundedMatrix replaced(context_, matrix(use), *f, {});
      Replacement replacement({Role::token_embedding}, replaced.matrix());
      runner_.set_observer(&replacement);
      for_each_probe(branch.residuals, [&](const Sequence& probe, float* residual) {
        runner_.embed(probe, residual);
      });
      runner_.set_observer(nullptr);
      measure_lookup_errors(rounder_, rows, quality_of(use));
      branch.error = quality_of(use).error(*f, Rounding::plain);
    }
  }

  /// Errors of an input's columns are independent of each other: they add up by the columns'
  /// squares.
  void measure_input_errors(std::size_t use, const LayerMoments& moments, const SampleRows& rows) {
    const auto columns = static_cast<std::size_t>(rows.columns);
    const double power = sum(rows.powers);
    std::vector<double> squares(columns);
    for (std::size_t i = 0; i < rows.values.size(); ++i)
      squares[i % columns] += static_cast<double>(rows.values[i]) * rows.values[i];
    for (const InputRounding rounding :
         {InputRounding::rows, InputRounding::blocks_of_32, InputRounding::blocks_of_256}) {
      const std::vector<float> errors = moments.rounding_errors(uses_[use].slot.role, rounding);
      double total = 0;
      for (std::size_t k = 0; k < columns; ++k) total += squares[k] * errors[k];
      quality_of(use).input_errors[static_cast<std::size_t>(rounding)] = total / power;
    }
  }

  void take_layer(std::int64_t layer, LayerMoments& moments) {
    const std::size_t older = branches_.size();
    // All tensors that share an input come to it before and after it is factored.
    struct Sampled {
      std::size_t use;
      SampleRows rows;
    };
    std::map<Role, std::vector<Sampled>> by_input;
    for (std::size_t use = 0; use < uses_.size(); ++use) {
      const TensorSlot& slot = uses_[use].slot;
      if (slot.layer != layer || slot.is_vector()) continue;
      if (probe_format(slot.columns))
        by_input[input_role(slot.role)].push_back({use, {}});
      else
        measure_dense_errors(rounder_, sample_rows(matrix(use)), quality_of(use));
    }
    for (auto& [input, tensors] : by_input) {
      SecondMoments& inputs = *moments.of(input);
      for (auto& [use, rows] : tensors) {
        rows = sample_rows(matrix(use));
        rows.powers = inputs.powers(rows.values.data(), rows.count());
        measure_plain_errors(rounder_, rows, inputs, quality_of(use));
        measure_input_errors(use, moments, rows);
      }
      inputs.factor(options_.damping);
      for (const auto& [use, rows] : tensors) {
        measure_feedback_errors(rounder_, rows, inputs, quality_of(use));
        const Format& f = *probe_format(rows.columns);
        Branch& branch = add_branch(use);
        branch.error = quality_of(use).error(f, Rounding::with_feedback);
        std::copy_n(base(), tokens_ * description_.width, branch.residuals);
        const RoundedMatrix replaced(context_, matrix(use), f, with_feedback(inputs));
        Replacement replacement(uses_[use].slot.id(), replaced.matrix());
        runner_.set_observer(&replacement);
        run_layer(layer, branch.residuals);
        runner_.set_observer(nullptr);
      }
    }
    for (std::size_t i = 0; i < older; ++i) run_layer(layer, branches_[i].residuals);
    run_layer(layer, base());
  }

  void finish(LayerMoments& moments) {
    const std::size_t use = find_output(uses_);
    SampleRows rows = sample_rows(matrix(use));
    std::optional<RoundedMatrix> replaced;
    const std::size_t output_branch = branches_.size();
    SecondMoments& inputs = *moments.of(Role::output);
    if (const Format* f = probe_format(rows.columns)) {
      rows.powers = inputs.powers(rows.values.data(), rows.count());
      Branch& branch = add_branch(use);
      std::copy_n(base(), tokens_ * description_.width, branch.residuals);
      // Under the diagonal: what a tied matrix may neglect depends on what comes out here.
      const std::vector<float> importance = inputs.mean_squares();
      const ColumnWeights weights = {importance.data(), nullptr, false};
      const std::vector<float> errors =
          rounding_errors(rounder_, *f, rows.values, rows.columns, weights);
      branch.error = sum(inputs.powers(errors.data(), rows.count())) / sum(rows.powers);
      replaced.emplace(context_, matrix(use), *f, weights);
    }
    measure_divergences(output_branch, replaced ? &replaced->matrix() : nullptr);
    for (Branch& branch : branches_)
      branch.divergence /= static_cast<double>(std::max<std::int64_t>(scored_, 1));

    double lookup = 0;
    for (const Branch& branch : branches_) {
      const double sensitivity = branch.error > 0 ? branch.divergence / branch.error : 0;
      if (branch.in_lookup && branch.use == use)
        lookup = sensitivity;
      else
        quality_of(branch.use).sensitivity = sensitivity;
    }
    TensorQuality& output = quality_of(use);
    if (!replaced) return measure_dense_errors(rounder_, rows, output);
    measure_input_errors(use, moments, rows);
    if (lookup > 0 && output.sensitivity > 0) {
      output.lookup_share = lookup / output.sensitivity;
      inputs.add_to_diagonal(output.lookup_share * sum(rows.powers) / squared_norm(rows.values));
    }
    measure_plain_errors(rounder_, rows, inputs, output);
    inputs.factor(options_.damping);
    measure_feedback_errors(rounder_, rows, inputs, output);
  }

  /// `replaced`: the output's matrix in its branch, if it has one.
  void measure_divergences(std::size_t output_branch, const Matrix* replaced) {
    const std::int64_t vocabulary = description_.vocabulary, width = description_.width;
    std::vector<float> reference(static_cast<std::size_t>(LayerRunner::logit_slice * vocabulary));
    std::optional<Replacement> replacement;
    if (replaced) replacement.emplace(TensorId{Role::output}, *replaced);
    std::int64_t at = 0;
    for (const Sequence& probe : probes_) {
      const auto tokens = static_cast<std::int64_t>(probe.size());
      for (std::int64_t first =
               static_cast<std::int64_t>(unscored_share * static_cast<double>(tokens));
           first < tokens; first += LayerRunner::logit_slice) {
        const std::int64_t count = std::min(LayerRunner::logit_slice, tokens - first);
        const std::int64_t offset = (at + first) * width;
        const std::span<float> base_logits = runner_.logits(base() + offset, count);
        context_.threads.parallel_for(count, 1, [&](std::int64_t begin, std::int64_t end, int) {
          for (std::int64_t t = begin; t < end; ++t) {
            const float* logits = base_logits.data() + t * vocabulary;
            const float norm = context_.kernels.log_sum_exp(logits, vocabulary);
            for (std::int64_t i = 0; i < vocabulary; ++i)
              reference[static_cast<std::size_t>(t * vocabulary + i)] = logits[i] - norm;
          }
        });
        for (std::size_t b = 0; b < branches_.size(); ++b) {
          Branch& branch = branches_[b];
          if (b == output_branch) runner_.set_observer(&*replacement);
          const std::span<float> logits = runner_.logits(branch.residuals + offset, count);
          runner_.set_observer(nullptr);
          double each[LayerRunner::logit_slice];
          context_.threads.parallel_for(count, 1, [&](std::int64_t begin, std::int64_t end, int) {
            for (std::int64_t t = begin; t < end; ++t)
              each[t] = divergence(context_.kernels,
                                   logits.subspan(static_cast<std::size_t>(t * vocabulary),
                                                  static_cast<std::size_t>(vocabulary)),
                                   reference.data() + t * vocabulary);
          });
          branch.divergence += std::accumulate(each, each + count, 0.0);
        }
        scored_ += count;
      }
      at += tokens;
    }
  }

  Context& context_;
  const Description& description_;
  std::span<const TensorUse> uses_;
  const Weights& weights_;
  std::span<const Sequence> moment_sequences_, probes_;
  const AnalysisOptions& options_;
  LayerRunner& runner_;
  Rounder rounder_;
  std::int64_t branch_count_ = 0;
  std::int64_t tokens_ = 0;  ///< of all probes
  std::int64_t scored_ = 0;
  Region residuals_;  ///< f32 [base, then branches][tokens][width], each of whole pages
  std::vector<Branch> branches_;
  QualityModel result_;
};

}  // namespace

QualityModel analyse(Context& context, const ModelFile& file, const Description& description,
                     std::span<const TensorUse> uses, std::span<const Sequence> moment_sequences,
                     std::span<const Sequence> probe_sequences, const AnalysisOptions& options,
                     const std::function<void(std::int64_t done, std::int64_t total)>& progress) {
  std::size_t longest = 1;
  for (const std::span<const Sequence> sequences : {moment_sequences, probe_sequences})
    for (const Sequence& sequence : sequences) longest = std::max(longest, sequence.size());
  Weights weights = Weights::without_matrices(context, file, description);
  LayerRunner runner(context, description, weights, static_cast<std::int64_t>(longest));
  MomentsWalk walk(context, file, description, weights, runner, moment_sequences);
  QualityModel quality = Analysis(context, description, uses, weights, moment_sequences,
                                  probe_sequences, options, runner)
                             .run(walk, progress);
  file.check_unchanged();
  return quality;
}

}  // namespace plimsoll
