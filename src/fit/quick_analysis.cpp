#include "fit/quick_analysis.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <numeric>
#include <random>

#include "fit/format_errors.h"
#include "fit/input_rounding.h"
#include "fit/rounding.h"
#include "fit/sample_text.h"
#include "gradient/gradient.h"
#include "model/weights.h"
#include "plan/candidates.h"
#include "rows/staging.h"

namespace plimsoll {
namespace {

/// Rows of each tensor on which formats are compared.
constexpr std::int64_t sampled_rows = 48;
/// Of the tokens, those from this share on are scored: before it there is too little to go by.
constexpr double unscored_share = 0.25;
/// Tokens times weights that take some five seconds on two cores; the bounds of the former; and a
/// model of so many weights is measured with the fewest without being asked.
constexpr std::int64_t most_token_weights = 70'000'000'000;
constexpr std::int64_t least_tokens = 128, most_tokens = 512;
constexpr std::int64_t largest_parameters = 1'300'000'000;
constexpr InputRounding input_roundings[] = {InputRounding::rows, InputRounding::blocks_of_32,
                                             InputRounding::blocks_of_256};

double squared_norm(const float* x, std::int64_t n) {
  return plimsoll::squared_norm({x, static_cast<std::size_t>(n)});
}

/// Rows of a matrix, drawn by their share of the squared gradient in their products' outputs
/// (systematic sampling), and what the squared errors of their weights cost: half of the sum of
/// both products, over all rows and columns, is the loss times the number of scored tokens.
struct Sample {
  std::vector<std::int64_t> rows;
  std::vector<float> values;   ///< [rows][columns]
  std::vector<float> weights;  ///< [rows][columns]
};

/// What the passes say of one product, summed over tokens.
struct Gathered {
  std::vector<double> rows;     ///< [rows]: g^2
  std::vector<float> columns;   ///< [columns]: |g|^2 x^2
  /// By InputRounding, [columns]: |g|^2 (rounding error of x)^2.
  std::array<std::vector<float>, input_rounding_count> inputs;
  std::int64_t tokens = 0;
};

/// Turns logits into a random vector whose second moments are the Fisher information of their
/// distribution p, diag(p) - p p^T: sqrt(p) e - p (sqrt(p) . e), e of random signs. A token drawn from
/// p would have the same moments, but most of what it says comes from draws that hardly ever occur.
class RandomSquareRoot {
 public:
  explicit RandomSquareRoot(std::int64_t first_scored) : first_scored_(first_scored) {}

  double operator()(std::int64_t position, std::span<float> logits) {
    if (position < first_scored_) return no_loss(logits);
    const float most = *std::ranges::max_element(logits);
    double sum = 0;
    for (float& logit : logits) sum += logit = std::exp(logit - most);
    const auto inverse = static_cast<float>(1 / sum);
    double inner = 0;  // sqrt(p) . e
    std::uint64_t bits = 0;
    roots_.resize(logits.size());
    for (std::size_t i = 0; i < logits.size(); ++i, bits >>= 1) {
      if (i % 64 == 0) bits = random_();
      logits[i] *= inverse;
      const float root = std::sqrt(logits[i]);
      roots_[i] = (bits & 1) != 0 ? root : -root;
      inner += roots_[i];
    }
    for (std::size_t i = 0; i < logits.size(); ++i)
      logits[i] = roots_[i] - logits[i] * static_cast<float>(inner);
    return 0;
  }

 private:
  std::int64_t first_scored_;
  std::vector<float> roots_;
  std::mt19937_64 random_{20};
};

class QuickAnalysis {
 public:
  QuickAnalysis(Context& context, const Description& description,
                std::span<const TensorUse> uses, std::int64_t scored)
      : context_(context), description_(description), uses_(uses), scored_(scored) {
    std::int64_t widest = 1;
    for (const TensorUse& use : uses)
      if (!use.slot.is_vector()) widest = std::max(widest, use.slot.columns);
    rounder_ = std::make_unique<Rounder>(context, widest);
    result_.source = QualitySource::quick;
    result_.tensors.resize(uses.size());
  }

  /// `tokens`: of the whole sequence, which products come to.
  void observe(const ProductGradient& p, std::span<const TokenId> tokens) {
    if (p.role == Role::token_embedding) return observe_lookup(p);
    const std::int64_t rows = p.matrix->rows(), columns = p.matrix->columns();
    if (gathered_.tokens == 0) begin(rows, columns);
    std::vector<float> weights(static_cast<std::size_t>(p.tokens));
    for (std::int64_t t = 0; t < p.tokens; ++t)
      weights[static_cast<std::size_t>(t)] =
          static_cast<float>(squared_norm(p.y_gradient + t * p.y_stride, rows));
    context_.threads.parallel_for(rows, 64, [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t t = 0; t < p.tokens; ++t)
        for (std::int64_t r = begin; r < end; ++r) {
          const double g = p.y_gradient[t * p.y_stride + r];
          gathered_.rows[static_cast<std::size_t>(r)] += g * g;
        }
    });
    for (std::int64_t t = 0; t < p.tokens; ++t) {
      const float weight = weights[static_cast<std::size_t>(t)];
      if (weight == 0) continue;
      const float* const x = p.x + t * p.x_stride;
      for (std::int64_t k = 0; k < columns; ++k)
        gathered_.columns[static_cast<std::size_t>(k)] += weight * x[k] * x[k];
      const float row_largest = largest_magnitude(x, columns);
      for (const InputRounding rounding : input_roundings)
        add_input_rounding_errors(rounding, x, columns, row_largest, weight,
                                  gathered_.inputs[static_cast<std::size_t>(rounding)].data());
    }
    gathered_.tokens += p.tokens;
    if (gathered_.tokens < static_cast<std::int64_t>(tokens.size())) return;
    Sample sample = draw_rows(*p.matrix);
    // What an error in a layer does at one token meets what it does at others: the squares are of
    // sums over tokens. In the output nothing follows that could bring tokens together.
    if (p.role != Role::output) weigh_by_sums(p, sample);
    finish(find({p.role, p.layer}), *p.matrix, sample);
    gathered_ = {};
  }

  QualityModel take() { return std::move(result_); }

 private:
  void begin(std::int64_t rows, std::int64_t columns) {
    gathered_.rows.assign(static_cast<std::size_t>(rows), 0);
    gathered_.columns.assign(static_cast<std::size_t>(columns), 0);
    for (const InputRounding rounding : input_roundings)
      gathered_.inputs[static_cast<std::size_t>(rounding)].assign(
          static_cast<std::size_t>(columns), 0);
  }

  std::size_t find(const TensorId& id) const {
    if (id.role == Role::output) return find_output(uses_);
    std::size_t use = 0;
    while (uses_[use].slot.id() != id) ++use;
    return use;
  }

  Sample draw_rows(const Matrix& matrix) const {
    const std::int64_t count = std::min(matrix.rows(), sampled_rows), columns = matrix.columns();
    const double total = std::accumulate(gathered_.rows.begin(), gathered_.rows.end(), 0.0);
    Sample sample;
    sample.values.resize(static_cast<std::size_t>(count * columns));
    double reached = 0;
    std::int64_t row = -1;
    for (std::int64_t i = 0; i < count; ++i) {
      if (total > 0) {
        const double wanted = (static_cast<double>(i) + 0.5) / static_cast<double>(count) * total;
        while (row + 1 < matrix.rows() && (row < 0 || reached < wanted))
          reached += gathered_.rows[static_cast<std::size_t>(++row)];
      } else {
        row = i * matrix.rows() / count;
      }
      sample.rows.push_back(row);
      matrix.dequantise_row(row, sample.values.data() + i * columns);
      for (const float weight : gathered_.columns)
        sample.weights.push_back(weight / static_cast<float>(count));
    }
    return sample;
  }

  /// Of rows that stand for all by their share of the squared gradient.
  void weigh_by_sums(const ProductGradient& p, Sample& sample) const {
    const std::int64_t columns = p.matrix->columns();
    const auto count = static_cast<std::int64_t>(sample.rows.size());
    const double total = std::accumulate(gathered_.rows.begin(), gathered_.rows.end(), 0.0);
    if (total <= 0) return;
    context_.threads.parallel_for(count, 1, [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t i = begin; i < end; ++i) {
        const std::int64_t row = sample.rows[static_cast<std::size_t>(i)];
        const double share = gathered_.rows[static_cast<std::size_t>(row)] / total;
        float* const weights = sample.weights.data() + i * columns;
        std::fill_n(weights, columns, 0.0f);
        for (std::int64_t t = 0; t < p.tokens; ++t) {
          const float gradient = p.y_gradient[t * p.y_stride + row];
          const float* const x = p.x + t * p.x_stride;
          if (gradient != 0)
            for (std::int64_t k = 0; k < columns; ++k) weights[k] += gradient * x[k];
        }
        const auto scale = static_cast<float>(1 / (share * static_cast<double>(count)));
        for (std::int64_t k = 0; k < columns; ++k) weights[k] *= weights[k] * scale;
      }
    });
  }

  /// Sum of values^2 times their weights, which repeat where there are fewer.
  static double weigh(const std::vector<float>& values, const std::vector<float>& weights) {
    double sum = 0;
    for (std::size_t i = 0; i < values.size(); ++i)
      sum += static_cast<double>(values[i]) * values[i] * weights[i % weights.size()];
    return sum;
  }

  void finish(std::size_t use, const Matrix& matrix, const Sample& sample) {
    const std::int64_t columns = matrix.columns();
    TensorQuality& tensor = result_.tensors[use];
    const double power = weigh(sample.values, sample.weights);
    if (power <= 0) return measure_nothing(tensor, use);
    tensor.sensitivity = 0.5 * power / static_cast<double>(scored_);
    for (const InputRounding rounding : input_roundings)
      tensor.input_errors[static_cast<std::size_t>(rounding)] =
          weigh(sample.values, gathered_.inputs[static_cast<std::size_t>(rounding)]) /
          static_cast<double>(sample.rows.size()) / power;
    for (const Format* f : rounding_formats()) {
      if (!can_hold(*f, columns) || f->encode_weighted) continue;
      tensor.error(*f, Rounding::plain) =
          weigh(rounding_errors(*rounder_, *f, sample.values, columns, {}), sample.weights) / power;
    }
    fill_in(tensor, use);
  }

  /// A tensor whose error nothing depends on.
  void measure_nothing(TensorQuality& tensor, std::size_t use) {
    for (const Format* f : rounding_formats())
      if (can_hold(*f, uses_[use].slot.columns))
        tensor.error(*f, Rounding::plain) = typical_error(*f);
    fill_in(tensor, use);
  }

  /// Codebook formats from the others, error feedback from plain rounding, and the file's own
  /// format.
  void fill_in(TensorQuality& tensor, std::size_t use) {
    const Format& measured = format(FormatId::Q3_K);
    const double error = tensor.error(measured, Rounding::plain);
    const double ratio = error >= 0 ? error / typical_error(measured) : 1.0;
    for (const Format* f : rounding_formats())
      if (f->encode_weighted && can_hold(*f, uses_[use].slot.columns))
        tensor.error(*f, Rounding::plain) = ratio * typical_error(*f);
    tensor.error(*uses_[use].info->format, Rounding::plain) = 0;
    tensor.guess_feedback();
  }

  /// Of the rows that were looked up. Where the matrix is the output's too, its losses add up.
  void observe_lookup(const ProductGradient& p) {
    const std::int64_t width = p.matrix->columns();
    double weighed = 0;
    std::vector<float> rows;
    for (std::int64_t t = 0; t < p.tokens; ++t) {
      const float* const y = p.y + t * p.y_stride;
      weighed += squared_norm(p.y_gradient + t * p.y_stride, width) * squared_norm(y, width) /
                 static_cast<double>(width);
      if (t % std::max<std::int64_t>(1, p.tokens / sampled_rows) == 0)
        rows.insert(rows.end(), y, y + width);
    }
    const double sensitivity = 0.5 * weighed / static_cast<double>(scored_);
    const std::size_t use = find({Role::token_embedding});
    TensorQuality& tensor = result_.tensors[use];
    if (!description_.tied_output) {
      tensor.sensitivity = sensitivity;
    } else if (tensor.sensitivity > 0) {
      tensor.lookup_share = sensitivity / tensor.sensitivity;
    }
    const double share = description_.tied_output ? tensor.lookup_share : 1;
    const double power = squared_norm(rows.data(), static_cast<std::int64_t>(rows.size()));
    for (const Format* f : rounding_formats()) {
      if (!can_hold(*f, width) || f->encode_weighted) continue;
      const std::vector<float> errors = rounding_errors(*rounder_, *f, rows, width, {});
      double& error = tensor.error(*f, Rounding::plain);
      error = std::max(0.0, error) +
              share * squared_norm(errors.data(), static_cast<std::int64_t>(errors.size())) /
                  std::max(power, 1e-30);
    }
    fill_in(tensor, use);
  }

  Context& context_;
  const Description& description_;
  std::span<const TensorUse> uses_;
  std::int64_t scored_;
  std::unique_ptr<Rounder> rounder_;
  Gathered gathered_;  ///< of the product whose slices are coming
  QualityModel result_;
};

}  // namespace

Bytes quick_analysis_bytes(const Description& d, std::span<const TensorUse> uses,
                           std::int64_t tokens, int workers) {
  Bytes largest = 0, vectors = 0;
  std::int64_t widest = 1;
  std::vector<Bytes> layers(static_cast<std::size_t>(d.layers) + 1);
  for (const TensorUse& use : uses) {
    if (use.slot.is_vector()) {
      vectors += round_up(static_cast<Bytes>(use.slot.columns) * sizeof(float), 64);
      continue;
    }
    widest = std::max(widest, use.slot.columns);
    Bytes& layer = layers[static_cast<std::size_t>(use.slot.layer + 1)];
    layer += Matrix::memory_bytes({use.info, use.info->format});
    largest = std::max(largest, layer);
  }
  const std::vector<std::vector<TokenId>> sequences = {
      std::vector<TokenId>(static_cast<std::size_t>(tokens))};
  return largest + vectors + Weights::staging_bytes(uses, staging_slots(workers)) +
         Gradient::memory_bytes(d, sequences) + Rounder::memory_bytes(widest, workers);
}

std::int64_t quick_analysis_tokens(const Description& description, std::int64_t parameters) {
  const std::int64_t affordable = most_token_weights / std::max<std::int64_t>(parameters, 1);
  return std::min(std::clamp(affordable, least_tokens, most_tokens), description.trained_context);
}

bool is_quickly_analysed(const Description& description, std::int64_t parameters) {
  return quick_analysis_tokens(description, parameters) * parameters <=
         least_tokens * largest_parameters;
}

std::vector<TokenId> quick_analysis_text(const Tokenizer& tokenizer, const Description& description,
                                         std::int64_t parameters) {
  std::vector<TokenId> tokens = tokenizer.encode(sample_text);
  if (tokenizer.adds_bos() && tokenizer.bos()) tokens.insert(tokens.begin(), *tokenizer.bos());
  const auto count = static_cast<std::size_t>(quick_analysis_tokens(description, parameters));
  tokens.resize(std::min(tokens.size(), count));
  return tokens;
}

QualityModel analyse_quickly(Context& context, const ModelFile& file,
                             const Description& description, std::span<const TensorUse> uses,
                             std::span<const TokenId> tokens,
                             const std::function<void(std::int64_t, std::int64_t)>& progress) {
  const std::vector<std::vector<TokenId>> sequences = {{tokens.begin(), tokens.end()}};
  const auto count = static_cast<std::int64_t>(tokens.size());
  const auto first_scored =
      static_cast<std::int64_t>(unscored_share * static_cast<double>(count));
  Weights weights = Weights::without_matrices(context, file, description);
  Gradient gradient(context, file, description, weights, sequences);
  QuickAnalysis analysis(context, description, uses, count - first_scored);
  RandomSquareRoot root(first_scored);
  gradient.run([&](std::int64_t, std::int64_t position,
                   std::span<float> logits) { return root(position, logits); },
               [&](const ProductGradient& p) { analysis.observe(p, tokens); }, progress);
  return analysis.take();
}

}  // namespace plimsoll
