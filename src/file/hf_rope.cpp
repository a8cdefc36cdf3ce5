#include "file/hf_rope.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"
#include "file/header_bytes.h"

namespace plimsoll {
namespace {

constexpr std::string_view full = "full_attention", windowed = "sliding_attention";

/// Settings out of several objects, of which earlier ones come first.
class Settings {
 public:
  explicit Settings(JsonKeys first) : objects_{std::move(first)} {}
  void append(JsonKeys next) { objects_.push_back(std::move(next)); }

  const JsonKeys& of(std::string_view key) const {
    for (const JsonKeys& keys : objects_)
      if (keys.contains(key)) return keys;
    return objects_.front();
  }
  std::optional<double> number(std::string_view key) const { return of(key).number(key); }
  std::optional<std::int64_t> integer(std::string_view key) const { return of(key).integer(key); }
  bool contains(std::string_view key) const { return of(key).contains(key); }
  /// There, even if it is null.
  bool says(std::string_view key) const {
    return std::ranges::any_of(objects_,
                               [&](const JsonKeys& keys) { return keys.members().contains(key); });
  }
  /// "default" where there is none.
  std::string type() const {
    for (const JsonKeys& keys : objects_)
      for (const char* name : {"rope_type", "type"})
        if (const auto found = keys.string(name)) return *found;
    return "default";
  }
  [[noreturn]] void refuse_type(std::string_view wanted) const {
    const std::string_view key = contains("rope_type") ? "rope_type" : "type";
    refuse_hf_key(of(key), key, wanted);
  }

 private:
  std::vector<JsonKeys> objects_;
};

class RopeReader {
 public:
  RopeReader(const JsonKeys& config, HfModel& model, MetadataBuilder& metadata)
      : config_(config), model_(model), family_(*model.family), metadata_(metadata) {}

  void read() {
    const bool is_gemma3 = family_.windows == HfWindows::by_pattern;
    const Settings rope = is_gemma3 ? gemma3_settings() : flat_settings();
    base_ = rope.number("rope_theta")
                .value_or(config_.number("rope_theta").value_or(family_.default_rope_base));
    if (!(base_ > 0) || !std::isfinite(base_))
      rope.of("rope_theta").invalid("rope_theta", "a number above 0");
    number("rope.freq_base", base_);
    if (is_gemma3) add_local_base();
    const bool is_partial = family_.name == "phi3";
    dimensions_ = model_.head_dim;
    const auto own = rope.number("partial_rotary_factor");
    if (const auto part = own ? own : config_.number("partial_rotary_factor"); part && *part != 1) {
      const JsonKeys& keys = own ? rope.of("partial_rotary_factor") : config_;
      if (!is_partial) refuse_hf_key(keys, "partial_rotary_factor", "1");
      if (!(*part > 0) || *part > 1) keys.invalid("partial_rotary_factor", "a part from 0 to 1");
      dimensions_ = static_cast<std::int64_t>(*part * static_cast<double>(model_.head_dim));
      if (dimensions_ < 2 || dimensions_ % 2 != 0)
        keys.invalid("partial_rotary_factor", "an even number of a head's dimensions");
    }
    if (is_partial || family_.name == "llama") add("rope.dimension_count", dimensions_);
    add_scaling(rope);
  }

 private:
  void add(std::string_view suffix, std::int64_t value) {
    metadata_.add_integer(fmt::format("{}.{}", family_.name, suffix), value);
  }
  void number(std::string_view suffix, double value) {
    metadata_.add_number(fmt::format("{}.{}", family_.name, suffix), value);
  }

  /// Of families that rotate all layers alike. An old name stands before the new one.
  Settings flat_settings() const {
    const JsonKeys old = config_.object("rope_scaling");
    const JsonKeys settings = old.members().empty() ? config_.object("rope_parameters") : old;
    for (const std::string_view kind : {full, windowed})
      if (settings.contains(kind)) refuse_hf_key(settings, kind, "settings for all layers alike");
    return Settings(settings);
  }

  /// Gemma 3's are by kind of layer; the old name means the layers without a window.
  Settings gemma3_settings() const {
    const JsonKeys kinds = config_.object("rope_parameters");
    for (const auto& [name, value] : kinds.members().items())
      if (name != full && name != windowed && !value.is_null())
        refuse_hf_key(kinds, name, "settings by kind of layer");
    const JsonKeys old = config_.object("rope_scaling");
    if (old.contains("type") && !old.contains("rope_type"))
      refuse_hf_key(old, "type", "the name rope_type");  // which alone is looked at
    Settings result(old);
    result.append(kinds.object(full));
    return result;
  }

  /// Layers with a window have a base of their own, and no scaling.
  void add_local_base() {
    const Settings local(config_.object("rope_parameters").object(windowed));
    if (local.type() != "default") local.refuse_type("default for the layers with a window");
    if (const auto part = local.number("partial_rotary_factor"); part && *part != 1)
      refuse_hf_key(local.of("partial_rotary_factor"), "partial_rotary_factor", "1");
    const auto own = local.number("rope_theta");
    if (const auto found = own ? own : config_.number("rope_local_base_freq")) {
      if (!(*found > 0)) config_.invalid("rope_local_base_freq", "a number above 0");
      number("rope.freq_base_swa", *found);
    }
  }

  void add_scaling(const Settings& rope) {
    std::string type = rope.type();
    if (family_.name == "phi3") {
      if (type == "su" || type == "yarn") type = "longrope";  // names of the same in older folders
      add("rope.scaling.original_context_length", original_context(rope));
      if (type != "default" && type != "longrope") rope.refuse_type("default or longrope");
    }
    if (type == "linear") {
      metadata_.add_string(fmt::format("{}.rope.scaling.type", family_.name), type);
      number("rope.scaling.factor", positive(rope, "factor", std::nullopt));
    } else if (type == "dynamic") {
      number("rope.scaling.dynamic_factor", positive(rope, "factor", std::nullopt));
    } else if (type == "yarn") {
      add_yarn(rope);
    } else if (type == "llama3") {
      model_.rope_factors.push_back({"rope_freqs.weight", llama3_factors(rope)});
    } else if (type == "longrope") {
      add_long_factors(rope);
    } else if (type != "default") {
      rope.refuse_type("default, linear, dynamic, yarn, llama3 or longrope");
    }
  }

  static double positive(const Settings& rope, std::string_view key,
                         std::optional<double> otherwise) {
    const auto found = rope.number(key);
    const double value = found || !otherwise ? rope.of(key).required_number(key) : *otherwise;
    if (!(value > 0) || !std::isfinite(value)) rope.of(key).invalid(key, "a number above 0");
    return value;
  }

  /// Outside the settings it stands before all else, except by kind of layer.
  std::int64_t original_context(const Settings& rope) const {
    constexpr std::string_view key = "original_max_position_embeddings";
    const bool is_gemma3 = family_.windows == HfWindows::by_pattern;
    const auto outside = is_gemma3 ? std::nullopt : config_.integer(key);
    std::int64_t value = model_.context;
    if (outside)
      value = *outside;
    else if (family_.name == "phi3")
      value = 4096;
    else
      value = rope.integer(key).value_or(value);
    if (value < 1 || value > std::int64_t{1} << 31)
      (outside ? config_ : rope.of(key)).invalid(key, "a count from 1 up");
    return value;
  }

  void add_yarn(const Settings& rope) {
    const std::int64_t original = original_context(rope);
    if (!rope.says("factor")) rope.of("factor").invalid("factor", "a number above 0, or null");
    const double factor = positive(
        rope, "factor", static_cast<double>(model_.context) / static_cast<double>(original));
    metadata_.add_string(fmt::format("{}.rope.scaling.type", family_.name), "yarn");
    number("rope.scaling.factor", factor);
    add("rope.scaling.original_context_length", original);
    // 0 counts as missing.
    for (const auto& [key, suffix] : {std::pair("beta_fast", "rope.scaling.yarn_beta_fast"),
                                      std::pair("beta_slow", "rope.scaling.yarn_beta_slow")})
      if (const auto beta = rope.number(key); beta && *beta != 0) {
        if (!(*beta > 0)) rope.of(key).invalid(key, "a number above 0");
        number(suffix, *beta);
      }
    const JsonKeys& truncate = rope.of("truncate");
    if (!truncate.boolean("truncate").value_or(true)) {
      if (family_.windows == HfWindows::by_pattern) refuse_hf_key(truncate, "truncate", "true");
      metadata_.add_bool(fmt::format("{}.rope.scaling.yarn_truncate", family_.name), false);
    }
    // The paper's own factor is always applied; the key holds what there is besides.
    const auto magnitude = [&](double scale) {
      return factor > 1 ? 1 + 0.1 * scale * std::log(factor) : 1;
    };
    const double scale = rope.number("mscale").value_or(0);
    const double scale_all = rope.number("mscale_all_dim").value_or(0);
    double attention = scale != 0 && scale_all != 0 ? magnitude(scale) / magnitude(scale_all)
                                                     : magnitude(1);
    if (const auto own = rope.number("attention_factor")) attention = *own;
    if (attention != magnitude(1)) number("rope.scaling.attn_factor", attention / magnitude(1));
  }

  /// Llama 3.1: waves that turn fewer than low_freq_factor times within the original context are
  /// slowed by `factor`, those that turn more than high_freq_factor times are not.
  std::vector<float> llama3_factors(const Settings& rope) const {
    const double factor = positive(rope, "factor", std::nullopt);
    const double low = positive(rope, "low_freq_factor", std::nullopt);
    const double high = positive(rope, "high_freq_factor", std::nullopt);
    const auto context = static_cast<double>(original_context(rope));
    if (!(high > low))
      rope.of("high_freq_factor").invalid("high_freq_factor", "more than low_freq_factor");
    std::vector<float> factors;
    for (std::int64_t i = 0; i < dimensions_ / 2; ++i) {
      const double wavelength =
          2 * std::numbers::pi *
          std::pow(base_, 2 * static_cast<double>(i) / static_cast<double>(dimensions_));
      const double turns = context / wavelength;
      const double keep = std::clamp((turns - low) / (high - low), 0.0, 1.0);
      factors.push_back(static_cast<float>(1 / ((1 - keep) / factor + keep)));
    }
    return factors;
  }

  /// LongRoPE (arXiv:2402.13753): factors for short and for long contexts, and one for the size of
  /// cosines and sines.
  void add_long_factors(const Settings& rope) {
    const std::int64_t original = original_context(rope);
    if (family_.name != "phi3") add("rope.scaling.original_context_length", original);
    const double factor = positive(
        rope, "factor", static_cast<double>(model_.context) / static_cast<double>(original));
    double attention =
        factor > 1 ? std::sqrt(1 + std::log(factor) / std::log(static_cast<double>(original))) : 1;
    if (const auto own = rope.number("attention_factor")) attention = *own;
    if (!std::isfinite(attention)) rope.of("factor").invalid("factor", "1 for so short a context");
    number("rope.scaling.attn_factor", attention);
    const auto add_factors = [&](std::string_view key, std::string_view tensor) {
      auto values = rope.of(key).numbers(key);
      if (!values || static_cast<std::int64_t>(values->size()) != dimensions_ / 2)
        rope.of(key).invalid(key, fmt::format("{} numbers", dimensions_ / 2));
      model_.rope_factors.push_back({tensor, std::move(*values)});
    };
    add_factors("long_factor", "rope_factors_long.weight");
    add_factors("short_factor", "rope_factors_short.weight");
  }

  const JsonKeys& config_;
  HfModel& model_;
  const HfFamily& family_;
  MetadataBuilder& metadata_;
  double base_ = 0;
  std::int64_t dimensions_ = 0;  ///< of a head that are rotated
};

}  // namespace

void add_hf_rope(const JsonKeys& config, HfModel& model, MetadataBuilder& metadata) {
  RopeReader(config, model, metadata).read();
}

}  // namespace plimsoll
