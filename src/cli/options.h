// The options of one command: declared once, for parsing, checking and the help text.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"

namespace plimsoll {

/// Values are checked while they are parsed, before any work; everything wrong is Error(usage) that
/// names the option, the found value and what it may be. The targets outlive the Options.
class Options {
 public:
  /// `command` as in "run".
  Options(const std::string& command, const std::string& summary);
  ~Options();
  Options(const Options&) = delete;
  Options& operator=(const Options&) = delete;

  void positional(const std::string& name, std::string& target, const std::string& help);
  /// Any number of them.
  void positionals(const std::string& name, std::vector<std::string>& targets,
                   const std::string& help);
  void flag(const std::string& name, bool& target, const std::string& help);
  void text(const std::string& name, const std::string& placeholder,
            std::optional<std::string>& target, const std::string& help);
  /// May be given several times; empty texts are refused.
  void texts(const std::string& name, const std::string& placeholder,
             std::vector<std::string>& target, const std::string& help);
  void size(const std::string& name, std::optional<Bytes>& target, const std::string& help);
  /// One or more, "512MiB,1.2GiB".
  void sizes(const std::string& name, std::vector<Bytes>& target, const std::string& help);
  void count(const std::string& name, std::optional<std::int64_t>& target, std::int64_t least,
             std::int64_t most, const std::string& help);
  /// One or more, "1,4,16".
  void counts(const std::string& name, std::vector<std::int64_t>& target, std::int64_t least,
              std::int64_t most, const std::string& help);
  void number(const std::string& name, double& target, double least, double most,
              const std::string& help);
  /// Two options that exclude each other.
  void exclusive(const std::string& first, const std::string& second);

  /// False when help was asked for and has been printed: there is nothing more to do.
  bool parse(std::span<const std::string> arguments);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace plimsoll
