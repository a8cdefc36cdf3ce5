#include "probe/loading_time.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <vector>

#include "model/row_rounder.h"

namespace plimsoll {
namespace {

/// Of a tensor that is loaded as a sample: enough for whole chunks (model/row_rounder.h).
constexpr Bytes most_sample_bytes = 16 * MiB, least_sample_bytes = 256 * KiB;
/// Pairs of formats that are sampled.
constexpr std::size_t most_samples = 4;

/// All tensors that go from one format to another.
struct Group {
  const Format* from;
  const Format* to;
  Bytes bytes = 0;  ///< of the file
  const TensorInfo* largest = nullptr;
};

std::vector<Group> group(std::span<const TensorUse> uses, const Weights::Formats& formats) {
  std::vector<Group> groups;
  for (std::size_t i = 0; i < uses.size(); ++i) {
    if (uses[i].slot.is_vector()) continue;
    const TensorInfo& info = *uses[i].info;
    const Format* const to = formats.empty() ? info.format : formats[i];
    auto found = std::ranges::find_if(
        groups, [&](const Group& g) { return g.from == info.format && g.to == to; });
    if (found == groups.end()) found = groups.insert(found, {info.format, to});
    found->bytes += info.bytes;
    if (!found->largest || info.bytes > found->largest->bytes) found->largest = &info;
  }
  std::ranges::sort(groups, std::greater<>(), &Group::bytes);
  return groups;
}

/// Rows from the middle of a tensor, as a tensor of their own.
TensorInfo sample_of(const TensorInfo& info, Bytes most) {
  const Bytes row = row_bytes(*info.format, info.columns());
  constexpr std::int64_t step = RowRounder::rows_together;
  const std::int64_t steps = static_cast<std::int64_t>(most / (row * static_cast<Bytes>(step)));
  TensorInfo sample = info;
  sample.shape = {info.columns(), std::min(info.rows(), std::max<std::int64_t>(1, steps) * step), 1,
                  1};
  const std::int64_t first = (info.rows() - sample.rows()) / 2;
  sample.offset += static_cast<Bytes>(first) * row;
  sample.bytes = static_cast<Bytes>(sample.rows()) * row;
  return sample;
}

double seconds_of(FunctionRef<void()> body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Visits the chunks of rows of a sample on all workers.
void for_chunks(Context& context, const TensorInfo& info,
                FunctionRef<void(std::int64_t begin, std::int64_t end, int worker)> visit) {
  const std::int64_t step = chunk_rows(info), chunks = (info.rows() + step - 1) / step;
  context.threads.parallel_for(chunks, 1, [&](std::int64_t begin, std::int64_t end, int worker) {
    for (std::int64_t chunk = begin; chunk < end; ++chunk)
      visit(chunk * step, std::min((chunk + 1) * step, info.rows()), worker);
  });
}

Bytes bytes_of_sample(const MatrixSource& source, int workers) {
  return Matrix::memory_bytes(source) +
         static_cast<Bytes>(workers) *
             std::max(Matrix::staging_bytes(source), chunk_staging_bytes(*source.info));
}

}  // namespace

std::optional<LoadingTime> predict_loading(Context& context, const ModelFile& file,
                                           std::span<const TensorUse> uses,
                                           const Weights::Formats& formats, Bytes room) {
  const int workers = context.threads.size();
  const std::vector<Group> groups = group(uses, formats);
  Bytes total = 0, sampled = 0;
  double seconds = 0, read_seconds = 0;
  Bytes read_bytes = 0;
  for (std::size_t g = 0; g < groups.size(); ++g) {
    total += groups[g].bytes;
    if (g >= most_samples) continue;
    TensorInfo info;
    Bytes size = most_sample_bytes;
    do {
      info = sample_of(*groups[g].largest, size);
      size /= 2;
    } while (size >= least_sample_bytes && bytes_of_sample({&info, groups[g].to}, workers) > room);
    const MatrixSource source{&info, groups[g].to};
    if (bytes_of_sample(source, workers) > room) continue;
    Matrix matrix(context.ledger, source);
    const Bytes stride = std::max(Matrix::staging_bytes(source), chunk_staging_bytes(info));
    const Region staging(context.ledger, Account::io, stride * static_cast<Bytes>(workers),
                         Region::Pages::normal);
    const auto room_of = [&](int worker) {
      return staging.data() + static_cast<Bytes>(worker) * stride;
    };
    // Staging is touched once for the whole model: not here.
    read_seconds += seconds_of([&] {
      for_chunks(context, info, [&](std::int64_t begin, std::int64_t end, int worker) {
        read_chunk(file, info, begin, end, room_of(worker));
      });
    });
    read_bytes += info.bytes;
    const double loading = seconds_of([&] {
      for_chunks(context, info, [&](std::int64_t begin, std::int64_t end, int worker) {
        matrix.load_rows(context.kernels, file, source, begin, end, room_of(worker));
      });
    });
    seconds += loading * static_cast<double>(groups[g].bytes) / static_cast<double>(info.bytes);
    sampled += groups[g].bytes;
  }
  if (sampled == 0) return {};
  return LoadingTime{seconds * static_cast<double>(total) / static_cast<double>(sampled),
                     static_cast<double>(read_bytes) / read_seconds};
}

}  // namespace plimsoll
