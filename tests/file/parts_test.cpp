// Models that are split over several files: the same as the whole one, or an error that says what
// is wrong with which part.
#include <gtest/gtest.h>

#include <sys/resource.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <random>

#include "base/error.h"
#include "file/gguf_parts.h"
#include "file/joined_files.h"
#include "file/metadata_reader.h"
#include "file/model_file.h"
#include "support/split_model.h"
#include "support/temporary_folder.h"

namespace plimsoll {
namespace {

namespace fs = std::filesystem;
using test::part_name;

const std::string whole_model = PLIMSOLL_MODELS "/plimsoll-docs-4m-f16.gguf";

std::vector<std::uint8_t> bytes_of(const ModelFile& file, const TensorInfo& tensor) {
  std::vector<std::uint8_t> bytes(tensor.bytes);
  file.read(tensor.offset, tensor.bytes, bytes.data());
  return bytes;
}

void expect_same_model(const ModelFile& found, const ModelFile& wanted) {
  ASSERT_EQ(found.metadata().entries().size(), wanted.metadata().entries().size());
  for (std::size_t i = 0; i < wanted.metadata().entries().size(); ++i) {
    const auto &a = found.metadata().entries()[i], &b = wanted.metadata().entries()[i];
    EXPECT_EQ(a.key, b.key);
    const auto pa = MetadataReader::payload(a.value), pb = MetadataReader::payload(b.value);
    EXPECT_TRUE(std::ranges::equal(pa, pb)) << a.key;
  }
  ASSERT_EQ(found.tensors().size(), wanted.tensors().size());
  for (std::size_t i = 0; i < wanted.tensors().size(); ++i) {
    const TensorInfo &a = found.tensors()[i], &b = wanted.tensors()[i];
    EXPECT_EQ(a.name, b.name);
    EXPECT_EQ(a.format, b.format);
    EXPECT_EQ(a.shape, b.shape);
    EXPECT_EQ(found.find_tensor(b.name), &a);
    EXPECT_EQ(bytes_of(found, a), bytes_of(wanted, b)) << a.name;
    // Any part of it, too.
    const Bytes from = a.bytes / 3, count = a.bytes / 2;
    std::vector<std::uint8_t> piece(count), same(count);
    found.read(a.offset + from, count, piece.data());
    wanted.read(b.offset + from, count, same.data());
    EXPECT_EQ(piece, same);
  }
}

class Parts : public ::testing::Test {
 protected:
  void expect_error(const std::string& path, ErrorCode code,
                    std::initializer_list<std::string> words) const {
    try {
      ModelFile::open(path);
      ADD_FAILURE() << path << " opened";
    } catch (const Error& error) {
      EXPECT_EQ(name(error.code()), name(code)) << error.message();
      const std::string all = error.message() + "\n" + error.hint();
      for (const std::string& word : words)
        EXPECT_NE(all.find(word), std::string::npos) << all << "\nwanted: " << word;
      EXPECT_FALSE(error.hint().empty());
    }
  }
  /// A part with other keys, and with the tensors of another file.
  static void rewrite(const std::string& path, const std::string& tensors_of,
                      const std::function<void(GgufWriter&)>& keys) {
    GgufWriter writer(OutputPath::own(path));
    keys(writer);
    const ModelFile source = ModelFile::open(tensors_of);
    const TensorInfo& tensor = source.tensors()[0];
    writer.add_tensor(tensor.name, *tensor.format,
                      {tensor.shape.data(), static_cast<std::size_t>(tensor.rank)});
    writer.write(bytes_of(source, tensor));
    writer.finish();
  }
  static void add_split(GgufWriter& writer, int number, int count, int tensors) {
    writer.add_integer("split.no", number, MetadataType::u16);
    writer.add_integer("split.count", count, MetadataType::u16);
    writer.add_integer("split.tensors.count", tensors, MetadataType::i32);
  }

  std::vector<std::string> split(const test::SplitOptions& options) const {
    return test::split_model(whole_model, prefix_, options);
  }

  test::TemporaryFolder folder_;
  std::string prefix_ = folder_.file("model");
};

TEST_F(Parts, AreTheWholeModel) {
  const ModelFile whole = ModelFile::open(whole_model);
  for (const test::SplitOptions& options :
       {test::SplitOptions{7, false}, test::SplitOptions{1, false}, test::SplitOptions{1000, true},
        test::SplitOptions{20, true}}) {
    const std::vector<std::string> paths = split(options);
    ASSERT_GT(paths.size(), 1u);
    const ModelFile file = ModelFile::open(paths.front());
    EXPECT_EQ(file.container(), fmt::format("GGUF version 3 in {} files", paths.size()));
    EXPECT_EQ(file.path(), paths.front());
    EXPECT_EQ(file.files(), paths);
    Bytes bytes = 0;
    for (const std::string& path : paths) bytes += fs::file_size(path);
    EXPECT_EQ(file.size(), bytes);
    EXPECT_FALSE(file.metadata().contains("split.count"));
    expect_same_model(file, whole);
    file.check_unchanged();
  }
}

TEST_F(Parts, AreNotedWhenTheyChange) {
  const std::vector<std::string> paths = split({10, false});
  const ModelFile file = ModelFile::open(paths.front());
  fs::last_write_time(paths.back(), fs::file_time_type::clock::now() + std::chrono::seconds(5));
  EXPECT_THROW(file.check_unchanged(), Error);
}

TEST_F(Parts, MissingOnesAreNamed) {
  const std::vector<std::string> paths = split({6, false});
  ASSERT_GT(paths.size(), 5u);
  const std::size_t count = paths.size();
  fs::remove(paths[1]);
  expect_error(paths[0], ErrorCode::file_not_found,
               {fmt::format("part 2 of {} is missing", count), "model-00002-of-"});
  fs::remove(paths[3]);
  expect_error(paths[0], ErrorCode::file_not_found,
               {fmt::format("parts 2 and 4 of {} are missing", count), "model-00004-of-"});
  for (std::size_t i = 1; i < count; ++i) fs::remove(paths[i]);
  expect_error(paths[0], ErrorCode::file_not_found, {"parts 2, 3, 4 and", "more of", "..."});
}

TEST_F(Parts, OfAFileThatIsNotThereAreNamed) {
  const std::vector<std::string> paths = split({20, false});
  expect_error(prefix_ + ".gguf", ErrorCode::file_not_found, {"No such file", "name " + paths[0]});
  expect_error(prefix_, ErrorCode::file_not_found, {"name " + paths[0]});
  fs::remove(paths[0]);
  expect_error(paths[0], ErrorCode::file_not_found, {"is there, but this one is missing"});
  expect_error(folder_.file("other.gguf"), ErrorCode::file_not_found, {"check the path"});
}

TEST_F(Parts, OnlyTheFirstCanBeOpened) {
  const std::vector<std::string> paths = split({20, false});
  expect_error(paths[1], ErrorCode::invalid_model,
               {fmt::format("part 2 of {}", paths.size()), "the first is " + paths[0]});
  fs::remove(paths[0]);
  expect_error(paths[1], ErrorCode::invalid_model, {paths[0] + ", which is missing"});
  fs::rename(paths[1], folder_.file("any.gguf"));
  expect_error(folder_.file("any.gguf"), ErrorCode::invalid_model,
               {fmt::format("is part 2 of {}", paths.size()), "only the first part"});
}

TEST_F(Parts, ARenamedFirstPartSaysWhatItNeeds) {
  const std::vector<std::string> paths = split({20, false});
  const std::string renamed = folder_.file("nice-name.gguf");
  fs::rename(paths[0], renamed);
  expect_error(renamed, ErrorCode::invalid_model,
               {fmt::format("part 1 of {}", paths.size()),
                "rename it to " + fs::path(paths[0]).filename().string()});
  for (std::size_t i = 1; i < paths.size(); ++i) fs::remove(paths[i]);
  expect_error(renamed, ErrorCode::invalid_model, {"the names that they were split with"});
  fs::rename(renamed, part_name(prefix_, 1, 9));
  expect_error(part_name(prefix_, 1, 9), ErrorCode::invalid_model, {"part 1 of 9 by its name"});
  fs::rename(part_name(prefix_, 1, 9), part_name(prefix_, 2, paths.size()));
  expect_error(part_name(prefix_, 2, paths.size()), ErrorCode::invalid_model, {"by its name"});
}

TEST_F(Parts, OfOtherModelsAreRefused) {
  const std::vector<std::string> paths = split({20, false});
  const int count = static_cast<int>(paths.size()), last = count - 1;
  const int tensors = static_cast<int>(ModelFile::open(whole_model).tensors().size());
  const std::string at = paths.back();
  const auto expect_part = [&](std::initializer_list<std::string> words,
                               const std::function<void(GgufWriter&)>& keys) {
    rewrite(at, whole_model, keys);
    expect_error(paths[0], ErrorCode::invalid_model, words);
  };
  const std::string wanted = fmt::format("wanted part {} of {}", count, count);
  expect_part({at, wanted, "a whole file"}, [](GgufWriter&) {});
  expect_part({at, wanted, fmt::format("found part 1 of {}", count)},
              [&](GgufWriter& writer) { add_split(writer, 0, count, tensors); });
  expect_part({at, wanted, fmt::format("found part {} of {}", count, count + 1)},
              [&](GgufWriter& writer) { add_split(writer, last, count + 1, tensors); });
  expect_part({at, wanted, fmt::format("found one of {}", tensors + 1)},
              [&](GgufWriter& writer) { add_split(writer, last, count, tensors + 1); });
  expect_part({at, "of a llama model", "gemma2"}, [&](GgufWriter& writer) {
    writer.add_string("general.architecture", "gemma2");
    add_split(writer, last, count, tensors);
  });
  // Its only tensor is the first one's, and all the others are missing.
  expect_part({fmt::format("wanted {} tensors", tensors), "parts"},
              [&](GgufWriter& writer) { add_split(writer, last, count, tensors); });
}

TEST_F(Parts, ATensorInTwoPartsIsRefused) {
  const std::string first = part_name(prefix_, 1, 2), second = part_name(prefix_, 2, 2);
  rewrite(first, whole_model, [](GgufWriter& writer) { add_split(writer, 0, 2, 2); });
  rewrite(second, whole_model, [](GgufWriter& writer) { add_split(writer, 1, 2, 2); });
  const std::string tensor(ModelFile::open(whole_model).tensors()[0].name);
  expect_error(first, ErrorCode::invalid_model, {tensor, "found in parts 1 and 2"});
}

TEST_F(Parts, NumbersThatContradictThemselves) {
  const std::string path = part_name(prefix_, 1, 2);
  const auto expect = [&](const std::string& word, const std::function<void(GgufWriter&)>& keys) {
    rewrite(path, whole_model, keys);
    expect_error(path, ErrorCode::file_corrupt, {path, word});
  };
  expect("split.no", [](GgufWriter& w) { w.add_integer("split.count", 2); });
  expect("0 to 1, found 2", [](GgufWriter& w) { add_split(w, 2, 2, 1); });
  expect("found 100000", [](GgufWriter& w) { w.add_integer("split.count", 100000); });
  expect("found -3", [](GgufWriter& w) { w.add_integer("split.count", -3, MetadataType::i32); });
  expect("string", [](GgufWriter& w) { w.add_string("split.count", "two"); });
}

TEST_F(Parts, DamagedOnesOpenOrAreRefused) {
  const std::vector<std::string> paths = split({20, false});
  std::mt19937 random(8);
  int opened = 0;
  for (const std::string& path : {paths[0], paths[1]}) {
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    const auto put = [&file](std::size_t place, char byte) {
      file.seekp(static_cast<std::streamoff>(place));
      file.put(byte);
      file.flush();
    };
    for (int round = 0; round < 200; ++round) {
      // In the second part most of the header is about the split.
      const std::size_t place = random() % (round % 2 ? 200 : 2000);
      file.seekg(static_cast<std::streamoff>(place));
      const auto sound = static_cast<char>(file.get());
      put(place, static_cast<char>(sound ^ (1 << random() % 8)));
      try {
        const ModelFile model = ModelFile::open(paths[0]);
        for (const TensorInfo& tensor : model.tensors()) EXPECT_FALSE(tensor.name.empty());
        ++opened;
      } catch (const Error& error) {
        EXPECT_NE(name(error.code()), name(ErrorCode::internal)) << error.message();
      }
      put(place, sound);
    }
  }
  EXPECT_GT(opened, 10);
}

TEST_F(Parts, FilesThatWerePutTogetherAgainAreWhole) {
  const std::string path = folder_.file("merged.gguf");
  rewrite(path, whole_model, [](GgufWriter& writer) {
    writer.add_integer("split.count", 0, MetadataType::u16);
    writer.add_integer("split.tensors.count", 1, MetadataType::i32);
  });
  const ModelFile file = ModelFile::open(path);
  EXPECT_EQ(file.container(), "GGUF version 3");
  EXPECT_FALSE(file.metadata().contains("split.tensors.count"));
}

TEST_F(Parts, AreFoundThroughLinks) {
  const std::vector<std::string> paths = split({20, false});
  // A link with any name to the first part.
  const std::string link = folder_.file("link.gguf");
  fs::create_symlink(fs::path(paths[0]).filename(), link);
  EXPECT_EQ(ModelFile::open(link).files()[1], paths[1]);
  // Named links to files that have lost their names, as caches have them.
  const fs::path blobs = folder_.path() / "blobs", named = folder_.path() / "snapshot";
  fs::create_directories(blobs);
  fs::create_directories(named);
  for (std::size_t i = 0; i < paths.size(); ++i) {
    fs::rename(paths[i], blobs / fmt::format("{:064x}", i));
    fs::create_symlink(fmt::format("../blobs/{:064x}", i), named / fs::path(paths[i]).filename());
  }
  expect_same_model(ModelFile::open((named / fs::path(paths[0]).filename()).string()),
                    ModelFile::open(whole_model));
}

TEST_F(Parts, AFolderWithOneModelIsThatModel) {
  const ModelFile whole = ModelFile::open(whole_model);
  const fs::path sub = folder_.path() / "sub";
  fs::create_directories(sub);
  prefix_ = (sub / "model").string();
  split({20, false});
  test::write_file((sub / "mmproj-model-f16.gguf").string(), std::vector<std::uint8_t>(10, 'x'));
  test::write_file((sub / "config.json").string(), std::vector<std::uint8_t>{'{', '}'});
  const ModelFile file = ModelFile::open(sub.string());
  EXPECT_EQ(file.path(), sub.string());
  expect_same_model(file, whole);
  fs::copy_file(whole_model, sub / "other.gguf");
  expect_error(sub.string(), ErrorCode::file_unreadable,
               {"a directory with 2: model-00001-of-", "other.gguf", "name one of them"});
}

TEST_F(Parts, AreAsManyAsTheProcessMayOpen) {
  const std::vector<std::string> paths = split({1, false});
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit few = before;
  few.rlim_cur = 40;
  ASSERT_LT(few.rlim_cur, 2 * paths.size());
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  EXPECT_EQ(ModelFile::open(paths[0]).files().size(), paths.size());
  ::setrlimit(RLIMIT_NOFILE, &before);
}

TEST(JoinedFiles, ReadsAnyRangeAcrossFiles) {
  const test::TemporaryFolder folder;
  std::mt19937 random(5);
  std::vector<std::uint8_t> wanted;
  std::vector<std::unique_ptr<InputFile>> files;
  std::vector<std::uint64_t> begins;
  for (const std::size_t size : {1ul, 4096ul, 5000ul, 12288ul, 0ul, 4095ul, 100000ul}) {
    wanted.resize((wanted.size() + 4095) / 4096 * 4096);
    begins.push_back(wanted.size());
    std::vector<std::uint8_t> bytes(size);
    for (auto& byte : bytes) byte = static_cast<std::uint8_t>(random());
    const std::string path = folder.file(fmt::format("{}", begins.size()));
    test::write_file(path, bytes);
    wanted.insert(wanted.end(), bytes.begin(), bytes.end());
    files.push_back(std::make_unique<InputFile>(path));
  }
  const JoinedFiles joined("all", std::move(files));
  for (std::size_t i = 0; i < begins.size(); ++i) EXPECT_EQ(joined.begin_of(i), begins[i]);
  for (int round = 0; round < 500; ++round) {
    const std::size_t from = random() % wanted.size(), count = random() % (wanted.size() - from + 1);
    std::vector<std::uint8_t> found(count, 0xee);
    joined.read(from, count, found.data());
    ASSERT_TRUE(std::equal(found.begin(), found.end(), wanted.begin() + static_cast<long>(from)))
        << from << " " << count;
  }
  std::uint8_t byte;
  EXPECT_THROW(joined.read(wanted.size(), 1, &byte), Error);
}

}  // namespace
}  // namespace plimsoll
