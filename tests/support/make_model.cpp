// Writes models with random weights, or an existing model in another format, for the suites that
// compare with the peer and with the kernel's count of memory.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <map>
#include <optional>
#include <thread>

#include "base/error.h"
#include "support/hf_folder_writer.h"
#include "support/synthetic_model.h"

namespace plimsoll::test {
namespace {

FormatId parse_format(const std::string& text) {
  const Format* found = find_format(text);
  if (!found) {
    std::string known;
    for (const Format& f : formats())
      known += (known.empty() ? "" : ", ") + std::string(f.name);
    throw Error(ErrorCode::usage, fmt::format("format '{}' is not known", text), "known: " + known);
  }
  return found->id;
}

int make_model(int argc, char** argv) {
  CLI::App app("Writes a GGUF model with random weights, or re-encodes one.");
  std::string out, shape = "tiny", family = "llama", format = "F16", source, folder;
  HfFolderOptions folder_options;
  std::optional<std::string> embedding_format, output_format;
  std::optional<std::int64_t> layers, width, heads, kv_heads, feed_forward, vocabulary;
  SyntheticModel rest;
  int threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));

  app.add_option("OUT", out, "File to write")->required();
  app.add_option("--folder", folder, "Write a Hugging Face folder of the same model, too");
  app.add_option("--shards", folder_options.shards, "Files of the folder's weights")
      ->check(CLI::Range(1, 99999));
  app.add_option("--requantise", source, "Take this model and change its matrices' format only");
  app.add_option("--format", format, "Of matrices")->capture_default_str();
  app.add_option("--embedding-format", embedding_format, "Of token embeddings; default: --format");
  app.add_option("--output-format", output_format, "Of the output matrix; default: --format");
  app.add_option("--family", family, "general.architecture")->capture_default_str();
  app.add_option("--shape", shape, "tiny, small, qwen-0.5b or llama-1b")->capture_default_str();
  app.add_option("--layers", layers);
  app.add_option("--width", width);
  app.add_option("--heads", heads);
  app.add_option("--kv-heads", kv_heads);
  app.add_option("--head-dim", rest.head_dim, "Default: width / heads");
  app.add_option("--feed-forward", feed_forward);
  app.add_option("--vocabulary", vocabulary, "Tokens");
  app.add_option("--vocab-from", rest.vocabulary_from, "Copy this file's tokenizer");
  app.add_option("--context", rest.context, "Tokens trained for")->capture_default_str();
  app.add_option("--seed", rest.seed)->capture_default_str();
  app.add_flag("--tied", rest.tied, "No output matrix of its own");
  app.add_option("--rope-dim", rest.rope_dim, "Default: head dimension");
  app.add_option("--rope-base", rest.rope_base)->capture_default_str();
  app.add_option("--rope-scaling", rest.rope_scaling)
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, RopeScaling>{{"none", RopeScaling::none},
                                             {"linear", RopeScaling::linear},
                                             {"yarn", RopeScaling::yarn},
                                             {"longrope", RopeScaling::longrope}}));
  app.add_option("--rope-factor", rest.rope_factor, "rope.scaling.factor");
  app.add_option("--rope-original-context", rest.rope_original_context, "Default: --context");
  app.add_option("--attention-factor", rest.attention_factor, "rope.scaling.attn_factor");
  app.add_flag("--rope-factors", rest.rope_factors, "With frequency factor tensors");
  app.add_option("--window", rest.window, "Sliding window");
  app.add_flag("--optional-biases", rest.optional_biases, "With all biases the family allows");
  app.add_option("--threads", threads)->check(CLI::Range(1, 1024));
  CLI11_PARSE(app, argc, argv);

  if (!source.empty()) {
    requantise_model(source, out, parse_format(format), threads);
    return 0;
  }
  const SyntheticModel sizes = synthetic_shape(shape);
  SyntheticModel model = rest;
  model.family = family;
  model.layers = layers.value_or(sizes.layers);
  model.width = width.value_or(sizes.width);
  model.heads = heads.value_or(sizes.heads);
  model.kv_heads = kv_heads.value_or(sizes.kv_heads);
  model.feed_forward = feed_forward.value_or(sizes.feed_forward);
  model.vocabulary = vocabulary.value_or(sizes.vocabulary);
  model.format = parse_format(format);
  model.embedding_format = parse_format(embedding_format.value_or(format));
  model.output_format = parse_format(output_format.value_or(format));
  write_synthetic_model(out, model, threads);
  if (!folder.empty()) write_hf_folder(out, folder, folder_options);
  return 0;
}

}  // namespace
}  // namespace plimsoll::test

int main(int argc, char** argv) {
  try {
    return plimsoll::test::make_model(argc, argv);
  } catch (const plimsoll::Error& error) {
    fmt::print(stderr, "plimsoll_make_model: {}{}{}\n", error.message(),
               error.hint().empty() ? "" : "; ", error.hint());
    return plimsoll::exit_code(error.code());
  }
}
