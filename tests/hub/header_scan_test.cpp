// Where a header ends, against what ModelFile reads of the same file.
#include "hub/header_scan.h"

#include <gtest/gtest.h>

#include <random>

#include "base/error.h"
#include "file/model_file.h"
#include "support/gguf_bytes.h"
#include "support/temporary_folder.h"

namespace plimsoll::test {
namespace {

std::vector<std::uint8_t> sample(std::size_t& header) {
  GgufBytes gguf(2, 9);
  gguf.key("general.architecture", 8).string("llama");
  gguf.u32("general.alignment", 32);
  gguf.key("a", 0).number<std::uint8_t>(1);
  gguf.key("b", 7).number<std::uint8_t>(1);
  gguf.key("c", 10).number<std::uint64_t>(1);
  gguf.key("d", 12).number<double>(1);
  gguf.array("texts", 8, 3).string("one").string("").string("three");
  gguf.array("numbers", 5, 4).number<std::int32_t>(1).number<std::int32_t>(2).number<std::int32_t>(3).number<std::int32_t>(4);
  gguf.array("none", 6, 0);
  gguf.tensor("x", {32, 2}, 0, 0).tensor("y", {32}, 0, 256);
  header = gguf.bytes().size();
  gguf.pad().data(256 + 128);
  return gguf.bytes();
}

TEST(HeaderScan, EndsWhereTheTensorTableEnds) {
  std::size_t header = 0;
  const std::vector<std::uint8_t> bytes = sample(header);
  const HeaderScan whole = scan_gguf_header(bytes);
  EXPECT_TRUE(whole.is_complete);
  EXPECT_EQ(whole.bytes, header);
  // From any beginning it says that more is needed, and never more than there is.
  for (std::size_t length = 0; length < header; ++length) {
    const HeaderScan part = scan_gguf_header({bytes.data(), length});
    EXPECT_FALSE(part.is_complete) << length;
    EXPECT_GT(part.bytes, length);
    EXPECT_LE(part.bytes, header);
  }
  // The header and a hole are enough for ModelFile.
  const TemporaryFolder folder;
  write_file(folder.file("m.gguf"), std::span(bytes).first(header));
  std::filesystem::resize_file(folder.file("m.gguf"), bytes.size());
  EXPECT_EQ(ModelFile::open(folder.file("m.gguf")).tensors().size(), 2u);
}

TEST(HeaderScan, RealFiles) {
  for (const char* name : {"plimsoll-docs-4m-f16.gguf"}) {
    const auto bytes = read_file(std::string(PLIMSOLL_MODELS) + "/" + name);
    const HeaderScan scan = scan_gguf_header(bytes);
    EXPECT_TRUE(scan.is_complete);
    EXPECT_LT(scan.bytes, bytes.size());
  }
}

TEST(HeaderScan, WhatIsNoModel) {
  const auto of = [](std::string_view text) {
    return std::span(reinterpret_cast<const std::uint8_t*>(text.data()), text.size());
  };
  for (const char* text : {"<!DOCTYPE html><html>...", "version https://git-lfs.github.com/spec/v1", "GGML    aaaaaaaaaaaaaaaaaaaa",
                           "  <html>"}) {
    EXPECT_THROW(scan_gguf_header(of(text)), Error) << text;
  }
  EXPECT_THROW(scan_safetensors_header(of("<!doctype html>.........")), Error);
  EXPECT_THROW(scan_safetensors_header(of("12345678{")), Error) << "a length beyond everything";
  const std::string good("\x05\0\0\0\0\0\0\0{   }", 13);
  EXPECT_TRUE(scan_safetensors_header(of(good)).is_complete);
  EXPECT_EQ(scan_safetensors_header(of(good)).bytes, 13u);
  EXPECT_FALSE(scan_safetensors_header(of(good.substr(0, 10))).is_complete);
}

TEST(HeaderScan, NoBytesBreakIt) {
  std::size_t header = 0;
  const std::vector<std::uint8_t> bytes = sample(header);
  std::mt19937 random(3);
  for (int round = 0; round < 20'000; ++round) {
    std::vector<std::uint8_t> broken = bytes;
    for (int i = 0; i < 3; ++i) broken[4 + random() % (header - 4)] = static_cast<std::uint8_t>(random());
    broken.resize(random() % broken.size() + 1);
    try {
      const HeaderScan scan = scan_gguf_header(broken);
      EXPECT_TRUE(scan.is_complete || scan.bytes > broken.size());
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::file_corrupt);
    }
  }
}

}  // namespace
}  // namespace plimsoll::test
