// Prints the token ids of the prompts that conversations become, for smollm2.py to hold against what others make of them.
//
//   plimsoll_dump_prompt MODEL < CONVERSATIONS
//
// A conversation is a line with a JSON array of messages; its ids are a line with a JSON array.
#include <fmt/format.h>

#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"
#include "engine/engine.h"
#include "text/chat_template.h"

namespace plimsoll::test {
namespace {

void dump_prompts(const std::string& path) {
  const OpenModel model = OpenModel::open(path);
  const ChatTemplate chat = ChatTemplate::from_metadata(model.file.metadata());
  for (std::string line; std::getline(std::cin, line);) {
    ChatRequest request;
    request.messages = nlohmann::ordered_json::parse(line);
    const ChatPrompt prompt = chat.render(request);
    std::cout << nlohmann::json(model.tokenizer->encode(prompt.parts)).dump() << '\n';
  }
}

}  // namespace
}  // namespace plimsoll::test

int main(int argc, char** argv) {
  if (argc != 2) {
    fmt::print(stderr, "usage: plimsoll_dump_prompt MODEL < CONVERSATIONS\n");
    return 2;
  }
  try {
    plimsoll::test::dump_prompts(argv[1]);
    return 0;
  } catch (const plimsoll::Error& error) {
    fmt::print(stderr, "plimsoll_dump_prompt: {} ({})\n", error.message(), error.hint());
    return plimsoll::exit_code(error.code());
  } catch (const std::exception& error) {
    fmt::print(stderr, "plimsoll_dump_prompt: {}\n", error.what());
    return 2;
  }
}
