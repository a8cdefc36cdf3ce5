// plimsoll tokenize: a text as a model's tokens. Needs the vocabulary only.
#include <fmt/format.h>

#include <iostream>
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

namespace {

using Json = nlohmann::json;

/// One line of --json-lines: a text as a string, or an object with "text" and perhaps
/// "parse_special", becomes {"tokens"}; an object with "tokens" and perhaps "show_special" becomes
/// {"text"}.
Json answer(const Tokenizer& tokenizer, const std::string& line) {
  const Json request = Json::parse(line, nullptr, false);
  const auto flag = [&](const char* name) { return request.value(name, false); };
  try {
    if (request.is_string()) return {{"tokens", tokenizer.encode(request.get<std::string>())}};
    if (request.is_object() && request.contains("tokens"))
      return {{"text", tokenizer.decode(request["tokens"].get<std::vector<TokenId>>(),
                                        flag("show_special"))}};
    if (request.is_object() && request.contains("text"))
      return {{"tokens",
               tokenizer.encode(request["text"].get<std::string>(), flag("parse_special"))}};
  } catch (const Json::exception&) {
    // Parts of other types: said below.
  } catch (const Error& error) {
    return {{"error",
             {{"code", name(error.code())}, {"message", error.message()}, {"hint", error.hint()}}}};
  }
  return {{"error",
           {{"code", name(ErrorCode::usage)},
            {"message", "wanted a text, or an object with \"text\" or \"tokens\""}}}};
}

}  // namespace

int tokenize_command(const Arguments& arguments) {
  CommonOptions common;
  std::optional<std::string> text, file;
  bool is_lines = false;
  Options options("tokenize",
                  "A text as a model's tokens, without BOS. The text is --text, --file, or "
                  "standard input.");
  options.positional("MODEL", common.model, model_help).shared = true;
  options.text("--text", "TEXT", text, "The text");
  options.text("--file", "FILE", file, "A file that holds it");
  options.flag("--json", common.json, "Print one JSON object and nothing else").shared = true;
  options.flag("--json-lines", is_lines,
               "Read standard input line by line, each a JSON string or an object with \"text\" "
               "(and \"parse_special\") or \"tokens\" (and \"show_special\"), and answer each with "
               "a JSON object on a line");
  options.exclusive("--text", "--file");
  options.exclusive("--json-lines", "--text");
  options.exclusive("--json-lines", "--file");
  if (!options.parse(arguments)) return 0;
  if (!is_lines && !text && !file && standard_input_is_terminal())
    throw Error(ErrorCode::usage, "there is no text to tokenize",
                "give --text or --file, or pipe it in");

  const ModelFile model = ModelFile::open(common.model_path());
  const auto tokenizer = Tokenizer::from_metadata(model.metadata());
  if (is_lines) {
    for (std::string line; std::getline(std::cin, line);)
      write_out(answer(*tokenizer, line).dump(-1, ' ', false, Json::error_handler_t::replace) +
                '\n');
    return 0;
  }
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
