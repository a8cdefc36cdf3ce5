#include "fit/fit.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <optional>

#include "base/region.h"
#include "file/tensor_table.h"
#include "fit/fit_memory.h"
#include "fit/quality_file.h"
#include "fit/rounding.h"
#include "rows/ordered_rows.h"

namespace plimsoll {
namespace {

/// Rows of an embedding that stand for all that are looked up.
constexpr std::int64_t looked_up_rows = 128;

std::span<const std::int64_t> shape(const TensorInfo& info) {
  return {info.shape.data(), static_cast<std::size_t>(info.rank)};
}

/// Of the source, not of what becomes of it. Without the first, readers go by the tensors.
constexpr std::string_view type_key = "general.file_type";
constexpr std::string_view version_key = "general.quantization_version";
constexpr std::int64_t quantization_version = 2;
/// Marks what was written here: such a file may be replaced by another fit.
constexpr std::string_view fit_key = "plimsoll.fit";
constexpr std::int64_t fit_version = 1;

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

Conversion as_f32(const TensorInfo& info) { return {&info, &format(FormatId::F32)}; }

/// A tensor's first rows: [rows][columns]. `rows` has room for as_f32().
std::vector<float> first_rows(OrderedRows& rows, const TensorInfo& info) {
  TensorInfo first = info;
  first.shape = {info.columns(), std::min(info.rows(), looked_up_rows), 1, 1};
  first.bytes = static_cast<Bytes>(first.rows()) * row_bytes(*info.format, info.columns());
  std::vector<float> values;
  rows.run(as_f32(first), FilePieces(as_f32(first), false), {},
           {.write = [&values](std::span<const std::uint8_t> bytes) {
             const std::size_t at = values.size();
             values.resize(at + bytes.size() / sizeof(float));
             std::memcpy(values.data() + at, bytes.data(), bytes.size());
           }});
  return values;
}

/// A tied embedding's moments also weigh the errors of looking tokens up, as when it was measured.
void add_lookup(SecondMoments& moments, double share, const std::vector<float>& rows) {
  const auto count = static_cast<std::int64_t>(rows.size()) / moments.size();
  const std::vector<double> powers = moments.powers(rows.data(), count);
  double squares = 0;
  for (const float value : rows) squares += static_cast<double>(value) * value;
  if (squares > 0)
    moments.add_to_diagonal(share * std::accumulate(powers.begin(), powers.end(), 0.0) / squares);
}

}  // namespace

const OutputKind fitted_file = {
    "file of plimsoll fit",
    [](std::string_view beginning) {
      // Magic, version, two counts; then the first key, with its length.
      constexpr std::size_t first_key = 4 + sizeof(std::uint32_t) + 2 * sizeof(std::uint64_t);
      constexpr std::size_t name = first_key + sizeof(std::uint64_t);
      return beginning.size() > name && beginning.starts_with("GGUF") &&
             static_cast<unsigned char>(beginning[first_key]) == fit_key.size() &&
             beginning.substr(name).starts_with(fit_key);
    },
    "name another file, or give --force to replace it"};

FittedFile::FittedFile(OutputPath path, const ModelFile& source, std::span<const TensorUse> uses)
    : writer_(std::move(path)), source_(source), uses_(uses) {
  writer_.add_integer(fit_key, fit_version);
  for (const Metadata::Entry& entry : source.metadata().entries())
    if (entry.key != type_key && entry.key != version_key && entry.key != quality_key &&
        entry.key != fit_key)
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
  const std::vector<std::size_t> order = walking_order(uses_);
  const std::vector<bool> is_product = find_products(uses_);
  Bytes total = 0, staging = page_bytes;
  const auto pieces_of = [&](std::size_t i) {
    return FilePieces({uses_[i].info, formats[i]}, feedback.walk && is_product[i]);
  };
  for (const std::size_t i : order) {
    const TensorInfo& info = *uses_[i].info;
    writer_.add_tensor(info.name, *formats[i], shape(info));
    total += info.bytes;
    staging = std::max(staging, OrderedRows::staging_bytes({&info, formats[i]}, pieces_of(i)));
    if (feedback.walk && feedback.quality->tensors[i].lookup_share > 0)
      staging = std::max(staging,
                         OrderedRows::staging_bytes(as_f32(info), FilePieces(as_f32(info), false)));
  }
  OrderedRows rows(context, source_, staging);

  std::int64_t layer = -2;  // none yet
  std::optional<LayerMoments> moments;
  std::vector<const SecondMoments*> factored;
  Bytes before = 0;  // of tensors that are done
  for (const std::size_t i : order) {
    const TensorUse& use = uses_[i];
    if (use.slot.layer != layer) {
      layer = use.slot.layer;
      moments.reset();
      factored.clear();
      if (feedback.walk) moments.emplace(feedback.walk->next());
    }
    const Conversion conversion{use.info, formats[i]};
    ColumnWeights weights;
    // An embedding that is only looked up has no product that would weigh its columns.
    if (SecondMoments* inputs = conversion.is_rounded() && moments && is_product[i]
                                    ? moments->of(use.slot.role)
                                    : nullptr) {
      if (std::ranges::find(factored, inputs) == factored.end()) {
        const double share = feedback.quality->tensors[i].lookup_share;
        if (share > 0) add_lookup(*inputs, share, first_rows(rows, *use.info));
        inputs->factor(feedback.damping);
        factored.push_back(inputs);
      }
      weights = with_feedback(*inputs);
    }
    rows.run(conversion, pieces_of(i), weights,
             {.write = [this](auto bytes) { writer_.write(bytes); },
              .progress =
                  [&](Bytes done) {
                    if (progress) progress({before + done, total});
                  }});
    before += use.info->bytes;
  }
  source_.check_unchanged();
  writer_.finish();
}

}  // namespace plimsoll
