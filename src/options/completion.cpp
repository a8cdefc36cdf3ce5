// plimsoll completion: scripts for shells, from the declarations. They call nothing: what they know
// is what this version declares.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "options/command.h"
#include "options/suggest.h"
#include "terminal/output.h"

namespace plimsoll {
namespace {

using Kind = OptionDeclaration::Kind;

/// What a value may be completed to.
enum class Completion { nothing, words, files, folders, models };

Completion completion_of(const OptionDeclaration& option) {
  if (option.name == "MODEL") return Completion::models;
  if (!option.values.empty()) return Completion::words;
  for (const char* file : {"FILE", "REFERENCE"})
    if (option.placeholder.starts_with(file)) return Completion::files;
  if (option.placeholder.starts_with("OUT")) return Completion::files;
  if (option.placeholder == "FOLDER") return Completion::folders;
  return Completion::nothing;
}

std::vector<std::string> spellings(const OptionDeclaration& option) {
  std::vector<std::string> names{option.name};
  if (!option.short_name.empty()) names.push_back(option.short_name);
  return names;
}

/// Up to the end of the first sentence, on one line, in single quotes as sh reads them.
std::string quoted(std::string text) {
  text = text.substr(0, text.find(". "));
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

// Bash

std::string bash_action(const OptionDeclaration& option) {
  const std::string words = joined(option.values, " ");
  switch (completion_of(option)) {
    case Completion::words:
      return fmt::format("_plimsoll_reply -W '{}'", words);
    case Completion::files:
      return "_plimsoll_files -f";
    case Completion::folders:
      return "_plimsoll_files -d";
    case Completion::models:
      return fmt::format("_plimsoll_models '{}'", words);
    default:
      return ":";
  }
}

std::string bash_case(const CommandDeclaration& command) {
  std::vector<std::string> names{"--help"};
  std::string values, positional = ":";
  for (const OptionDeclaration& option : command.options) {
    if (option.is_positional()) {
      positional = bash_action(option);
      continue;
    }
    for (const std::string& name : spellings(option)) names.push_back(name);
    if (option.takes_value())
      values += fmt::format("        {}) {}; return ;;\n", joined(spellings(option), " | "),
                            bash_action(option));
  }
  std::string out = fmt::format("    {})\n", command.name);
  if (!values.empty()) out += fmt::format("      case $previous in\n{}      esac\n", values);
  return out + fmt::format(
                   "      if [[ $current == -* ]]; then\n"
                   "        _plimsoll_reply -W '{}'\n"
                   "      else\n"
                   "        {}\n"
                   "      fi\n"
                   "      ;;\n",
                   joined(names, " "), positional);
}

std::string bash_script(const std::vector<CommandDeclaration>& all) {
  std::string cases;
  std::vector<std::string> commands;
  for (const CommandDeclaration& command : all) {
    cases += bash_case(command);
    commands.push_back(command.name);
  }
  return fmt::format(R"(# bash completion for plimsoll, written by "plimsoll completion bash"

_plimsoll_reply() {{
  mapfile -t COMPREPLY < <(compgen "$@" -- "$current")
}}

_plimsoll_files() {{
  compopt -o filenames 2>/dev/null
  _plimsoll_reply "$@"
}}

# GGUF files, folders, and the names that are given.
_plimsoll_models() {{
  compopt -o filenames 2>/dev/null
  mapfile -t COMPREPLY < <(
    compgen -f -X '!*.gguf' -- "$current"
    compgen -d -- "$current"
    compgen -W "$1" -- "$current"
  )
}}

_plimsoll() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD - 1]}}
  COMPREPLY=()
  # "--name=value" comes as three words.
  if [[ $current == = ]]; then
    current=
  elif [[ $previous == = ]] && ((COMP_CWORD >= 3)); then
    previous=${{COMP_WORDS[COMP_CWORD - 2]}}
  fi
  if ((COMP_CWORD == 1)); then
    _plimsoll_reply -W '{} --help --version'
    return
  fi
  case ${{COMP_WORDS[1]}} in
{}  esac
}}

complete -F _plimsoll plimsoll
)",
                     joined(commands, " "), cases);
}

// Zsh

/// For the inside of the single quotes of an _arguments specification.
std::string zsh_text(std::string text) {
  text = text.substr(0, text.find(". "));
  std::string out;
  for (const char c : text) {
    if (c == '\'') {
      out += "'\\''";
      continue;
    }
    if (c == '[' || c == ']' || c == ':' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

std::string zsh_action(const OptionDeclaration& option) {
  const std::string words = joined(option.values, " ");
  switch (completion_of(option)) {
    case Completion::words:
      return fmt::format("({})", words);
    case Completion::files:
      return "_files";
    case Completion::folders:
      return "_files -/";
    case Completion::models:
      return words.empty() ? "_files -g \"*.gguf(-.)\""
                           : fmt::format(
                                 "{{_alternative \"files:file:_files -g \\\"*.gguf(-.)\\\"\" "
                                 "\"names:name:({})\"}}",
                                 words);
    default:
      return " ";
  }
}

std::string zsh_case(const CommandDeclaration& command) {
  std::string out = fmt::format("    {})\n      _arguments \\\n", command.name);
  for (const OptionDeclaration& option : command.options) {
    if (option.is_positional()) {
      out += fmt::format("        '{}:{}:{}' \\\n", option.kind == Kind::positionals ? "*" : "1",
                         option.name, zsh_action(option));
      continue;
    }
    std::vector<std::string> others;
    const bool several = option.kind == Kind::texts;
    if (!several) others = spellings(option);
    for (const auto& [first, second] : command.exclusive) {
      if (first == option.name) others.push_back(second);
      if (second == option.name) others.push_back(first);
    }
    for (const std::string& name : spellings(option)) {
      std::string spec = others.empty() ? "" : fmt::format("({})", joined(others, " "));
      if (several) spec += "*";
      // "=" takes the value behind an equals sign too.
      spec += name + (option.takes_value() && name.starts_with("--") ? "=" : "");
      spec += fmt::format("[{}]", zsh_text(option.help));
      if (option.takes_value())
        spec += fmt::format(":{}:{}", zsh_text(option.placeholder), zsh_action(option));
      out += fmt::format("        '{}' \\\n", spec);
    }
  }
  return out + "        '(- *)--help[list the options]'\n      ;;\n";
}

std::string zsh_script(const std::vector<CommandDeclaration>& all) {
  std::string names, cases;
  for (const CommandDeclaration& command : all) {
    names += fmt::format("    '{}:{}'\n", command.name, zsh_text(command.brief));
    cases += zsh_case(command);
  }
  return fmt::format(R"(#compdef plimsoll
# zsh completion for plimsoll, written by "plimsoll completion zsh"

_plimsoll() {{
  local -a commands
  commands=(
{}  )
  if ((CURRENT == 2)); then
    _describe -t commands command commands
    return
  fi
  local command=$words[2]
  shift words
  ((CURRENT--))
  case $command in
{}  esac
}}

if [[ $funcstack[1] == _plimsoll ]]; then
  _plimsoll "$@"
else
  compdef _plimsoll plimsoll
fi
)",
                     names, cases);
}

// Fish

std::string fish_script(const std::vector<CommandDeclaration>& all) {
  std::string out = R"(# fish completion for plimsoll, written by "plimsoll completion fish"

function __plimsoll_is
    set -l words (commandline -opc)
    test (count $words) -ge 2; and contains -- $words[2] $argv
end

function __plimsoll_begins
    test (count (commandline -opc)) -eq 1
end

complete -c plimsoll -f
complete -c plimsoll -n __plimsoll_begins -l version -d 'the version'
complete -c plimsoll -n __plimsoll_begins -l help -d 'all commands'
)";
  const auto action = [](const OptionDeclaration& option) -> std::string {
    const std::string words =
        option.values.empty() ? "" : fmt::format(" -a '{}'", joined(option.values, " "));
    switch (completion_of(option)) {
      case Completion::words:
        return (option.is_positional() ? "" : " -x") + words;
      case Completion::files:
        return " -r -F";
      case Completion::folders:
        return " -x -a '(__fish_complete_directories)'";
      case Completion::models:
        return " -F" + words;
      default:
        return option.is_positional() ? "" : " -x";
    }
  };
  for (const CommandDeclaration& command : all) {
    out += fmt::format("\ncomplete -c plimsoll -n __plimsoll_begins -a {} -d {}\n", command.name,
                       quoted(command.brief));
    const std::string here =
        fmt::format("complete -c plimsoll -n '__plimsoll_is {}'", command.name);
    for (const OptionDeclaration& option : command.options) {
      if (option.is_positional()) {
        out += here + action(option) + "\n";
        continue;
      }
      std::string names = fmt::format(" -l {}", option.key());
      if (!option.short_name.empty()) names += fmt::format(" -s {}", option.short_name.substr(1));
      out += here + names + (option.takes_value() ? action(option) : "") + " -d " +
             quoted(option.help) + "\n";
    }
    out += here + " -l help -d 'list the options'\n";
  }
  return out;
}

}  // namespace

int completion_command(const CommandTable& table, const Arguments& arguments) {
  const std::vector<std::string> shells{"bash", "zsh", "fish"};
  std::string shell;
  Options options("completion",
                  "A script that makes a shell complete commands, options and files. \"cmake "
                  "--install\" puts them where shells look.");
  options.positional("SHELL", shell, "bash, zsh or fish").values = shells;
  if (!options.parse(arguments)) return 0;
  if (std::ranges::find(shells, shell) == shells.end())
    throw Error(ErrorCode::usage,
                shell.empty() ? "completion needs the name of a shell"
                              : fmt::format("there is no completion for \"{}\"", shell),
                did_you_mean(shell, shells, "it may be bash, zsh or fish"));
  const std::vector<CommandDeclaration> all = table.declarations();
  write_out(shell == "bash"  ? bash_script(all)
            : shell == "zsh" ? zsh_script(all)
                             : fish_script(all));
  return 0;
}

}  // namespace plimsoll
