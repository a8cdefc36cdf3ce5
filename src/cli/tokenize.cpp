// plimsoll tokenize: a text as a model's tokens. Needs the vocabulary only.
#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/input.h"
#include "cli/output.h"
#include "file/model_file.h"
#include "text/tokenizer.h"

namespace plimsoll {

int tokenize_command(const Arguments& arguments) {
  CommonOptions common;
  std::optional<std::string> text, file;
  Options options("tokenize",
                  "A text as a model's tokens, without BOS. The text is --text, --file, or "
                  "standard input.");
  options.positional("MODEL", common.model, model_help).shared = true;
  options.text("--text", "TEXT", text, "The text");
  options.text("--file", "FILE", file, "A file that holds it");
  options.flag("--json", common.json, "Print one JSON object and nothing else").shared = true;
  options.exclusive("--text", "--file");
  if (!options.parse(arguments)) return 0;
  if (!text && !file && standard_input_is_terminal())
    throw Error(ErrorCode::usage, "there is no text to tokenize",
                "give --text or --file, or pipe it in");

  const ModelFile model = ModelFile::open(common.model_path());
  const auto tokenizer = Tokenizer::from_metadata(model.metadata());
  if (!text) text = file ? read_text_file(*file) : read_standard_input();
  const std::vector<TokenId> tokens = tokenizer->encode(*text);

  if (common.json) {
    std::vector<std::string> pieces;
    pieces.reserve(tokens.size());
    for (const TokenId token : tokens) pieces.emplace_back(tokenizer->piece(token));
    print_json({{"tokens", tokens}, {"pieces", pieces}, {"count", tokens.size()}});
    return 0;
  }
  std::string table;
  for (const TokenId token : tokens)
    table += fmt::format("{:>8}  {}\n", token, printable_line(tokenizer->piece(token), 256));
  write_out(table + fmt::format("{} token{}\n", grouped(static_cast<std::int64_t>(tokens.size())),
                                tokens.size() == 1 ? "" : "s"));
  return 0;
}

}  // namespace plimsoll
