#include "fit/analysis.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>

#include "fit/interim_file.h"
#include "fit/rounding.h"
#include "kernels/quantise.h"

namespace plimsoll {
namespace {

/// Rows on which formats are compared.
constexpr std::int64_t sampled_rows = 128;
/// Of those, for formats that take long, and for plain rounding, whose error varies little from row
/// to row.
constexpr std::int64_t codebook_rows = 8, plain_rows = 32;
/// Rows of a tensor that are rounded at a time.
constexpr std::int64_t rounded_together = 1024;
/// Positions before this share of a sequence have too little before them to count.
constexpr double unscored_share = 0.25;

/// Formats of middling error, to measure what a tensor's error costs: the first whose block divides
/// the rows.
constexpr FormatId probe_formats[] = {FormatId::Q3_K, FormatId::Q4_0};

const Format* probe_format(std::int64_t columns) {
  for (const FormatId id : probe_formats)
    if (columns % format(id).block_values == 0) return &format(id);
  return nullptr;
}

/// What errors are measured in: the standard formats, and the levels of codes that nest.
std::vector<const Format*> measured_formats(std::int64_t columns) {
  std::vector<const Format*> result(rounding_formats().begin(), rounding_formats().end());
  for (const FormatId id : {FormatId::NEST4, FormatId::NEST6, FormatId::NEST8})
    result.push_back(&format(id));
  std::erase_if(result, [columns](const Format* f) { return columns % f->block_values != 0; });
  return result;
}

/// What weights are rounded to that a format is to hold: a level is what is left of all bits.
const Format& rounding_target(const Format& f) {
  return is_standard(f.id) ? f : format(FormatId::NEST8);
}

std::size_t position(const Format& f) { return static_cast<std::size_t>(&f - formats().data()); }

/// Rows of a matrix as f32, evenly spread.
std::vector<float> sample_rows(const Matrix& matrix) {
  const std::int64_t count = std::min(matrix.rows(), sampled_rows);
  std::vector<float> rows(static_cast<std::size_t>(count * matrix.columns()));
  for (std::int64_t i = 0; i < count; ++i)
    matrix.dequantise_row(i * matrix.rows() / count, rows.data() + i * matrix.columns());
  return rows;
}

double sum(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}

double squared_norm(std::span<const float> values) {
  double total = 0;
  for (const float value : values) total += static_cast<double>(value) * value;
  return total;
}

/// One tensor rounded by itself, and the residual streams of the probe sequences since then.
struct Branch {
  std::size_t use;
  bool in_lookup =
      false;  ///< of a tied embedding: where tokens are looked up rather than in the output
  float* residuals = nullptr;
  double error = 0;  ///< relative, of what was rounded
  double divergence = 0;
};

/// Puts a rounded matrix in a product's place.
class Replacement : public ProductObserver {
 public:
  Replacement(Role role, std::int64_t layer, const Matrix& by)
      : role_(role), layer_(layer), by_(by) {}
  void observe(const ObservedProduct&) override {}
  const Matrix* replace(Role role, std::int64_t layer, const Matrix* matrix) override {
    return role == role_ && layer == layer_ ? &by_ : matrix;
  }

 private:
  Role role_;
  std::int64_t layer_;
  const Matrix& by_;
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
        runner_(runner) {
    std::int64_t widest = 0;
    for (const TensorUse& use : uses) {
      if (use.slot.is_vector() || !probe_format(use.slot.columns)) continue;
      widest = std::max(widest, use.slot.columns);
      branch_count_ += use.slot.role == Role::token_embedding && description.tied_output ? 2 : 1;
    }
    for (const Sequence& probe : probes) tokens_ += static_cast<std::int64_t>(probe.size());
    rounder_ = std::make_unique<Rounder>(context, widest);
    residuals_ = Region(
        context.ledger, Account::io,
        static_cast<Bytes>((branch_count_ + 1) * tokens_ * description.width) * sizeof(float));
    branches_.reserve(static_cast<std::size_t>(branch_count_));
    result_.source = options.source;
    result_.tensors.resize(uses.size());
    for (TensorQuality& tensor : result_.tensors)
      tensor.errors.fill(std::vector<double>(formats().size(), -1));
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
    writer.floats({base(), streams()});
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
    reader.floats({base(), streams()});
    return layers;
  }

  /// Numbers in the residual streams of the base and the branches so far.
  std::size_t streams() const {
    return (branches_.size() + 1) * static_cast<std::size_t>(tokens_ * description_.width);
  }

  const Matrix& matrix(std::size_t use) const {
    return weights_.matrix(uses_[use].slot.role, uses_[use].slot.layer);
  }
  float* base() const { return residuals_.as<float>(); }

  Branch& add_branch(std::size_t use) {
    Branch& branch = branches_.emplace_back();
    branch.use = use;
    branch.residuals =
        base() + static_cast<std::int64_t>(branches_.size()) * tokens_ * description_.width;
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

  /// A matrix rounded and decoded again, as halves in `memory`: what that loses is far below what
  /// the rounding does.
  Matrix rounded(const Matrix& source, const Format& f, const ColumnWeights& column_weights,
                 Region& memory) {
    const std::int64_t rows = source.rows(), columns = source.columns();
    const Bytes row = row_bytes(f, columns);
    memory = Region(context_.ledger, Account::io,
                    static_cast<Bytes>(rows * columns) * sizeof(std::uint16_t));
    auto* const halves = memory.as<std::uint16_t>();
    const std::int64_t step = std::min(rows, rounded_together);
    Region chunk(context_.ledger, Account::io,
                 static_cast<Bytes>(step) * (static_cast<Bytes>(columns) * sizeof(float) + row));
    auto* const values = chunk.as<float>();
    auto* const blocks = reinterpret_cast<std::uint8_t*>(values + step * columns);
    for (std::int64_t first = 0; first < rows; first += step) {
      const std::int64_t count = std::min(step, rows - first);
      const auto for_rows = [&](auto&& visit) {
        context_.threads.parallel_for(count, 16, [&](std::int64_t begin, std::int64_t end, int) {
          for (std::int64_t r = begin; r < end; ++r) visit(r, values + r * columns);
        });
      };
      for_rows([&](std::int64_t r, float* out) { source.dequantise_row(first + r, out); });
      rounder_->round(f, values, count, columns, column_weights, blocks);
      for_rows([&](std::int64_t r, float* out) {
        f.decode(blocks + static_cast<Bytes>(r) * row, out, columns / f.block_values);
        context_.kernels.half_from_float(out, columns, halves + (first + r) * columns);
      });
    }
    return Matrix(DenseView{halves, DenseView::Type::f16, rows, columns});
  }

  void embed() {
    for_each_probe(base(),
                   [&](const Sequence& probe, float* residual) { runner_.embed(probe, residual); });
    for (std::size_t use = 0; use < uses_.size(); ++use) {
      if (uses_[use].slot.role != Role::token_embedding) continue;
      const Format* f = probe_format(uses_[use].slot.columns);
      if (!f) return measure_dense(use);
      const Matrix& source = matrix(use);
      Branch& branch = add_branch(use);
      branch.in_lookup = true;
      Region memory;
      const Matrix replaced = rounded(source, *f, {}, memory);
      Replacement replacement(Role::token_embedding, -1, replaced);
      runner_.set_observer(&replacement);
      for_each_probe(branch.residuals, [&](const Sequence& probe, float* residual) {
        runner_.embed(probe, residual);
      });
      runner_.set_observer(nullptr);
      // Plain error is all that a lookup knows.
      const std::vector<float> rows = sample_rows(source);
      const double power = squared_norm(rows);
      for (const Format* candidate : measured_formats(source.columns())) {
        const double relative = plain_error(*candidate, rows, source.columns()) / power;
        for (std::vector<double>& errors : result_.tensors[use].errors)
          errors[position(*candidate)] = relative;
      }
      branch.error = error(use, Rounding::plain, *f);
    }
  }

  double& error(std::size_t use, Rounding rounding, const Format& f) {
    return result_.tensors[use].errors[static_cast<std::size_t>(rounding)][position(f)];
  }

  double plain_error(const Format& f, const std::vector<float>& rows, std::int64_t columns) {
    const std::vector<float> errors = plain_errors(f, rows, columns, {});
    return squared_norm(errors);
  }

  /// Rows as the format gives them back, minus the rows.
  std::vector<float> plain_errors(const Format& f, const std::vector<float>& rows,
                                  std::int64_t columns, const ColumnWeights& weights) {
    const std::int64_t count = static_cast<std::int64_t>(rows.size()) / columns;
    const Format& target = rounding_target(f);
    std::vector<std::uint8_t> blocks(static_cast<std::size_t>(count) * row_bytes(target, columns));
    if (target.kind == Format::Kind::coded)
      rounder_->round(target, rows.data(), count, columns, weights, blocks.data());
    else
      target.encode(rows.data(), blocks.data(), count * columns / target.block_values);
    return errors_of(f, blocks, rows);
  }

  /// What the format holds of blocks of its rounding_target(), minus the rows.
  static std::vector<float> errors_of(const Format& f, std::vector<std::uint8_t>& blocks,
                                      const std::vector<float>& rows) {
    const Format& target = rounding_target(f);
    const auto count = static_cast<std::int64_t>(rows.size()) / f.block_values;
    if (&f != &target) lower(target, f, blocks.data(), blocks.data(), count);
    std::vector<float> errors(rows.size());
    f.decode(blocks.data(), errors.data(), count);
    for (std::size_t i = 0; i < errors.size(); ++i) errors[i] -= rows[i];
    return errors;
  }

  /// Of the rows that formats are compared on, those for one of them: encoding codebooks takes
  /// long, and so does the cost of errors that rounding did not count itself.
  static std::int64_t compared_rows(const Format& f, std::int64_t count) {
    const bool slow = f.encode_weighted || &f != &rounding_target(f);
    return slow ? std::min(count, codebook_rows) : count;
  }

  /// Before the moments are factored: relative errors of plain rounding. `powers` are those of the
  /// rows.
  void measure_plain_errors(std::size_t use, SecondMoments& moments, const std::vector<float>& rows,
                            const std::vector<double>& powers) {
    const std::int64_t columns = uses_[use].slot.columns;
    for (const Format* f : measured_formats(columns)) {
      const std::int64_t count =
          std::min(compared_rows(*f, static_cast<std::int64_t>(powers.size())), plain_rows);
      const std::vector<float> compared(rows.begin(), rows.begin() + count * columns);
      const std::vector<double> costs =
          moments.powers(plain_errors(*f, compared, columns, {}).data(), count);
      const double power = std::accumulate(powers.begin(), powers.begin() + count, 0.0);
      error(use, Rounding::plain, *f) = sum(costs) / power;
      if (f->kind == Format::Kind::dense)
        error(use, Rounding::with_feedback, *f) = error(use, Rounding::plain, *f);
    }
  }

  /// After it: those of rounding with error feedback.
  void measure_feedback_errors(std::size_t use, const SecondMoments& moments,
                               const std::vector<float>& rows, const std::vector<double>& powers) {
    const std::int64_t columns = uses_[use].slot.columns;
    std::vector<float> residual(static_cast<std::size_t>(columns));
    for (const Format* f : measured_formats(columns)) {
      if (f->kind == Format::Kind::dense) continue;
      const Format& target = rounding_target(*f);
      const std::int64_t count = compared_rows(*f, static_cast<std::int64_t>(powers.size()));
      std::vector<std::uint8_t> blocks(static_cast<std::size_t>(count) *
                                       row_bytes(target, columns));
      double cost = rounder_->round(target, rows.data(), count, columns, with_feedback(moments),
                                    blocks.data());
      if (f != &target) {
        const std::vector<float> compared(rows.begin(), rows.begin() + count * columns);
        const std::vector<float> errors = errors_of(*f, blocks, compared);
        cost = 0;
        for (std::int64_t row = 0; row < count; ++row)
          cost += cost_under_moments(moments.diagonal().data(), moments.upper(), columns,
                                     errors.data() + row * columns, residual.data());
      }
      error(use, Rounding::with_feedback, *f) =
          cost / std::accumulate(powers.begin(), powers.begin() + count, 0.0);
    }
  }

  /// Of a tensor that no coded format can hold: dense formats lose so little that a guess from
  /// above does.
  void measure_dense(std::size_t use) {
    constexpr double sensitivity_guess = 1;
    const std::vector<float> rows = sample_rows(matrix(use));
    result_.tensors[use].sensitivity = sensitivity_guess;
    for (const Format* f : rounding_formats()) {
      if (f->kind != Format::Kind::dense) continue;
      const double relative =
          plain_error(*f, rows, uses_[use].slot.columns) / std::max(squared_norm(rows), 1e-30);
      error(use, Rounding::plain, *f) = error(use, Rounding::with_feedback, *f) = relative;
    }
  }

  /// Errors of an input's columns are independent of each other: they add up by the columns'
  /// squares.
  void measure_input_errors(std::size_t use, const LayerMoments& moments,
                            const std::vector<float>& rows, double power) {
    const auto columns = static_cast<std::size_t>(uses_[use].slot.columns);
    std::vector<double> squares(columns);
    for (std::size_t i = 0; i < rows.size(); ++i)
      squares[i % columns] += static_cast<double>(rows[i]) * rows[i];
    for (const InputRounding rounding :
         {InputRounding::rows, InputRounding::blocks_of_32, InputRounding::blocks_of_256}) {
      const std::vector<float> errors = moments.rounding_errors(uses_[use].slot.role, rounding);
      double total = 0;
      for (std::size_t k = 0; k < columns; ++k) total += squares[k] * errors[k];
      result_.tensors[use].input_errors[static_cast<std::size_t>(rounding)] = total / power;
    }
  }

  void take_layer(std::int64_t layer, LayerMoments& moments) {
    const std::size_t older = branches_.size();
    // All tensors that share an input come to it before and after it is factored.
    struct Tensor {
      std::size_t use;
      std::vector<float> rows;
      std::vector<double> powers;
    };
    std::map<Role, std::vector<Tensor>> by_input;
    for (std::size_t use = 0; use < uses_.size(); ++use) {
      const TensorSlot& slot = uses_[use].slot;
      if (slot.layer != layer || slot.is_vector()) continue;
      if (probe_format(slot.columns))
        by_input[input_role(slot.role)].push_back({use, {}, {}});
      else
        measure_dense(use);
    }
    for (auto& [input, tensors] : by_input) {
      SecondMoments& inputs = *moments.of(input);
      for (Tensor& tensor : tensors) {
        tensor.rows = sample_rows(matrix(tensor.use));
        tensor.powers =
            inputs.powers(tensor.rows.data(), static_cast<std::int64_t>(tensor.rows.size()) /
                                                  uses_[tensor.use].slot.columns);
        measure_plain_errors(tensor.use, inputs, tensor.rows, tensor.powers);
        measure_input_errors(tensor.use, moments, tensor.rows, sum(tensor.powers));
      }
      inputs.factor(options_.damping);
      for (Tensor& tensor : tensors) {
        measure_feedback_errors(tensor.use, inputs, tensor.rows, tensor.powers);
        const TensorSlot& slot = uses_[tensor.use].slot;
        const Format& f = *probe_format(slot.columns);
        Branch& branch = add_branch(tensor.use);
        branch.error = error(tensor.use, Rounding::with_feedback, f);
        std::copy_n(base(), tokens_ * description_.width, branch.residuals);
        Region memory;
        const Matrix replaced = rounded(matrix(tensor.use), f, with_feedback(inputs), memory);
        Replacement replacement(slot.role, layer, replaced);
        runner_.set_observer(&replacement);
        run_layer(layer, branch.residuals);
        runner_.set_observer(nullptr);
      }
    }
    for (std::size_t i = 0; i < older; ++i) run_layer(layer, branches_[i].residuals);
    run_layer(layer, base());
  }

  void finish(LayerMoments& moments) {
    const Role output_role = description_.tied_output ? Role::token_embedding : Role::output;
    std::size_t use = 0;
    while (use < uses_.size() && uses_[use].slot.role != output_role) ++use;
    const std::int64_t columns = uses_[use].slot.columns;
    Region memory;
    Matrix replaced;
    std::size_t output_branch = branches_.size();
    std::vector<float> rows;
    std::vector<double> powers;
    SecondMoments& inputs = *moments.of(Role::output);
    if (const Format* f = probe_format(columns)) {
      rows = sample_rows(matrix(use));
      const auto count = static_cast<std::int64_t>(rows.size()) / columns;
      powers = inputs.powers(rows.data(), count);
      Branch& branch = add_branch(use);
      std::copy_n(base(), tokens_ * description_.width, branch.residuals);
      // Under the diagonal: what a tied matrix may neglect depends on what comes out here.
      const std::vector<float> importance = inputs.mean_squares();
      const ColumnWeights weights = {importance.data(), nullptr, false};
      branch.error =
          sum(inputs.powers(plain_errors(*f, rows, columns, weights).data(), count)) / sum(powers);
      replaced = rounded(matrix(use), *f, weights, memory);
    }
    measure_divergences(output_branch, replaced);
    for (Branch& branch : branches_)
      branch.divergence /= static_cast<double>(std::max<std::int64_t>(scored_, 1));

    double lookup = 0;
    for (const Branch& branch : branches_) {
      const double sensitivity = branch.error > 0 ? branch.divergence / branch.error : 0;
      if (branch.in_lookup && description_.tied_output)
        lookup = sensitivity;
      else
        result_.tensors[branch.use].sensitivity = sensitivity;
    }
    if (rows.empty()) return measure_dense(use);
    measure_input_errors(use, moments, rows, sum(powers));
    TensorQuality& output = result_.tensors[use];
    if (lookup > 0 && output.sensitivity > 0) {
      output.lookup_share = lookup / output.sensitivity;
      inputs.add_to_diagonal(output.lookup_share * sum(powers) / squared_norm(rows));
    }
    measure_plain_errors(use, inputs, rows, powers);
    inputs.factor(options_.damping);
    measure_feedback_errors(use, inputs, rows, powers);
  }

  void measure_divergences(std::size_t output_branch, const Matrix& replaced) {
    const std::int64_t vocabulary = description_.vocabulary, width = description_.width;
    std::vector<float> reference(static_cast<std::size_t>(LayerRunner::logit_slice * vocabulary));
    Replacement replacement(Role::output, -1, replaced);
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
          if (b == output_branch) runner_.set_observer(&replacement);
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
  std::unique_ptr<Rounder> rounder_;
  std::int64_t branch_count_ = 0;
  std::int64_t tokens_ = 0;  ///< of all probes
  std::int64_t scored_ = 0;
  Region residuals_;  ///< f32 [base, then branches][tokens][width]
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
