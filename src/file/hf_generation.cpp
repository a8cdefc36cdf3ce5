#include "file/hf_generation.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <optional>

#include "file/hf_config.h"
#include "file/json_reader.h"

namespace plimsoll {
namespace {

/// What makes another text of the same probabilities.
constexpr HfNeutralKey neutral[] = {
    {"num_beams", "1"},
    {"num_beam_groups", "1"},
    {"num_return_sequences", "1"},
    {"diversity_penalty", "0.0|0"},
    {"penalty_alpha", "0.0|0"},
    {"dola_layers", ""},
    {"typical_p", "1.0|1"},
    {"top_h", ""},
    {"epsilon_cutoff", "0.0|0"},
    {"eta_cutoff", "0.0|0"},
    {"encoder_repetition_penalty", "1.0|1"},
    {"no_repeat_ngram_size", "0"},
    {"encoder_no_repeat_ngram_size", "0"},
    {"bad_words_ids", "[]"},
    {"force_words_ids", "[]"},
    {"constraints", "[]"},
    {"sequence_bias", "{}|[]"},
    {"forced_bos_token_id", ""},
    {"forced_eos_token_id", ""},
    {"suppress_tokens", "[]"},
    {"begin_suppress_tokens", "[]"},
    {"exponential_decay_length_penalty", ""},
    {"guidance_scale", "1.0|1"},
    {"watermarking_config", ""},
    {"token_healing", "false"},
    {"min_length", "0"},
    {"min_new_tokens", "0"},
    {"stop_strings", "[]"},
};

constexpr std::int64_t most_tokens = std::numeric_limits<std::int32_t>::max();

}  // namespace

void add_hf_generation(const std::filesystem::path& folder, MetadataBuilder& metadata) {
  const std::string path = (folder / "generation_config.json").string();
  const auto json = read_json_object(path);
  if (!json) return;
  const JsonKeys keys(*json, path);
  check_hf_neutral_keys(keys, neutral);

  const auto bounded = [&](const char* key, double least, double most) {
    const auto value = keys.number(key);
    if (value && !(*value >= least && *value <= most))
      keys.invalid(key, fmt::format("a number from {} to {}", least, most));
    return value;
  };
  constexpr double large = 100;
  const auto temperature = bounded("temperature", 0, large);
  const auto top_k = keys.integer("top_k");
  if (top_k && *top_k < 0) keys.invalid("top_k", "a count from 0 up");
  const auto top_p = bounded("top_p", 0, 1);
  const auto min_p = bounded("min_p", 0, 1);
  const auto penalty = bounded("repetition_penalty", 1e-6, large);
  const auto samples = keys.boolean("do_sample");
  if (samples && !*samples) {
    metadata.add_number("general.sampling.temp", 0);
  } else {
    // Who says that there is sampling, and not how, means the library's own settings.
    const auto add = [&](const char* key, std::optional<double> value, double otherwise) {
      if (value || samples) metadata.add_number(key, value.value_or(otherwise));
    };
    add("general.sampling.temp", temperature, 1);
    if (top_k || samples)
      metadata.add_integer("general.sampling.top_k", std::min(top_k.value_or(50), most_tokens),
                           MetadataType::i32);
    add("general.sampling.top_p", top_p, 1);
    add("general.sampling.min_p", min_p, 0);
  }
  if (penalty) {
    metadata.add_number("general.sampling.penalty_repeat", *penalty);
    // Of the whole text, what was asked included.
    metadata.add_integer("general.sampling.penalty_last_n", -1, MetadataType::i32);
  }
}

}  // namespace plimsoll
