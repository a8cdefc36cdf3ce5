// Codecs against files that an independent quantiser wrote: decoded tensors must be near those of
// the F16 model that they were made from. A misplaced bit or a mixed-up group shows as an error of
// the size of the weights.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "file/model_file.h"
#include "support/temporary_folder.h"

namespace plimsoll {
namespace {

const std::string models = PLIMSOLL_SHARED "/models/";

std::vector<float> load(const ModelFile& file, const TensorInfo& tensor) {
  std::vector<std::uint8_t> bytes(tensor.bytes);
  file.read(tensor.offset, tensor.bytes, bytes.data());
  std::vector<float> values(static_cast<std::size_t>(tensor.columns() * tensor.rows()));
  tensor.format->decode(bytes.data(), values.data(),
                        static_cast<std::int64_t>(values.size()) / tensor.format->block_values);
  return values;
}

/// The peer's fork puts tensors of its own types into files of the non-linear and codebook formats.
/// They take as many bytes as K formats do, so a copy that calls them so opens; their names are
/// added to `foreign`, to be left out.
const std::map<std::uint32_t, FormatId> stand_ins = {
    {138, FormatId::Q3_K}, {139, FormatId::Q4_K}, {140, FormatId::Q5_K}};

ModelFile open_peer_file(const std::string& path, const test::TemporaryFolder& folder,
                         const ModelFile& original, std::set<std::string>& foreign) {
  std::vector<std::uint8_t> bytes = test::read_file(path);
  for (const TensorInfo& tensor : original.tensors()) {
    // Its entry in the table: name, rank, dimensions, type.
    const auto name =
        std::search(bytes.begin(), bytes.end(), tensor.name.begin(), tensor.name.end());
    if (name == bytes.end()) continue;
    std::uint8_t* type = &*name + tensor.name.size() + 4 + 8 * tensor.rank;
    std::uint32_t number;
    std::memcpy(&number, type, sizeof number);
    const auto stand_in = stand_ins.find(number);
    if (stand_in == stand_ins.end()) continue;
    number = static_cast<std::uint32_t>(stand_in->second);
    std::memcpy(type, &number, sizeof number);
    foreign.emplace(tensor.name);
  }
  test::write_file(folder.file("model.gguf"), bytes);
  return ModelFile::open(folder.file("model.gguf"));
}

/// Root of the relative squared error, by bits of the code or by format, with room for tensors that
/// are hard to quantise.
double bound(const Format& f) {
  if (f.kind == Format::Kind::dense) return 1e-3;
  if (f.encode_weighted) {
    const std::map<FormatId, double> bounds = {{FormatId::IQ2_XXS, 0.45},
                                               {FormatId::IQ2_XS, 0.375},
                                               {FormatId::IQ2_S, 0.29},
                                               {FormatId::IQ3_XXS, 0.21},
                                               {FormatId::IQ3_S, 0.166}};
    return bounds.at(f.id);
  }
  const std::map<int, double> bounds = {{2, 0.32}, {3, 0.18},  {4, 0.1},
                                        {5, 0.05}, {6, 0.022}, {8, 0.007}};
  return bounds.at(f.layout.bits);
}

TEST(PeerFiles, DecodedTensorsAreNearTheOriginal) {
  const std::string original_path = models + "plimsoll-docs-4m-f16.gguf";
  if (!std::filesystem::exists(original_path)) GTEST_SKIP() << "needs " << original_path;
  const ModelFile original = ModelFile::open(original_path);
  std::set<std::string_view> seen;
  for (const std::string type :
       {"Q2_K", "Q3_K_M", "Q4_0", "Q4_1", "Q4_K_M", "Q5_0", "Q5_1", "Q5_K_M", "Q6_K", "Q8_0",
        "IQ4_NL", "IQ4_XS", "IQ3_S", "IQ3_XXS", "IQ2_S", "IQ2_XS", "IQ2_XXS"}) {
    SCOPED_TRACE(type);
    const test::TemporaryFolder folder;
    std::set<std::string> foreign;
    const ModelFile file = open_peer_file(models + "quantised/plimsoll-docs-4m-" + type + ".gguf",
                                          folder, original, foreign);
    ASSERT_EQ(file.tensors().size(), original.tensors().size());
    std::map<std::string_view, double> worst;
    for (const TensorInfo& tensor : file.tensors()) {
      if (foreign.contains(std::string(tensor.name))) continue;
      const TensorInfo* same = original.find_tensor(tensor.name);
      ASSERT_NE(same, nullptr) << tensor.name;
      ASSERT_EQ(tensor.shape, same->shape) << tensor.name;
      const std::vector<float> found = load(file, tensor);
      const std::vector<float> wanted = load(original, *same);
      double error = 0, norm = 0;
      for (std::size_t i = 0; i < wanted.size(); ++i) {
        error += std::pow(found[i] - wanted[i], 2);
        norm += std::pow(wanted[i], 2);
      }
      const double relative = std::sqrt(error / norm);
      EXPECT_LT(relative, bound(*tensor.format)) << tensor.name << " as " << tensor.format->name;
      worst[tensor.format->name] = std::max(worst[tensor.format->name], relative);
      if (tensor.format->kind == Format::Kind::coded) seen.insert(tensor.format->name);
    }
    for (const auto& [name, value] : worst)
      RecordProperty(type + " " + std::string(name), std::to_string(value));
  }
  for (const std::string_view wanted :
       {"Q2_K", "Q3_K", "Q4_0", "Q4_1", "Q4_K", "Q5_0", "Q5_1", "Q5_K", "Q6_K", "Q8_0", "IQ4_NL",
        "IQ4_XS", "IQ3_S", "IQ3_XXS", "IQ2_S", "IQ2_XS", "IQ2_XXS"})
    EXPECT_TRUE(seen.contains(wanted)) << wanted;
}

TEST(PeerFiles, TypesOfAForkAreRefusedByNumber) {
  const std::string path = models + "quantised/plimsoll-docs-4m-IQ2_XXS.gguf";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "needs " << path;
  try {
    ModelFile::open(path);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::unsupported_format);
    EXPECT_NE(error.message().find("type number 13"), std::string::npos) << error.message();
  }
}

// Vocabulary files of many models, without tensors.
TEST(PeerFiles, VocabulariesOpen) {
  const std::string folder = PLIMSOLL_SHARED "/vocab";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "needs " << folder;
  int opened = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".gguf") continue;
    const ModelFile file = ModelFile::open(entry.path().string());
    const MetadataValue* tokens = file.metadata().find("tokenizer.ggml.tokens");
    ASSERT_NE(tokens, nullptr) << entry.path();
    EXPECT_GT(tokens->size(), 100u);
    EXPECT_LE(tokens->as_string(tokens->size() - 1).size(), 1000u);
    ++opened;
  }
  EXPECT_GT(opened, 0);
}

}  // namespace
}  // namespace plimsoll
