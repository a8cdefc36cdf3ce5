// Conversations at a terminal.
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <regex>

#include "cli/program.h"
#include "support/temporary_folder.h"

namespace plimsoll::test {
namespace {

constexpr const char* control_c = "\x03";
constexpr const char* control_d = "\x04";

class Terminal : public ::testing::Test {
 protected:
  void SetUp() override {
    const int terminal = ::posix_openpt(O_RDWR | O_NOCTTY);
    if (terminal < 0) GTEST_SKIP() << "needs pseudo-terminals, and /dev/pts is not mounted here";
    ::close(terminal);
  }
};

using Chat = Terminal;

TEST_F(Chat, ControlCStopsTheAnswerNotTheProgram) {
  // Far beyond what it was trained for, so that the answer lasts until it is stopped.
  TerminalProgram program({"run", "--chat", "--context", "60000", "--temperature", "1"});
  ASSERT_TRUE(program.wait_for("> ")) << program.screen();
  program.type("Tell me everything.\n");
  ASSERT_TRUE(program.wait_for("Tell me everything.\r\n")) << "the echo: " << program.screen();
  ASSERT_TRUE(program.wait_for("e")) << "an answer: " << program.screen();
  program.type(control_c);
  ASSERT_TRUE(program.wait_for("stopped")) << program.screen();
  ASSERT_TRUE(program.wait_for("> ")) << program.screen();
  EXPECT_TRUE(program.is_running());

  // One more at the prompt asks, the second leaves.
  program.type(control_c);
  ASSERT_TRUE(program.wait_for("once more")) << program.screen();
  ASSERT_TRUE(program.wait_for("> "));
  EXPECT_TRUE(program.is_running());
  program.type(control_c);
  EXPECT_EQ(program.wait(), 0) << program.screen();
  EXPECT_NE(program.screen().find("by the kernel's count"), std::string::npos);
}

TEST_F(Chat, CommandsAndControlD) {
  TerminalProgram program({"run", "--chat", "--tokens", "4", "--temperature", "0"});
  ASSERT_TRUE(program.wait_for("> "));
  program.type("/help\n");
  ASSERT_TRUE(program.wait_for("/clear"));
  ASSERT_TRUE(program.wait_for("> "));
  program.type("Hello\n");
  ASSERT_TRUE(program.wait_for("answer 4 tokens")) << program.screen();
  ASSERT_TRUE(program.wait_for("> "));
  program.type("/clear\n");
  ASSERT_TRUE(program.wait_for("forgotten"));
  ASSERT_TRUE(program.wait_for("> "));
  program.type(control_d);
  EXPECT_EQ(program.wait(), 0);
}

TEST_F(Chat, SecondTurnReadsOnlyWhatIsNew) {
  TerminalProgram program({"run", "--chat", "--tokens", "4", "--temperature", "0"});
  ASSERT_TRUE(program.wait_for("> "));
  program.type("one two three four five six seven eight nine ten eleven twelve thirteen\n");
  ASSERT_TRUE(program.wait_for("prompt "));
  const auto prompt_tokens = [&] {
    const std::size_t at = program.screen().rfind("prompt ");
    return std::stoi(program.screen().substr(at + 7));
  };
  ASSERT_TRUE(program.wait_for("> "));
  const int first = prompt_tokens();
  program.type("yes\n");
  ASSERT_TRUE(program.wait_for("prompt "));
  ASSERT_TRUE(program.wait_for("> "));
  EXPECT_LT(prompt_tokens(), first);
  program.type("/quit\n");
  EXPECT_EQ(program.wait(), 0);
}

TEST_F(Chat, OldTurnsAreForgottenWhenTheContextIsFull) {
  TerminalProgram program(
      {"run", "--chat", "--context", "64", "--tokens", "8", "--temperature", "0"});
  ASSERT_TRUE(program.wait_for("> "));
  for (int turn = 0; turn < 6; ++turn) {
    program.type("What is a page of memory?\n");
    ASSERT_TRUE(program.wait_for("answer ")) << program.screen();
    ASSERT_TRUE(program.wait_for("> "));
  }
  EXPECT_NE(program.screen().find("forgotten"), std::string::npos) << program.screen();
  // A text that can never fit is refused, and the conversation goes on.
  std::string long_text;
  for (int i = 0; i < 100; ++i) long_text += "word ";
  program.type(long_text + "\n");
  ASSERT_TRUE(program.wait_for("the context 64")) << program.screen();
  ASSERT_TRUE(program.wait_for("> "));
  program.type("/quit\n");
  EXPECT_EQ(program.wait(), 0);
}

/// A conversation whose answers are short and always the same.
class ShortChat : public Chat {
 protected:
  void SetUp() override {
    Chat::SetUp();
    if (!IsSkipped()) start();
  }

  void start(std::vector<std::string> more = {}) {
    std::vector<std::string> arguments = {"run", "--chat", "--tokens", "3", "--temperature", "0"};
    if (std::find(more.begin(), more.end(), "--memory") == more.end())
      arguments.insert(arguments.end(), {"--memory", enough_memory});
    arguments.insert(arguments.end(), more.begin(), more.end());
    program = std::make_unique<TerminalProgram>(arguments);
    ASSERT_TRUE(program->wait_for("> ")) << program->screen();
  }
  void restart(std::vector<std::string> more) {
    leave();
    start(std::move(more));
  }
  /// Types and waits for the next prompt.
  void enter(const std::string& text) {
    program->type(text + "\n");
    ASSERT_TRUE(program->wait_for("\n")) << program->screen();
    ASSERT_TRUE(program->wait_for("> ")) << program->screen();
  }
  void ask(const std::string& text) {
    program->type(text + "\n");
    ASSERT_TRUE(program->wait_for("answer 3 tokens")) << program->screen();
    ASSERT_TRUE(program->wait_for("> ")) << program->screen();
  }
  void leave() {
    program->type("/quit\n");
    EXPECT_EQ(program->wait(), 0) << program->screen();
    EXPECT_TRUE(program->echoes());
  }
  nlohmann::json saved() {
    const std::string path = folder.path() / "saved.json";
    std::filesystem::remove(path);
    program->type("/save " + path + "\n");
    EXPECT_TRUE(program->wait_for("saved in")) << program->screen();
    EXPECT_TRUE(program->wait_for("> "));
    std::ifstream file(path);
    return nlohmann::json::parse(file, nullptr, false);
  }
  /// The messages that were typed.
  std::vector<std::string> asked() {
    std::vector<std::string> texts;
    const nlohmann::json json = saved();
    for (const auto& message : json["messages"])
      if (message["role"] == "user") texts.push_back(message["content"]);
    return texts;
  }

  const TemporaryFolder folder;
  std::unique_ptr<TerminalProgram> program;
};

using Texts = std::vector<std::string>;

TEST_F(ShortChat, KeysEditTheLineAndNeverArriveAsText) {
  ask("abX\x1b[D\x1b[D\x1b[Dc\x1b[3~\x1b[C\x1b[15~d\x1b[F!\x1b[H(\x1bOF)");
  ask("one two\x17three\x01\x0b"
      "four\x19");  // Ctrl-W, Ctrl-A, Ctrl-K, Ctrl-Y
  EXPECT_EQ(asked(), (Texts{"(cbdX!)", "fourone three"}));
  leave();
}

TEST_F(ShortChat, HistoryLastsAndIsItsOwners) {
  ask("remember this");
  ask("and this");
  ask("\x1b[A\x1b[A");        // the first again
  ask("\x1b[A\x1b[A\x1b[B");  // there and back
  EXPECT_EQ(asked(), (Texts{"remember this", "and this", "remember this", "remember this"}));
  restart({});
  ask("\x1b[A\x1b[A\x1b[A, please");  // behind /quit and /save
  EXPECT_EQ(asked(), (Texts{"remember this, please"}));
  const std::string path = std::string(std::getenv("XDG_STATE_HOME")) + "/plimsoll/history";
  struct stat status {};
  ASSERT_EQ(::stat(path.c_str(), &status), 0) << path;
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  const auto size = status.st_size;
  restart({"--no-history"});
  ask("secret");
  program->type("\x1b[A\x1b[A\x1b[A\n");
  ASSERT_TRUE(program->wait_for("answer 3 tokens"));
  EXPECT_EQ(asked(), (Texts{"secret", "secret"}));
  leave();
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_LE(status.st_size, size + 10) << "the /quit of the one before";
}

TEST_F(ShortChat, PastedLinesAreOneMessage) {
  ask("\x1b[200~first\nsecond\nthird\x1b[201~");
  ask("marked by no terminal\nsecond\nthird");
  ask("goes on \\\nin the next\x1b\rand once more");
  program->type("\"\"\"\n");
  ASSERT_TRUE(program->wait_for("\"\"\""));
  program->type("a block\n\nof lines\n");
  ASSERT_TRUE(program->wait_for("of lines"));
  ask("\"\"\"");
  EXPECT_EQ(asked(), (Texts{"first\nsecond\nthird", "marked by no terminal\nsecond\nthird",
                            "goes on \\\nin the next\nand once more", "a block\n\nof lines"}));
  leave();
}

TEST_F(ShortChat, ABackslashContinuesALine) {
  program->type("goes on\\\n");
  ASSERT_TRUE(program->wait_for("goes on"));
  ::usleep(100'000);
  ask("here");
  ask("ends in two\\\\");
  EXPECT_EQ(asked(), (Texts{"goes on\nhere", "ends in two\\\\"}));
  leave();
}

TEST_F(ShortChat, LinesOfAnyLengthArriveWhole) {
  // As system texts: their tokens are not read.
  for (const std::size_t length : {100, 4095, 4096, 6000, 100'000})
    for (const bool marked : {false, true}) {
      const std::string text = std::string(length - 3, 'x') + "end";
      program->type(marked ? "/system \x1b[200~" + text + "\x1b[201~\n" : "/system " + text + "\n");
      ASSERT_TRUE(program->wait_for("set; the")) << length;
      ASSERT_TRUE(program->wait_for("> "));
      EXPECT_EQ(saved()["messages"][0]["content"], text) << length << marked;
    }
  // A key at a time, beyond the width of the terminal and the library's first buffer.
  std::string text = "/system ";
  for (const char c : text) program->type(std::string(1, c));
  for (int i = 0; i < 60; ++i) {
    program->type(std::string(50, static_cast<char>('a' + i % 26)));
    text += std::string(50, static_cast<char>('a' + i % 26));
    ::usleep(25'000);
  }
  program->type("\n");
  ASSERT_TRUE(program->wait_for("set; the"));
  EXPECT_EQ(saved()["messages"][0]["content"], text.substr(8));
  leave();
}

TEST_F(ShortChat, WhatTheLineHasNoRoomForIsRefusedAloud) {
  if (enough_memory != "32MiB") GTEST_SKIP() << "sanitizers need a line that has room for it";
  std::string text;
  for (int i = 0; i < 3'000'000; ++i) text += static_cast<char>('a' + i % 26);
  program->type("\x1b[200~" + text + "\x1b[201~\n");
  ASSERT_TRUE(program->wait_for("nothing of it was taken")) << program->screen().substr(0, 3000);
  ASSERT_TRUE(program->wait_for("> "));
  const std::string screen = program->screen();
  ask("still there?");
  EXPECT_EQ(asked(), (Texts{"still there?"}));
  // What would do instead does, also when it is said again later.
  std::smatch shorter, more;
  ASSERT_TRUE(std::regex_search(screen, shorter, std::regex("of at most (\\d+) bytes"))) << screen.substr(0, 3000);
  ASSERT_TRUE(std::regex_search(screen, more, std::regex("--memory (\\d+) or more"))) << screen.substr(0, 3000);
  const auto set = [&](const std::string& wanted) {
    program->type("/system \x1b[200~" + wanted + "\x1b[201~\n");
    ASSERT_TRUE(program->wait_for("set; the")) << program->screen().substr(0, 3000);
    ASSERT_TRUE(program->wait_for("> "));
    EXPECT_EQ(saved()["messages"][0]["content"], wanted);
  };
  set(text.substr(0, std::stoull(shorter[1]) - 100));  // besides the command, and marks around it
  restart({"--memory", more[1]});
  set(text);
  leave();
}

TEST_F(ShortChat, CommandsThatAreNoneGoNowhere) {
  enter("/regenrate");
  EXPECT_NE(program->screen().find("did you mean /regenerate?"), std::string::npos);
  enter("/xyzzy");
  EXPECT_NE(program->screen().find("/help lists them"), std::string::npos);
  enter("/clear everything");
  EXPECT_NE(program->screen().find("/clear takes nothing"), std::string::npos);
  enter("/save");
  EXPECT_NE(program->screen().find("/save needs FILE"), std::string::npos);
  enter("/regenerate");
  EXPECT_NE(program->screen().find("no answer to give again"), std::string::npos);
  ask("//etc/passwd is what?");
  EXPECT_EQ(asked(), (Texts{"/etc/passwd is what?"}));
  leave();
}

TEST_F(ShortChat, SystemTextsAndSettings) {
  enter("/system");
  EXPECT_NE(program->screen().find("there is no system text"), std::string::npos);
  enter("/system You are a pirate.");
  ask("Hello");
  enter("/set temperature 0.5");
  enter("/set top-k=7");
  enter("/set temprature 1");
  EXPECT_NE(program->screen().find("did you mean temperature?"), std::string::npos);
  for (const char* wrong : {"/set temperature hot", "/set temperature -1", "/set top-p 2",
                            "/set think maybe", "/set tokens -1"})
    enter(wrong);
  const nlohmann::json json = saved();
  EXPECT_EQ(json["messages"][0]["role"], "system");
  EXPECT_EQ(json["messages"][0]["content"], "You are a pirate.");
  EXPECT_EQ(json["settings"]["temperature"], 0.5);
  EXPECT_EQ(json["settings"]["top_k"], 7);
  EXPECT_EQ(json["settings"]["top_p"], 0.95);
  EXPECT_EQ(json["settings"]["thinking"], nullptr);
  enter("/system \"\"");
  EXPECT_EQ(saved()["messages"][0]["role"], "user");
  leave();
}

TEST_F(ShortChat, TheLineIsShownAndMoves) {
  enter("/budget");
  EXPECT_NE(program->screen().find("the line is"), std::string::npos) << program->screen();
  program->type("/budget 24MiB\n");
  ASSERT_TRUE(program->wait_for("the line is 24.0 MiB now")) << program->screen();
  ASSERT_TRUE(program->wait_for("> "));
  enter("/budget 1MiB");
  EXPECT_NE(program->screen().find("plimsoll:\x1b[0m"), std::string::npos);
  enter("/budget lots");
  enter("/plan");
  EXPECT_NE(program->screen().find("context 0 of"), std::string::npos) << program->screen();
  leave();
}

TEST_F(ShortChat, SavedConversationsComeBack) {
  ask("one");
  ask("two");
  const nlohmann::json first = saved();
  EXPECT_EQ(first["messages"].size(), 4u);
  EXPECT_EQ(first["token_ids"].size(), 4u);
  EXPECT_EQ(first["token_ids"][1].size(), 3u);
  const std::string path = folder.path() / "saved.json", kept = folder.path() / "kept.json";
  std::filesystem::copy_file(path, kept);
  enter("/clear");
  program->type("/load " + kept + "\n");
  ASSERT_TRUE(program->wait_for("4 messages loaded\x1b")) << program->screen();
  ASSERT_TRUE(program->wait_for("> "));
  EXPECT_EQ(saved(), first);
  // Where nothing came between, the prompt is only what is new.
  restart({});
  program->type("/load " + kept + "\n");
  ASSERT_TRUE(program->wait_for("loaded"));
  ASSERT_TRUE(program->wait_for("> "));
  ask("three");
  nlohmann::json again = saved();
  EXPECT_EQ(again["messages"].size(), 6u);
  again["messages"].erase(4);
  again["messages"].erase(4);
  EXPECT_EQ(again["messages"], first["messages"]);
  leave();
}

TEST_F(ShortChat, WhatWasSavedBeforeAnythingWasSaidComesBack) {
  enter("/set temperature 0.5");
  const nlohmann::json empty = saved();
  EXPECT_EQ(empty["messages"], nlohmann::json::array());
  const std::string kept = folder.path() / "kept.json";
  std::filesystem::copy_file(folder.path() / "saved.json", kept);
  restart({});
  ask("one");
  program->type("/load " + kept + "\n");
  ASSERT_TRUE(program->wait_for("0 messages loaded\x1b")) << program->screen();
  ASSERT_TRUE(program->wait_for("> "));
  EXPECT_EQ(saved(), empty);
  ask("two");
  EXPECT_EQ(asked(), (Texts{"two"}));
  leave();
}

TEST_F(ShortChat, DamagedAndForeignFilesLoseNothing) {
  ask("one");
  const nlohmann::json before = saved();
  const auto write = [&](const char* name, const std::string& text) {
    const std::string path = folder.path() / name;
    std::ofstream(path) << text;
    return path;
  };
  std::string half = before.dump();
  half.resize(half.size() / 2);
  const Texts paths = {
      write("half.json", half),
      write("foreign.json", "{\"name\": \"x\", \"dependencies\": {}}"),
      write("text.json", "Dear diary"),
      write("empty.json", ""),
      write("deep.json", std::string(100'000, '[')),
      write("deep2.json", "[{\"role\": \"user\", \"content\": " + std::string(100'000, '[') +
                              std::string(100'000, ']') + "}]"),
      write("version.json", "{\"plimsoll_conversation\": 99, \"messages\": []}"),
      write("roles.json", "[{\"role\": 7, \"content\": \"x\"}]"),
      write("settings.json",
            "{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}], \"settings\": "
            "{\"temperature\": -3}}"),
      write("broken.json", "[{\"role\": \"user\", \"content\": \"\xE9\"}]"),
      folder.path().string(),
      (folder.path() / "nowhere.json").string()};
  for (const std::string& path : paths) {
    program->type("/load " + path + "\n");
    ASSERT_TRUE(program->wait_for("plimsoll:\x1b[0m")) << path << program->screen();
    ASSERT_TRUE(program->wait_for("> ")) << path;
  }
  EXPECT_EQ(saved(), before);
  // A file that is no conversation is never replaced; a conversation is, and that is said.
  program->type("/save " + paths[2] + "\n");
  ASSERT_TRUE(program->wait_for("it stays as it is")) << program->screen();
  ASSERT_TRUE(program->wait_for("> "));
  std::ifstream diary(paths[2]);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(diary), {}), "Dear diary");
  enter("/save " + (folder.path() / "missing" / "x.json").string());
  const std::string path = folder.path() / "saved.json";
  program->type("/save " + path + "\n");
  ASSERT_TRUE(program->wait_for("instead of what it had")) << program->screen();
  ASSERT_TRUE(program->wait_for("> "));
  leave();
}

TEST_F(ShortChat, WideAndCombiningCharacters) {
  const std::string text = "日本語 naïve cafe\u0301 🙂\u200D \u1112\u1161\u11AB";
  ask(text);
  ask("日本\x7F語\x1b[D\x1b[D"
      "a");
  ask(std::string("x") + "\x1b[200~" + text + "\x1b[201~");
  EXPECT_EQ(asked(), (Texts{text, "a日語", "x" + text}));
  leave();
}

TEST_F(ShortChat, BrokenUtf8IsRefusedAndLosesNothing) {
  ask("one");
  program->type("caf\xE9 noir\n");
  ASSERT_TRUE(program->wait_for("not UTF-8 at byte 3")) << program->screen();
  ASSERT_TRUE(program->wait_for("> "));
  enter("/system caf\xE9");
  ask("two");
  EXPECT_EQ(asked(), (Texts{"one", "two"}));
  leave();
}

TEST_F(ShortChat, TenTurnsUnderATightLine) {
  restart({"--context", "200", "--memory", enough_memory == "32MiB" ? "24MiB" : enough_memory});
  enter("/system Answer in three words.");
  for (int turn = 0; turn < 10; ++turn)
    ask(fmt::format(
        "What does the kernel do with a page that nobody has used for a while, turn {}?", turn));
  EXPECT_NE(program->screen().find("turns are forgotten"), std::string::npos) << program->screen();
  const nlohmann::json json = saved();
  EXPECT_EQ(json["messages"][0]["role"], "system");
  EXPECT_LT(json["messages"].size(), 20u);
  program->type("/quit\n");
  EXPECT_EQ(program->wait(), 0);
  EXPECT_NE(program->screen().find("below the line"), std::string::npos) << program->screen();
}

TEST_F(ShortChat, TheTerminalIsGivenBack) {
  EXPECT_FALSE(program->echoes());
  program->resize(40);
  ask("after a change of width");
  program->resize(120);
  EXPECT_EQ(asked(), (Texts{"after a change of width"}));
  // Its group has no other process: it cannot be stopped, and must go on.
  program->send_signal(SIGTSTP);
  program->type("\x1a");
  ask("after Ctrl-Z");
  program->send_signal(SIGCONT);
  ask("goes on");
  for (const int signal : {SIGTERM, SIGHUP, SIGQUIT}) {
    program->send_signal(signal);
    EXPECT_EQ(program->wait(), -1);
    EXPECT_TRUE(program->echoes()) << signal;
    start();
  }
  program->type(control_d);
  EXPECT_EQ(program->wait(), 0);
  EXPECT_TRUE(program->echoes());
}

TEST_F(Chat, AStoppedAnswerStaysAndCanBeGivenAgain) {
  const TemporaryFolder folder;
  TerminalProgram program(
      {"run", "--chat", "--context", "60000", "--temperature", "1", "--seed", "41"});
  ASSERT_TRUE(program.wait_for("> ")) << program.screen();
  program.type("Tell me everything.\n");
  ASSERT_TRUE(program.wait_for("everything.\r\n")) << program.screen();
  ASSERT_TRUE(program.wait_for("e "));
  program.type(control_c);
  ASSERT_TRUE(program.wait_for("tokens at ")) << program.screen();
  ASSERT_TRUE(program.wait_for("seed 41, stopped")) << program.screen();
  ASSERT_TRUE(program.wait_for("> "));
  const std::string path = folder.path() / "saved.json";
  const auto answer = [&] {
    program.type("/save " + path + "\n");
    EXPECT_TRUE(program.wait_for("saved in"));
    EXPECT_TRUE(program.wait_for("> "));
    std::ifstream file(path);
    const auto json = nlohmann::json::parse(file, nullptr, false);
    EXPECT_EQ(json["messages"].size(), 2u);
    return json["messages"][1]["content"].get<std::string>();
  };
  const std::string first = answer();
  EXPECT_FALSE(first.empty());
  program.type("/regenerate\n");
  ASSERT_TRUE(program.wait_for("regenerate\r\n"));
  ASSERT_TRUE(program.wait_for("e "));
  program.type(control_c);
  ASSERT_TRUE(program.wait_for("seed 42, stopped")) << program.screen();
  ASSERT_TRUE(program.wait_for("> "));
  EXPECT_NE(answer(), first);
  program.type("/quit\n");
  EXPECT_EQ(program.wait(), 0);
}

TEST_F(Chat, ControlCEndsAnAnswerToAPromptWithItsSpeeds) {
  TerminalProgram program({"run", "--chat", "--prompt", "Tell me everything.", "--context", "60000",
                           "--temperature", "1", "--seed", "5"});
  ASSERT_TRUE(program.wait_for("runtime")) << program.screen();
  ASSERT_TRUE(program.wait_for("e ")) << "an answer: " << program.screen();
  program.type(control_c);
  EXPECT_EQ(program.wait(), -1) << "a signal";
  EXPECT_NE(program.screen().find("seed 5, stopped"), std::string::npos) << program.screen();
}

TEST_F(Terminal, CompletionIsTypedWhereTheModelHasNoChatTemplate) {
  TerminalProgram program({"run", bundled_model, "--tokens", "4", "--temperature", "0"});
  ASSERT_TRUE(program.wait_for("beginning of a text")) << program.screen();
  ASSERT_TRUE(program.wait_for("> "));
  program.type("The kernel\n");
  ASSERT_TRUE(program.wait_for("answer 4 tokens")) << program.screen();
  program.type(control_d);
  EXPECT_EQ(program.wait(), 0);
}

TEST_F(Terminal, WithoutArgumentsTheBundledModelWrites) {
  TerminalProgram program({"run", "--tokens", "8"});
  EXPECT_EQ(program.wait(), 0) << program.screen();
  EXPECT_NE(program.screen().find("answer 8 tokens"), std::string::npos) << program.screen();
  EXPECT_NE(program.screen().find("\x1b["), std::string::npos) << "colours";
}

}  // namespace
}  // namespace plimsoll::test
