#include "gradient/gradient.h"

#include <algorithm>
#include <cmath>

namespace plimsoll {
namespace {

std::int64_t widest(const Description& d) {
  return std::max({d.width, d.heads * d.head_dim, d.feed_forward});
}

}  // namespace

std::int64_t Gradient::longest(std::span<const std::vector<TokenId>> sequences) {
  std::size_t result = 1;
  for (const auto& sequence : sequences) result = std::max(result, sequence.size());
  return static_cast<std::int64_t>(result);
}

std::int64_t Gradient::all_tokens(std::span<const std::vector<TokenId>> sequences) {
  std::size_t result = 0;
  for (const auto& sequence : sequences) result += sequence.size();
  return static_cast<std::int64_t>(result);
}

std::int64_t Gradient::logit_slice(std::span<const std::vector<TokenId>> sequences) {
  return std::clamp<std::int64_t>(longest(sequences) / 16, 4, 32);
}

Bytes Gradient::memory_bytes(const Description& d,
                             std::span<const std::vector<TokenId>> sequences) {
  const std::int64_t tokens = longest(sequences);
  const auto floats = [](std::int64_t count) {
    return round_up(static_cast<Bytes>(count) * sizeof(float), page_bytes);
  };
  return Products::memory_bytes(widest(d), tokens) + LayerPass::memory_bytes(d, tokens) +
         floats((d.layers + 2) * all_tokens(sequences) * d.width) +
         floats(2 * logit_slice(sequences) * d.vocabulary);
}

Gradient::Gradient(Context& context, const ModelFile& file, const Description& d, Weights& weights,
                   std::span<const std::vector<TokenId>> sequences)
    : context_(context),
      file_(file),
      description_(d),
      weights_(weights),
      sequences_(sequences),
      products_(context, widest(d), longest(sequences)),
      pass_(context, d, weights, products_, longest(sequences)),
      residuals_(context.ledger, Account::io,
                 static_cast<Bytes>((d.layers + 2) * all_tokens(sequences) * d.width) *
                     sizeof(float)),
      logit_slice_(logit_slice(sequences)),
      logits_(context.ledger, Account::io,
              static_cast<Bytes>(2 * logit_slice_ * d.vocabulary) * sizeof(float)) {}

const Matrix& Gradient::embedding() const {
  return embedding_replacement_ ? *embedding_replacement_
                                : weights_.matrix({Role::token_embedding});
}

const Matrix& Gradient::output() const {
  return output_replacement_ ? *output_replacement_ : weights_.output();
}

void Gradient::replace(Role role, std::int64_t layer, const Matrix* by) {
  embedding_replacement_ = role == Role::token_embedding ? by : nullptr;
  output_replacement_ = role == Role::output ? by : nullptr;
  pass_.replace(role, layer, by);
}

float* Gradient::checkpoint(std::int64_t layer) const {
  return residuals_.as<float>() + layer * all_tokens(sequences_) * description_.width;
}

template <class Visit>
void Gradient::for_sequences(float* rows, const Visit& visit) const {
  for (std::size_t i = 0; i < sequences_.size(); ++i) {
    const auto tokens = static_cast<std::int64_t>(sequences_[i].size());
    visit(static_cast<std::int64_t>(i), tokens, rows);
    rows += tokens * description_.width;
  }
}

void Gradient::embed(float* residual) {
  const std::int64_t width = description_.width;
  for_sequences(residual, [&](std::int64_t index, std::int64_t tokens, float* rows) {
    const auto& sequence = sequences_[static_cast<std::size_t>(index)];
    context_.threads.parallel_for(tokens, 8, [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t t = begin; t < end; ++t) {
        embedding().dequantise_row(sequence[static_cast<std::size_t>(t)], rows + t * width);
        context_.kernels.scale(description_.embedding_scale, width, rows + t * width);
      }
    });
  });
}

void Gradient::embed_back(const float* gradient, const VisitProduct& visit) {
  const std::int64_t width = description_.width;
  float* residual = checkpoint(0);
  for_sequences(residual, [&](std::int64_t, std::int64_t tokens, float* rows) {
    visit({Role::token_embedding, -1, &embedding(), tokens, nullptr, 0, rows,
           gradient + (rows - residual), width, nullptr});
  });
}

double Gradient::output_back(const LogitLoss& loss, const VisitProduct& visit,
                             const float* residual, float* gradient) {
  const Description& d = description_;
  const float* const norm = weights_.vector({Role::output_norm});
  auto* const logits = logits_.as<float>();
  float* const logit_gradient = logits + logit_slice_ * d.vocabulary;
  std::vector<float> normed(static_cast<std::size_t>(logit_slice_ * d.width)),
      normed_gradient(normed.size());
  double total = 0;
  for_sequences(gradient, [&](std::int64_t sequence, std::int64_t tokens, float* rows) {
    const float* const entered = residual + (rows - gradient);
    for (std::int64_t first = 0; first < tokens; first += logit_slice_) {
      const std::int64_t count = std::min(logit_slice_, tokens - first);
      for (std::int64_t t = 0; t < count; ++t)
        context_.kernels.rms_norm(entered + (first + t) * d.width, norm, d.norm_epsilon, d.width,
                                  normed.data() + t * d.width);
      products_.multiply(output(), normed.data(), d.width, count, logits, d.vocabulary);
      for (std::int64_t t = 0; t < count; ++t) {
        float* const row = logits + t * d.vocabulary;
        float* const row_gradient = logit_gradient + t * d.vocabulary;
        std::copy_n(row, d.vocabulary, row_gradient);
        if (d.final_soft_cap != 0)
          context_.kernels.soft_cap(d.final_soft_cap, d.vocabulary, row_gradient);
        std::vector<float> slopes;
        if (d.final_soft_cap != 0 && visit) {
          slopes.assign(row_gradient, row_gradient + d.vocabulary);
          for (float& slope : slopes)
            slope = 1 - (slope / d.final_soft_cap) * (slope / d.final_soft_cap);
        }
        total += loss(sequence, first + t,
                      {row_gradient, static_cast<std::size_t>(d.vocabulary)});
        for (std::size_t i = 0; i < slopes.size(); ++i) row_gradient[i] *= slopes[i];
      }
      if (!visit) continue;
      visit({Role::output, -1, &output(), count, normed.data(), d.width, logits, logit_gradient,
             d.vocabulary, nullptr});
      std::ranges::fill(normed_gradient, 0.0f);
      products_.add_transposed(output(), logit_gradient, d.vocabulary, count,
                               normed_gradient.data(), d.width);
      for (std::int64_t t = 0; t < count; ++t) {
        float* const out = rows + (first + t) * d.width;
        std::fill_n(out, d.width, 0.0f);
        add_norm_gradient(entered + (first + t) * d.width, norm, d.norm_epsilon, d.width,
                          normed_gradient.data() + t * d.width, out);
      }
    }
  });
  return total;
}

double Gradient::run(const LogitLoss& loss, const VisitProduct& visit,
                     const std::function<void(std::int64_t, std::int64_t)>& progress) {
  const Description& d = description_;
  const std::int64_t steps = visit ? 2 * d.layers + 1 : d.layers + 1;
  std::int64_t done = 0;
  const auto step = [&] {
    if (progress) progress(++done, steps);
  };
  weights_.take_layer(context_, file_, -1);
  embed(checkpoint(0));
  for (std::int64_t layer = 0; layer < d.layers; ++layer) {
    weights_.take_layer(context_, file_, layer);
    float* const next = checkpoint(layer + 1);
    for_sequences(checkpoint(layer), [&](std::int64_t, std::int64_t tokens, float* rows) {
      pass_.forward(layer, tokens, rows, next + (rows - checkpoint(layer)));
    });
    step();
  }
  float* const gradient = checkpoint(d.layers + 1);
  weights_.take_layer(context_, file_, -1);
  const double total = output_back(loss, visit, checkpoint(d.layers), gradient);
  step();
  if (!visit) return total;
  for (std::int64_t layer = d.layers - 1; layer >= 0; --layer) {
    weights_.take_layer(context_, file_, layer);
    for_sequences(checkpoint(layer), [&](std::int64_t, std::int64_t tokens, float* rows) {
      const std::int64_t offset = rows - checkpoint(layer);
      // The layer's output is known already: it goes where it was.
      pass_.forward(layer, tokens, rows, checkpoint(layer + 1) + offset);
      pass_.backward(layer, tokens, gradient + offset, visit);
    });
    step();
  }
  weights_.take_layer(context_, file_, -1);
  embed_back(gradient, visit);
  return total;
}

}  // namespace plimsoll
