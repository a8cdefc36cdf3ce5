#include "cli/options.h"

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cmath>
#include <functional>
#include <set>
#include <sstream>

#include "base/error.h"
#include "cli/output.h"
#include "cli/terminal.h"

namespace plimsoll {
namespace {

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
std::vector<std::string> parts(const std::string& text) {
  std::vector<std::string> found;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    found.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return found;
}

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

}  // namespace

struct Options::State {
  struct Row {
    std::string left, help;
  };

  CLI::App app;
  std::string command, summary, positionals;
  std::vector<Row> rows;
  std::set<std::string> with_value;

  State(const std::string& name, const std::string& what) : command(name), summary(what) {}

  void add(const std::string& name, const std::string& placeholder, const std::string& help,
           const std::function<void(const std::string&)>& take) {
    with_value.insert(name);
    rows.push_back({fmt::format("{} {}", name, placeholder), help});
    app.add_option_function<std::string>(name, take);
  }

  std::string help() const {
    const int width = std::min(Terminal::of(STDOUT_FILENO).width, 100);
    std::string out = wrapped(summary, 0, width);
    out += fmt::format("\n  plimsoll {}{} [OPTIONS]\n\n", command, positionals);
    std::size_t widest = 0;
    for (const Row& row : rows) widest = std::max(widest, row.left.size());
    for (const Row& row : rows)
      out += fmt::format("  {:<{}}  {}", row.left, widest,
                         wrapped(row.help, static_cast<int>(widest) + 4, width));
    return out;
  }
};

Options::Options(const std::string& command, const std::string& summary)
    : state_(std::make_unique<State>(command, summary)) {}
Options::~Options() = default;

void Options::positional(const std::string& name, std::string& target, const std::string& help) {
  state_->positionals += fmt::format(" [{}]", name);
  state_->rows.push_back({name, help});
  state_->app.add_option(name, target);
}

void Options::positionals(const std::string& name, std::vector<std::string>& targets,
                          const std::string& help) {
  state_->positionals += fmt::format(" [{}...]", name);
  state_->rows.push_back({name + "...", help});
  state_->app.add_option(name, targets);
}

void Options::flag(const std::string& name, bool& target, const std::string& help) {
  state_->rows.push_back({name, help});
  state_->app.add_flag(name, target);
}

void Options::text(const std::string& name, const std::string& placeholder,
                   std::optional<std::string>& target, const std::string& help) {
  state_->add(name, placeholder, help, [&target](const std::string& text) { target = text; });
}

void Options::texts(const std::string& name, const std::string& placeholder,
                    std::vector<std::string>& target, const std::string& help) {
  state_->with_value.insert(name);
  state_->rows.push_back({fmt::format("{} {}", name, placeholder), help});
  state_->app.add_option(name, target)
      ->expected(1)
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->each([name](const std::string& text) {
        if (text.empty()) throw Error(ErrorCode::usage, name + " is empty", "give it some text");
      });
}

void Options::size(const std::string& name, std::optional<Bytes>& target, const std::string& help) {
  state_->add(name, "SIZE", help,
              [&target, name](const std::string& text) { target = size_of(name, text); });
}

void Options::sizes(const std::string& name, std::vector<Bytes>& target, const std::string& help) {
  state_->add(name, "SIZE,SIZE", help, [&target, name](const std::string& text) {
    target.clear();
    for (const std::string& part : parts(text)) target.push_back(size_of(name, part));
  });
}

void Options::count(const std::string& name, std::optional<std::int64_t>& target,
                    std::int64_t least, std::int64_t most, const std::string& help) {
  state_->add(name, "N", help, [&target, name, least, most](const std::string& text) {
    const auto value = whole<std::int64_t>(text);
    if (!value || *value < least || *value > most)
      throw Error(ErrorCode::usage,
                  fmt::format("{} must be a whole number from {} to {}, found \"{}\"", name, least,
                              most, text));
    target = *value;
  });
}

void Options::counts(const std::string& name, std::vector<std::int64_t>& target, std::int64_t least,
                     std::int64_t most, const std::string& help) {
  state_->add(name, "N,N", help, [&target, name, least, most](const std::string& text) {
    target.clear();
    for (const std::string& part : parts(text)) {
      const auto value = whole<std::int64_t>(part);
      if (!value || *value < least || *value > most)
        throw Error(ErrorCode::usage,
                    fmt::format("{} must be whole numbers from {} to {} with commas between, "
                                "found \"{}\"",
                                name, least, most, text));
      target.push_back(*value);
    }
  });
}

void Options::number(const std::string& name, double& target, double least, double most,
                     const std::string& help) {
  state_->add(name, "X", help, [&target, name, least, most](const std::string& text) {
    const auto value = whole<double>(text);
    if (!value || !(*value >= least && *value <= most))
      throw Error(ErrorCode::usage, fmt::format("{} must be a number from {} to {}, found \"{}\"",
                                                name, least, most, text));
    target = *value;
  });
}

void Options::exclusive(const std::string& first, const std::string& second) {
  state_->app.get_option(first)->excludes(state_->app.get_option(second));
}

bool Options::parse(std::span<const std::string> arguments) {
  // "--name=value" in two, so that an empty value is one too.
  std::vector<std::string> split;
  bool is_value = false, only_positional = false;
  for (const std::string& argument : arguments) {
    const std::size_t equals = argument.find('=');
    if (!is_value && !only_positional && equals != std::string::npos &&
        state_->with_value.contains(argument.substr(0, equals))) {
      split.push_back(argument.substr(0, equals));
      split.push_back(argument.substr(equals + 1));
      continue;
    }
    if (!is_value && argument == "--") only_positional = true;
    is_value = !is_value && !only_positional && state_->with_value.contains(argument);
    split.push_back(argument);
  }
  std::reverse(split.begin(), split.end());  // as the library wants them
  try {
    state_->app.parse(split);
  } catch (const CLI::CallForHelp&) {
    write_out(state_->help());
    return false;
  } catch (const CLI::ExtrasError&) {
    const std::vector<std::string> extra = state_->app.remaining();
    throw Error(
        ErrorCode::usage,
        fmt::format("{} takes no \"{}\"", state_->command, extra.empty() ? "" : extra.front()),
        fmt::format("\"plimsoll {} --help\" lists its options", state_->command));
  } catch (const CLI::ParseError& error) {
    throw Error(ErrorCode::usage, error.what(),
                fmt::format("\"plimsoll {} --help\" lists its options", state_->command));
  }
  return true;
}

}  // namespace plimsoll
