#include "options/settings.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <set>
#include <sstream>

// The header is large, and used here alone.
#include <toml++/toml.h>

#include "base/error.h"
#include "options/suggest.h"
#include "terminal/output.h"

namespace plimsoll {
namespace {

constexpr std::string_view prefix = "PLIMSOLL_";
/// Variables of this program and its tests that are no options.
const std::set<std::string, std::less<>> others = {"PLIMSOLL_CONFIG",   "PLIMSOLL_ISA",
                                                   "PLIMSOLL_SHARED",   "PLIMSOLL_MEMORY_RUNS",
                                                   "PLIMSOLL_FAMILIES", "PLIMSOLL_MODELS"};

/// More is no configuration.
constexpr std::size_t most_file_bytes = 1 << 20;

/// Empty where it is not set, or empty.
std::string variable(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value ? value : "";
}

std::string default_path() {
  // Relative paths are invalid there (XDG Base Directory Specification).
  if (const std::string folder = variable("XDG_CONFIG_HOME"); folder.starts_with('/'))
    return folder + "/plimsoll/config.toml";
  if (const std::string home = variable("HOME"); home.starts_with('/'))
    return home + "/.config/plimsoll/config.toml";
  return {};
}

/// Of one value, as it would stand on the command line.
std::string text_of(const toml::node& value, const std::string& origin, const std::string& key) {
  if (const auto* text = value.as_string()) return text->get();
  if (const auto* number = value.as_integer()) return fmt::format("{}", number->get());
  if (const auto* number = value.as_floating_point()) return fmt::format("{}", number->get());
  if (const auto* boolean = value.as_boolean()) return boolean->get() ? "true" : "false";
  throw Error(ErrorCode::usage,
              fmt::format("{}: {} is neither a text, a number, true nor false", origin, key),
              "texts stand in quotes");
}

}  // namespace

std::string variable_of(std::string_view command, const OptionDeclaration& option) {
  std::string name(prefix);
  if (!command.empty()) name += fmt::format("{}_", command);
  name += option.key();
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) {
    return c == '-' ? '_' : static_cast<char>(std::toupper(c));
  });
  return name;
}

Settings Settings::read(std::span<const CommandDeclaration> known) {
  Settings settings;
  settings.read_file();
  settings.check(known);
  return settings;
}

void Settings::read_file() {
  const std::string named = variable("PLIMSOLL_CONFIG");
  path_ = named.empty() ? default_path() : named;
  if (path_.empty()) return;
  errno = 0;
  std::ifstream file(path_, std::ios::binary);
  if (!file) {
    const int reason = errno;
    const bool missing = reason == ENOENT || reason == ENOTDIR;
    if (missing && named.empty()) return;
    throw Error(
        missing ? ErrorCode::file_not_found : ErrorCode::file_unreadable,
        fmt::format("cannot open the configuration file {}: {}", path_, std::strerror(reason)),
        named.empty() ? "check its permissions" : "PLIMSOLL_CONFIG names it");
  }
  std::string text(most_file_bytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad() || (file.fail() && !file.eof()))
    throw Error(ErrorCode::file_unreadable,
                fmt::format("cannot read the configuration file {}", path_),
                "it must be a text file");
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (text.size() > most_file_bytes)
    throw Error(ErrorCode::usage,
                fmt::format("the configuration file {} is larger than 1 MiB", path_),
                "it should hold a few lines of TOML");
  has_file_ = true;

  const auto origin = [this](const toml::source_region& source) {
    return fmt::format("{}:{}", path_, source.begin.line);
  };
  toml::table table;
  try {
    table = toml::parse(text);
  } catch (const toml::parse_error& error) {
    std::string what(error.description());
    throw Error(ErrorCode::usage, fmt::format("{}: {}", origin(error.source()), what),
                "it is a TOML file: key = value, with texts in quotes, as memory = \"1.2GiB\"");
  }
  const auto add = [&](const std::string& command, const std::string& key,
                       const toml::node& value) {
    Entry entry{command, key, {}, value.is_array(), origin(value.source())};
    if (const toml::array* list = value.as_array()) {
      for (const toml::node& item : *list) entry.values.push_back(text_of(item, entry.origin, key));
      if (entry.values.empty()) return;  // nothing is set
    } else {
      entry.values.push_back(text_of(value, entry.origin, key));
    }
    entries_.push_back(std::move(entry));
  };
  for (const auto& [key, value] : table) {
    const std::string name(key.str());
    const toml::table* section = value.as_table();
    if (!section) {
      add("", name, value);
      continue;
    }
    // An empty one has to be known as well.
    entries_.push_back({name, "", {}, false, origin(value.source())});
    for (const auto& [inner, item] : *section) {
      if (item.is_table())
        throw Error(ErrorCode::usage,
                    fmt::format("{}: [{}.{}] is a section inside a section", origin(item.source()),
                                name, std::string(inner.str())),
                    "sections are named by commands alone");
      add(name, std::string(inner.str()), item);
    }
  }
}

void Settings::check(std::span<const CommandDeclaration> known) const {
  std::vector<std::string> commands, shared, variables;
  for (const CommandDeclaration& command : known) {
    commands.push_back(command.name);
    for (const OptionDeclaration& option : command.options) {
      if (!option.can_be_set()) continue;
      variables.push_back(variable_of(command.name, option));
      if (!option.shared || std::ranges::find(shared, option.key()) != shared.end()) continue;
      shared.push_back(option.key());
      variables.push_back(variable_of("", option));
    }
  }
  for (const Entry& entry : entries_) {
    if (entry.command.empty()) {
      if (std::ranges::find(shared, entry.key) != shared.end()) continue;
      std::string owner;
      for (const CommandDeclaration& command : known)
        for (const OptionDeclaration& option : command.options)
          if (option.can_be_set() && option.key() == entry.key)
            owner += fmt::format("{}[{}]", owner.empty() ? "" : " or ", command.name);
      throw Error(
          ErrorCode::usage,
          owner.empty()
              ? fmt::format("{}: there is no option \"{}\"", entry.origin, entry.key)
              : fmt::format("{}: \"{}\" stands outside of a section", entry.origin, entry.key),
          owner.empty() ? did_you_mean(entry.key, shared, "\"plimsoll config\" shows what there is")
                        : "put it below " + owner);
    }
    const auto command = std::ranges::find(known, entry.command, &CommandDeclaration::name);
    if (command == known.end())
      throw Error(ErrorCode::usage,
                  fmt::format("{}: there is no command \"{}\"", entry.origin, entry.command),
                  did_you_mean(entry.command, commands, "sections are named by commands"));
    if (entry.key.empty()) continue;
    std::vector<std::string> keys;
    for (const OptionDeclaration& option : command->options)
      if (option.can_be_set()) keys.push_back(option.key());
    if (std::ranges::find(keys, entry.key) == keys.end())
      throw Error(
          ErrorCode::usage,
          fmt::format("{}: {} has no option \"{}\"", entry.origin, entry.command, entry.key),
          did_you_mean(entry.key, keys,
                       fmt::format("\"plimsoll config {}\" shows what there is", entry.command)));
  }
  for (char** at = environ; *at; ++at) {
    const std::string_view line = *at;
    const std::string name(line.substr(0, line.find('=')));
    if (!name.starts_with(prefix) || others.contains(name) ||
        std::ranges::find(variables, name) != variables.end())
      continue;
    if (const std::string meant = closest(name, variables); !meant.empty())
      notice(fmt::format("{} in the environment is no option; did you mean {}?", name, meant));
  }
}

std::optional<Setting> Settings::find(std::string_view command,
                                      const OptionDeclaration& option) const {
  if (!option.can_be_set()) return std::nullopt;
  std::vector<std::string> names{variable_of(command, option)};
  if (option.shared) names.push_back(variable_of("", option));
  for (const std::string& name : names)
    if (std::string value = variable(name); !value.empty())
      return Setting{Setting::Source::environment, {std::move(value)}, name};
  const Entry* found = nullptr;
  const std::string key = option.key();
  for (const Entry& entry : entries_) {
    if (entry.key != key) continue;
    if (entry.command == command) found = &entry;
    if (entry.command.empty() && option.shared && !found) found = &entry;
  }
  if (!found) return std::nullopt;
  if (found->is_list && !option.takes_several())
    throw Error(ErrorCode::usage,
                fmt::format("{}: {} takes one value, found a list", found->origin, option.name));
  Setting setting{Setting::Source::file, found->values, found->origin};
  using Kind = OptionDeclaration::Kind;
  if (option.kind == Kind::sizes || option.kind == Kind::counts)
    setting.values = {joined(found->values, ",")};
  return setting;
}

void Settings::note_applied(const OptionDeclaration& option, const Setting& setting) {
  applied_.push_back({option.name, setting.origin});
}

std::string Settings::explain(std::string_view message) const {
  const auto is_part = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '-';
  };
  std::string out;
  for (const Applied& applied : applied_) {
    // Whole words: "--top-p", or "top-p" as functions below the command line say it.
    const std::string word = applied.option.substr(applied.option.find_first_not_of('-'));
    bool named = false;
    for (std::size_t at = message.find(word); at != std::string_view::npos && !named;
         at = message.find(word, at + 1)) {
      const std::size_t end = at + word.size();
      const bool dashed = at >= 2 && message.substr(at - 2, 2) == "--";
      const bool begins = dashed || at == 0;
      named = begins && (end == message.size() || !is_part(message[end]));
    }
    if (!named || message.find(applied.origin) != std::string_view::npos) continue;
    out +=
        fmt::format("{}{} is set by {}", out.empty() ? "" : ", ", applied.option, applied.origin);
  }
  return out;
}

}  // namespace plimsoll
