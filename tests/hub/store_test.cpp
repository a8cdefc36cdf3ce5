// What is on this machine: the own store, the hub's cache, Ollama's store; and where the environment says they are.
#include "hub/store.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "hub/hub_server.h"
#include "support/temporary_folder.h"

namespace plimsoll::test {
namespace {

namespace fs = std::filesystem;

void write_text(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  write_file(path.string(), {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
}

class StoreTest : public ::testing::Test {
 protected:
  StoreTest() {
    places_.store = folder_.file("store");
    places_.hub_cache = folder_.file("hub");
    places_.ollama_stores = {folder_.file("ollama")};
    places_.endpoint = "https://huggingface.co";
  }

  ModelName name(const std::string& text) const { return *parse_model_name(text, places_.endpoint); }

  nlohmann::json record(const std::string& repo, const std::string& file, std::int64_t time) const {
    return {{"name", repo + ":" + file}, {"repo", repo}, {"revision", "main"}, {"commit", std::string(40, 'c')},
            {"format", "GGUF"}, {"entry", file}, {"time", time},
            {"files", {{{"path", file}, {"bytes", 4}}}}};
  }

  void store(const std::string& repo, const std::string& file, std::int64_t time) {
    Staging staging(places_, "hf/" + repo + "/" + file, [] {});
    write_text(fs::path(staging.folder()) / file, "GGUF");
    staging.commit(record(repo, file, time));
  }

  const TemporaryFolder folder_;
  Places places_;
};

TEST_F(StoreTest, WhatIsCommittedIsFound) {
  EXPECT_TRUE(stored_models(places_).empty());
  store("a/b", "m-Q8_0.gguf", 1);
  store("a/b", "m-Q4_K_M.gguf", 2);
  ASSERT_EQ(stored_models(places_).size(), 2u);
  EXPECT_EQ(find_stored(places_, name("a/b"))->name, "a/b:m-Q4_K_M.gguf") << "the newest";
  EXPECT_EQ(find_stored(places_, name("a/b:Q8_0"))->name, "a/b:m-Q8_0.gguf");
  EXPECT_EQ(find_stored(places_, name("a/b:m-Q8_0.gguf"))->bytes, 4u);
  EXPECT_FALSE(find_stored(places_, name("a/b:m-Q2_K.gguf")));
  EXPECT_FALSE(find_stored(places_, name("a/b:Q2_K")));
  EXPECT_FALSE(find_stored(places_, name("a/b@v2")));
  EXPECT_TRUE(find_stored(places_, name("a/b@" + std::string(40, 'c'))));
  EXPECT_FALSE(find_stored(places_, name("a/c")));

  remove_stored(places_, *find_stored(places_, name("a/b:Q8_0")));
  EXPECT_EQ(stored_models(places_).size(), 1u);
  remove_stored(places_, *find_stored(places_, name("a/b")));
  EXPECT_FALSE(fs::exists(folder_.file("store/hf"))) << "empty folders go too";
}

TEST_F(StoreTest, WhatIsNotWholeIsNeitherListedNorUsed) {
  {
    Staging staging(places_, "hf/a/b/m", [] {});
    write_text(fs::path(staging.folder()) / "m.gguf.part", "GG");
    EXPECT_TRUE(stored_models(places_).empty());
    write_text(fs::path(staging.folder()) / "m.gguf", "GGUF");
    EXPECT_TRUE(stored_models(places_).empty());
  }
  store("a/b", "x.gguf", 1);
  const std::string path = find_stored(places_, name("a/b"))->path;
  write_text(path, "GG");  // cut by somebody else
  EXPECT_TRUE(stored_models(places_).empty());
  fs::remove(path);
  EXPECT_TRUE(stored_models(places_).empty());
  EXPECT_TRUE(remove_unfinished(places_, name("a/b:m.gguf")));
  EXPECT_FALSE(remove_unfinished(places_, name("a/b:m.gguf")));
}

TEST_F(StoreTest, RecordsThatAreNone) {
  for (const char* text : {"", "{", "[]", "{}", R"({"name": 1})", "null",
                           R"({"name":"x","format":"GGUF","time":1,"entry":"../../etc","files":[]})",
                           R"({"name":"x","format":"GGUF","time":1,"entry":"a","files":[{"path":"../x","bytes":1}]})"}) {
    write_text(folder_.path() / "store/hf/a/b/m/plimsoll.json", text);
    EXPECT_TRUE(stored_models(places_).empty()) << text;
  }
}

TEST_F(StoreTest, AnUpdateTakesThePlaceOfWhatWasThere) {
  store("a/b", "m.gguf", 1);
  store("a/b", "m.gguf", 2);
  ASSERT_EQ(stored_models(places_).size(), 1u);
  EXPECT_EQ(stored_models(places_)[0].time, 2);
  std::size_t left = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator(folder_.file("store/.partial"))) ++left;
  EXPECT_EQ(left, 0u);
}

TEST_F(StoreTest, OnlyOneAtATime) {
  std::vector<pid_t> children;
  for (int i = 0; i < 6; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      try {
        Staging staging(places_, "hf/a/b/m", [] {});
        const fs::path busy = folder_.path() / "busy";
        const bool alone = !fs::exists(busy);
        write_text(busy, "x");
        ::usleep(50'000);
        fs::remove(busy);
        ::_exit(alone ? 0 : 1);
      } catch (const std::exception&) {
        ::_exit(2);
      }
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
  }
}

TEST_F(StoreTest, TheHubsCache) {
  const fs::path repo = folder_.path() / "hub/models--a--b";
  const std::string commit(40, 'a');
  write_text(repo / "refs/main", commit);
  write_text(repo / "blobs/one", "GGUF one");
  write_text(repo / "blobs/two.incomplete", "GG");
  fs::create_directories(repo / "snapshots" / commit / "sub");
  fs::create_symlink("../../blobs/one", repo / "snapshots" / commit / "m-Q4_0.gguf");
  fs::create_symlink("../../blobs/two", repo / "snapshots" / commit / "m-Q8_0.gguf");  // still coming
  const auto found = find_stored(places_, name("a/b"));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->keeper, Keeper::hub_cache);
  EXPECT_EQ(found->path, (repo / "snapshots" / commit / "m-Q4_0.gguf").string());
  EXPECT_EQ(found->bytes, 8u);
  EXPECT_TRUE(find_stored(places_, name("a/b@" + commit)));
  EXPECT_FALSE(find_stored(places_, name("a/b:m-Q8_0.gguf")));
  EXPECT_FALSE(find_stored(places_, name("a/b@v1")));
  ASSERT_EQ(stored_models(places_).size(), 1u);
  EXPECT_EQ(stored_models(places_)[0].name, "a/b:m-Q4_0.gguf");

  // Our own comes first.
  store("a/b", "m-Q4_0.gguf", 5);
  EXPECT_EQ(find_stored(places_, name("a/b"))->keeper, Keeper::own);
}

TEST_F(StoreTest, FoldersInTheHubsCache) {
  const fs::path snapshot = folder_.path() / "hub/models--a--f/snapshots" / std::string(40, 'b');
  write_text(folder_.path() / "hub/models--a--f/refs/main", std::string(40, 'b') + "\n");
  write_text(snapshot / "model-00001-of-00002.safetensors", "1");
  write_text(snapshot / "model.safetensors.index.json", "{}");
  write_text(snapshot / "tokenizer.json", "{}");
  EXPECT_FALSE(find_stored(places_, name("a/f"))) << "a part and the config are missing";
  write_text(snapshot / "model-00002-of-00002.safetensors", "2");
  EXPECT_FALSE(find_stored(places_, name("a/f")));
  write_text(snapshot / "config.json", "{}");
  ASSERT_TRUE(find_stored(places_, name("a/f")));
  EXPECT_EQ(find_stored(places_, name("a/f"))->path, snapshot.string());
  EXPECT_EQ(find_stored(places_, name("a/f"))->format, "safetensors");
}

TEST_F(StoreTest, OllamasStore) {
  const fs::path store = folder_.path() / "ollama";
  const std::string digest(64, '1');
  const auto manifest = [&](std::size_t bytes) {
    return nlohmann::json{{"layers",
                           {{{"mediaType", "application/vnd.ollama.image.template"}, {"digest", "sha256:0"}, {"size", 3}},
                            {{"mediaType", "application/vnd.ollama.image.model"},
                             {"digest", "sha256:" + digest},
                             {"size", bytes}}}}}
        .dump();
  };
  write_text(store / "blobs" / ("sha256-" + digest), "GGUF");
  write_text(store / "manifests/registry.ollama.ai/library/llama3.2/1b", manifest(4));
  write_text(store / "manifests/registry.ollama.ai/me/own/latest", manifest(4));
  write_text(store / "manifests/hf.co/a/b/Q4_0", manifest(4));
  write_text(store / "manifests/registry.ollama.ai/library/cut/latest", manifest(5));
  write_text(store / "manifests/registry.ollama.ai/library/odd/latest", "{\"layers\": 3}");
  EXPECT_EQ(find_stored(places_, name("ollama:llama3.2:1b"))->path, (store / "blobs" / ("sha256-" + digest)).string());
  EXPECT_TRUE(find_stored(places_, name("ollama:me/own")));
  EXPECT_TRUE(find_stored(places_, name("ollama:hf.co/a/b:Q4_0")));
  EXPECT_FALSE(find_stored(places_, name("ollama:cut")));
  EXPECT_FALSE(find_stored(places_, name("ollama:odd")));
  EXPECT_EQ(stored_models(places_).size(), 3u);
}

TEST_F(StoreTest, PreviewsAreRemovedAndSoAreThoseOfTheKilled) {
  std::string left;
  {
    const Preview preview(places_);
    EXPECT_TRUE(fs::exists(preview.folder()));
    left = preview.folder();
    const Preview other(places_);
    EXPECT_TRUE(fs::exists(left)) << "somebody holds it";
  }
  EXPECT_FALSE(fs::exists(left));
  write_text(folder_.path() / "store/.partial/preview-dead/x", "x");
  const Preview preview(places_);
  EXPECT_FALSE(fs::exists(folder_.file("store/.partial/preview-dead")));
}

class PlacesTest : public ::testing::Test {
 protected:
  PlacesTest() {
    for (const char* variable :
         {"XDG_DATA_HOME", "XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN",
          "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_ENDPOINT", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE",
          "OLLAMA_MODELS"}) {
      const char* value = std::getenv(variable);
      before_.emplace_back(variable, value ? std::optional<std::string>(value) : std::nullopt);
      ::unsetenv(variable);
    }
    const char* home = std::getenv("HOME");
    before_.emplace_back("HOME", home ? std::optional<std::string>(home) : std::nullopt);
    ::setenv("HOME", folder_.path().c_str(), 1);
  }
  ~PlacesTest() override {
    for (const auto& [variable, value] : before_)
      value ? ::setenv(variable.c_str(), value->c_str(), 1) : ::unsetenv(variable.c_str());
  }
  const TemporaryFolder folder_;
  std::vector<std::pair<std::string, std::optional<std::string>>> before_;
};

TEST_F(PlacesTest, FromHomeAlone) {
  const Places places = Places::from_environment();
  EXPECT_EQ(places.store, folder_.file(".local/share/plimsoll/models"));
  EXPECT_EQ(places.hub_cache, folder_.file(".cache/huggingface/hub"));
  EXPECT_EQ(places.endpoint, "https://huggingface.co");
  EXPECT_FALSE(places.token);
  EXPECT_FALSE(places.offline);
  ::unsetenv("HOME");
  EXPECT_EQ(Places::from_environment().store, "");
}

TEST_F(PlacesTest, FromVariables) {
  ::setenv("XDG_DATA_HOME", "/data", 1);
  ::setenv("XDG_CACHE_HOME", "/cache", 1);
  EXPECT_EQ(Places::from_environment().hub_cache, "/cache/huggingface/hub");
  ::setenv("HF_HOME", "~/hf", 1);
  EXPECT_EQ(Places::from_environment().hub_cache, folder_.file("hf/hub"));
  ::setenv("HUGGINGFACE_HUB_CACHE", "/old", 1);
  EXPECT_EQ(Places::from_environment().hub_cache, "/old");
  ::setenv("HF_HUB_CACHE", "/new", 1);
  EXPECT_EQ(Places::from_environment().hub_cache, "/new");
  EXPECT_EQ(Places::from_environment().store, "/data/plimsoll/models");
  ::setenv("HF_ENDPOINT", "https://mirror.example/hub//", 1);
  EXPECT_EQ(Places::from_environment().endpoint, "https://mirror.example/hub");
  for (const auto& [text, offline] : {std::pair("1", true), {"true", true}, {"0", false}, {"", false}, {"Yes", true}}) {
    ::setenv("HF_HUB_OFFLINE", text, 1);
    EXPECT_EQ(Places::from_environment().offline, offline) << text;
  }
}

TEST_F(PlacesTest, Tokens) {
  write_text(folder_.path() / ".cache/huggingface/token", " from_file\n");
  EXPECT_EQ(Places::from_environment().token, "from_file");
  write_text(folder_.path() / "elsewhere", "other");
  ::setenv("HF_TOKEN_PATH", folder_.file("elsewhere").c_str(), 1);
  EXPECT_EQ(Places::from_environment().token, "other");
  ::setenv("HUGGING_FACE_HUB_TOKEN", "older", 1);
  EXPECT_EQ(Places::from_environment().token, "older");
  ::setenv("HF_TOKEN", "newer\r\n", 1);
  EXPECT_EQ(Places::from_environment().token, "newer");
  ::setenv("HF_TOKEN", "", 1);
  EXPECT_EQ(Places::from_environment().token, "older");
}

}  // namespace
}  // namespace plimsoll::test
