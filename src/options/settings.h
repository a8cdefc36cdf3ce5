// What options are set to outside the command line: by environment variables and by the
// configuration file. An option --top-k of run is PLIMSOLL_RUN_TOP_K and "top-k" in the section
// [run]; those that mean the same in every command (OptionDeclaration::shared) are also
// PLIMSOLL_MEMORY and "memory" above all sections. The command line counts more than the
// environment, and that more than the file; the name with a command counts more than that without.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "options/options.h"

namespace plimsoll {

struct Setting {
  enum class Source { environment, file };
  Source source = Source::environment;
  std::vector<std::string> values;  ///< one, or all of a list; never none
  std::string origin;  ///< "PLIMSOLL_MEMORY", "/home/me/.config/plimsoll/config.toml:3"
};

class Settings {
 public:
  /// Reads the environment and the file that PLIMSOLL_CONFIG names, or
  /// ${XDG_CONFIG_HOME:-~/.config}/plimsoll/config.toml if there is one. Whatever no command of
  /// `known` declares is Error(usage) that names the line; a variable that looks like one is said
  /// on standard error.
  static Settings read(std::span<const CommandDeclaration> known);

  /// What sets the option if the command line does not. Throws Error(usage) for a value of the
  /// wrong kind.
  std::optional<Setting> find(std::string_view command, const OptionDeclaration& option) const;

  /// Where the file is or would be; empty without a home folder.
  const std::string& path() const { return path_; }
  bool has_file() const { return has_file_; }

  /// Of an option that a command took from here: explain() names it.
  void note_applied(const OptionDeclaration& option, const Setting& setting);
  /// For a message about options: where those that it names were set, as "--memory is set by
  /// PLIMSOLL_MEMORY"; empty when it names none, or says so itself.
  std::string explain(std::string_view message) const;

 private:
  struct Entry {
    std::string command;  ///< empty above all sections
    std::string key;
    std::vector<std::string> values;
    bool is_list = false;
    std::string origin;
  };
  struct Applied {
    std::string option, origin;
  };

  void read_file();
  void check(std::span<const CommandDeclaration> known) const;

  std::string path_;
  bool has_file_ = false;
  std::vector<Entry> entries_;
  std::vector<Applied> applied_;
};

/// "PLIMSOLL_RUN_TOP_K"; without a command "PLIMSOLL_MEMORY".
std::string variable_of(std::string_view command, const OptionDeclaration& option);

}  // namespace plimsoll
