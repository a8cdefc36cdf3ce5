// plimsoll man: manual pages in mdoc, from the declarations.
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <ctime>
#include <filesystem>
#include <sstream>

#include "base/error.h"
#include "file/output_file.h"
#include "options/command.h"
#include "options/help.h"
#include "options/settings.h"
#include "terminal/output.h"

namespace plimsoll {
namespace {

/// One word of text: nothing in it is an instruction.
std::string escaped(const std::string& word) {
  std::string out;
  for (const char c : word) {
    if (c == '\\')
      out += "\\e";
    else if (c == '-')
      out += "\\-";
    else if (c == '\'' && out.empty())
      out += "\\(aq";
    else if (c == '.' && out.empty())
      out += "\\&.";
    else
      out += c;
  }
  return out;
}

/// Sentences, each on lines of its own, as the language wants it.
std::string prose(const std::string& text) {
  constexpr std::size_t width = 76;
  std::string out, line;
  const auto flush = [&] {
    if (!line.empty()) out += line + "\n";
    line.clear();
  };
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    const std::string shown = escaped(word);
    if (!line.empty() && line.size() + 1 + shown.size() > width) flush();
    line += (line.empty() ? "" : " ") + shown;
    if (word.ends_with('.') && word != "...") flush();
  }
  flush();
  return out;
}

/// An argument of a macro, in quotes.
std::string argument(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"')
      out += "\\(dq";
    else if (c == '\\')
      out += "\\e";
    else if (c == '-')
      out += "\\-";
    else
      out += c;
  }
  return out + "\"";
}

/// When this program was built.
std::string build_date() {
  struct stat status {};
  std::time_t time = std::time(nullptr);
  if (::stat("/proc/self/exe", &status) == 0) time = status.st_mtime;
  std::tm parts{};
  ::gmtime_r(&time, &parts);
  constexpr const char* months[] = {"January",   "February", "March",    "April",
                                    "May",       "June",     "July",     "August",
                                    "September", "October",  "November", "December"};
  return fmt::format("{} {}, {}", months[parts.tm_mon], parts.tm_mday, parts.tm_year + 1900);
}

std::string page_name(const CommandDeclaration& command) { return "plimsoll-" + command.name; }

std::string header(const std::string& name, const std::string& description) {
  std::string upper = name;
  for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return fmt::format(".Dd {}\n.Dt {} 1\n.Os\n.Sh NAME\n.Nm {}\n.Nd {}\n", build_date(), upper, name,
                     escaped(description));
}

/// "Fl -memory Ar SIZE".
std::string macros_of(const OptionDeclaration& option) {
  if (option.is_positional())
    return "Ar " + option.name +
           (option.kind == OptionDeclaration::Kind::positionals ? " ..." : "");
  std::string out;
  if (!option.short_name.empty()) out += fmt::format("Fl {} , ", option.short_name.substr(1));
  out += fmt::format("Fl {}", option.name.substr(1));
  if (!option.placeholder.empty()) out += " Ar " + argument(option.placeholder);
  return out;
}

constexpr const char* environment_and_files = R"(.Sh ENVIRONMENT
Every option has a variable, which counts less than the command line and more
than the configuration file.
)";

constexpr const char* common_variables = R"(.It Ev PLIMSOLL_CONFIG
Another configuration file.
.It Ev PLIMSOLL_ISA
A family of kernels: reference, avx2, avx512 or neon.
.It Ev NO_COLOR
Turns colours off.
.It Ev XDG_CACHE_HOME
Where measurements of this machine are kept, in
.Pa plimsoll/ .
.El
.Sh FILES
.Bl -tag -width Ds
.It Pa ~/.config/plimsoll/config.toml
The configuration file, in TOML; below
.Ev XDG_CONFIG_HOME
if that is set.
.Ql plimsoll config
prints what it may hold.
.El
.Sh EXIT STATUS
.Bl -tag -width Ds -compact
.It 0
done
.It 1
an error, which is named
.It 2
wrong usage
.It 3
refused because it cannot fit
.El
)";

std::string command_page(const CommandDeclaration& command) {
  std::string out = header(page_name(command), command.brief);
  out += fmt::format(".Sh SYNOPSIS\n.Nm plimsoll {}\n", command.name);
  for (const OptionDeclaration& option : command.options)
    out += fmt::format(".Op {}\n", macros_of(option));
  out += ".Sh DESCRIPTION\n" + prose(command.summary);
  std::string variables;
  if (!command.options.empty()) {
    out += ".Pp\nThe options are as follows:\n.Bl -tag -width Ds\n";
    for (const OptionDeclaration& option : command.options) {
      out += fmt::format(".It {}\n", macros_of(option)) + prose(option.help + ".");
      if (!option.can_be_set()) continue;
      variables += fmt::format(".It Ev {}\n", variable_of(command.name, option));
      if (option.shared)
        variables += fmt::format("The same as\n.Ev {} ,\nfor this command alone.\n",
                                 variable_of("", option));
      else
        variables += fmt::format("Sets\n.Fl {} .\n", option.name.substr(1));
    }
    out += ".El\n";
  }
  out += environment_and_files;
  out += ".Bl -tag -width Ds\n" + variables + common_variables;
  if (!command.examples.empty()) {
    out += ".Sh EXAMPLES\n";
    for (const Example& example : command.examples) {
      std::string what(example.what);
      what.front() = static_cast<char>(std::toupper(static_cast<unsigned char>(what.front())));
      out += prose(what + ":") + fmt::format(".Dl {}\n", argument(std::string(example.line)));
    }
  }
  return out + ".Sh SEE ALSO\n.Xr plimsoll 1\n";
}

std::string overview_page(const std::vector<CommandDeclaration>& all) {
  std::string out = header("plimsoll", "language models inside a byte budget");
  out += ".Sh SYNOPSIS\n.Nm plimsoll\n.Ar COMMAND\n.Op Ar MODEL\n.Op Fl -memory Ar SIZE\n.Ar ...\n";
  out += ".Sh DESCRIPTION\n" +
         prose(
             "Runs language models on the CPU inside a byte budget that it never exceeds. "
             "Weights that do not fit are rounded while they are loaded, each tensor as much as "
             "it can bear, and what that costs is said before.") +
         ".Pp\nThe commands are:\n.Bl -tag -width Ds\n";
  for (const CommandDeclaration& command : all)
    out += fmt::format(".It Xr {} 1\n", page_name(command)) +
           prose(command.brief + ".");
  out += ".El\n";
  out += environment_and_files;
  out += ".Bl -tag -width Ds\n";
  std::vector<std::string> seen;
  for (const CommandDeclaration& command : all)
    for (const OptionDeclaration& option : command.options) {
      if (!option.shared || std::ranges::find(seen, option.key()) != seen.end()) continue;
      seen.push_back(option.key());
      out += fmt::format(
          ".It Ev {}\nSets\n{} .\n", variable_of("", option),
          option.is_positional() ? ".Ar " + option.name : ".Fl " + option.name.substr(1));
    }
  out += std::string(common_variables) + ".Sh SEE ALSO\n";
  std::vector<std::string> names;
  for (const CommandDeclaration& command : all) names.push_back(page_name(command));
  std::ranges::sort(names);
  for (std::size_t i = 0; i < names.size(); ++i)
    out += fmt::format(".Xr {} 1{}\n", names[i], i + 1 < names.size() ? " ," : "");
  return out;
}

void write_page(const std::filesystem::path& folder, const std::string& name,
                const std::string& text) {
  OutputFile file((folder / (name + ".1")).string());
  file.append({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
  file.commit();
}

}  // namespace

int man_command(const CommandTable& table, const Arguments& arguments) {
  std::string name;
  std::optional<std::string> folder;
  Options options("man",
                  "The manual page of a command, or of the whole program, in mdoc, which man and "
                  "mandoc read.");
  options.positional("COMMAND", name, "The command; without one, the program").values =
      table.names();
  options.text("--output", "FOLDER", folder, "Write all pages into this folder instead");
  if (!options.parse(arguments)) return 0;
  if (folder) {
    const std::vector<CommandDeclaration> all = table.declarations();
    write_page(*folder, "plimsoll", overview_page(all));
    for (const CommandDeclaration& command : all)
      write_page(*folder, page_name(command), command_page(command));
    return 0;
  }
  write_out(name.empty() ? overview_page(table.declarations())
                         : command_page(table.find(name).declaration()));
  return 0;
}

}  // namespace plimsoll
