// The commands of a program, as the texts about them are made: help, manual pages, completions and
// settings.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "options/options.h"

namespace plimsoll {

struct Command {
  std::string_view name;
  /// Takes what stands behind the name on the command line and returns the exit code; throws Error.
  int (*function)(const Arguments&);
  std::string_view summary;  ///< a line
  std::vector<Example> examples = {};

  int run(Arguments arguments) const;
  /// What the function declares; runs nothing.
  CommandDeclaration declaration(Settings* settings = nullptr) const;
};

/// All of them, in the order in which they are shown. Refers to the rows.
class CommandTable {
 public:
  explicit CommandTable(std::span<const Command> rows) : rows_(rows) {}

  auto begin() const { return rows_.begin(); }
  auto end() const { return rows_.end(); }
  std::vector<std::string> names() const;
  /// Throws Error(usage) with what may have been meant.
  const Command& find(std::string_view name) const;
  std::vector<CommandDeclaration> declarations() const;

 private:
  std::span<const Command> rows_;
};

/// The commands that are about commands; `table` has them too.
int help_command(const CommandTable& table, const Arguments& arguments);
int config_command(const CommandTable& table, const Arguments& arguments);
int completion_command(const CommandTable& table, const Arguments& arguments);
int man_command(const CommandTable& table, const Arguments& arguments);

}  // namespace plimsoll
