#include "file/standard_layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <string_view>
#include <utility>
#include <vector>

#include "file/metadata_builder.h"
#include "file/metadata_reader.h"

namespace plimsoll {
namespace {

constexpr std::string_view tokens_key = "tokenizer.ggml.tokens";
constexpr std::string_view pre_key = "tokenizer.ggml.pre";
constexpr std::int64_t most_head_dim = 1 << 20;

class Layout {
 public:
  Layout(Metadata& metadata, TensorTable& table, std::string_view family)
      : metadata_(metadata), table_(table), family_(family) {}

  void standardise_gemma3() {
    if (!is_gemma3_of_ollama()) return;
    rename("rope.global.freq_base", "rope.freq_base");
    rename("rope.local.freq_base", "rope.freq_base_swa");
    rename("rope.scaling.beta_fast", "rope.scaling.yarn_beta_fast");
    rename("rope.scaling.beta_slow", "rope.scaling.yarn_beta_slow");
    rename("rope.scaling.extrapolation_factor", "rope.scaling.yarn_ext_factor");
    // What all Gemma 3 models have.
    supply("attention.layer_norm_rms_epsilon", 1e-6);
    supply("rope.freq_base", 1e6);
    supply("rope.freq_base_swa", 1e4);
    // The smallest ones, without scaling, know 32,768 positions.
    if (integer("context_length") >= 131072) {
      if (!has("rope.scaling.type") && !has("rope.scaling.factor"))
        added_.add_string(key("rope.scaling.type"), "linear");
      supply("rope.scaling.factor", 8);
    }
    shorten_vocabulary();
    remove_images();
  }

  void standardise_llama() {
    const bool is_chat = token_is(128006, "<|start_header_id|>") ||
                         text("tokenizer.chat_template").find("<|eot_id|>") != std::string::npos;
    if (token_is(128009, "<|eot_id|>") && is_chat) supply_pre_tokenizer("llama-bpe");
    const std::int64_t heads = integer("attention.head_count");
    const std::int64_t head_dim = integer("attention.key_length");
    if (has("attention.head_dim") && heads > 0 && head_dim > 0 && head_dim <= most_head_dim &&
        integer("rope.dimension_count") == integer("embedding_length") / heads)
      added_.add_integer(key("rope.dimension_count"), head_dim);
  }

  void standardise_qwen() {
    if (token_is(151643, "<|endoftext|>") && token_is(151644, "<|im_start|>"))
      supply_pre_tokenizer("qwen2");
  }

  void standardise_phi3() {
    const std::string original = key("rope.scaling.original_context_length");
    if (metadata_.contains(original) && integer("rope.scaling.original_context_length") == 0)
      removed_.push_back(original);
  }

  StandardLayout finish(const std::string& path) {
    StandardLayout result;
    std::erase_if(removed_, [this](const std::string& gone) { return added_.contains(gone); });
    MetadataReader::remove(metadata_, [this](std::string_view name) {
      return std::ranges::find(removed_, name) != removed_.end() ||
             std::ranges::any_of(removed_groups_,
                                 [name](const std::string& group) { return name.starts_with(group); });
    });
    if (const std::uint64_t keys = added_.keys()) {
      result.added = std::make_unique<HeaderBytes>(path, added_.take());
      HeaderCursor cursor(*result.added);
      MetadataReader::replace(metadata_, MetadataReader::read(cursor, keys));
    }
    result.note = std::move(note_);
    return result;
  }

 private:
  std::string key(std::string_view suffix) const { return fmt::format("{}.{}", family_, suffix); }

  bool has(std::string_view suffix) const {
    return metadata_.contains(key(suffix)) || added_.contains(key(suffix));
  }

  /// Of a key; -1 where it is missing or none.
  std::int64_t integer(std::string_view suffix) const {
    const MetadataValue* value = metadata_.find(key(suffix));
    const bool is_number = value && !value->is_array() &&
                           value->type() != MetadataType::string &&
                           value->type() != MetadataType::boolean;
    if (!is_number || value->type() == MetadataType::f32 || value->type() == MetadataType::f64)
      return -1;
    return value->type() == MetadataType::u64 && value->as_float() > 1e18 ? -1
                                                                          : value->as_integer();
  }

  std::string_view text(std::string_view full_key) const {
    const MetadataValue* value = metadata_.find(full_key);
    if (!value || value->type() != MetadataType::string) return {};
    return value->as_string();
  }

  /// A string array, or null.
  const MetadataValue* tokens() const {
    const MetadataValue* value = metadata_.find(tokens_key);
    return value && value->is_array() && value->element_type() == MetadataType::string ? value
                                                                                       : nullptr;
  }

  bool token_is(std::uint64_t id, std::string_view wanted) const {
    const MetadataValue* all = tokens();
    return all && id < all->size() && all->as_string(id) == wanted;
  }

  /// A key that is there already stays as it is.
  void rename(std::string_view from, std::string_view to) {
    const MetadataValue* value = metadata_.find(key(from));
    if (!value) return;
    if (!has(to)) added_.add_value(key(to), *value);
    removed_.push_back(key(from));
  }

  void supply(std::string_view suffix, double value) {
    if (!has(suffix)) added_.add_number(key(suffix), value);
  }

  void supply_pre_tokenizer(std::string_view kind) {
    const std::string_view found = text(pre_key);
    if (text("tokenizer.ggml.model") == "gpt2" && (found.empty() || found == "default"))
      added_.add_string(pre_key, kind);
  }

  static bool is_of_images(std::string_view tensor) {
    return tensor.starts_with("v.") || tensor.starts_with("mm.");
  }

  /// By what its converters of several ages have done otherwise.
  bool is_gemma3_of_ollama() const {
    return has("mm.tokens_per_image") || has("rope.global.freq_base") ||
           has("rope.local.freq_base") || metadata_.contains("tokenizer.ggml.add_padding_token") ||
           metadata_.contains("tokenizer.ggml.add_unknown_token") ||
           !has("attention.layer_norm_rms_epsilon") ||
           std::ranges::any_of(table_.tensors,
                               [](const TensorInfo& t) { return is_of_images(t.name); });
  }

  void shorten_vocabulary() {
    const auto embedding = std::ranges::find(table_.tensors, "token_embd.weight", &TensorInfo::name);
    if (embedding == table_.tensors.end() || !tokens()) return;
    const auto rows = static_cast<std::uint64_t>(embedding->rows());
    const std::uint64_t all = tokens()->size();
    if (all <= rows) return;
    for (const std::string_view array :
         {tokens_key, std::string_view("tokenizer.ggml.scores"),
          std::string_view("tokenizer.ggml.token_type")})
      if (const MetadataValue* value = metadata_.find(array); value && value->size() == all)
        MetadataReader::shorten(metadata_, array, rows);
  }

  void remove_images() {
    const std::size_t removed = std::erase_if(
        table_.tensors, [](const TensorInfo& tensor) { return is_of_images(tensor.name); });
    if (removed > 0) index_names(table_);
    removed_groups_ = {key("vision."), key("mm.")};
    note_ = removed == 0 ? "in Ollama's layout"
                         : fmt::format("in Ollama's layout, its {} image tensors left out", removed);
  }

  Metadata& metadata_;
  TensorTable& table_;
  std::string_view family_;
  MetadataBuilder added_;
  std::vector<std::string> removed_, removed_groups_;
  std::string note_;
};

}  // namespace

StandardLayout standardise(Metadata& metadata, TensorTable& table, const std::string& path) {
  const MetadataValue* architecture = metadata.find("general.architecture");
  if (!architecture || architecture->type() != MetadataType::string) return {};
  const std::string family(architecture->as_string());
  Layout layout(metadata, table, family);
  if (family == "gemma3") layout.standardise_gemma3();
  if (family == "llama") layout.standardise_llama();
  if (family == "qwen2" || family == "qwen3") layout.standardise_qwen();
  if (family == "phi3") layout.standardise_phi3();
  return layout.finish(path);
}

}  // namespace plimsoll
