#include "support/synthetic_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <random>
#include <span>

#include "base/error.h"
#include "base/threads.h"
#include "file/gguf_writer.h"
#include "file/model_file.h"
#include "model/architecture.h"
#include "model/tensors.h"

namespace plimsoll::test {
namespace {

/// Numbers that are made, encoded and written together: bounds memory, and is what one seed covers.
constexpr std::int64_t piece_values = 1 << 18;
constexpr std::int64_t pieces_at_once = 16;

// --- Vocabulary ---

/// Three special tokens, the 256 bytes, and words. Text becomes mostly byte tokens, and every id
/// has a text of its own.
void add_sentence_piece_vocabulary(GgufWriter& writer, std::int64_t size) {
  constexpr std::int32_t normal = 1, unknown = 2, control = 3, byte = 6;
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
  std::vector<std::int32_t> types = {unknown, control, control};
  for (int value = 0; value < 256; ++value) {
    tokens.push_back(fmt::format("<0x{:02X}>", value));
    types.push_back(byte);
  }
  std::vector<float> scores(tokens.size(), 0.0f);
  const std::string space = "\xe2\x96\x81";  // U+2581, which stands for a space
  for (std::int64_t word = 0; static_cast<std::int64_t>(tokens.size()) < size; ++word) {
    tokens.push_back(word ? fmt::format("{}w{}", space, word) : space);
    types.push_back(normal);
    scores.push_back(-static_cast<float>(word));
  }
  writer.add_string("tokenizer.ggml.model", "llama");
  writer.add_strings("tokenizer.ggml.tokens", tokens);
  writer.add_numbers("tokenizer.ggml.scores", scores);
  writer.add_integers("tokenizer.ggml.token_type", types);
  writer.add_integer("tokenizer.ggml.bos_token_id", 1);
  writer.add_integer("tokenizer.ggml.eos_token_id", 2);
  writer.add_integer("tokenizer.ggml.unknown_token_id", 0);
}

/// Returns the number of tokens.
std::int64_t add_vocabulary(GgufWriter& writer, const SyntheticModel& model) {
  if (model.vocabulary_from.empty()) {
    constexpr std::int64_t least = 260;  // special tokens, bytes and the space
    if (model.vocabulary < least)
      throw Error(ErrorCode::usage, fmt::format("a vocabulary has {} tokens at least, found {}",
                                                least, model.vocabulary));
    add_sentence_piece_vocabulary(writer, model.vocabulary);
    return model.vocabulary;
  }
  const ModelFile source = ModelFile::open(model.vocabulary_from);
  const MetadataValue* tokens = source.metadata().find("tokenizer.ggml.tokens");
  if (!tokens)
    throw Error(ErrorCode::invalid_model,
                fmt::format("{} has no vocabulary to copy", model.vocabulary_from));
  for (const Metadata::Entry& entry : source.metadata().entries())
    if (entry.key.starts_with("tokenizer.")) writer.add_value(entry.key, entry.value);
  return static_cast<std::int64_t>(tokens->size());
}

// --- Hyper-parameters ---

std::string_view name(RopeScaling scaling) {
  switch (scaling) {
    case RopeScaling::none:
      return "none";
    case RopeScaling::linear:
      return "linear";
    case RopeScaling::yarn:
      return "yarn";
    case RopeScaling::longrope:
      return "longrope";
  }
  return "none";
}

void add_hyper_parameters(GgufWriter& writer, const SyntheticModel& m) {
  const std::string& family = m.family;
  const auto key = [&family](std::string_view suffix) {
    return fmt::format("{}.{}", family, suffix);
  };
  const std::int64_t head_dim = m.head_dim ? m.head_dim : m.width / m.heads;
  writer.add_string("general.architecture", family);
  writer.add_string("general.name", "random weights");
  writer.add_integer(key("context_length"), m.context);
  writer.add_integer(key("embedding_length"), m.width);
  writer.add_integer(key("block_count"), m.layers);
  writer.add_integer(key("feed_forward_length"), m.feed_forward);
  writer.add_integer(key("attention.head_count"), m.heads);
  writer.add_integer(key("attention.head_count_kv"), m.kv_heads);
  writer.add_integer(key("attention.key_length"), head_dim);
  writer.add_integer(key("attention.value_length"), head_dim);
  writer.add_number(key("attention.layer_norm_rms_epsilon"), 1e-5);
  writer.add_integer(key("rope.dimension_count"), m.rope_dim ? m.rope_dim : head_dim);
  writer.add_number(key("rope.freq_base"), m.rope_base);
  if (m.rope_scaling != RopeScaling::none)
    writer.add_string(key("rope.scaling.type"), name(m.rope_scaling));
  if (m.rope_factor != 0) writer.add_number(key("rope.scaling.factor"), m.rope_factor);
  if (m.rope_scaling != RopeScaling::none || family == "phi3")
    writer.add_integer(key("rope.scaling.original_context_length"),
                       m.rope_original_context ? m.rope_original_context : m.context);
  if (m.attention_factor != 0)
    writer.add_number(key("rope.scaling.attn_factor"), m.attention_factor);
  if (m.window) writer.add_integer(key("attention.sliding_window"), m.window);
  if (family == "gemma2") {
    writer.add_number(key("attn_logit_softcapping"), 50);
    writer.add_number(key("final_logit_softcapping"), 30);
  }
}

/// What the engine makes of these hyper-parameters, read from a file that holds them and an
/// embedding one column wide.
Description description_of(const std::string& path, const SyntheticModel& model) {
  const std::string probe = path + ".header";
  const Format& f32 = format(FormatId::F32);
  {
    GgufWriter writer(OutputPath::own(probe));
    add_hyper_parameters(writer, model);
    const std::int64_t vocabulary = add_vocabulary(writer, model);
    const std::int64_t embedding[] = {1, vocabulary}, output[] = {1, 1};
    writer.add_tensor("token_embd.weight", f32, embedding);
    if (!model.tied) writer.add_tensor("output.weight", f32, output);
    const std::vector<std::uint8_t> zeros(
        static_cast<std::size_t>(vocabulary + (model.tied ? 0 : 1)) * sizeof(float));
    writer.write(zeros);
    writer.finish();
  }
  const auto remove = [&probe] { std::remove(probe.c_str()); };
  try {
    Description description = describe(ModelFile::open(probe));
    remove();
    return description;
  } catch (...) {
    remove();
    throw;
  }
}

// --- Weights ---

/// Distribution of a tensor's numbers.
struct Distribution {
  float mean;
  float deviation;
};

Distribution distribution(const TensorSlot& slot) {
  switch (slot.role) {
    case Role::output_norm:
    case Role::attention_norm:
    case Role::q_norm:
    case Role::k_norm:
    case Role::attention_post_norm:
    case Role::feed_forward_norm:
    case Role::feed_forward_post_norm:
      return {1.0f, 0.1f};
    case Role::q_bias:
    case Role::k_bias:
    case Role::v_bias:
    case Role::qkv_bias:
    case Role::attention_output_bias:
    case Role::gate_bias:
    case Role::up_bias:
    case Role::down_bias:
      return {0.0f, 0.1f};
    default:
      return {0.0f, 1.0f / std::sqrt(static_cast<float>(slot.columns))};
  }
}

/// Factors between 1 and `last`, rising as those of Llama 3.1 and LongRoPE do.
std::vector<float> frequency_factors(std::int64_t count, float last) {
  std::vector<float> factors;
  for (std::int64_t i = 0; i < count; ++i)
    factors.push_back(1 + (last - 1) * static_cast<float>(i + 1) / static_cast<float>(count));
  return factors;
}

bool is_written(const TensorSlot& slot, const SyntheticModel& model) {
  switch (slot.role) {
    case Role::rope_factors:
    case Role::rope_long_factors:
      return model.rope_factors;
    default:
      return slot.required || model.optional_biases;
  }
}

/// `wanted` where its blocks divide the rows, otherwise `otherwise`.
const Format& fitting(const Format& wanted, std::int64_t columns, const Format& otherwise) {
  return columns % wanted.block_values == 0 ? wanted : otherwise;
}

const Format& slot_format(const TensorSlot& slot, const SyntheticModel& model) {
  if (slot.is_vector()) return format(FormatId::F32);
  const FormatId wanted = slot.role == Role::token_embedding ? model.embedding_format
                          : slot.role == Role::output        ? model.output_format
                                                             : model.format;
  return fitting(format(wanted), slot.columns, format(FormatId::F16));
}

/// Writes a matrix in pieces that all workers make at once. `make(piece, begin, end, values)` fills
/// rows [begin, end), which depend on nothing but their arguments.
void write_rows(GgufWriter& writer, ThreadPool& threads, const Format& f, std::int64_t rows,
                std::int64_t columns,
                const std::function<void(std::int64_t piece, std::int64_t begin, std::int64_t end,
                                         std::span<float> values)>& make) {
  const std::int64_t piece_rows = std::max<std::int64_t>(1, piece_values / columns);
  const std::int64_t pieces = (rows + piece_rows - 1) / piece_rows;
  const Bytes row = row_bytes(f, columns);
  std::vector<std::vector<float>> values(static_cast<std::size_t>(threads.size()));
  std::vector<std::uint8_t> encoded;
  for (std::int64_t first = 0; first < pieces; first += pieces_at_once) {
    const std::int64_t first_row = first * piece_rows;
    const std::int64_t count = std::min(pieces_at_once, pieces - first);
    const std::int64_t last_row = std::min(first_row + count * piece_rows, rows);
    encoded.resize(static_cast<std::size_t>(last_row - first_row) * row);
    threads.parallel_for(count, 1, [&](std::int64_t from, std::int64_t to, int worker) {
      for (std::int64_t piece = first + from; piece < first + to; ++piece) {
        const std::int64_t begin = piece * piece_rows, end = std::min(begin + piece_rows, rows);
        std::vector<float>& buffer = values[static_cast<std::size_t>(worker)];
        buffer.resize(static_cast<std::size_t>((end - begin) * columns));
        make(piece, begin, end, buffer);
        f.encode(buffer.data(), encoded.data() + static_cast<Bytes>(begin - first_row) * row,
                 (end - begin) * columns / f.block_values);
      }
    });
    writer.write(encoded);
  }
}

std::span<const std::uint8_t> bytes_of(std::span<const float> values) {
  return {reinterpret_cast<const std::uint8_t*>(values.data()), values.size_bytes()};
}

}  // namespace

SyntheticModel synthetic_shape(std::string_view name) {
  struct Shape {
    std::string_view name;
    std::int64_t width, layers, heads, kv_heads, feed_forward, vocabulary;
  };
  static constexpr Shape shapes[] = {
      {"tiny", 256, 4, 8, 4, 704, 512},
      {"small", 768, 12, 12, 4, 2048, 32000},
      {"qwen-0.5b", 896, 24, 14, 2, 4864, 32000},
      {"llama-1b", 2048, 16, 32, 8, 8192, 32000},
  };
  std::string known;
  for (const Shape& shape : shapes) {
    known += (known.empty() ? "" : ", ") + std::string(shape.name);
    if (shape.name != name) continue;
    SyntheticModel model;
    model.width = shape.width;
    model.layers = shape.layers;
    model.heads = shape.heads;
    model.kv_heads = shape.kv_heads;
    model.feed_forward = shape.feed_forward;
    model.vocabulary = shape.vocabulary;
    return model;
  }
  throw Error(ErrorCode::usage, fmt::format("shape '{}' is not known", name), "known: " + known);
}

void write_synthetic_model(const std::string& path, const SyntheticModel& model, int threads) {
  if (model.layers < 1 || model.width < 1 || model.heads < 1 || model.kv_heads < 1)
    throw Error(ErrorCode::usage, "layers, width and heads of a model must be 1 or more");
  const Description description = description_of(path, model);
  std::vector<TensorSlot> slots = tensor_slots(description);
  std::erase_if(slots, [&model](const TensorSlot& slot) { return !is_written(slot, model); });

  GgufWriter writer(OutputPath::own(path));
  add_hyper_parameters(writer, model);
  add_vocabulary(writer, model);
  for (const TensorSlot& slot : slots) {
    const std::int64_t shape[] = {slot.columns, slot.rows};
    writer.add_tensor(slot.name, slot_format(slot, model),
                      std::span(shape, slot.is_vector() ? 1 : 2));
  }

  ThreadPool pool(threads);
  std::uint32_t tensor = 0;
  for (const TensorSlot& slot : slots) {
    ++tensor;
    if (slot.role == Role::rope_factors || slot.role == Role::rope_long_factors) {
      const float last = slot.role == Role::rope_factors ? 8.0f : 32.0f;
      writer.write(bytes_of(frequency_factors(slot.columns, last)));
      continue;
    }
    const Distribution wanted = distribution(slot);
    write_rows(writer, pool, slot_format(slot, model), slot.rows, slot.columns,
               [&](std::int64_t piece, std::int64_t, std::int64_t, std::span<float> values) {
                 std::seed_seq seed{model.seed, tensor, static_cast<std::uint32_t>(piece)};
                 std::mt19937 random(seed);
                 std::normal_distribution<float> normal(wanted.mean, wanted.deviation);
                 for (float& value : values) value = normal(random);
               });
  }
  writer.finish();
}

void requantise_model(const std::string& source, const std::string& path, FormatId wanted,
                      int threads) {
  const ModelFile file = ModelFile::open(source);
  GgufWriter writer(OutputPath::own(path));
  for (const Metadata::Entry& entry : file.metadata().entries())
    if (entry.key != "general.file_type") writer.add_value(entry.key, entry.value);
  const auto target = [wanted](const TensorInfo& info) -> const Format& {
    return info.rank < 2 ? *info.format
                         : fitting(format(wanted), info.columns(), *info.format);
  };
  for (const TensorInfo& info : file.tensors()) {
    if (info.format->kind != Format::Kind::dense)
      throw Error(ErrorCode::unsupported_format,
                  fmt::format("tensor {} is {} already", info.name, info.format->name),
                  "give a file in F32, F16 or BF16");
    writer.add_tensor(info.name, target(info),
                      std::span(info.shape).first(static_cast<std::size_t>(info.rank)));
  }

  ThreadPool pool(threads);
  for (const TensorInfo& info : file.tensors()) {
    const Bytes row = row_bytes(*info.format, info.columns());
    write_rows(writer, pool, target(info), info.rows(), info.columns(),
               [&](std::int64_t, std::int64_t begin, std::int64_t end, std::span<float> values) {
                 std::vector<std::uint8_t> raw(static_cast<Bytes>(end - begin) * row);
                 file.read(info.offset + static_cast<Bytes>(begin) * row, raw.size(), raw.data());
                 info.format->decode(raw.data(), values.data(),
                                     static_cast<std::int64_t>(values.size()));
               });
  }
  writer.finish();
}

}  // namespace plimsoll::test
