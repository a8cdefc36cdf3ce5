#include "plan/format_choices.h"

#include <algorithm>

namespace plimsoll {
namespace {

/// A format that makes a matrix smaller, in the file as in memory.
bool shrinks(const Format& format, const TensorInfo& info) {
  return info.columns() % format.block_values == 0 &&
         row_bytes(format, info.columns()) < row_bytes(*info.format, info.columns()) &&
         Matrix::memory_bytes({&info, &format}) < Matrix::memory_bytes({&info, info.format});
}

bool is_divided_by_a_block(std::int64_t columns) {
  return std::ranges::any_of(rounding_formats(), [columns](const Format* format) {
    return format->kind == Format::Kind::coded && columns % format->block_values == 0;
  });
}

}  // namespace

bool FormatChoices::has_levels(const ModelFacts& facts) {
  return std::ranges::any_of(facts.tensors, [](const TensorUse& use) {
    return !use.slot.is_vector() && !levels_below(*use.info->format).empty();
  });
}

FormatChoices::FormatChoices(const ModelFacts& facts, const QualityModel& quality,
                             Rounding rounding, Candidates allowed)
    : facts_(facts) {
  const std::size_t count = facts.tensors.size();
  formats_.resize(count);
  choices_.resize(count);
  vector_bytes_ = Weights::memory_bytes(facts.tensors);
  for (std::size_t i = 0; i < count; ++i) {
    const TensorInfo& info = *facts.tensors[i].info;
    const auto add = [&](const Format& format, Bytes bytes, double loss) {
      formats_[i].push_back(&format);
      choices_[i].push_back({.bytes = bytes, .loss = loss});
    };
    if (facts.tensors[i].slot.is_vector()) {
      add(*info.format, 0, 0);
      continue;
    }
    // A coded file's products round their inputs as it is: only what is beyond that is lost.
    const TensorQuality& tensor = quality.tensors[i];
    const double own_loss = std::max(0.0, tensor.loss(*info.format, rounding, Reader::plimsoll));
    std::vector<const Format*> candidates;
    if (allowed == Candidates::all)
      candidates.assign(rounding_formats().begin(), rounding_formats().end());
    std::ranges::copy(levels_below(*info.format), std::back_inserter(candidates));
    for (const Format* format : candidates) {
      if (format->encode_weighted && rounding == Rounding::plain)
        continue;  // too slow to be found while loading
      const double loss = tensor.loss(*format, rounding, Reader::plimsoll);
      if (loss < 0 || !shrinks(*format, info)) continue;
      add(*format, Matrix::memory_bytes({&info, format}), std::max(0.0, loss - own_loss));
      most_staging_ = std::max(most_staging_, Matrix::staging_bytes({&info, format}));
    }
    const Bytes own = Matrix::memory_bytes({&info, info.format});
    add(*info.format, own, 0);
    most_staging_ = std::max(most_staging_, Matrix::staging_bytes({&info, info.format}));
    vector_bytes_ -= own;
    if (!is_divided_by_a_block(info.columns())) ++kept_tensors_;
  }
}

HeldWeights FormatChoices::held(const std::vector<int>& choices) const {
  HeldWeights weights;
  weights.bytes = vector_bytes_;
  for (std::size_t i = 0; i < choices.size(); ++i) {
    const auto choice = static_cast<std::size_t>(choices[i]);
    weights.formats.push_back(formats_[i][choice]);
    weights.bytes += choices_[i][choice].bytes;
    weights.kl_nats += choices_[i][choice].loss;
  }
  weights.staging_bytes_per_worker = Weights::staging_bytes(facts_.tensors, 1, weights.formats);
  return weights;
}

std::optional<HeldWeights> FormatChoices::weigh(const Weights::Formats& formats) const {
  std::vector<int> choices;
  for (std::size_t i = 0; i < formats_.size(); ++i) {
    const auto found = std::ranges::find(formats_[i], formats[i]);
    if (found == formats_[i].end()) return {};
    choices.push_back(static_cast<int>(found - formats_[i].begin()));
  }
  return held(choices);
}

HeldWeights FormatChoices::smallest() const {
  std::vector<int> choices;
  for (const std::vector<Choice>& of_tensor : choices_) {
    const auto least = std::ranges::min_element(of_tensor, [](const Choice& a, const Choice& b) {
      return a.bytes != b.bytes ? a.bytes < b.bytes : a.loss < b.loss;
    });
    choices.push_back(static_cast<int>(least - of_tensor.begin()));
  }
  return held(choices);
}

HeldWeights FormatChoices::best(Bytes limit) const {
  if (limit < vector_bytes_) return smallest();
  const std::optional<Selection> selection = solve(choices_, limit - vector_bytes_);
  return selection ? held(selection->choices) : smallest();
}

std::optional<HeldWeights> FormatChoices::best(Bytes limit, const DecodeClock& clock,
                                               double most_seconds) const {
  if (limit < vector_bytes_) return {};
  const std::optional<Selection> selection =
      solve(timed(clock), limit - vector_bytes_, most_seconds);
  return selection ? std::optional(held(selection->choices)) : std::nullopt;
}

std::optional<HeldWeights> FormatChoices::fastest(Bytes limit, const DecodeClock& clock) const {
  if (limit < vector_bytes_) return {};
  std::vector<std::vector<Choice>> choices = timed(clock);
  for (std::vector<Choice>& of_tensor : choices)
    for (Choice& choice : of_tensor) choice.loss = choice.seconds;
  const std::optional<Selection> selection = solve(choices, limit - vector_bytes_);
  return selection ? std::optional(held(selection->choices)) : std::nullopt;
}

std::vector<std::vector<Choice>> FormatChoices::timed(const DecodeClock& clock) const {
  std::vector<std::vector<Choice>> choices = choices_;
  const std::vector<bool> is_product = find_products(facts_.tensors);
  for (std::size_t i = 0; i < choices.size(); ++i) {
    if (!is_product[i]) continue;
    const TensorSlot& slot = facts_.tensors[i].slot;
    for (std::size_t c = 0; c < choices[i].size(); ++c)
      choices[i][c].seconds =
          decode_seconds(clock.machine, *formats_[i][c], slot.rows, slot.columns, clock.threads,
                         clock.sequences, clock.place);
  }
  return choices;
}

std::vector<FormatShare> format_shares(const std::vector<TensorUse>& tensors,
                                       const Weights::Formats& formats) {
  std::vector<FormatShare> shares;
  const auto add = [&shares](const Format& format, std::int64_t count, std::int64_t parameters,
                             Bytes bytes) {
    auto share = std::ranges::find(shares, &format, &FormatShare::format);
    if (share == shares.end()) share = shares.insert(share, {&format, 0, 0, 0});
    share->tensors += count;
    share->parameters += parameters;
    share->bytes += bytes;
  };
  Bytes vector_bytes = Weights::memory_bytes(tensors, formats);
  std::int64_t vectors = 0, vector_parameters = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const TensorInfo& info = *tensors[i].info;
    const std::int64_t parameters = info.rows() * info.columns();
    if (tensors[i].slot.is_vector()) {
      ++vectors;
      vector_parameters += parameters;
      continue;
    }
    const Format& format = formats.empty() ? *info.format : *formats[i];
    const Bytes bytes = Matrix::memory_bytes({&info, &format});
    add(format, 1, parameters, bytes);
    vector_bytes -= bytes;
  }
  if (vectors) add(format(FormatId::F32), vectors, vector_parameters, vector_bytes);
  std::ranges::sort(shares, std::greater<>(), &FormatShare::bytes);
  return shares;
}

}  // namespace plimsoll
