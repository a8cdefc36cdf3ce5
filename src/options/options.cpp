#include "options/options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <deque>
#include <functional>
#include <map>
#include <set>

#include "base/error.h"
#include "options/help.h"
#include "options/settings.h"
#include "options/suggest.h"
#include "terminal/output.h"

namespace plimsoll {
namespace {

using Kind = OptionDeclaration::Kind;
using Texts = std::vector<std::string>;

/// The whole of `text` as a number; empty for anything else. The library's own conversions let
/// overflow, signs of unsigned numbers and empty texts pass.
template <class T>
std::optional<T> whole(const std::string& text) {
  T value{};
  const char* end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stopped != end) return std::nullopt;
  return value;
}

/// Throws Error(usage) in the name of the option.
Bytes size_of(const std::string& name, const std::string& text) {
  try {
    return parse_bytes(text);
  } catch (const Error& error) {
    throw Error(error.code(), name + ": " + error.message(), error.hint());
  }
}

/// What stands before, between and behind the commas: one part at least, which may be empty.
Texts parts(const std::string& text) {
  Texts found;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    found.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return found;
}

bool equal_in_any_case(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, [](unsigned char x, unsigned char y) {
    return std::tolower(x) == std::tolower(y);
  });
}

/// "a, b or c".
std::string alternatives(const Texts& values) {
  std::string out;
  for (std::size_t i = 0; i < values.size(); ++i)
    out += (i == 0 ? "" : i + 1 == values.size() ? " or " : ", ") + values[i];
  return out;
}

}  // namespace

bool OptionDeclaration::takes_several() const {
  return kind == Kind::texts || kind == Kind::sizes || kind == Kind::counts ||
         kind == Kind::positionals;
}

std::string OptionDeclaration::key() const {
  std::string key = name.substr(std::min(name.find_first_not_of('-'), name.size()));
  std::transform(key.begin(), key.end(), key.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return key;
}

std::string OptionDeclaration::default_text() const {
  constexpr std::string_view opening = "(default ";
  const std::size_t begin = help.find(opening);
  if (begin == std::string::npos) return {};
  const std::size_t value = begin + opening.size();
  return help.substr(value, help.find(')', value) - value);
}

const OptionDeclaration* CommandDeclaration::find(std::string_view option) const {
  const auto found = std::ranges::find_if(options, [&](const OptionDeclaration& o) {
    return o.name == option || o.short_name == option;
  });
  return found == options.end() ? nullptr : &*found;
}

std::string usage_of(const OptionDeclaration& option) {
  std::string out = option.short_name.empty() ? "" : option.short_name + ", ";
  out += option.name;
  if (option.kind == Kind::positionals) out += "...";
  if (!option.placeholder.empty()) out += " " + option.placeholder;
  return out;
}

std::optional<bool> parse_switch(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (const char* word : {"true", "yes", "on", "1"})
    if (lower == word) return true;
  for (const char* word : {"false", "no", "off", "0"})
    if (lower == word) return false;
  return std::nullopt;
}

struct Options::State {
  using Take = std::function<void(const Texts&)>;

  /// An option as it is parsed.
  struct Row {
    OptionDeclaration declaration;
    Take take;  ///< checks and stores; of one text, unless several are taken
    CLI::Option* parsed = nullptr;
    Texts given = {};  ///< on the command line
  };

  CLI::App app;
  std::string name, summary;
  std::deque<Row> rows;  // referred to
  std::vector<std::pair<std::string, std::string>> exclusive;

  State(const std::string& command, const std::string& what) : name(command), summary(what) {}

  OptionDeclaration& add(Kind kind, const std::string& names, const std::string& placeholder,
                         const std::string& help, Take take) {
    Row& row = rows.emplace_back();
    const std::size_t comma = names.find(',');  // "-o,--output"
    row.declaration = {kind, comma == std::string::npos ? names : names.substr(comma + 1),
                       comma == std::string::npos ? "" : names.substr(0, comma), placeholder, help};
    row.take = std::move(take);
    if (kind == Kind::flag) {
      row.parsed = app.add_flag_function(
          names, [&row](std::int64_t count) { row.given = {count > 0 ? "true" : "false"}; });
    } else if (kind == Kind::texts) {
      row.parsed = app.add_option(names, row.given);
      row.parsed->expected(1)->allow_extra_args(false)->multi_option_policy(
          CLI::MultiOptionPolicy::TakeAll);
    } else if (kind == Kind::positionals) {
      row.parsed = app.add_option(names, row.given);
    } else {
      row.parsed = app.add_option_function<std::string>(
          names, [&row](const std::string& text) { row.given = {text}; });
    }
    return row.declaration;
  }

  CommandDeclaration declaration() const {
    CommandDeclaration all{name, summary, {}, exclusive};
    for (const Row& row : rows) all.options.push_back(row.declaration);
    return all;
  }

  /// The option that `word` names, with or without "=value".
  const Row* find(const std::string& word) const {
    const std::string bare = word.substr(0, word.find('='));
    for (const Row& row : rows)
      if (row.declaration.name == bare || row.declaration.short_name == bare) return &row;
    return nullptr;
  }

  std::string help_hint() const {
    return fmt::format("\"plimsoll {} --help\" lists its options", name);
  }

  [[noreturn]] void refuse_unknown(const Texts& words) const {
    // What looks like an option says more than the values that are left over behind it.
    const auto dashed = std::ranges::find_if(
        words, [](const std::string& word) { return word.size() > 1 && word[0] == '-'; });
    const std::string word = dashed != words.end() ? *dashed : words.empty() ? "" : words.front();
    std::string hint = help_hint();
    if (dashed != words.end()) {
      Texts known{"--help"};
      for (const Row& row : rows)
        if (!row.declaration.is_positional()) known.push_back(row.declaration.name);
      hint = did_you_mean(word.substr(0, word.find('=')), known, hint);
    }
    throw Error(ErrorCode::usage, fmt::format("{} takes no \"{}\"", name, word), hint);
  }

  /// Takes what the environment and the file say of options that the command line leaves open.
  /// Of two that exclude each other, the one that counts more stays.
  void apply(Settings& settings) {
    constexpr int command_line = 3;
    std::map<std::string, std::pair<int, std::optional<Setting>>> found;
    for (const Row& row : rows) {
      const OptionDeclaration& option = row.declaration;
      if (row.parsed->count() > 0) {
        found[option.name] = {command_line, std::nullopt};
      } else if (std::optional<Setting> setting = settings.find(name, option)) {
        const int rank = setting->source == Setting::Source::environment ? 2 : 1;
        if (option.kind == Kind::flag && parse_switch(setting->values.front()) == false)
          continue;  // as if it were not there; excludes nothing
        found[option.name] = {rank, std::move(setting)};
      }
    }
    for (const auto& [first, second] : exclusive) {
      const auto a = found.find(first), b = found.find(second);
      if (a == found.end() || b == found.end()) continue;
      if (a->second.first == b->second.first) {
        if (a->second.first == command_line) continue;  // the parser has refused them
        throw Error(ErrorCode::usage,
                    fmt::format("{} ({}) excludes {} ({})", first, a->second.second->origin, second,
                                b->second.second->origin),
                    "remove one of them");
      }
      found.erase(a->second.first < b->second.first ? a : b);
    }
    for (Row& row : rows) {
      const auto entry = found.find(row.declaration.name);
      if (entry == found.end() || !entry->second.second) continue;
      const Setting& setting = *entry->second.second;
      settings.note_applied(row.declaration, setting);
      try {
        row.take(setting.values);
      } catch (const Error& error) {
        throw Error(error.code(), setting.origin + ": " + error.message(), error.hint());
      }
    }
  }
};

Options::Options(const std::string& command, const std::string& summary)
    : state_(std::make_unique<State>(command, summary)) {}
Options::~Options() = default;

OptionDeclaration& Options::positional(const std::string& name, std::string& target,
                                       const std::string& help) {
  return state_->add(Kind::positional, name, "", help,
                     [&target](const Texts& texts) { target = texts.front(); });
}

OptionDeclaration& Options::positionals(const std::string& name, Texts& targets,
                                        const std::string& help) {
  return state_->add(Kind::positionals, name, "", help,
                     [&targets](const Texts& texts) { targets = texts; });
}

OptionDeclaration& Options::flag(const std::string& name, bool& target, const std::string& help) {
  return state_->add(Kind::flag, name, "", help, [&target, name](const Texts& texts) {
    const std::optional<bool> on = parse_switch(texts.front());
    if (!on)
      throw Error(ErrorCode::usage,
                  fmt::format("{} is on or off, found \"{}\"", name, texts.front()),
                  "give true or false");
    target = *on;
  });
}

OptionDeclaration& Options::text(const std::string& name, const std::string& placeholder,
                                 std::optional<std::string>& target, const std::string& help) {
  return state_->add(Kind::text, name, placeholder, help,
                     [&target](const Texts& texts) { target = texts.front(); });
}

OptionDeclaration& Options::texts(const std::string& name, const std::string& placeholder,
                                  Texts& target, const std::string& help) {
  return state_->add(Kind::texts, name, placeholder, help, [&target, name](const Texts& texts) {
    for (const std::string& text : texts)
      if (text.empty()) throw Error(ErrorCode::usage, name + " is empty", "give it some text");
    target = texts;
  });
}

OptionDeclaration& Options::choice(const std::string& name, const std::string& placeholder,
                                   Texts values, std::optional<std::string>& target,
                                   const std::string& help) {
  std::string shown = placeholder;
  if (shown.empty()) shown = joined(values, "|");
  OptionDeclaration& declared =
      state_->add(Kind::choice, name, shown, help, [&target, name, values](const Texts& texts) {
        const auto value = std::ranges::find_if(values, [&texts](const std::string& known) {
          return equal_in_any_case(known, texts.front());
        });
        if (value == values.end()) {
          constexpr std::size_t few = 4;
          const bool lists = values.size() <= few;
          throw Error(ErrorCode::usage,
                      lists ? fmt::format("{} must be {}, found \"{}\"", name, alternatives(values),
                                          texts.front())
                            : fmt::format("{}: there is no \"{}\"", name, texts.front()),
                      did_you_mean(texts.front(), values,
                                   lists ? "" : "it may be " + alternatives(values)));
        }
        target = *value;
      });
  declared.values = std::move(values);
  return declared;
}

OptionDeclaration& Options::size(const std::string& name, std::optional<Bytes>& target,
                                 const std::string& help) {
  return state_->add(Kind::size, name, "SIZE", help, [&target, name](const Texts& texts) {
    target = size_of(name, texts.front());
  });
}

OptionDeclaration& Options::sizes(const std::string& name, std::vector<Bytes>& target,
                                  const std::string& help) {
  return state_->add(Kind::sizes, name, "SIZE,SIZE", help, [&target, name](const Texts& texts) {
    target.clear();
    for (const std::string& part : parts(texts.front())) target.push_back(size_of(name, part));
  });
}

OptionDeclaration& Options::count(const std::string& name, std::optional<std::int64_t>& target,
                                  std::int64_t least, std::int64_t most, const std::string& help) {
  return state_->add(Kind::count, name, "N", help,
                     [&target, name, least, most](const Texts& texts) {
                       const auto value = whole<std::int64_t>(texts.front());
                       if (!value || *value < least || *value > most)
                         throw Error(ErrorCode::usage,
                                     fmt::format("{} must be a whole number from {} to {}, found "
                                                 "\"{}\"",
                                                 name, least, most, texts.front()));
                       target = *value;
                     });
}

OptionDeclaration& Options::counts(const std::string& name, std::vector<std::int64_t>& target,
                                   std::int64_t least, std::int64_t most, const std::string& help) {
  return state_->add(
      Kind::counts, name, "N,N", help, [&target, name, least, most](const Texts& texts) {
        target.clear();
        for (const std::string& part : parts(texts.front())) {
          const auto value = whole<std::int64_t>(part);
          if (!value || *value < least || *value > most)
            throw Error(ErrorCode::usage,
                        fmt::format("{} must be whole numbers from {} to {} with commas between, "
                                    "found \"{}\"",
                                    name, least, most, texts.front()));
          target.push_back(*value);
        }
      });
}

OptionDeclaration& Options::number(const std::string& name, double& target, double least,
                                   double most, const std::string& help) {
  return state_->add(Kind::number, name, "X", help,
                     [&target, name, least, most](const Texts& texts) {
                       const auto value = whole<double>(texts.front());
                       if (!value || !(*value >= least && *value <= most))
                         throw Error(ErrorCode::usage,
                                     fmt::format("{} must be a number from {} to {}, found \"{}\"",
                                                 name, least, most, texts.front()));
                       target = *value;
                     });
}

void Options::exclusive(const std::string& first, const std::string& second) {
  state_->exclusive.emplace_back(first, second);
  state_->app.get_option(first)->excludes(state_->app.get_option(second));
}

bool Options::parse(const Arguments& arguments) {
  if (CommandDeclaration* wanted = arguments.declaration()) {
    *wanted = state_->declaration();
    if (Settings* settings = arguments.settings()) state_->apply(*settings);
    return false;
  }
  // "--name=value" in two, so that an empty value is one too.
  Texts split;
  bool is_value = false, only_positional = false;
  for (const std::string& argument : arguments.words()) {
    const State::Row* row = is_value || only_positional ? nullptr : state_->find(argument);
    const bool with_value = row && row->declaration.takes_value();
    const std::size_t equals = argument.find('=');
    is_value = false;
    if (with_value && equals != std::string::npos) {
      split.push_back(argument.substr(0, equals));
      split.push_back(argument.substr(equals + 1));
      continue;
    }
    if (!row && argument == "--") only_positional = true;
    is_value = with_value;
    split.push_back(argument);
  }
  std::reverse(split.begin(), split.end());  // as the library wants them
  try {
    state_->app.parse(split);
  } catch (const CLI::CallForHelp&) {
    CommandDeclaration declaration = state_->declaration();
    declaration.examples.assign(arguments.examples().begin(), arguments.examples().end());
    write_out(help_text(declaration));
    return false;
  } catch (const CLI::ExtrasError&) {
    state_->refuse_unknown(state_->app.remaining());
  } catch (const CLI::ParseError& error) {
    throw Error(ErrorCode::usage, error.what(), state_->help_hint());
  }
  for (State::Row& row : state_->rows)
    if (row.parsed->count() > 0) row.take(row.given);
  if (Settings* settings = arguments.settings()) state_->apply(*settings);
  return true;
}

}  // namespace plimsoll
