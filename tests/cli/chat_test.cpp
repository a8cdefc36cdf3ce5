// Conversations at a terminal.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/program.h"

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
