#include "plan/costs.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "model/transformer.h"
#include "planes/planes.h"

namespace plimsoll {
namespace {

/// Workers are started this often in a layer: four products and attention; with many tokens once
/// more for the inputs of each product, for rotating and for both sums.
constexpr int layer_dispatches = 5, layer_dispatches_of_many = 12, layer_products = 4;
/// Tokens that a worker takes at least of what is done token by token.
constexpr std::int64_t tokens_per_worker = 4;
/// Queries that attend together.
constexpr std::int64_t query_block = 64;

Bytes memory_bytes(const Format& format, std::int64_t rows, std::int64_t columns) {
  return format.kind == Format::Kind::coded
             ? PlaneTensor::memory_bytes(format.layout, rows, columns)
             : static_cast<Bytes>(rows) * row_bytes(format, columns);
}

/// Of a worker's task when `tasks` equal ones are shared out: the busiest one's part of the work.
double share(std::int64_t tasks, int threads) {
  const std::int64_t most = (tasks + threads - 1) / threads;
  return static_cast<double>(most) / static_cast<double>(tasks);
}

/// Seconds per weight for `tokens` tokens together: linear between the numbers that were measured.
double weight_seconds(const FormatSpeed& speed, std::int64_t tokens) {
  std::size_t above = 0;
  while (above < measured_batches.size() && measured_batches[above] < tokens) ++above;
  if (above == measured_batches.size())
    return speed.weight_seconds.back() * static_cast<double>(tokens) / measured_batches.back();
  if (above == 0) return speed.weight_seconds[0];
  const int low = measured_batches[above - 1], high = measured_batches[above];
  const double part = static_cast<double>(tokens - low) / (high - low);
  return speed.weight_seconds[above - 1] * (1 - part) + speed.weight_seconds[above] * part;
}

/// `bytes_per_second` reaches the workers from where the weights are.
double product_seconds(const Machine& machine, std::size_t with, double bytes_per_second,
                       const Format& format, std::int64_t rows, std::int64_t columns,
                       std::int64_t tokens) {
  const FormatSpeed* const speed = machine.find(format.id);
  if (!speed)
    throw Error(ErrorCode::internal, fmt::format("products of {} were not measured", format.name));
  const double compute = static_cast<double>(rows * columns) * weight_seconds(*speed, tokens) /
                         machine.speeds[with].compute_factor;
  const double read = static_cast<double>(memory_bytes(format, rows, columns)) /
                      (bytes_per_second * speed->bandwidth_fractions[with]);
  return std::max(compute / machine.compute_share, read / machine.reading_share);
}

double read_rate(const WorkerSpeeds& workers, WeightPlace place) {
  return place == WeightPlace::cache ? workers.cached_read_bytes_per_second
                                     : workers.read_bytes_per_second;
}

/// What a pass does other than its products.
class NonProducts {
 public:
  NonProducts(const Machine& machine, const Description& description, int threads,
              WeightPlace place)
      : machine_(machine),
        workers_(machine.speeds[machine.with(threads)]),
        d_(description),
        threads_(threads),
        place_(place),
        bytes_per_second_(read_rate(workers_, place)) {}

  /// All but attention: norms, rotations, sums, rounding of inputs; logits for `logit_rows` of the
  /// tokens.
  double elementwise(std::int64_t tokens, std::int64_t logit_rows) const {
    const std::int64_t q_rows = d_.heads * d_.head_dim;
    const auto inputs = static_cast<double>(2 * d_.width + q_rows + d_.feed_forward);
    const auto elements = static_cast<double>(4 * d_.width + d_.qkv_rows() + d_.feed_forward);
    const double token_seconds =
        static_cast<double>(d_.layers) *
        (inputs * machine_.quantise_seconds + elements * machine_.element_seconds);
    const int dispatches = tokens > tokens_per_worker ? layer_dispatches_of_many : layer_dispatches;
    return token_seconds * static_cast<double>(tokens) *
               share((tokens + tokens_per_worker - 1) / tokens_per_worker, threads_) +
           static_cast<double>(logit_rows * d_.vocabulary) * machine_.element_seconds +
           static_cast<double>(d_.layers * (dispatches - layer_products)) *
               workers_.dispatch_seconds +
           static_cast<double>(d_.layers * layer_products + 1) * product_start_seconds();
  }

  /// Of `sequences` queries, each alone with the `depth` positions before it.
  double decode_attention(std::int64_t depth, std::int64_t sequences) const {
    const double each = static_cast<double>(d_.kv_heads * d_.head_dim) * machine_.key_seconds +
                        static_cast<double>(d_.heads * d_.head_dim) * machine_.query_seconds;
    const std::int64_t parts = sequences <= few_queries ? depth / attention_part + 1 : 1;
    const double compute = each * share(d_.kv_heads * sequences * parts, threads_);
    const double bytes =
        static_cast<double>(2 * sizeof(std::uint16_t) * d_.kv_heads * (d_.head_dim + 1));
    const double read = bytes / bytes_per_second_;
    double positions = 0;
    for (const LayerDescription& layer : d_.per_layer) positions += seen(layer, depth);
    return positions * static_cast<double>(sequences) * std::max(compute, read);
  }

  /// Of `tokens` queries of one sequence behind `depth` others.
  double prefill_attention(std::int64_t depth, std::int64_t tokens) const {
    double positions = 0;
    for (const LayerDescription& layer : d_.per_layer)
      for (std::int64_t t = 0; t < tokens; ++t) positions += seen(layer, depth + t);
    const std::int64_t tasks = d_.kv_heads * ((tokens + query_block - 1) / query_block);
    return positions * static_cast<double>(d_.heads * d_.head_dim) *
           machine_.prefill_query_seconds * share(tasks, threads_);
  }

 private:
  /// Of products whose weights come from memory; from the cache they come at once.
  double product_start_seconds() const {
    return place_ == WeightPlace::memory ? workers_.product_start_seconds
                                         : workers_.dispatch_seconds;
  }

  /// Positions that a query behind `depth` others sees in a layer.
  static double seen(const LayerDescription& layer, std::int64_t depth) {
    return static_cast<double>(layer.window ? std::min(layer.window, depth + 1) : depth + 1);
  }

  const Machine& machine_;
  const WorkerSpeeds& workers_;
  const Description& d_;
  int threads_;
  WeightPlace place_;
  double bytes_per_second_;
};

/// One pass through a model.
class PassCosts {
 public:
  PassCosts(const Machine& machine, const ModelShape& shape, int threads)
      : machine_(machine),
        shape_(shape),
        is_product_(find_products(shape.uses)),
        with_(machine.with(threads)),
        place_(find_place()),
        others_(machine, shape.description, threads, place_) {}

  const NonProducts& others() const { return others_; }
  WeightPlace place() const { return place_; }

  /// Of the products, logits for `logit_rows` of the tokens.
  double products(std::int64_t tokens, std::int64_t logit_rows) const {
    const double bytes_per_second = read_rate(machine_.speeds[with_], place_);
    double total = 0;
    for (std::size_t i = 0; i < shape_.uses.size(); ++i) {
      const TensorSlot& slot = shape_.uses[i].slot;
      const std::int64_t count = slot.layer < 0 ? logit_rows : tokens;
      if (!is_product_[i] || count == 0) continue;
      total += product_seconds(machine_, with_, bytes_per_second, *shape_.formats[i], slot.rows,
                               slot.columns, count);
    }
    return total;
  }

 private:
  WeightPlace find_place() const {
    Bytes bytes = 0;
    for (std::size_t i = 0; i < shape_.uses.size(); ++i)
      if (is_product_[i])
        bytes +=
            memory_bytes(*shape_.formats[i], shape_.uses[i].slot.rows, shape_.uses[i].slot.columns);
    return bytes > machine_.cache_bytes ? WeightPlace::memory : WeightPlace::cache;
  }

  const Machine& machine_;
  const ModelShape& shape_;
  std::vector<bool> is_product_;
  std::size_t with_;
  WeightPlace place_;
  NonProducts others_;
};

}  // namespace

WeightPlace weight_place(const Machine& machine, const ModelShape& shape) {
  return PassCosts(machine, shape, 1).place();
}

double decode_seconds(const Machine& machine, const Format& format, std::int64_t rows,
                      std::int64_t columns, int threads, std::int64_t sequences,
                      WeightPlace place) {
  const std::size_t with = machine.with(threads);
  return product_seconds(machine, with, read_rate(machine.speeds[with], place), format, rows,
                         columns, sequences) /
         machine.usual_reach(threads, place, Phase::decode);
}

double decode_seconds(const Machine& machine, const ModelShape& shape, std::int64_t depth,
                      std::int64_t sequences, int threads) {
  const PassCosts pass(machine, shape, threads);
  return (pass.products(sequences, sequences) + pass.others().elementwise(sequences, sequences) +
          pass.others().decode_attention(depth, sequences)) /
         machine.usual_reach(threads, pass.place(), Phase::decode);
}

double decode_seconds_without_products(const Machine& machine, const Description& description,
                                       std::int64_t depth, std::int64_t sequences, int threads,
                                       WeightPlace place) {
  const NonProducts others(machine, description, threads, place);
  return (others.elementwise(sequences, sequences) + others.decode_attention(depth, sequences)) /
         machine.usual_reach(threads, place, Phase::decode);
}

double prefill_seconds(const Machine& machine, const ModelShape& shape, std::int64_t depth,
                       std::int64_t tokens, std::int64_t chunk_tokens, int threads) {
  const PassCosts pass(machine, shape, threads);
  double total = 0;
  for (std::int64_t done = 0; done < tokens; done += chunk_tokens) {
    const std::int64_t count = std::min(chunk_tokens, tokens - done);
    const std::int64_t logit_rows = done + count == tokens ? 1 : 0;
    total += pass.products(count, logit_rows) + pass.others().elementwise(count, logit_rows) +
             pass.others().prefill_attention(depth + done, count);
  }
  return total / machine.usual_reach(threads, pass.place(), Phase::prefill);
}

}  // namespace plimsoll
