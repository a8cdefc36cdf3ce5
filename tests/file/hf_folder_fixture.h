// A Hugging Face folder that tests change piece by piece.
#pragma once

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "file/model_file.h"
#include "support/temporary_folder.h"

namespace plimsoll {

using Json = nlohmann::ordered_json;

/// The bytes of a safetensors file.
inline std::string safetensors(const std::string& header, const std::string& data) {
  const std::uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + header + data;
}

inline std::string as_bytes(std::span<const float> values) {
  return {reinterpret_cast<const char*>(values.data()), values.size_bytes()};
}

class Folder : public ::testing::Test {
 protected:
  /// Two layers of width 4 would be a model; opening asks for the embedding only.
  Folder() {
    config_ = {{"architectures", {"LlamaForCausalLM"}},
               {"hidden_size", 4},
               {"intermediate_size", 8},
               {"num_hidden_layers", 2},
               {"num_attention_heads", 1},
               {"max_position_embeddings", 64},
               {"rms_norm_eps", 1e-5},
               {"rope_theta", 10000.0},
               {"vocab_size", 3}};
    add("model.embed_tokens.weight", {3, 4});
    tokenizer_ = {
        {"added_tokens", Json::array()},
        {"normalizer", nullptr},
        {"pre_tokenizer",
         {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}}},
        {"model",
         {{"type", "BPE"}, {"vocab", {{"a", 0}, {"b", 1}, {"ab", 2}}}, {"merges", {"a b"}}}}};
  }

  /// An F32 tensor of 0, 1, 2, ...
  void add(const std::string& name, const std::vector<std::int64_t>& shape) {
    std::int64_t count = 1;
    for (const std::int64_t dimension : shape) count *= dimension;
    std::vector<float> values(static_cast<std::size_t>(count));
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
    header_[name] = {{"dtype", "F32"},
                     {"shape", shape},
                     {"data_offsets", {data_.size(), data_.size() + 4 * values.size()}}};
    data_ += as_bytes(values);
  }

  void write(const std::string& name, const std::string& text) const {
    test::write_file(folder_.file(name),
                     {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
  }
  void write_all() const {
    write("config.json", config_.dump());
    write("tokenizer.json", tokenizer_.dump());
    write("model.safetensors", safetensors(header_.dump(), data_));
  }
  ModelFile open() const {
    write_all();
    return ModelFile::open(folder_.path().string());
  }

  void expect_error(ErrorCode code, const std::string& part, const std::string& path = {}) const {
    try {
      ModelFile::open(path.empty() ? folder_.path().string() : path);
      ADD_FAILURE() << "opened; wanted: " << part;
    } catch (const Error& error) {
      EXPECT_EQ(name(error.code()), name(code)) << error.message();
      EXPECT_NE(error.message().find(part), std::string::npos)
          << error.message() << "\nwanted: " << part;
      EXPECT_FALSE(error.hint().empty()) << error.message();
    }
  }
  void expect_refused(ErrorCode code, const std::string& part) const {
    write_all();
    expect_error(code, part);
  }

  static std::vector<float> read(const ModelFile& file, const std::string& name) {
    const TensorInfo* info = file.find_tensor(name);
    EXPECT_NE(info, nullptr) << name;
    std::vector<float> values(static_cast<std::size_t>(info->rows() * info->columns()));
    EXPECT_EQ(info->bytes, values.size() * sizeof(float)) << name;
    file.read(info->offset, info->bytes, values.data());
    return values;
  }

  test::TemporaryFolder folder_;
  Json config_, tokenizer_, header_ = Json::object();
  std::string data_;
};

}  // namespace plimsoll
