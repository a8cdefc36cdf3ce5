#include "fit/fit.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <numeric>
#include <optional>

#include "base/error.h"
#include "file/tensor_table.h"
#include "fit/fit_memory.h"
#include "fit/quality_file.h"
#include "fit/rounding.h"
#include "model/row_rounder.h"

namespace plimsoll {
namespace {

/// Of f32 rows that are rounded at a time.
constexpr Bytes chunk_bytes = 8 * MiB;

std::span<const std::int64_t> shape(const TensorInfo& info) {
  return {info.shape.data(), static_cast<std::size_t>(info.rank)};
}

/// Of the source, not of what becomes of it. Without the first, readers go by the tensors.
constexpr std::string_view type_key = "general.file_type";
constexpr std::string_view version_key = "general.quantization_version";
constexpr std::int64_t quantization_version = 2;

/// The order in which a walk through the layers gives moments: layer by layer, the model's own
/// last.
std::vector<std::size_t> walking_order(std::span<const TensorUse> uses) {
  std::vector<std::size_t> order(uses.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, {}, [&](std::size_t i) {
    return static_cast<std::uint64_t>(uses[i].slot.layer);  // -1 comes last
  });
  return order;
}

class Rewriter {
 public:
  Rewriter(Context& context, const ModelFile& source, GgufWriter& writer, std::int64_t widest,
           const std::function<void(FitProgress)>& progress, Bytes total)
      : context_(context), source_(source), writer_(writer), progress_(progress), total_(total) {
    if (widest > 0) rounder_.emplace(context, widest);
  }

  void copy(const TensorInfo& info) {
    for (Bytes at = 0; at < info.bytes;) {
      const Bytes piece = std::min(chunk_bytes, info.bytes - at);
      raw_.resize(piece);
      source_.read(info.offset + at, piece, raw_.data());
      writer_.write(raw_);
      at += piece;
      advance(piece);
    }
  }

  /// Of rows [begin, end) as f32.
  const std::vector<float>& read(const TensorInfo& info, std::int64_t begin, std::int64_t end) {
    const Bytes row = row_bytes(*info.format, info.columns());
    raw_.resize(static_cast<Bytes>(end - begin) * row);
    source_.read(info.offset + static_cast<Bytes>(begin) * row, raw_.size(), raw_.data());
    values_.resize(static_cast<std::size_t>((end - begin) * info.columns()));
    std::atomic<bool> finite = true;
    context_.threads.parallel_for(end - begin, 16, [&](std::int64_t from, std::int64_t to, int) {
      float* const target = values_.data() + from * info.columns();
      info.format->decode(raw_.data() + static_cast<Bytes>(from) * row, target,
                          (to - from) * info.columns() / info.format->block_values);
      for (std::int64_t i = 0; i < (to - from) * info.columns(); ++i)
        if (!std::isfinite(target[i])) finite = false;
    });
    if (!finite) throw_not_finite(info, begin, end);
    return values_;
  }

  /// A level of the source's codes: their leading bits, as they are.
  void take_leading_bits(const TensorInfo& info, const Format& level) {
    const std::int64_t step = rows_rounded_together(info);
    for (std::int64_t begin = 0; begin < info.rows(); begin += step) {
      const std::int64_t end = std::min(begin + step, info.rows());
      read(info, begin, end);
      const std::int64_t blocks = (end - begin) * info.columns() / level.block_values;
      blocks_.resize(static_cast<Bytes>(blocks * level.block_bytes));
      lower(*info.format, level, raw_.data(), blocks_.data(), blocks);
      writer_.write(blocks_);
      advance(raw_.size());
    }
  }

  void round(const TensorInfo& info, const Format& target, const ColumnWeights& weights) {
    const std::int64_t step = rows_rounded_together(info), columns = info.columns();
    for (std::int64_t begin = 0; begin < info.rows(); begin += step) {
      const std::int64_t count = std::min(step, info.rows() - begin);
      const std::vector<float>& values = read(info, begin, begin + count);
      blocks_.resize(static_cast<Bytes>(count) * row_bytes(target, columns));
      if (target.id == FormatId::F16)  // what is beyond becomes its largest value, as while loading
        for (float& value : values_) value = std::clamp(value, -65504.0f, 65504.0f);
      if (target.kind == Format::Kind::coded)
        rounder_->round(target, values.data(), count, columns, weights, blocks_.data());
      else
        target.encode(values.data(), blocks_.data(), count * columns / target.block_values);
      writer_.write(blocks_);
      advance(static_cast<Bytes>(count) * row_bytes(*info.format, columns));
    }
  }

 private:
  void advance(Bytes bytes) {
    done_ += bytes;
    if (progress_) progress_({done_, total_});
  }

  Context& context_;
  const ModelFile& source_;
  GgufWriter& writer_;
  const std::function<void(FitProgress)>& progress_;
  std::optional<Rounder> rounder_;
  Bytes done_ = 0, total_;
  std::vector<std::uint8_t> raw_, blocks_;
  std::vector<float> values_;
};

/// A tied embedding's moments also weigh the errors of looking tokens up, as when it was measured.
void add_lookup(SecondMoments& moments, double share, Rewriter& rewriter, const TensorInfo& info) {
  const std::vector<float>& rows = rewriter.read(info, 0, std::min<std::int64_t>(info.rows(), 128));
  const auto count = static_cast<std::int64_t>(rows.size()) / info.columns();
  const std::vector<double> powers = moments.powers(rows.data(), count);
  double squares = 0;
  for (const float value : rows) squares += static_cast<double>(value) * value;
  if (squares > 0)
    moments.add_to_diagonal(share * std::accumulate(powers.begin(), powers.end(), 0.0) / squares);
}

}  // namespace

FileChoices file_choices(std::span<const TensorUse> uses, const QualityModel& quality,
                         Rounding rounding, Reader reader,
                         std::span<const Format* const> candidates) {
  FileChoices result;
  for (std::size_t i = 0; i < uses.size(); ++i) {
    const TensorInfo& info = *uses[i].info;
    std::vector<const Format*> formats;
    std::vector<Choice> choices;
    const auto add = [&](const Format& f, double loss) {
      const Bytes bytes = static_cast<Bytes>(info.rows()) * row_bytes(f, info.columns());
      formats.push_back(&f);
      choices.push_back({round_up(bytes, default_alignment), loss, 0});
    };
    add(*info.format, 0);
    if (!uses[i].slot.is_vector()) {
      // A coded source's products round their inputs as it is: only what is beyond that is lost.
      const TensorQuality& tensor = quality.tensors[i];
      const double own = std::max(0.0, tensor.loss(*info.format, rounding, reader));
      for (const Format* f : candidates) {
        if (info.columns() % f->block_values != 0 ||
            row_bytes(*f, info.columns()) >= row_bytes(*info.format, info.columns()))
          continue;
        const double loss = tensor.loss(*f, rounding, reader);
        if (loss >= 0) add(*f, std::max(0.0, loss - own));
      }
    }
    result.formats.push_back(std::move(formats));
    result.choices.push_back(std::move(choices));
  }
  return result;
}

FittedFile::FittedFile(const std::string& path, const ModelFile& source,
                       std::span<const TensorUse> uses)
    : writer_(path), source_(source), uses_(uses) {
  for (const Metadata::Entry& entry : source.metadata().entries())
    if (entry.key != type_key && entry.key != version_key && entry.key != quality_key)
      writer_.add_value(entry.key, entry.value);
  writer_.add_integer(version_key, quantization_version);
}

void FittedFile::add_quality(const std::string& note) { writer_.add_string(quality_key, note); }

Bytes FittedFile::header_bytes() const {
  Bytes declarations = 0;
  for (const TensorUse& use : uses_)
    declarations += GgufWriter::declaration_bytes(use.info->name, use.info->rank);
  return writer_.header_bytes(declarations);
}

void FittedFile::write(Context& context, std::span<const Format* const> formats,
                       const FeedbackSource& feedback,
                       const std::function<void(FitProgress)>& progress) {
  Bytes total = 0;
  std::int64_t widest = 0;
  for (const TensorUse& use : uses_) {
    total += use.info->bytes;
    if (!use.slot.is_vector()) widest = std::max(widest, use.info->columns());
  }
  const std::vector<std::size_t> order = walking_order(uses_);
  for (const std::size_t i : order)
    writer_.add_tensor(uses_[i].info->name, *formats[i], shape(*uses_[i].info));

  const std::vector<bool> is_product = find_products(uses_);
  Rewriter rewriter(context, source_, writer_, widest, progress, total);
  std::int64_t layer = -2;  // none yet
  std::optional<LayerMoments> moments;
  std::vector<const SecondMoments*> factored;
  for (const std::size_t i : order) {
    const TensorUse& use = uses_[i];
    if (use.slot.layer != layer) {
      layer = use.slot.layer;
      moments.reset();
      factored.clear();
      if (feedback.walk) moments.emplace(feedback.walk->next());
    }
    if (formats[i] == use.info->format) {
      rewriter.copy(*use.info);
      continue;
    }
    if (is_level_of(*use.info->format, *formats[i])) {
      rewriter.take_leading_bits(*use.info, *formats[i]);
      continue;
    }
    ColumnWeights weights;
    // An embedding that is only looked up has no product that would weigh its columns.
    if (SecondMoments* inputs = moments && is_product[i] ? moments->of(use.slot.role) : nullptr) {
      if (std::ranges::find(factored, inputs) == factored.end()) {
        const double share = feedback.quality->tensors[i].lookup_share;
        if (share > 0) add_lookup(*inputs, share, rewriter, *use.info);
        inputs->factor(feedback.damping);
        factored.push_back(inputs);
      }
      weights = with_feedback(*inputs);
    }
    rewriter.round(*use.info, *formats[i], weights);
  }
  source_.check_unchanged();
  writer_.finish();
}

}  // namespace plimsoll
