// Downloads from a server that misbehaves in every way that is known.
#include "hub/download.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <random>

#include "base/error.h"
#include "hub/child.h"
#include "hub/hub_server.h"
#include "support/temporary_folder.h"

namespace plimsoll::test {
namespace {

std::string random_text(std::size_t bytes, unsigned seed) {
  std::mt19937 random(seed);
  std::string text("GGUF");
  while (text.size() < bytes) text += static_cast<char>(random());
  return text;
}

class DownloadTest : public ::testing::Test {
 protected:
  DownloadTest() {
    for (const char* variable : {"http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"})
      ::unsetenv(variable);
    places_.endpoint = server_.endpoint();
    name_.repo = "a/b";
    server_.put("a/b", "m.gguf", content_);
  }

  RemoteFile remote(bool with_sum = true) const {
    RemoteFile file;
    file.path = "m.gguf";
    file.url = server_.endpoint() + "/a/b/resolve/main/m.gguf";
    file.bytes = content_.size();
    if (with_sum) file.sum = sum_by_command("sha256sum", content_);
    return file;
  }

  RemoteFile plain(const std::string& name) const {
    RemoteFile file;
    file.path = name;
    file.url = server_.endpoint() + "/files/" + name;
    return file;
  }

  /// The code of what it throws; nothing when it throws nothing.
  std::optional<ErrorCode> fetch(RemoteFile file, const std::string& target = "m.gguf") {
    HttpSettings http;
    http.stall_seconds = 1;
    RetryPolicy retry;
    retry.attempts = 4;
    retry.first_wait = 0.01;
    retry.most_wait = 0.02;
    retry.most_retry_after = 3;
    try {
      Fetcher fetcher(places_, [this](const std::string& text) { notices_ += text + "\n"; }, http, retry);
      download(fetcher, file, name_, folder_.file(target), [this](Bytes done) { progress_ = done; });
      return {};
    } catch (const Error& error) {
      message_ = error.message() + " | " + error.hint();
      return error.code();
    }
  }

  std::string got(const std::string& target = "m.gguf") const {
    const auto bytes = read_file(folder_.file(target));
    return {bytes.begin(), bytes.end()};
  }

  void expect_whole() {
    EXPECT_EQ(got(), content_);
    EXPECT_EQ(folder_.count(), 1u) << "parts and states are gone";
  }

  void fault_always(const Fault& fault) {
    server_.set_faults([fault](const HubRequest&, int) { return fault; });
  }
  void fault_first(const Fault& fault, int times = 1) {
    server_.set_faults([fault, times](const HubRequest&, int before) { return before < times ? fault : Fault{}; });
  }

  const std::string content_ = random_text(700'001, 1);
  HubServer server_;
  TemporaryFolder folder_;
  Places places_;
  ModelName name_;
  std::string notices_, message_;
  Bytes progress_ = 0;
};

TEST_F(DownloadTest, Whole) {
  EXPECT_FALSE(fetch(remote())) << message_;
  expect_whole();
  EXPECT_EQ(progress_, content_.size());
  EXPECT_FALSE(fetch(remote()));
  EXPECT_EQ(server_.requests().size(), 1u) << "what is there is not asked for again";
}

TEST_F(DownloadTest, GitBlobsAreCheckedToo) {
  HubFile file{content_, 0, false, "", "", ""};
  server_.put("a/b", "m.gguf", file);
  RemoteFile wanted = remote(false);
  wanted.kind = Digest::Kind::git_blob;
  wanted.sum = sum_by_command("sha1sum", "blob 700001" + std::string(1, '\0') + content_);
  EXPECT_FALSE(fetch(wanted)) << message_;
  expect_whole();
}

TEST_F(DownloadTest, ResetsAgainAndAgain) {
  // More of them than attempts in a row: each one brings something.
  server_.set_faults([](const HubRequest&, int before) {
    Fault fault;
    if (before < 12) fault.cut_after = 50'000;
    fault.reset = before % 2 == 0;
    return fault;
  });
  EXPECT_FALSE(fetch(remote())) << message_;
  expect_whole();
  EXPECT_LE(server_.body_bytes(), content_.size() + 12 * 200'000);
  for (const HubRequest& request : server_.requests())
    if (!request.header("range").empty()) {
      EXPECT_FALSE(request.header("if-range").empty());
    }
}

TEST_F(DownloadTest, GivesUpWithoutProgressAndGoesOnLater) {
  server_.set_faults([](const HubRequest&, int before) {
    Fault fault;
    fault.cut_after = before == 0 ? 300'000 : 0;
    return fault;
  });
  EXPECT_EQ(fetch(remote()), ErrorCode::network_failed);
  EXPECT_FALSE(std::filesystem::exists(folder_.file("m.gguf")));
  const Bytes kept = downloaded_bytes(folder_.file("m.gguf"));
  EXPECT_GT(kept, 0u);
  server_.set_faults({});
  const std::uint64_t before = server_.body_bytes();
  EXPECT_FALSE(fetch(remote())) << message_;
  expect_whole();
  EXPECT_EQ(server_.body_bytes() - before, content_.size() - kept) << "only the rest is asked for";
}

TEST_F(DownloadTest, NobodyAnswers) {
  RemoteFile file = remote();
  file.url = "http://127.0.0.1:1/x";
  EXPECT_EQ(fetch(file), ErrorCode::network_failed);
}

TEST_F(DownloadTest, DamagedPartsAreFoundOut) {
  fault_always({.headers = "", .cut_after = 300'000, .body = "", .location = ""});
  server_.set_faults([](const HubRequest&, int before) {
    Fault fault;
    fault.cut_after = before == 0 ? 300'000 : 0;
    return fault;
  });
  EXPECT_EQ(fetch(remote()), ErrorCode::network_failed);
  auto part = read_file(folder_.file("m.gguf.part"));
  part[1000] ^= 1;
  write_file(folder_.file("m.gguf.part"), part);
  server_.set_faults({});
  EXPECT_FALSE(fetch(remote())) << message_;
  expect_whole();
  EXPECT_NE(notices_.find("damaged"), std::string::npos) << notices_;
}

TEST_F(DownloadTest, PartsWithoutAStateAreNotTrusted) {
  write_file(folder_.file("m.gguf.part"), std::vector<std::uint8_t>(1000, 1));
  EXPECT_FALSE(fetch(remote())) << message_;
  expect_whole();
  write_file(folder_.file("n.gguf.part"), std::vector<std::uint8_t>(1000, 1));
  write_file(folder_.file("n.gguf.state"), std::vector<std::uint8_t>{'{', '"', 0, 255});
  RemoteFile file = plain("n.gguf");
  server_.put_plain("n.gguf", content_);
  EXPECT_FALSE(fetch(file, "n.gguf")) << message_;
  EXPECT_EQ(got("n.gguf"), content_);
}

TEST_F(DownloadTest, WrongSums) {
  RemoteFile file = remote();
  file.sum = std::string(64, '0');
  EXPECT_EQ(fetch(file), ErrorCode::checksum_mismatch);
  EXPECT_EQ(folder_.count(), 0u) << "nothing of it stays";
  EXPECT_NE(message_.find(std::string(64, '0')), std::string::npos);
}

TEST_F(DownloadTest, ServersWithoutRanges) {
  server_.set_faults([](const HubRequest&, int before) {
    Fault fault;
    fault.no_ranges = true;
    if (before < 2) fault.cut_after = 400'000;
    return fault;
  });
  EXPECT_FALSE(fetch(remote())) << message_;
  expect_whole();
}

TEST_F(DownloadTest, WrongRanges) {
  server_.set_faults([](const HubRequest&, int before) {
    Fault fault;
    if (before == 0) fault.cut_after = 400'000;
    fault.wrong_range = before == 1;
    return fault;
  });
  EXPECT_FALSE(fetch(remote())) << message_;
  expect_whole();
}

TEST_F(DownloadTest, CompressedBodies) {
  fault_always({.headers = "", .gzip = true, .body = "", .location = ""});
  EXPECT_FALSE(fetch(remote())) << message_;
  expect_whole();
  EXPECT_EQ(server_.requests().front().header("accept-encoding"), "identity");
}

TEST_F(DownloadTest, CompressedBodiesThatBreakOff) {
  server_.set_faults([](const HubRequest&, int before) {
    Fault fault;
    fault.gzip = true;
    if (before == 0) fault.cut_after = 400'000;
    return fault;
  });
  EXPECT_FALSE(fetch(remote())) << message_;
  expect_whole();
}

TEST_F(DownloadTest, LengthsThatAreNotTrue) {
  for (const std::int64_t change : {-1000, 1000}) {
    fault_first({.headers = "", .claimed_length_change = change, .body = "", .location = ""});
    EXPECT_FALSE(fetch(remote())) << message_;
    expect_whole();
    std::filesystem::remove(folder_.file("m.gguf"));
  }
  // One that stays wrong is no endless loop.
  fault_always({.headers = "", .claimed_length_change = -1000, .body = "", .location = ""});
  EXPECT_EQ(fetch(remote()), ErrorCode::network_failed);
}

TEST_F(DownloadTest, NoLengthAtAll) {
  server_.put_plain("n.gguf", content_);
  fault_always({.headers = "", .chunked = true, .body = "", .location = ""});
  EXPECT_FALSE(fetch(plain("n.gguf"))) << message_;
  expect_whole();
}

TEST_F(DownloadTest, WebPagesInTheFilesPlace) {
  fault_always({.headers = "", .body = "\n<!DOCTYPE html><html>Please log in</html>", .location = ""});
  EXPECT_EQ(fetch(plain("x.gguf")), ErrorCode::network_failed);
  EXPECT_NE(message_.find("web page"), std::string::npos) << message_;
  EXPECT_EQ(fetch(remote()), ErrorCode::network_failed);
  EXPECT_FALSE(std::filesystem::exists(folder_.file("m.gguf")));
}

TEST_F(DownloadTest, Stalls) {
  fault_first({.headers = "", .cut_after = 300'000, .stall_seconds = 20, .body = "", .location = ""});
  const auto start = std::chrono::steady_clock::now();
  EXPECT_FALSE(fetch(remote())) << message_;
  expect_whole();
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(15));
}

TEST_F(DownloadTest, BusyServers) {
  for (const int status : {429, 503, 500}) {
    server_.set_faults([status, n = 0](const HubRequest&, int) mutable {
      Fault fault;
      if (n++ == 0) {
        fault.status = status;
        fault.headers = "Retry-After: 1\r\n";
      }
      return fault;
    });
    const auto start = std::chrono::steady_clock::now();
    EXPECT_FALSE(fetch(remote())) << message_;
    EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(950));
    expect_whole();
    std::filesystem::remove(folder_.file("m.gguf"));
  }
  EXPECT_NE(notices_.find("429; trying again in 1 s"), std::string::npos) << notices_;
  // Nobody waits for an hour.
  fault_always({.status = 429, .headers = "Retry-After: 3600\r\n", .body = "", .location = ""});
  EXPECT_EQ(fetch(remote()), ErrorCode::network_failed);
  EXPECT_NE(message_.find("3600"), std::string::npos) << message_;
}

TEST_F(DownloadTest, Refusals) {
  const std::pair<int, ErrorCode> cases[] = {{403, ErrorCode::access_denied}, {401, ErrorCode::access_denied},
                                             {404, ErrorCode::not_available}, {410, ErrorCode::not_available},
                                             {400, ErrorCode::network_failed}};
  for (const auto& [status, code] : cases) {
    fault_always({.status = status, .headers = "", .body = "", .location = ""});
    EXPECT_EQ(fetch(remote()), code) << status;
  }
  EXPECT_EQ(server_.requests().size(), std::size(cases)) << "none of them is tried twice";
}

TEST_F(DownloadTest, TokensGoToTheEndpointAlone) {
  HubServer storage;
  storage.put("a/b", "m.gguf", content_);
  server_.set_storage(storage.endpoint());
  server_.require_token("secret");
  places_.token = "secret";
  fault_first({.headers = "", .cut_after = 0, .body = "", .location = ""});
  EXPECT_FALSE(fetch(remote())) << message_;
  expect_whole();
  ASSERT_FALSE(storage.requests().empty());
  for (const HubRequest& request : storage.requests()) {
    EXPECT_EQ(request.header("authorization"), "");
  }
  for (const HubRequest& request : server_.requests()) EXPECT_EQ(request.header("authorization"), "Bearer secret");
}

TEST_F(DownloadTest, RedirectsAreBounded) {
  fault_always({.headers = "", .body = "", .location = "/a/b/resolve/main/m.gguf"});
  EXPECT_EQ(fetch(remote()), ErrorCode::network_failed);
  EXPECT_EQ(server_.requests().size(), 11u);
  for (const char* to : {"file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/"}) {
    fault_always({.headers = "", .body = "", .location = to});
    EXPECT_EQ(fetch(remote()), ErrorCode::network_failed) << to;
  }
}

TEST_F(DownloadTest, FilesThatChangeOnTheServer) {
  // Without a sum the ETag alone tells.
  server_.put_plain("m.gguf", random_text(500'000, 5));
  server_.set_faults([](const HubRequest&, int before) {
    Fault fault;
    fault.cut_after = before == 0 ? 200'000 : 0;
    return fault;
  });
  EXPECT_EQ(fetch(plain("m.gguf")), ErrorCode::network_failed);
  EXPECT_GT(downloaded_bytes(folder_.file("m.gguf")), 0u);
  server_.set_faults({});
  server_.put_plain("m.gguf", content_);
  EXPECT_FALSE(fetch(plain("m.gguf"))) << message_;
  expect_whole();
}

TEST_F(DownloadTest, EmptyFiles) {
  server_.put("a/b", "m.gguf", HubFile{"", 0, true, "", "", ""});
  RemoteFile file = remote();
  file.bytes = 0;
  file.sum = sum_by_command("sha256sum", "");
  EXPECT_FALSE(fetch(file)) << message_;
  EXPECT_EQ(got(), "");
}

TEST_F(DownloadTest, FullDisks) {
  // A limit on file sizes fails as a disk does in the middle of a download.
  const RemoteFile file = remote();
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{300'000, 300'000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const bool refused = fetch(file) == ErrorCode::write_failed;
    ::_exit(refused && message_.find("ulimit") != std::string::npos ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_FALSE(std::filesystem::exists(folder_.file("m.gguf")));
  EXPECT_FALSE(fetch(remote())) << message_;  // and goes on from there when there is room
  expect_whole();
  EXPECT_THROW(require_disk_space(folder_.path().string(), Bytes{1} << 60), Error);
}

TEST_F(DownloadTest, KilledAtAnyMoment) {
  server_.set_faults([](const HubRequest&, int) {
    Fault fault;
    fault.bytes_per_second = 4'000'000;
    return fault;
  });
  const RemoteFile file = remote();
  std::mt19937 random(11);
  int kills = 0;
  for (; kills < 200 && !std::filesystem::exists(folder_.file("m.gguf")); ++kills) {
    const pid_t child = ::fork();
    if (child == 0) {
      const auto failed = fetch(file);
      ::_exit(failed ? 1 : 0);
    }
    ::usleep(20'000 + random() % 200'000);
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
  }
  EXPECT_GE(kills, 2);
  // The last kill may have come after the file was put in its place and before its state was removed.
  EXPECT_FALSE(fetch(file)) << message_;
  expect_whole();
}

TEST_F(DownloadTest, TheStateOfOneThatWasKilledAtItsVeryEndGoes) {
  EXPECT_FALSE(fetch(remote())) << message_;
  std::ofstream(folder_.file("m.gguf.state")) << "{}";
  EXPECT_FALSE(fetch(remote())) << message_;
  expect_whole();
}

TEST_F(DownloadTest, CtrlCKeepsThePart) {
  server_.set_faults([](const HubRequest&, int) {
    Fault fault;
    fault.bytes_per_second = 400'000;
    return fault;
  });
  const pid_t here = ::getpid();
  std::thread presser([here] {
    ::usleep(600'000);
    ::kill(here, SIGINT);
  });
  try {
    in_child([this]() -> nlohmann::json {
      HttpSettings http;
      Fetcher fetcher(places_, [](const std::string&) {}, http);
      RemoteFile file = remote();
      download(fetcher, file, name_, folder_.file("m.gguf"), [](Bytes) {});
      return 1;
    });
    ADD_FAILURE() << "it was not stopped";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::interrupted) << error.message();
  }
  presser.join();
  EXPECT_GT(downloaded_bytes(folder_.file("m.gguf")), 0u);
  server_.set_faults({});
  EXPECT_FALSE(fetch(remote())) << message_;
  expect_whole();
}

TEST(Digest, AgreesWithTheCommands) {
  for (const std::size_t bytes : {0u, 1u, 63u, 64u, 65u, 100'000u}) {
    const std::string text = random_text(bytes, 9).substr(0, bytes);
    EXPECT_EQ(sha256_hex(text), sum_by_command("sha256sum", text));
  }
}

TEST(Child, ResultsAndErrorsComeBack) {
  EXPECT_EQ(in_child([] { return nlohmann::json{{"a", 1}}; })["a"], 1);
  EXPECT_EQ(in_child([] { return nlohmann::json(std::string(1'000'000, 'x')); }).get<std::string>().size(), 1'000'000u);
  try {
    in_child([]() -> nlohmann::json { throw Error(ErrorCode::access_denied, "m", "h"); });
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::access_denied);
    EXPECT_EQ(error.message(), "m");
    EXPECT_EQ(error.hint(), "h");
  }
  EXPECT_THROW(in_child([]() -> nlohmann::json { ::raise(SIGKILL); return 1; }), Error);
  EXPECT_THROW(in_child([]() -> nlohmann::json { ::_exit(0); }), Error);
  EXPECT_THROW(in_child([]() -> nlohmann::json { throw std::runtime_error("x"); }), Error);
}

}  // namespace
}  // namespace plimsoll::test
