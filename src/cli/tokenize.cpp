// plimsoll tokenize: a text as a model's tokens. Needs the vocabulary only.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bounded.h"
#include "base/error.h"
#include "base/ledger.h"
#include "base/limits.h"
#include "base/numbers.h"
#include "base/process.h"
#include "base/region.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "file/model_file.h"
#include "file/text_input.h"
#include "plan/facts.h"
#include "probe/process_envelope.h"
#include "terminal/input.h"
#include "terminal/output.h"
#include "text/token_stream.h"
#include "text/tokenizer.h"
#include "text/work_refusal.h"

namespace plimsoll {

namespace {

using Json = nlohmann::json;

/// One line of --json-lines: a text as a string, or an object with "text" and perhaps
/// "parse_special", becomes {"tokens"}; an object with "tokens" and perhaps "show_special" becomes
/// {"text"}. `explain` says of a WorkRefusal what would do instead.
template <class Explain>
Json answer(const Tokenizer& tokenizer, const std::string& line, const Explain& explain) {
  const auto refused = [](const Error& error) -> Json {
    return {{"error",
             {{"code", name(error.code())}, {"message", error.message()}, {"hint", error.hint()}}}};
  };
  const Json request = Json::parse(line, nullptr, false);
  const auto flag = [&](const char* name) { return request.value(name, false); };
  try {
    if (request.is_string()) return {{"tokens", tokenizer.encode(request.get<std::string>())}};
    if (request.is_object() && request.contains("tokens"))
      return {{"text", tokenizer.decode(request["tokens"].get<std::vector<TokenId>>(),
                                        flag("show_special"))}};
    if (request.is_object() && request.contains("text"))
      return {
          {"tokens", tokenizer.encode(request["text"].get<std::string>(), flag("parse_special"))}};
  } catch (const Json::exception&) {
    // Parts of other types: said below.
  } catch (const WorkRefusal& error) {
    return refused(explain(error));
  } catch (const Error& error) {
    return refused(error);
  }
  return {{"error",
           {{"code", name(ErrorCode::usage)},
            {"message", "wanted a text, or an object with \"text\" or \"tokens\""}}}};
}

/// Text that there is room for at least, or nothing is begun.
constexpr Bytes least_text = 512 * KiB;
/// Tokenizers know no longer ones.
constexpr Bytes most_text = 512 * MiB;
/// A byte of text, held in a buffer that has just grown, and its id likewise.
constexpr Bytes room_of_byte = 16;
/// A byte of a request, which may be the half of an id in a JSON document.
constexpr Bytes room_of_request_byte = 64;

/// What this process may still take, and what that is enough for. Throws Error(budget_refused) where that is next to nothing.
class Room {
 public:
  Room(Tokenizer& tokenizer, const Line& line)
      : held_(line.ledger().count_held(Account::text, tokenizer.memory_bytes())) {
    room_ = line.room();
    constexpr Bytes least_room = room_of_byte * least_text;
    if (room_ < least_room) {
      const Bytes least = line.ledger().used() + least_room;
      throw Error(ErrorCode::budget_refused,
                  fmt::format("tokenizing takes {} with this model; the budget is {}",
                              format_bytes(least), format_bytes(line.budget())),
                  fmt::format("give --memory {} or more", round_up(least, page_bytes)));
    }
    ledger_.set_budget(room_);
    tokenizer.count_in(ledger_);
    const Bytes work = tokenizer.work_bytes(2 * most_text) - tokenizer.work_bytes(most_text);
    of_byte_ = room_of_byte + work / most_text;
  }

  /// Bytes of text that can be held at once.
  Bytes text() const { return std::clamp(room_ / of_byte_, least_text, most_text); }
  Bytes request() const { return std::min(room_ / room_of_request_byte, most_text); }
  /// What would do instead of what was refused: shorter lines, or for an input of so many bytes more memory.
  Error refusal(const WorkRefusal& error, const Line& line, std::optional<Bytes> input,
                Bytes held_of_byte = room_of_byte) const {
    // A quarter of what would just fit: a place to cut is looked for each time that twice as much has come.
    const double fits = static_cast<double>(error.text_bytes()) *
                        static_cast<double>(error.room()) / static_cast<double>(error.wanted()) / 4;
    std::string hint = fmt::format("break the text into lines of at most {} bytes",
                                   static_cast<Bytes>(std::max(fits, 1.0)));
    // Of all of it as one piece, held in a buffer that has just grown.
    if (input)
      hint += memory_offer(line, *input,
                           std::max(of_byte_, error.wanted() / std::max<Bytes>(1, error.text_bytes()) +
                                                  held_of_byte + 1));
    return {error.code(), error.message(), hint};
  }

  /// What to do about a request of so many bytes.
  std::string request_hint(const Line& line, Bytes input) const {
    return fmt::format("break it up into lines of at most {} bytes", request()) +
           memory_offer(line, input, std::max(of_byte_, room_of_request_byte));
  }

  /// Throws Error(budget_refused) where so many ids are too many.
  void check_ids(std::size_t count, const Line& line, std::optional<Bytes> input) const {
    constexpr Bytes of_id = 3 * sizeof(TokenId), slack = 2 * MiB;
    if (count * of_id <= room_) return;
    std::string hint = "leave --json away: the table needs no room";
    // There are never more ids than bytes.
    const Bytes enough =
        input ? bounded_sum({line.ledger().used(), bounded_product({*input, of_id}), slack})
              : most_bytes;
    if (enough <= probe_limits().usable)
      hint += fmt::format(", or give --memory {} or more", round_up(enough, page_bytes));
    throw Error(ErrorCode::budget_refused,
                fmt::format("the text has more than {} tokens, and there is no room to hold them",
                            grouped(static_cast<std::int64_t>(count))),
                hint);
  }

 private:
  /// Of an input that takes `each` for each of its bytes; empty where no machine like this one has it.
  static std::string memory_offer(const Line& line, Bytes input, Bytes each) {
    constexpr Bytes slack = 2 * MiB;
    const Bytes enough =
        bounded_sum({line.ledger().used(), bounded_product({input, each}), slack});
    if (input > most_text || enough > probe_limits().usable) return {};
    return fmt::format(", or give --memory {} or more", round_up(enough, page_bytes));
  }

  Reservation held_;  ///< the tokenizer
  Ledger ledger_;     ///< of the room that is left
  Bytes room_ = 0;
  Bytes of_byte_ = room_of_byte;
};

/// Writes in blocks.
class Output {
 public:
  void add(std::string_view text) {
    buffer_ += text;
    if (buffer_.size() >= 64 * KiB) flush();
  }
  void flush() {
    write_out(buffer_);
    buffer_.clear();
  }

 private:
  std::string buffer_;
};

/// Gives all of the text's tokens to `take`, some at a time.
template <class Take>
void tokenize(const Tokenizer& tokenizer, Bytes most, std::optional<std::string_view> text,
              const std::optional<std::string>& file, const Take& take) {
  TokenStream stream(tokenizer, most);
  std::vector<TokenId> tokens;
  if (text) {
    stream.push(*text, tokens);
  } else {
    BlockReader reader = file ? BlockReader(*file) : BlockReader::of_standard_input();
    for (std::string_view block; !(block = reader.next()).empty();) {
      stream.push(block, tokens);
      take(tokens);
      tokens.clear();
    }
  }
  stream.finish(tokens);
  take(tokens);
}

/// As print_json() does it, without a document of all pieces in memory.
void print_tokens(const Tokenizer& tokenizer, const std::vector<TokenId>& tokens) {
  Output out;
  out.add("{\n  \"tokens\": [");
  for (std::size_t i = 0; i < tokens.size(); ++i)
    out.add(fmt::format("{}{}", i > 0 ? "," : "", tokens[i]));
  out.add("],\n  \"pieces\": [");
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const Json piece = std::string(tokenizer.piece(tokens[i]));
    out.add((i > 0 ? "," : "") + piece.dump(-1, ' ', false, Json::error_handler_t::replace));
  }
  out.add(fmt::format("],\n  \"count\": {}\n}}\n", tokens.size()));
  out.flush();
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
  options.input("--file", "FILE", file, "A file that holds it");
  options
      .size("--memory", common.memory,
            "All that this process may hold; without it, what this machine or container has to "
            "give. A text of any length is worked off piece by piece: only a piece that is too "
            "long for this is refused")
      .shared = true;
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

  const Host host = common.host();
  std::unique_ptr<Tokenizer> tokenizer = Tokenizer::from_metadata(
      host.line
          .read_header([&](Bytes room) { return ModelFile::open(common.model_path(), room); })
          .metadata());
  trim_allocator();
  const Room room(*tokenizer, host.line);
  std::optional<Bytes> input;
  if (text)
    input = text->size();
  else if (std::error_code error; file && std::filesystem::is_regular_file(*file, error))
    input = std::filesystem::file_size(*file, error);
  const auto take_all = [&](const auto& take) {
    try {
      tokenize(*tokenizer, room.text(), text, file, take);
    } catch (const WorkRefusal& error) {
      throw room.refusal(error, host.line, input);
    }
  };
  if (is_lines) {
    LineBlocks lines(BlockReader::of_standard_input(), room.request(), [&](Bytes length) {
      return room.request_hint(host.line, length);
    });
    for (std::string line; lines.next(line);) {
      const Json answered = answer(*tokenizer, line, [&](const WorkRefusal& error) {
        return room.refusal(error, host.line, line.size(), room_of_request_byte);
      });
      write_out(answered.dump(-1, ' ', false, Json::error_handler_t::replace) + '\n');
    }
    return 0;
  }

  if (common.json) {
    std::vector<TokenId> all;
    take_all([&](const std::vector<TokenId>& tokens) {
      room.check_ids(all.size() + tokens.size(), host.line, input);
      all.insert(all.end(), tokens.begin(), tokens.end());
    });
    print_tokens(*tokenizer, all);
    return 0;
  }
  Output out;
  std::int64_t count = 0;
  take_all([&](const std::vector<TokenId>& tokens) {
    for (const TokenId token : tokens)
      out.add(fmt::format("{:>8}  {}\n", token, printable_line(tokenizer->piece(token), 256)));
    count += static_cast<std::int64_t>(tokens.size());
  });
  out.add(fmt::format("{} token{}\n", grouped(count), count == 1 ? "" : "s"));
  out.flush();
  return 0;
}

}  // namespace plimsoll
