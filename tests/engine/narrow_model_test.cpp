// Matrices of one row or one column: what a tensor is follows from its role, not from its shape.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "file/gguf_writer.h"
#include "model/architecture.h"
#include "support/fixture.h"

namespace plimsoll {
namespace {

/// The model with one more neuron in each feed-forward block, whose weights are zeros: the same
/// model by the definition of the products.
void write_with_idle_neuron(const std::string& source, const std::string& path) {
  const ModelFile file = ModelFile::open(source);
  const std::string family(*file.metadata().string("general.architecture"));
  GgufWriter writer(OutputPath::own(path));
  for (const Metadata::Entry& entry : file.metadata().entries())
    if (entry.key != family + ".feed_forward_length") writer.add_value(entry.key, entry.value);
  writer.add_integer(family + ".feed_forward_length", 2);
  struct Padded {
    std::vector<float> values;
    std::vector<std::int64_t> shape;
  };
  std::vector<Padded> padded;
  for (const TensorInfo& info : file.tensors()) {
    const std::string_view name = info.name;
    std::vector<std::uint8_t> raw(info.bytes);
    file.read(info.offset, info.bytes, raw.data());
    const std::int64_t rows = info.rows(), columns = info.columns();
    std::vector<float> values(static_cast<std::size_t>(rows * columns));
    info.format->decode(raw.data(), values.data(), rows * columns / info.format->block_values);
    Padded tensor{std::move(values), {columns, rows}};
    const bool is_fused = name.ends_with("ffn_up.weight") && rows == 2;  // gate, then up
    if (name.ends_with("ffn_down.weight")) {
      std::vector<float> wider;
      for (const float value : tensor.values) wider.insert(wider.end(), {value, 0});
      tensor = {std::move(wider), {2, rows}};
    } else if (name.ends_with("ffn_gate.weight") || name.ends_with("ffn_up.weight")) {
      std::vector<float> taller;
      for (std::int64_t r = 0; r < rows; ++r) {
        const auto row = tensor.values.begin() + r * columns;
        taller.insert(taller.end(), row, row + columns);
        taller.insert(taller.end(), static_cast<std::size_t>(columns), 0.0f);
      }
      tensor = {std::move(taller), {columns, is_fused ? 4 : 2}};
    } else if (name.ends_with("ffn_gate.bias") || name.ends_with("ffn_up.bias")) {
      tensor.values.push_back(0);
      tensor.shape = {2};
    } else if (info.rank == 1) {
      tensor.shape = {columns};
    }
    writer.add_tensor(name, format(FormatId::F32), tensor.shape);
    padded.push_back(std::move(tensor));
  }
  for (const Padded& tensor : padded)
    writer.write({reinterpret_cast<const std::uint8_t*>(tensor.values.data()),
                  tensor.values.size() * sizeof(float)});
  writer.finish();
}

std::vector<float> logits(const std::string& path) {
  const test::Loaded loaded(path);
  const std::vector<TokenId> tokens = {1, 270, 300, 11, 265};
  const std::span<float> row = loaded.session->append(tokens).logits;
  return {row.begin(), row.end()};
}

class NarrowModel : public ::testing::TestWithParam<std::string> {};

TEST_P(NarrowModel, OneNeuronIsABlock) {
  test::SyntheticModel model;
  model.family = GetParam();
  model.layers = 2;
  model.feed_forward = 1;
  model.format = FormatId::F32;
  model.optional_biases = true;
  const test::TemporaryFolder folder;
  const std::string narrow = folder.file("narrow.gguf"), wider = folder.file("wider.gguf");
  test::write_synthetic_model(narrow, model, 2);
  write_with_idle_neuron(narrow, wider);
  const std::vector<float> found = logits(narrow), expected = logits(wider);
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t i = 0; i < found.size(); ++i)
    ASSERT_NEAR(found[i], expected[i], 1e-4 * (1 + std::abs(expected[i]))) << i;
}

TEST_P(NarrowModel, ItsMatricesAreOnesToEveryLayer) {
  test::SyntheticModel model;
  model.family = GetParam();
  model.layers = 2;
  model.feed_forward = 1;
  const test::TemporaryFolder folder;
  const std::string path = folder.file("narrow.gguf");
  // Coded, where the row divides into blocks.
  model.format = FormatId::Q8_0;
  test::write_synthetic_model(path, model, 2);
  const OpenModel open = OpenModel::open(path);
  const std::vector<bool> products = find_products(open.facts.tensors);
  std::int64_t narrow = 0;
  for (std::size_t i = 0; i < products.size(); ++i) {
    const TensorSlot& slot = open.facts.tensors[i].slot;
    if (slot.role != Role::gate && slot.role != Role::up && slot.role != Role::gate_up &&
        slot.role != Role::down)
      continue;
    EXPECT_TRUE(products[i]) << slot.name;
    EXPECT_FALSE(slot.is_vector()) << slot.name;
    narrow += slot.rows == 1 || slot.columns == 1;
  }
  EXPECT_GE(narrow, 2);
  // Rounded it still runs. (So small a model is never rounded to fit: the code for it takes more.)
  test::LoadOptions options;
  options.context = 64;
  options.chunk_tokens = 16;
  Plan plan = make_plan(open.facts, test::Loaded::request(options));
  for (std::size_t i = 0; i < products.size(); ++i) {
    const TensorUse& use = open.facts.tensors[i];
    const bool rounds = products[i] && use.slot.columns % 32 == 0;
    plan.formats.push_back(rounds ? &format(FormatId::Q8_0) : use.info->format);
  }
  Context context(2, choose_isa());
  const Engine engine(context, open, plan);
  Session session(engine);
  const std::vector<TokenId> tokens = {1, 270};
  EXPECT_TRUE(std::ranges::all_of(session.append(tokens).logits,
                                  [](float x) { return std::isfinite(x); }));
}

std::vector<std::string> family_names() {
  std::vector<std::string> names;
  for (const Family& family : families()) names.emplace_back(family.name);
  return names;
}
INSTANTIATE_TEST_SUITE_P(Families, NarrowModel, ::testing::ValuesIn(family_names()),
                         [](const auto& family) { return family.param; });

}  // namespace
}  // namespace plimsoll
