#include "options/command.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "options/suggest.h"

namespace plimsoll {

int Command::run(Arguments arguments) const {
  arguments.set_examples(examples);
  return function(arguments);
}

CommandDeclaration Command::declaration(Settings* settings) const {
  CommandDeclaration declaration;
  function(Arguments(declaration, settings));
  declaration.brief = summary;
  declaration.examples = examples;
  return declaration;
}

std::vector<std::string> CommandTable::names() const {
  std::vector<std::string> names;
  for (const Command& command : rows_) names.emplace_back(command.name);
  return names;
}

const Command& CommandTable::find(std::string_view name) const {
  const auto command = std::ranges::find(rows_, name, &Command::name);
  if (command != rows_.end()) return *command;
  throw Error(ErrorCode::usage, fmt::format("there is no command \"{}\"", name),
              did_you_mean(name, names(), "the commands are " + joined(names(), ", ")));
}

std::vector<CommandDeclaration> CommandTable::declarations() const {
  std::vector<CommandDeclaration> all;
  for (const Command& command : rows_) all.push_back(command.declaration());
  return all;
}

}  // namespace plimsoll
