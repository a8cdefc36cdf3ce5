// Files that are given as a model and are none: what they are is said.
#include <gtest/gtest.h>

#include <fmt/format.h>

#include <filesystem>
#include <functional>
#include <string>

#include "base/error.h"
#include "file/file_kind.h"
#include "file/gguf_writer.h"
#include "file/model_file.h"
#include "support/gguf_bytes.h"
#include "support/temporary_folder.h"

namespace plimsoll {
namespace {

using namespace std::string_literals;

class FileKind : public ::testing::Test {
 protected:
  std::string write(const std::string& name, std::string text) const {
    const std::string path = folder_.file(name);
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    test::write_file(path, {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
    return path;
  }
  /// Message and hint of what opening throws.
  static std::string refusal(const std::string& path) {
    try {
      ModelFile::open(path);
      return "opened";
    } catch (const Error& error) {
      EXPECT_NE(error.message().find(path), std::string::npos);
      EXPECT_FALSE(error.hint().empty());
      return error.message() + "\n" + error.hint();
    }
  }
  static void expect(const std::string& found, const std::string& word) {
    EXPECT_NE(found.find(word), std::string::npos) << found << "\nwanted: " << word;
  }

  test::TemporaryFolder folder_;
};

TEST_F(FileKind, ByFirstBytes) {
  const std::string tail(600, 'x');
  const std::pair<std::string, std::string> cases[] = {
      {"MZqFpD='\n" + tail, "llamafile"},
      {"\x7f" "ELF\x02" + tail, "a program"},
      {"lmgg" + tail, "GGML"},
      {"tjgg" + tail, "GGML"},
      {"algg" + tail, "GGML adapter"},
      {"PK\x03\x04" + tail, "ZIP"},
      {"PK\x03\x04"s + std::string(26, '\0') + "archive/data.pkl" + tail, "PyTorch"},
      {"\x80\x02}q" + tail, "PyTorch"},
      {"\x10\0\0\0\0\0\0\0{\"a\":{}}"s + tail, "safetensors"},
      {"\x1f\x8b\x08" + tail, "gzip"},
      {"\xfd" "7zXZ" + tail, "xz"},
      {"(\xb5/\xfd" + tail, "zstd"},
      {"BZh9" + tail, "bzip2"},
      {"7z\xbc\xaf" + tail, "7-Zip"},
      {std::string(257, 'n') + "ustar" + tail, "tar"},
      {"\x89HDF\r\n" + tail, "HDF5"},
      {"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "git lfs pull"},
      {"\n <!DOCTYPE HTML><html>", "web page"},
      {"\xef\xbb\xbf<html>", "web page"},
      {"<?xml version=\"1.0\"?><Error/>", "XML"},
      {"{\"error\": \"no\"}", "JSON"},
      {std::string(100, '\0'), "nothing has been written"},
      {"xyzzy", "not a GGUF file"},
      {"FUGG" + tail, "big-endian"},
  };
  for (const auto& [bytes, word] : cases) {
    const std::string found = refusal(write("model.bin", bytes));
    expect(found, word);
    expect(found, "GGUF");
  }
}

TEST_F(FileKind, AManifestOfOllamaNamesTheModel) {
  const std::string digest(64, 'a');
  const std::string manifest = fmt::format(
      R"({{"schemaVersion":2,"config":{{"digest":"sha256:{0}","size":1}},"layers":[{{"mediaType":)"
      R"("application/vnd.ollama.image.template","digest":"sha256:{0}"}},{{"mediaType":)"
      R"("application/vnd.ollama.image.model","digest":"sha256:{1}","size":9}}]}})",
      std::string(64, 'b'), digest);
  const std::string place = "models/manifests/registry.ollama.ai/library/gemma3/1b";
  const std::string found = refusal(write(place, manifest));
  expect(found, "manifest of Ollama");
  expect(found, folder_.file("models/blobs/sha256-" + digest));
  // What it names opens, though it has no suffix.
  const std::string blob = folder_.file("models/blobs/sha256-" + digest);
  std::filesystem::create_directories(folder_.path() / "models/blobs");
  test::write_file(blob, test::GgufBytes(0, 0).bytes());
  EXPECT_EQ(ModelFile::open(blob).version(), 3u);
  expect(refusal(write("manifest.json", manifest)), "JSON");  // nowhere to look for blobs
}

TEST_F(FileKind, WhatIsMissingOfATruncatedFileIsSaid) {
  const std::vector<std::uint8_t> whole =
      test::GgufBytes(2, 0).tensor("a", {64}, 0, 0).tensor("b", {64}, 0, 256).pad().data(512).bytes();
  const auto cut = [&](const std::string& name, std::size_t bytes) {
    const std::string path = folder_.file(name);
    test::write_file(path, {whole.data(), whole.size() - bytes});
    return refusal(path);
  };
  expect(cut("model.gguf", 1), fmt::format("; 1 of the whole's {} bytes", whole.size()));
  expect(cut("model.gguf", 300), fmt::format("; 300 of the whole's {} bytes", whole.size()));
  expect(cut("model.gguf", 300), "download or convert it again");
  for (const char* name : {"model.gguf.part", "model.gguf.crdownload", "model.gguf.incomplete",
                           "sha256-0123-partial"})
    expect(cut(name, 300), "still being downloaded");
  for (const char* name : {"model.gguf-split-a", "model.gguf.part1of2"})
    expect(cut(name, 300), "put all pieces together");
  expect(refusal(write("model.gguf-split-b", std::string(100, 'x'))), "put all pieces together");
}

TEST_F(FileKind, GgufFilesThatAreNoModel) {
  const auto refused = [this](const std::function<void(GgufWriter&)>& keys, bool tensor = true) {
    const std::string path = folder_.file("other.gguf");
    {
      GgufWriter writer(OutputPath::own(path));
      keys(writer);
      const std::int64_t shape[] = {4};
      if (tensor) {
        writer.add_tensor("dense.0.weight", format(FormatId::F32), shape);
        writer.write(std::vector<std::uint8_t>(16));
      }
      writer.finish();
    }
    const ModelFile file = ModelFile::open(path);  // to be inspected
    try {
      refuse_other_kinds(file);
      return std::string("taken");
    } catch (const Error& error) {
      EXPECT_NE(error.message().find(path), std::string::npos);
      return error.message();
    }
  };
  const auto with = [](const char* key, const char* value) {
    return [=](GgufWriter& w) { w.add_string(key, value); };
  };
  expect(refused(with("general.architecture", "clip")), "mmproj");
  expect(refused(with("general.type", "mmproj")), "mmproj");
  expect(refused(with("general.type", "adapter")), "LoRA");
  expect(refused(with("adapter.type", "lora")), "LoRA");
  expect(refused(with("general.type", "imatrix")), "importance matrix");
  expect(refused(with("general.architecture", "controlvector")), "control vector");
  expect(refused(with("general.architecture", "gemma3")), "embeds");
  expect(refused(with("general.architecture", "llama")), "taken");
  expect(refused(with("general.architecture", "llama"), false), "no tensors");
  expect(refused(
             [](GgufWriter& w) {
               w.add_string("general.architecture", "llama");
               w.add_strings("tokenizer.ggml.tokens", std::vector<std::string>{"a"});
             },
             false),
         "only a vocabulary");
}

}  // namespace
}  // namespace plimsoll
