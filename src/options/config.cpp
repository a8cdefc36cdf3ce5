// plimsoll config: the settings in force, and where each comes from; as a configuration file, or as
// JSON.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "options/command.h"
#include "options/settings.h"
#include "options/suggest.h"
#include "terminal/output.h"

namespace plimsoll {
namespace {

using Kind = OptionDeclaration::Kind;

/// One option of one command.
struct Line {
  OptionDeclaration option;
  std::optional<Setting> setting;

  std::string origin() const {
    return setting ? setting->origin : option.default_text().empty() ? "not set" : "default";
  }
};

bool is_number(const OptionDeclaration& option) {
  return option.kind == Kind::count || option.kind == Kind::number;
}

/// As TOML writes texts: what is in quotes here is so there.
std::string quoted(const std::string& text) {
  std::string out;
  for (const char c :
       nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace))
    if (c == 0x7F)
      out += "\\u007F";
    else
      out += c;
  return out;
}

std::string toml_value(const OptionDeclaration& option, const std::vector<std::string>& values) {
  if (option.kind == Kind::flag) return parse_switch(values.front()) == true ? "true" : "false";
  if (is_number(option)) return values.front();
  if (values.size() == 1) return quoted(values.front());
  std::vector<std::string> items;
  for (const std::string& value : values) items.push_back(quoted(value));
  return fmt::format("[{}]", joined(items, ", "));
}

nlohmann::ordered_json json_value(const OptionDeclaration& option,
                                  const std::vector<std::string>& values) {
  if (option.kind == Kind::flag) return parse_switch(values.front()) == true;
  if (is_number(option)) {
    const nlohmann::ordered_json number =
        nlohmann::ordered_json::parse(values.front(), nullptr, false);
    if (number.is_number()) return number;
  }
  if (values.size() == 1 && option.kind != Kind::texts) return values.front();
  return values;
}

class Report {
 public:
  /// Of all commands, or of one. Every value is checked as its command would. Throws Error(usage).
  Report(const CommandTable& table, Settings& settings, const std::string& only)
      : settings_(settings) {
    if (!only.empty()) table.find(only);
    for (const Command& command : table)
      if (only.empty() || command.name == only)
        declarations_.push_back(command.declaration(&settings));
  }

  /// Lines that a configuration file may have; what holds without being set is commented out.
  std::string text() const {
    const std::string& path = settings_.path();
    std::string out =
        path.empty() ? "# there is no home folder for a configuration file\n"
                     : fmt::format("# {}{}\n", path, settings_.has_file() ? "" : " (not there)");
    std::string section;
    for (const auto& [option, commands] : shared_options())
      section += toml_line({option, settings_.find("", option)}, variable_of("", option));
    out += section;
    for (const CommandDeclaration& command : declarations_) {
      section.clear();
      for (const OptionDeclaration& option : command.options) {
        if (!option.can_be_set()) continue;
        const std::optional<Setting> setting = settings_.find(command.name, option);
        // Shared ones stand above, unless this command has a value of its own.
        if (option.shared && (!setting || same(setting, settings_.find("", option)))) continue;
        section += toml_line({option, setting}, variable_of(command.name, option));
      }
      if (!section.empty()) out += fmt::format("\n[{}]\n{}", command.name, section);
    }
    return out;
  }

  nlohmann::ordered_json json() const {
    nlohmann::ordered_json all = nlohmann::ordered_json::object();
    for (const CommandDeclaration& command : declarations_) {
      nlohmann::ordered_json options = nlohmann::ordered_json::object();
      for (const OptionDeclaration& option : command.options) {
        if (!option.can_be_set()) continue;
        const Line line{option, settings_.find(command.name, option)};
        nlohmann::ordered_json value;
        if (line.setting)
          value = json_value(option, line.setting->values);
        else if (!option.default_text().empty())
          value = json_value(option, {option.default_text()});
        else if (option.kind == Kind::flag)
          value = false;
        options[option.key()] = {{"value", value},
                                 {"origin", line.origin()},
                                 {"variable", variable_of(command.name, option)}};
      }
      if (!options.empty()) all[command.name] = options;
    }
    return {{"file", settings_.path()}, {"exists", settings_.has_file()}, {"commands", all}};
  }

 private:
  static bool same(const std::optional<Setting>& a, const std::optional<Setting>& b) {
    return a && b && a->origin == b->origin;
  }

  std::vector<std::pair<OptionDeclaration, std::string>> shared_options() const {
    std::vector<std::pair<OptionDeclaration, std::string>> found;
    for (const CommandDeclaration& command : declarations_)
      for (const OptionDeclaration& option : command.options)
        if (option.shared && std::ranges::none_of(found, [&](const auto& other) {
              return other.first.key() == option.key();
            }))
          found.emplace_back(option, command.name);
    return found;
  }

  static std::string toml_line(const Line& line, const std::string& variable) {
    std::string left;
    if (line.setting)
      left =
          fmt::format("{} = {}", line.option.key(), toml_value(line.option, line.setting->values));
    else if (const std::string value = line.option.default_text(); !value.empty())
      left = fmt::format("# {} = {}", line.option.key(), toml_value(line.option, {value}));
    else
      left = fmt::format("# {} =", line.option.key());
    const std::string origin = line.setting && line.setting->source == Setting::Source::environment
                                   ? line.setting->origin
                                   : fmt::format("{}; {}", line.origin(), variable);
    return fmt::format("{:<32}  # {}\n", left, origin);
  }

  const Settings& settings_;
  std::vector<CommandDeclaration> declarations_;
};

}  // namespace

int config_command(const CommandTable& table, const Arguments& arguments) {
  std::string command;
  bool json = false;
  Options options(
      "config",
      "The settings in force, and where each comes from: the command line counts more than the "
      "environment, the environment more than the configuration file "
      "(${XDG_CONFIG_HOME:-~/.config}/plimsoll/config.toml, or what PLIMSOLL_CONFIG names), and "
      "that "
      "more than defaults. What is printed may stand in that file as it is.");
  options.positional("COMMAND", command, "Of this command alone").values = table.names();
  options.flag("--json", json, "Print one JSON object and nothing else").shared = true;
  if (!options.parse(arguments)) return 0;
  Settings settings = arguments.settings() ? *arguments.settings() : Settings::read(table.declarations());
  const Report report(table, settings, command);
  if (json)
    print_json(report.json());
  else
    write_out(report.text());
  return 0;
}

}  // namespace plimsoll
