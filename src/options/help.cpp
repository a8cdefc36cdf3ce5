#include "options/help.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <sstream>

#include "options/command.h"
#include "options/settings.h"
#include "terminal/output.h"
#include "terminal/terminal.h"

namespace plimsoll {
namespace {

/// `text` in lines of at most `width` columns that all begin at column `indent`, where the first
/// one is taken to stand already; ends the last line.
std::string wrapped(const std::string& text, int indent, int width) {
  std::string out;
  int column = indent;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    const int columns = columns_of(word);
    if (column > indent && column + 1 + columns > width) {
      out += fmt::format("\n{:{}}", "", indent);
      column = indent;
    } else if (column > indent) {
      out += ' ';
      ++column;
    }
    out += word;
    column += columns;
  }
  return out + '\n';
}

int help_width() { return std::min(Terminal::of(STDOUT_FILENO).width, 100); }

/// Examples, or anything else in two columns.
std::string two_columns(const std::vector<std::pair<std::string, std::string>>& rows,
                        std::size_t most = 30) {
  std::size_t widest = 0;
  for (const auto& [left, right] : rows)
    if (left.size() <= most) widest = std::max(widest, left.size());
  const int indent = static_cast<int>(widest) + 4;
  std::string out;
  for (const auto& [left, right] : rows) {
    out += left.size() <= widest ? fmt::format("  {:<{}}  ", left, widest)
                                 : fmt::format("  {}\n{:{}}", left, "", indent);
    out += wrapped(right, indent, help_width());
  }
  return out;
}

constexpr const char* what_it_is =
    "Plimsoll runs language models on the CPU inside a byte budget that it never exceeds.\n";

}  // namespace

std::string overview_text() {
  return std::string(what_it_is) +
         "\n"
         "  plimsoll run MODEL --memory 2GiB     chat with a model, or let it write on from a "
         "prompt\n"
         "  plimsoll plan MODEL --memory 2GiB    whether it fits, how fast it is, what rounding "
         "costs\n"
         "  plimsoll fit MODEL --size 2GiB -o F  a model rewritten to fewer bytes\n"
         "\n"
         "MODEL is a GGUF file or a Hugging Face folder; without one, a small bundled model runs.\n"
         "\"plimsoll help\" lists all commands, \"plimsoll help run\" the options of one.\n";
}

std::string commands_text(const CommandTable& table) {
  std::string text =
      std::string(what_it_is) + "\n  plimsoll COMMAND [MODEL] [--memory SIZE] ...\n\n";
  for (const Command& command : table)
    text += fmt::format("  {:<12}{}\n", command.name, command.summary);
  return text +
         "\n\"plimsoll help COMMAND\" lists a command's options. Each can also be set by an "
         "environment\n"
         "variable or in a configuration file: see \"plimsoll help config\".\n";
}

std::string synopsis(const CommandDeclaration& command) {
  std::string out = "plimsoll " + command.name;
  bool has_options = false;
  for (const OptionDeclaration& option : command.options) {
    if (option.is_positional())
      out += fmt::format(" [{}{}]", option.name,
                         option.kind == OptionDeclaration::Kind::positionals ? "..." : "");
    else
      has_options = true;
  }
  return has_options ? out + " [OPTIONS]" : out;
}

std::string help_text(const CommandDeclaration& command) {
  std::string out = wrapped(command.summary, 0, help_width());
  out += fmt::format("\n  {}\n", synopsis(command));
  std::vector<std::pair<std::string, std::string>> rows;
  std::string variables;
  for (const OptionDeclaration& option : command.options) {
    rows.emplace_back(usage_of(option), option.help);
    if (!option.is_positional() && !option.shared && variables.empty())
      variables = variable_of(command.name, option);
  }
  if (!rows.empty()) out.append("\n").append(two_columns(rows));
  rows.clear();
  for (const Example& example : command.examples) rows.emplace_back(example.line, example.what);
  if (!rows.empty()) out.append("\nExamples:\n").append(two_columns(rows, 48));
  if (!variables.empty())
    out.append("\n").append(
        wrapped(fmt::format("Each option has an environment variable ({}) and a key in the "
                            "configuration file: \"plimsoll config {}\" shows them.",
                            variables, command.name),
                0, help_width()));
  return out;
}

int help_command(const CommandTable& table, const Arguments& arguments) {
  std::string name;
  Options options("help", "All commands, or the options of one.");
  options.positional("COMMAND", name, "The command that help is wanted for").values =
      table.names();
  if (!options.parse(arguments)) return 0;
  if (name.empty())
    write_out(commands_text(table));
  else
    write_out(help_text(table.find(name).declaration()));
  return 0;
}

}  // namespace plimsoll
