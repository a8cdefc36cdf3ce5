#include "probe/probe.h"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <limits>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "base/file_lock.h"
#include "base/small_file.h"
#include "kernels/matmul.h"
#include "model/weights.h"
#include "planes/planes.h"
#include "probe/hardware.h"
#include "probe/machine_file.h"

namespace plimsoll {
namespace {

/// Measuring these would take loading a model: the middle of comparisons (docs/decisions/costs.md).
constexpr double usual_compute_share = 0.87, usual_reading_share = 0.93;

using Clock = std::chrono::steady_clock;

/// What is read to see memory's bandwidth: several times what caches hold, so that little of it is
/// found there when it is read again, and nothing of the weights that were multiplied before.
constexpr Bytes most_read_bytes = 192 * MiB, least_read_bytes = 2 * MiB;
/// Weights of one matrix, which come from memory too.
constexpr Bytes most_weight_bytes = 32 * MiB;
/// More than the caches of one core hold, and less than the last one.
constexpr Bytes cached_read_bytes = 8 * MiB;
/// Of the program and of stacks, what measuring touches.
constexpr Bytes touched_bytes = 1 * MiB, touched_bytes_per_worker = 128 * KiB;

/// What a product takes besides reading is seen where the same matrix is multiplied in pieces, each
/// of the size of a small model's.
constexpr Bytes piece_bytes = 256 * KiB;

/// Of synthetic matrices; of their rows, those that are multiplied from the caches.
constexpr std::int64_t columns = 2048;
constexpr Bytes cached_bytes = 512 * KiB;
constexpr std::int64_t cached_rows_of_many = 512, least_rows = 64;
constexpr std::int64_t most_tokens = measured_batches.back();

/// Heads of 64 with positions that stay in the second-level cache.
constexpr std::int64_t positions = 1024, query_block = 64;
constexpr std::int32_t head_dim = 64, group = 4;

/// Everything is measured in several rounds, so that what disturbs one does not disturb all.
constexpr int rounds = 3, repeats = 5, read_repeats = 8;
constexpr int loop_repeats = 3;
constexpr std::int64_t loop_macs = 200'000'000;
constexpr auto stream_patience = std::chrono::milliseconds(150);
/// A measurement is repeated no longer than this in a round,
constexpr double patience_seconds = 0.02;
/// and takes at least and, if it can be made smaller, at most so long each time: the clock and a
/// single interruption should not matter.
constexpr double least_sample_seconds = 3e-4, most_sample_seconds = 4e-3;
/// Of a difference of two measurements, in case noise leaves nothing.
constexpr double least_difference = 1e-15;

double seconds_of(FunctionRef<void()> body) {
  const auto start = Clock::now();
  body();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Of this thread's processor time: what runs beside it does not count.
double processor_seconds_of(FunctionRef<void()> body) {
  const auto now = [] {
    timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  };
  const double start = now();
  body();
  return now() - start;
}

/// 0 of none.
double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

/// The same bytes again and again, slowed down by what others do to the same memory, now by nothing
/// and now by more than half: the median, of as many times as there are.
struct Stream {
  double bytes = 0;  ///< each time
  std::vector<double> seconds;

  void add(const Stream& other) {
    bytes = other.bytes;
    seconds.insert(seconds.end(), other.seconds.begin(), other.seconds.end());
  }
  double rate() const { return bytes / median(seconds); }
};

/// Of what computes without waiting for memory: others can only slow it down, so the best counts.
double least_seconds(FunctionRef<void()> body,
                     double (*measure)(FunctionRef<void()>) = processor_seconds_of) {
  const double first = measure(body);
  const auto times = static_cast<int>(std::clamp(least_sample_seconds / first, 1.0, 10'000.0));
  double best = first, spent = first;
  for (int i = 0; i < repeats && spent < patience_seconds; ++i) {
    const double seconds = measure([&] {
      for (int t = 0; t < times; ++t) body();
    });
    best = std::min(best, seconds / times);
    spent += seconds;
  }
  return best;
}

Bytes largest_cache() {
  Bytes largest = 0;
  for (int index = 0;; ++index) {
    const auto text = read_small_file("/sys/devices/system/cpu/cpu0/cache/index" +
                                      std::to_string(index) + "/size");
    if (!text) return largest;
    largest = std::max(largest, kib_field("size " + *text, "size").value_or(0));
  }
}

/// 1, 2, 4 ... and the last.
std::vector<int> worker_counts(int threads) {
  std::vector<int> counts;
  for (int n = 1; n < threads; n *= 2) counts.push_back(n);
  counts.push_back(threads);
  return counts;
}

std::vector<float> some_values(std::int64_t count) {
  std::mt19937 random(1876);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = normal(random);
  return values;
}

/// A matrix [rows][columns] in a format, of a few rows again and again.
class SyntheticMatrix {
 public:
  SyntheticMatrix(Context& context, const Format& format, Bytes bytes) {
    constexpr std::int64_t pattern_rows = tile_rows;
    const Bytes bytes_per_row = row_bytes(format, columns);
    const bool coded = format.kind == Format::Kind::coded;
    // Formats of few bits may take more in memory than in a file.
    constexpr std::int64_t many_rows = 64 * tile_rows;
    const Bytes held_per_row =
        coded ? PlaneTensor::memory_bytes(format.layout, many_rows, columns) / many_rows
              : bytes_per_row;
    const std::int64_t rows = std::max<std::int64_t>(
        pattern_rows, static_cast<std::int64_t>(bytes / held_per_row) / tile_rows * tile_rows);
    const std::vector<float> values = some_values(pattern_rows * columns);
    std::vector<std::uint8_t> blocks(pattern_rows * bytes_per_row);
    format.encode(values.data(), blocks.data(), pattern_rows * columns / format.block_values);
    if (coded) {
      planes_ = PlaneTensor(context.ledger, format, rows, columns);
    } else {
      dense_memory_ =
          Region(context.ledger, Account::weights, static_cast<Bytes>(rows) * bytes_per_row);
      dense_ = {dense_memory_.data(), dense_type(format), rows, columns};
    }
    context.threads.parallel_for(
        rows / tile_rows, 1, [&](std::int64_t begin, std::int64_t end, int) {
          for (std::int64_t tile = begin; tile < end; ++tile) {
            if (coded)
              planes_.import_rows(blocks.data(), tile * tile_rows, tile_rows);
            else
              std::copy(
                  blocks.begin(), blocks.end(),
                  dense_memory_.as<std::uint8_t>() + static_cast<Bytes>(tile) * blocks.size());
          }
        });
    view_ = planes_.view();
    all_rows_ = rows;
    bytes_ = coded ? planes_.bytes() : dense_memory_.size();
  }

  std::int64_t rows() const { return all_rows_; }
  /// Whole tiles of rows that take so much memory, one at least.
  std::int64_t rows_in(Bytes bytes) const {
    const Bytes tile_bytes = bytes_ / static_cast<Bytes>(all_rows_ / tile_rows);
    return static_cast<std::int64_t>(std::max<Bytes>(1, bytes / tile_bytes)) * tile_rows;
  }
  Bytes bytes() const { return bytes_; }

  /// The product with the first `rows` rows. Valid until the next call.
  MatmulOp op(std::int64_t rows, float* y) {
    MatmulOp op;
    if (dense_.data) {
      dense_.rows = rows;
      op.dense = &dense_;
    } else {
      view_.rows = rows;
      op.planes = &view_;
    }
    op.y = y;
    op.y_stride = rows;
    return op;
  }

 private:
  PlaneTensor planes_;
  PlaneView view_{};
  Region dense_memory_;
  DenseView dense_{};
  std::int64_t all_rows_ = 0;
  Bytes bytes_ = 0;
};

/// One number of workers, and what their products need.
class Workers {
 public:
  static Bytes memory_bytes(int count) {
    return quantised_bytes() + static_cast<Bytes>(count) * MatmulWorkspace::scratch_bytes;
  }

  Workers(int count, Isa isa)
      : context_(count, isa), memory_(context_.ledger, Account::activations, memory_bytes(count)) {
    memory_.prefault();
    workspace_.quantised = memory_.data();
    workspace_.scratch = memory_.data() + quantised_bytes();
    workspace_.scratch_stride = MatmulWorkspace::scratch_bytes;
  }

  Context& context() { return context_; }
  int count() const { return context_.threads.size(); }
  std::byte* quantised() const { return workspace_.quantised; }
  float* scratch() const { return reinterpret_cast<float*>(workspace_.scratch); }

  void multiply(const MatmulOp& op, const float* x, std::int64_t tokens) {
    matmul(
        context_, {&op, 1}, x, columns, tokens, [](std::int64_t) {}, workspace_);
  }
  /// The same product again with the one token that was just multiplied, `rows` (of whole tiles) at
  /// a time, each as a product by itself.
  void multiply_in_pieces(const MatmulOp& op, const float* x, std::int64_t rows) {
    const QuantisedActivations inputs = place_quantised(workspace_.quantised, 1, columns);
    const std::int64_t piece = rows / tile_rows, grain = std::max<std::int64_t>(1, piece / 32);
    for (std::int64_t tile = 0; tile < op.rows() / tile_rows; tile += piece) {
      const std::int64_t count = std::min(piece, op.rows() / tile_rows - tile);
      const auto part = [&](std::int64_t begin, std::int64_t end, int worker) {
        if (op.planes)
          context_.kernels.matmul_planes(
              *op.planes, inputs, tile + begin, tile + end, op.y, op.y_stride,
              workspace_.scratch + static_cast<Bytes>(worker) * workspace_.scratch_stride);
        else
          context_.kernels.matmul_dense(*op.dense, x, columns, 1, (tile + begin) * tile_rows,
                                        (tile + end) * tile_rows, op.y, op.y_stride);
      };
      context_.threads.parallel_for(count, grain, part);
    }
  }

 private:
  static Bytes quantised_bytes() {
    return round_up(MatmulWorkspace::quantised_bytes(most_tokens, columns), 64);
  }

  Context context_;
  Region memory_;
  MatmulWorkspace workspace_;
};

/// The least of several measurements.
struct Least {
  double value = std::numeric_limits<double>::infinity();
  void add(double other) { value = std::min(value, other); }
};

/// Of one number of workers, over all rounds.
struct WorkerSamples {
  Least dispatch_seconds, loop_seconds;
  Stream read;
  std::vector<double> product_start_seconds;
  double cached_read_rate = 0;

  WorkerSpeeds result(int workers, const WorkerSamples& alone) {
    WorkerSpeeds speeds;
    speeds.workers = workers;
    speeds.dispatch_seconds = dispatch_seconds.value;
    speeds.product_start_seconds = std::max(dispatch_seconds.value, median(product_start_seconds));
    speeds.read_bytes_per_second = read.rate();
    speeds.cached_read_bytes_per_second = cached_read_rate;
    speeds.compute_factor = workers * std::min(1.0, alone.loop_seconds.value / loop_seconds.value);
    return speeds;
  }
};

/// Of one format, over all rounds.
struct FormatSamples {
  explicit FormatSamples(std::size_t worker_counts)
      : read(worker_counts), product(worker_counts), start_seconds(worker_counts) {}
  std::vector<Stream> read, product;               ///< by number of workers
  std::vector<std::vector<double>> start_seconds;  ///< likewise, of each product
  std::array<Least, measured_batches.size()> weight_seconds;

  FormatSpeed result(FormatId id) {
    FormatSpeed speed;
    speed.format = id;
    // The more workers share the bandwidth, the more time each has to compute: the fraction rises.
    double fraction = 0;
    for (std::size_t w = 0; w < read.size(); ++w) {
      fraction = std::clamp(product[w].rate() / read[w].rate(), fraction, 1.0);
      speed.bandwidth_fractions.push_back(fraction);
    }
    for (std::size_t i = 0; i < weight_seconds.size(); ++i)
      speed.weight_seconds[i] = weight_seconds[i].value;
    return speed;
  }
};

class Probe {
 public:
  /// All of `room` that helps.
  Probe(const MachineKey& key, Bytes room)
      : x_(some_values(most_tokens * columns)),
        y_(static_cast<std::size_t>(most_tokens * cached_rows_of_many)) {
    for (const int count : worker_counts(key.threads))
      workers_.push_back(std::make_unique<Workers>(count, key.isa));
    const Bytes read = read_bytes(key.threads, room);
    read_ = Region(ledger(), Account::io, read);
    read_.prefault();
    weight_bytes_ = std::min(read / 2, most_weight_bytes);
  }

  /// What it holds whatever the room, and the least room.
  static Bytes fixed_bytes(int threads) {
    Bytes bytes = touched_bytes + touched_bytes_per_worker * static_cast<Bytes>(threads) +
                  sizeof(float) * most_tokens * (columns + cached_rows_of_many) +
                  4 * sizeof(float) * tile_rows * columns;  // one pattern and its blocks
    for (const int count : worker_counts(threads)) bytes += Workers::memory_bytes(count);
    return bytes;
  }
  static Bytes least_room(int threads) { return fixed_bytes(threads) + 2 * least_read_bytes; }

  /// What is read from memory; the weights of one matrix are half of it.
  static Bytes read_bytes(int threads, Bytes room) {
    return std::min(most_read_bytes, round_down((room - fixed_bytes(threads)) / 3 * 2, page_bytes));
  }

  /// Measures the machine anew, or goes by what it says, and the formats that it lacks.
  void measure(Machine& machine, bool anew, const std::vector<FormatId>& missing) {
    std::vector<FormatSamples> formats(missing.size(), FormatSamples(workers_.size()));
    std::vector<WorkerSamples> speeds(workers_.size());
    if (anew) {
      machine.probe_bytes = read_.size();
      machine.cache_bytes = largest_cache();
      machine.compute_share = usual_compute_share;
      machine.reading_share = usual_reading_share;
    }
    for (int round = 0; round < rounds; ++round) {
      if (anew) {
        measure_elements(machine);
        measure_attention(machine);
        for (std::size_t w = 0; w < workers_.size(); ++w) measure_workers(*workers_[w], speeds[w]);
      }
      for (std::size_t i = 0; i < missing.size(); ++i)
        measure_format(machine, format(missing[i]), formats[i]);
    }
    if (anew)
      for (std::size_t w = 0; w < workers_.size(); ++w) {
        for (const FormatSamples& samples : formats) {
          speeds[w].read.add(samples.read[w]);
          speeds[w].product_start_seconds.insert(speeds[w].product_start_seconds.end(),
                                                 samples.start_seconds[w].begin(),
                                                 samples.start_seconds[w].end());
        }
        machine.speeds.push_back(speeds[w].result(workers_[w]->count(), speeds.front()));
      }
    for (std::size_t i = 0; i < missing.size(); ++i)
      machine.formats.push_back(formats[i].result(missing[i]));
  }

 private:
  Ledger& ledger() { return workers_.back()->context().ledger; }

  /// One worker's time does not depend on what else runs; that of several does.
  static double seconds_with(const Workers& workers, FunctionRef<void()> body) {
    return workers.count() == 1 ? processor_seconds_of(body) : seconds_of(body);
  }

  Stream read_all(Workers& workers, Bytes bytes) {
    const double seconds = seconds_with(workers, [&] {
      measure_read(workers.context(), {{read_.data(), bytes}});
    });
    return {static_cast<double>(bytes), {seconds}};
  }

  /// Processor time of a worker for one loop in registers while all of them run it: more than alone
  /// where two of them share a core.
  static double seconds_of_each(Workers& workers) {
    const Kernels& kernels = workers.context().kernels;
    const auto steps = loop_macs / *kernels.integer_limit_macs;
    double best = 0;
    for (int i = 0; i < loop_repeats; ++i) {
      std::vector<double> seconds(static_cast<std::size_t>(workers.count()));
      workers.context().threads.run([&](int worker) {
        seconds[static_cast<std::size_t>(worker)] =
            processor_seconds_of([&] { kernels.integer_limit(steps); });
      });
      const double mean = std::accumulate(seconds.begin(), seconds.end(), 0.0) / workers.count();
      if (i == 0 || mean < best) best = mean;
    }
    return best;
  }

  void measure_workers(Workers& workers, WorkerSamples& samples) {
    samples.dispatch_seconds.add(least_seconds(
        [&] {
          workers.context().threads.parallel_for(2 * workers.count(), 1,
                                                 [](std::int64_t, std::int64_t, int) {});
        },
        seconds_of));
    for (int i = 0; i < read_repeats; ++i) samples.read.add(read_all(workers, read_.size()));
    const Bytes cached = std::min(cached_read_bytes, read_.size() / 2);
    for (int i = 0; i < read_repeats; ++i)
      samples.cached_read_rate =
          std::max(samples.cached_read_rate, read_all(workers, cached).rate());
    samples.loop_seconds.add(seconds_of_each(workers));
  }

  void measure_format(const Machine& machine, const Format& f, FormatSamples& samples) {
    SyntheticMatrix matrix(workers_.back()->context(), f, weight_bytes_);
    for (std::size_t w = 0; w < workers_.size(); ++w)
      stream(*workers_[w], matrix, samples.read[w], samples.product[w], samples.start_seconds[w]);
    for (std::size_t i = 0; i < measured_batches.size(); ++i)
      samples.weight_seconds[i].add(weight_seconds(matrix, machine, measured_batches[i]));
  }

  /// Bandwidth changes from second to second where others share the memory, so a product is held
  /// against reading in turns with it, which also empties the caches.
  void stream(Workers& workers, SyntheticMatrix& matrix, Stream& read, Stream& product,
              std::vector<double>& start_seconds) {
    std::vector<float> y(static_cast<std::size_t>(matrix.rows()));
    const MatmulOp op = matrix.op(matrix.rows(), y.data());
    const std::int64_t piece = matrix.rows_in(piece_bytes);
    const std::int64_t pieces = (matrix.rows() + piece - 1) / piece;
    const auto start = Clock::now();
    for (int i = 0; i < repeats && (i == 0 || Clock::now() - start < stream_patience); ++i) {
      read.add(read_all(workers, read_.size()));
      const double seconds = seconds_with(workers, [&] { workers.multiply(op, x_.data(), 1); });
      product.add({static_cast<double>(matrix.bytes()), {seconds}});
      if (pieces < 2) continue;
      read_all(workers, read_.size());  // empties the caches
      const double in_pieces =
          seconds_with(workers, [&] { workers.multiply_in_pieces(op, x_.data(), piece); });
      start_seconds.push_back((in_pieces - seconds) / static_cast<double>(pieces - 1));
    }
  }

  /// Of one worker, which nothing that runs beside it can hold up for long.
  double weight_seconds(SyntheticMatrix& matrix, const Machine& machine, std::int64_t tokens) {
    Workers& one = *workers_.front();
    // Slow instruction sets take fewer rows.
    const std::int64_t most = std::min(
        {matrix.rows_in(cached_bytes), matrix.rows(), most_tokens * cached_rows_of_many / tokens});
    const std::int64_t few = std::min(most, least_rows);
    const MatmulOp trial = matrix.op(few, y_.data());
    const double trial_seconds = seconds_of([&] { one.multiply(trial, x_.data(), tokens); });
    const double affordable = static_cast<double>(few) * most_sample_seconds / trial_seconds;
    const std::int64_t rows =
        std::clamp(static_cast<std::int64_t>(affordable) / tile_rows * tile_rows, few, most);
    const MatmulOp op = matrix.op(rows, y_.data());
    const double seconds = least_seconds([&] { one.multiply(op, x_.data(), tokens); });
    // The cost model counts the rounding of inputs apart.
    const double rounding =
        op.planes ? machine.quantise_seconds * static_cast<double>(tokens * columns) : 0;
    return std::max(seconds - rounding, seconds / 2) / static_cast<double>(rows * columns);
  }

  /// 0: not measured yet.
  static void keep_least(double& kept, double value) {
    kept = kept == 0 ? value : std::min(kept, value);
  }

  void measure_elements(Machine& machine) {
    Workers& one = *workers_.front();
    const Kernels& kernels = one.context().kernels;
    float* const row = y_.data();
    std::copy_n(x_.begin(), 2 * columns, row);
    keep_least(machine.element_seconds,
               least_seconds([&] {
                 kernels.rms_norm(x_.data(), row + columns, 1e-5f, columns, row);
                 kernels.silu_multiply(x_.data(), x_.data() + columns, columns, row);
                 kernels.add(x_.data(), columns, row);
               }) / (3 * columns));
    const QuantisedActivations quantised = place_quantised(one.quantised(), 1, columns);
    keep_least(machine.quantise_seconds, least_seconds([&] {
                                           kernels.quantise_activations(x_.data(), columns, 0, 1,
                                                                        quantised);
                                         }) / columns);
  }

  void measure_attention(Machine& machine) {
    Workers& one = *workers_.front();
    const Kernels& kernels = one.context().kernels;
    const KvHeadLayout layout(KvTier::sixteen, KvSide::keys, head_dim);  // values lie alike
    constexpr std::int64_t page_count = positions / kv_page_positions;
    const Region memory(ledger(), Account::activations,
                        static_cast<Bytes>(2 * page_count * layout.bytes + kv_page_overhang));
    KvPageView pages[page_count];
    for (std::int64_t p = 0; p < positions; ++p) {
      const std::int64_t page = p / kv_page_positions, row = p % kv_page_positions;
      std::byte* const heads = memory.data() + 2 * page * layout.bytes;
      pages[page] = {{heads, KvTier::sixteen}, {heads + layout.bytes, KvTier::sixteen}};
      const auto put = [&](const float* x, float limit, std::byte* head) {
        kernels.cache_row(x, head_dim, limit,
                          reinterpret_cast<std::int16_t*>(head + row * layout.row_bytes),
                          reinterpret_cast<std::uint16_t*>(head + layout.units) + row);
      };
      const float* const x = x_.data() + p * head_dim;
      put(x, key_code_limit(head_dim), pages[page].keys.heads);
      put(x + positions * head_dim, value_code_limit, pages[page].values.heads);
    }
    const Region scratch(
        ledger(), Account::activations,
        static_cast<Bytes>(attention_scratch_floats(query_block, group, head_dim)) * sizeof(float));
    AttentionTask task{};
    task.q = x_.data();
    task.q_stride = task.out_stride = group * head_dim;
    task.pages = pages;
    task.newest = pages[page_count - 1];
    task.head_dim = head_dim;
    task.out = y_.data();
    task.scale = 0.125f;
    task.scratch = scratch.as<float>();
    const auto seconds = [&](std::int64_t queries, std::int32_t heads) {
      task.queries = queries;
      task.heads = heads;
      task.first_position = positions - queries;
      return least_seconds([&] { kernels.attention(task); });
    };
    const auto cells = static_cast<double>(positions * head_dim);
    const double alone = seconds(1, 1) / cells, together = seconds(1, group) / cells;
    const double query = std::max((together - alone) / (group - 1), least_difference);
    // What a key takes is what is left: of the same round.
    if (machine.key_seconds == 0 || alone < machine.key_seconds + machine.query_seconds) {
      machine.query_seconds = query;
      machine.key_seconds = std::max(alone - query, least_difference);
    }
    const auto seen =
        static_cast<double>(query_block * positions - query_block * (query_block - 1) / 2);
    keep_least(machine.prefill_query_seconds,
               seconds(query_block, group) / (seen * group * head_dim));
  }

  std::vector<std::unique_ptr<Workers>> workers_;  ///< by count, rising
  std::vector<float> x_, y_;
  Region read_;
  Bytes weight_bytes_ = 0;
};

}  // namespace

std::vector<FormatId> matrix_formats() {
  std::vector<FormatId> found;
  for (const Format& f : formats()) found.push_back(f.id);
  return found;
}

std::optional<Machine> find_machine(const std::string& folder, const MachineKey& key,
                                    std::span<const FormatId> formats, Bytes room, bool anew) {
  const Bytes least = Probe::least_room(key.threads);
  std::optional<Machine> machine;
  if (!anew) machine = load_machine(folder, key);
  // What was measured with much less room saw less of memory. (Somewhat less is noise in the
  // size of this process: a machine that is measured anew between two commands would have each
  // floor that the first one offers refused by the second.)
  const bool stale = !machine || (room >= least &&
                                  2 * machine->probe_bytes < Probe::read_bytes(key.threads, room));
  std::vector<FormatId> missing;
  const auto want = [&](FormatId format) {
    const bool known = !stale && machine->find(format);
    if (!known && std::find(missing.begin(), missing.end(), format) == missing.end())
      missing.push_back(format);
  };
  if (machine)
    for (const FormatSpeed& speed : machine->formats) want(speed.format);
  for (const FormatId format : formats) want(format);
  if (!stale && missing.empty()) return machine;
  if (room < least) return {};

  Probe probe(key, room);
  if (stale) {
    machine.emplace();
    machine->key = key;
  }
  probe.measure(*machine, stale, missing);
  if (folder.empty()) return machine;
  const FileLock lock(machine_lock_path(folder, key));
  if (!lock.is_held()) return machine;
  // Another process may have measured meanwhile: what it was first to keep is what both go on with,
  // so that a plan is the same from now on.
  if (std::optional<Machine> other = anew ? std::nullopt : load_machine(folder, key)) {
    const bool same = !stale && is_same_measurement(*other, *machine);
    const bool instead = stale && other->probe_bytes >= machine->probe_bytes;
    if (same || instead) {
      if (same)
        for (const FormatSpeed& speed : machine->formats)
          if (!other->find(speed.format)) other->formats.push_back(speed);
      const bool knows_all = std::ranges::all_of(
          formats, [&other](FormatId format) { return other->find(format) != nullptr; });
      if (knows_all) machine = std::move(other);
    }
  }
  save_machine(folder, *machine);
  return machine;
}

}  // namespace plimsoll
