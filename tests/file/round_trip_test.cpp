// The writer, and what the reader finds in its files.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "file/gguf_writer.h"
#include "file/model_file.h"
#include "support/gguf_bytes.h"
#include "support/temporary_folder.h"

namespace plimsoll {
namespace {

class RoundTrip : public ::testing::Test {
 protected:
  std::string path() const { return folder_.file("model.gguf"); }
  test::TemporaryFolder folder_;
};

template <class Call>
void expect_code(ErrorCode code, std::string_view part, Call call) {
  try {
    call();
    ADD_FAILURE() << "no error, wanted one with: " << part;
  } catch (const Error& error) {
    EXPECT_EQ(name(error.code()), name(code)) << error.message();
    EXPECT_NE(error.message().find(part), std::string::npos) << error.message();
  }
}

TEST_F(RoundTrip, EveryMetadataType) {
  const std::int64_t least = std::numeric_limits<std::int64_t>::min();
  const std::int64_t most = std::numeric_limits<std::int64_t>::max();
  const std::vector<std::string> texts = {"", "one", std::string(70000, 'x'),
                                          std::string("a\0b", 3), "\xe2\x96\x81"};
  std::vector<std::int32_t> integers(5000);
  std::iota(integers.begin(), integers.end(), -2500);
  const std::vector<float> numbers = {0.5f, -1e30f, std::numeric_limits<float>::infinity()};
  {
    GgufWriter writer(OutputPath::own(path()));
    writer.add_integer("u8", 255, MetadataType::u8);
    writer.add_integer("i8", -128, MetadataType::i8);
    writer.add_integer("u16", 65535, MetadataType::u16);
    writer.add_integer("i16", -32768, MetadataType::i16);
    writer.add_integer("u32", 0xffffffffll);
    writer.add_integer("i32", -5, MetadataType::i32);
    writer.add_integer("u64", most, MetadataType::u64);
    writer.add_integer("i64", least, MetadataType::i64);
    writer.add_number("f32", 0.1);
    writer.add_number("f64", 0.1, MetadataType::f64);
    writer.add_bool("yes", true);
    writer.add_bool("no", false);
    writer.add_string("text", "words and \xc3\xa4");
    writer.add_string("nothing", "");
    writer.add_strings("texts", texts);
    writer.add_strings("no texts", {});
    writer.add_integers("integers", integers);
    writer.add_integers("no integers", {});
    writer.add_numbers("numbers", numbers);
    writer.finish();
  }
  EXPECT_EQ(folder_.count(), 1u);

  const auto check = [&](const Metadata& m) {
    EXPECT_EQ(m.entries().size(), 19u);
    EXPECT_EQ(m.entries()[0].key, "u8");
    EXPECT_EQ(m.integer("u8"), 255);
    EXPECT_EQ(m.integer("i8"), -128);
    EXPECT_EQ(m.integer("u16"), 65535);
    EXPECT_EQ(m.integer("i16"), -32768);
    EXPECT_EQ(m.integer("u32"), 0xffffffffll);
    EXPECT_EQ(m.integer("i32"), -5);
    EXPECT_EQ(m.integer("u64"), most);
    EXPECT_EQ(m.integer("i64"), least);
    EXPECT_EQ(m.number("f32"), static_cast<double>(0.1f));
    EXPECT_EQ(m.number("f64"), 0.1);
    EXPECT_EQ(m.number("i32"), -5.0);
    EXPECT_EQ(m.boolean("yes"), true);
    EXPECT_EQ(m.boolean("no"), false);
    EXPECT_EQ(m.string("text"), "words and \xc3\xa4");
    EXPECT_EQ(m.string("nothing"), "");

    const MetadataValue* list = m.find("texts");
    ASSERT_NE(list, nullptr);
    EXPECT_TRUE(list->is_array());
    EXPECT_EQ(list->element_type(), MetadataType::string);
    ASSERT_EQ(list->size(), texts.size());
    for (std::size_t i = 0; i < texts.size(); ++i) EXPECT_EQ(list->as_string(i), texts[i]);
    EXPECT_EQ(m.find("no texts")->size(), 0u);
    EXPECT_EQ(m.find("no integers")->size(), 0u);
    list = m.find("integers");
    ASSERT_EQ(list->size(), integers.size());
    for (std::size_t i = 0; i < integers.size(); ++i) EXPECT_EQ(list->as_integer(i), integers[i]);
    list = m.find("numbers");
    ASSERT_EQ(list->size(), numbers.size());
    for (std::size_t i = 0; i < numbers.size(); ++i) EXPECT_EQ(list->as_float(i), numbers[i]);

    EXPECT_FALSE(m.contains("absent"));
    EXPECT_EQ(m.integer("absent"), std::nullopt);
    EXPECT_EQ(m.string("absent"), std::nullopt);
  };
  const ModelFile file = ModelFile::open(path());
  check(file.metadata());

  // Copied value by value into another file.
  const std::string copy = folder_.file("copy.gguf");
  {
    GgufWriter writer(OutputPath::own(copy));
    for (const Metadata::Entry& entry : file.metadata().entries())
      writer.add_value(entry.key, entry.value);
    writer.finish();
  }
  check(ModelFile::open(copy).metadata());
  EXPECT_EQ(test::read_file(copy), test::read_file(path()));
}

TEST_F(RoundTrip, WrongTypesNameTheKey) {
  test::GgufBytes bytes(0, 7);
  bytes.u32("int", 7)
      .key("text", 8)
      .string("7")
      .key("float", 6)
      .number(1.5f)
      .key("flag", 7)
      .number(std::uint8_t{1});
  bytes.array("list", 5, 2).number(1).number(2);
  bytes.key("large", 10).number(~std::uint64_t{0});
  bytes.array("doubles", 12, 1).number(2.5);
  test::write_file(path(), bytes.bytes());
  ModelFile opened = ModelFile::open(path());
  const ModelFile file = std::move(opened);
  const Metadata& m = file.metadata();
  const ErrorCode code = ErrorCode::invalid_model;
  expect_code(code, "\"text\"", [&] { m.integer("text"); });
  expect_code(code, "\"float\"", [&] { m.integer("float"); });
  expect_code(code, "\"flag\"", [&] { m.integer("flag"); });
  expect_code(code, "\"list\"", [&] { m.integer("list"); });
  expect_code(code, "18446744073709551615", [&] { m.integer("large"); });
  expect_code(code, "\"text\"", [&] { m.number("text"); });
  expect_code(code, "\"flag\"", [&] { m.number("flag"); });
  expect_code(code, "\"int\"", [&] { m.boolean("int"); });
  expect_code(code, "\"int\"", [&] { m.string("int"); });
  expect_code(code, "string", [&] { m.find("list")->as_string(0); });
  expect_code(ErrorCode::internal, "element 2 of 2", [&] { m.find("list")->as_integer(2); });
  EXPECT_EQ(m.find("doubles")->as_float(0), 2.5);

  // A value beyond what as_integer() can give is copied all the same.
  const std::string copy = folder_.file("copy.gguf");
  GgufWriter writer(OutputPath::own(copy));
  writer.add_value("large", *m.find("large"));
  writer.finish();
  expect_code(code, "18446744073709551615",
              [&] { ModelFile::open(copy).metadata().integer("large"); });
}

struct Planned {
  std::string name;
  FormatId format;
  std::vector<std::int64_t> shape;
  std::vector<std::uint8_t> data;
};

std::vector<Planned> planned_tensors() {
  std::vector<Planned> tensors = {{"scalar", FormatId::F32, {1}, {}},
                                  {"odd", FormatId::F16, {7, 3}, {}},
                                  {"quantised", FormatId::Q4_0, {64, 5, 2}, {}},
                                  {"k", FormatId::Q6_K, {512, 3}, {}},
                                  {"deep", FormatId::BF16, {2, 3, 5, 7}, {}},
                                  {"large", FormatId::Q8_0, {4096, 300}, {}}};
  std::mt19937 random(3);
  for (Planned& tensor : tensors) {
    Bytes bytes = row_bytes(format(tensor.format), tensor.shape[0]);
    for (std::size_t d = 1; d < tensor.shape.size(); ++d)
      bytes *= static_cast<Bytes>(tensor.shape[d]);
    tensor.data.resize(bytes);
    for (std::uint8_t& byte : tensor.data) byte = static_cast<std::uint8_t>(random());
  }
  return tensors;
}

void expect_tensors(const ModelFile& file, const std::vector<Planned>& tensors,
                    std::uint64_t alignment) {
  ASSERT_EQ(file.tensors().size(), tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const TensorInfo& found = file.tensors()[i];
    EXPECT_EQ(found.name, tensors[i].name);
    EXPECT_EQ(found.format->id, tensors[i].format);
    EXPECT_EQ(found.rank, static_cast<int>(tensors[i].shape.size()));
    for (std::size_t d = 0; d < 4; ++d)
      EXPECT_EQ(found.shape[d], d < tensors[i].shape.size() ? tensors[i].shape[d] : 1);
    EXPECT_EQ(found.offset % alignment, 0u);
    ASSERT_EQ(found.bytes, tensors[i].data.size());
    std::vector<std::uint8_t> data(found.bytes);
    file.read(found.offset, found.bytes, data.data());
    EXPECT_EQ(data, tensors[i].data) << found.name;
    EXPECT_EQ(file.find_tensor(found.name), &found);
  }
  EXPECT_EQ(file.find_tensor("absent"), nullptr);
  EXPECT_EQ(file.find_tensor(""), nullptr);
  EXPECT_EQ(file.find_tensor("zzz"), nullptr);
}

TEST_F(RoundTrip, TensorsInAnyPieces) {
  const std::vector<Planned> tensors = planned_tensors();
  std::vector<std::uint8_t> all;
  for (const Planned& tensor : tensors)
    all.insert(all.end(), tensor.data.begin(), tensor.data.end());
  std::vector<std::uint8_t> first;
  for (const std::size_t piece :
       {all.size(), std::size_t{1000}, std::size_t{99991}, std::size_t{300 * KiB}}) {
    GgufWriter writer(OutputPath::own(path()));
    writer.add_string("general.name", "test");
    for (const Planned& tensor : tensors)
      writer.add_tensor(tensor.name, format(tensor.format), tensor.shape);
    for (std::size_t at = 0; at < all.size(); at += piece)
      writer.write({all.data() + at, std::min(piece, all.size() - at)});
    writer.finish();
    EXPECT_EQ(folder_.count(), 1u);
    expect_tensors(ModelFile::open(path()), tensors, 32);
    if (first.empty()) first = test::read_file(path());
    EXPECT_EQ(test::read_file(path()), first);
  }
  EXPECT_EQ(first.size() % 32, 0u);
}

TEST_F(RoundTrip, AlignmentOfTheFileItself) {
  const std::vector<Planned> tensors = planned_tensors();
  GgufWriter writer(OutputPath::own(path()));
  writer.add_integer("general.alignment", 8192);
  for (const Planned& tensor : tensors)
    writer.add_tensor(tensor.name, format(tensor.format), tensor.shape);
  for (const Planned& tensor : tensors) writer.write(tensor.data);
  writer.finish();
  expect_tensors(ModelFile::open(path()), tensors, 8192);
}

// Every byte of the writer's output, against bytes put together by hand.
TEST_F(RoundTrip, BytesAreTheSpecifications) {
  const std::vector<std::int64_t> shape = {8, 2};
  const std::vector<std::uint8_t> data(64, 9);
  GgufWriter writer(OutputPath::own(path()));
  writer.add_integer("n", 3);
  writer.add_strings("s", std::vector<std::string>{"ab", ""});
  writer.add_tensor("t", format(FormatId::F32), shape);
  writer.add_tensor("u", format(FormatId::F16), std::vector<std::int64_t>{3});
  writer.write(data);
  writer.write(std::vector<std::uint8_t>(6, 8));
  writer.finish();
  test::GgufBytes wanted(2, 2);
  wanted.u32("n", 3).array("s", 8, 2).string("ab").string("");
  wanted.tensor("t", {8, 2}, 0, 0).tensor("u", {3}, 1, 64).pad();
  wanted.raw(std::string(64, 9)).raw(std::string(6, 8)).pad();
  EXPECT_EQ(test::read_file(path()), wanted.bytes());
}

TEST_F(RoundTrip, TheBundledModelIsCopiedByteForByte) {
  const std::string source = PLIMSOLL_SHARED "/models/plimsoll-docs-4m-f16.gguf";
  if (!std::filesystem::exists(source)) GTEST_SKIP() << "needs " << source;
  const ModelFile file = ModelFile::open(source);
  EXPECT_LT(file.header_bytes(), 1 * MiB);
  GgufWriter writer(OutputPath::own(path()));
  for (const Metadata::Entry& entry : file.metadata().entries())
    writer.add_value(entry.key, entry.value);
  for (const TensorInfo& t : file.tensors())
    writer.add_tensor(t.name, *t.format,
                      std::span(t.shape).first(static_cast<std::size_t>(t.rank)));
  for (const TensorInfo& t : file.tensors()) {
    std::vector<std::uint8_t> data(t.bytes);
    file.read(t.offset, t.bytes, data.data());
    writer.write(data);
  }
  writer.finish();
  EXPECT_EQ(test::read_file(path()), test::read_file(source));
}

TEST_F(RoundTrip, MisuseIsReported) {
  const ErrorCode code = ErrorCode::internal;
  const std::vector<std::int64_t> shape = {32};
  GgufWriter writer(OutputPath::own(path()));
  writer.add_integer("key", 1);
  expect_code(code, "\"key\"", [&] { writer.add_integer("key", 1); });
  expect_code(code, "256", [&] { writer.add_integer("small", 256, MetadataType::u8); });
  expect_code(code, "-1", [&] { writer.add_integer("positive", -1); });
  expect_code(code, "f32", [&] { writer.add_integer("float", 1, MetadataType::f32); });
  expect_code(code, "u32", [&] { writer.add_number("integer", 1, MetadataType::u32); });
  expect_code(code, "alignment 12", [&] { writer.add_integer("general.alignment", 12); });
  writer.add_tensor("t", format(FormatId::Q4_0), shape);
  expect_code(code, "\"t\"", [&] { writer.add_tensor("t", format(FormatId::Q4_0), shape); });
  expect_code(code, "whole blocks", [&] {
    writer.add_tensor("v", format(FormatId::Q4_0), std::vector<std::int64_t>{33});
  });
  expect_code(code, "empty", [&] {
    writer.add_tensor("w", format(FormatId::F32), std::vector<std::int64_t>{1, 0});
  });
  expect_code(code, "found 0", [&] { writer.finish(); });
  writer.write(std::vector<std::uint8_t>(17));
  expect_code(code, "wanted 18 bytes of data, found 17", [&] { writer.finish(); });
  expect_code(code, "after tensor data", [&] { writer.add_bool("late", true); });
  expect_code(code, "1 bytes after", [&] { writer.write(std::vector<std::uint8_t>(2)); });
  EXPECT_FALSE(std::filesystem::exists(path()));
}

}  // namespace
}  // namespace plimsoll
