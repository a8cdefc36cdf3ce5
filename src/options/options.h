// The options of one command: declared once, for parsing, checking, the help text, the environment,
// the configuration file, shell completions and man pages.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"

namespace plimsoll {

class Settings;

/// What is known of one option, or of one positional argument.
struct OptionDeclaration {
  enum class Kind {
    flag,
    text,
    texts,
    choice,
    size,
    sizes,
    count,
    counts,
    number,
    positional,
    positionals
  };

  Kind kind = Kind::text;
  std::string name;         ///< "--memory"; of a positional argument "MODEL"
  std::string short_name;   ///< "-o", or empty
  std::string placeholder;  ///< "SIZE"; empty for flags and positional arguments
  /// One or two sentences. A part "(default X)" says what holds without the option.
  std::string help;
  std::vector<std::string> values;  ///< of a choice: all that it may be; otherwise those to suggest
  /// Means the same in every command that has it: it can be set once for all of them.
  bool shared = false;

  bool is_positional() const { return kind == Kind::positional || kind == Kind::positionals; }
  bool takes_value() const { return kind != Kind::flag && !is_positional(); }
  /// Several values make a list: in the configuration file, an array.
  bool takes_several() const;
  /// Positional arguments that are not shared stand on the command line only.
  bool can_be_set() const { return !is_positional() || shared; }
  /// "memory", "top-k", "model": as in the configuration file.
  std::string key() const;
  /// The X of "(default X)"; empty without one.
  std::string default_text() const;
};

struct Example {
  std::string_view line, what;
};

struct CommandDeclaration {
  std::string name;     ///< "run"
  std::string summary;  ///< a sentence or a few
  std::vector<OptionDeclaration> options;
  std::vector<std::pair<std::string, std::string>> exclusive;  ///< names that exclude each other
  std::string brief = {};  ///< a line
  std::vector<Example> examples = {};

  const OptionDeclaration* find(std::string_view option) const;
};

/// What a command gets: the words behind its name, and what else may set its options.
class Arguments {
 public:
  Arguments(std::span<const std::string> words) : words_(words) {}
  Arguments(const std::vector<std::string>& words) : words_(words) {}
  Arguments(std::span<const std::string> words, Settings& settings)
      : words_(words), settings_(&settings) {}
  /// Instead of running the command, its declaration is wanted, and that all that is set for it is
  /// checked.
  explicit Arguments(CommandDeclaration& declaration, Settings* settings = nullptr)
      : settings_(settings), declaration_(&declaration) {}

  std::span<const std::string> words() const { return words_; }
  Settings* settings() const { return settings_; }
  CommandDeclaration* declaration() const { return declaration_; }
  /// For the help text.
  std::span<const Example> examples() const { return examples_; }
  void set_examples(std::span<const Example> examples) { examples_ = examples; }

 private:
  std::span<const std::string> words_;
  Settings* settings_ = nullptr;
  CommandDeclaration* declaration_ = nullptr;
  std::span<const Example> examples_;
};

/// Values are checked while they are parsed, before any work; everything wrong is Error(usage) that
/// names the option, the found value, what it may be, and where it came from if that was not the
/// command line. The targets outlive the Options. The returned declarations may be completed until
/// parse() is called.
class Options {
 public:
  /// `command` as in "run".
  Options(const std::string& command, const std::string& summary);
  ~Options();
  Options(const Options&) = delete;
  Options& operator=(const Options&) = delete;

  OptionDeclaration& positional(const std::string& name, std::string& target,
                                const std::string& help);
  /// Any number of them.
  OptionDeclaration& positionals(const std::string& name, std::vector<std::string>& targets,
                                 const std::string& help);
  OptionDeclaration& flag(const std::string& name, bool& target, const std::string& help);
  OptionDeclaration& text(const std::string& name, const std::string& placeholder,
                          std::optional<std::string>& target, const std::string& help);
  /// May be given several times; empty texts are refused.
  OptionDeclaration& texts(const std::string& name, const std::string& placeholder,
                           std::vector<std::string>& target, const std::string& help);
  /// One of `values`, in any case of its letters; they are the placeholder too if there is none.
  /// The target becomes the value as it is listed.
  OptionDeclaration& choice(const std::string& name, const std::string& placeholder,
                            std::vector<std::string> values, std::optional<std::string>& target,
                            const std::string& help);
  OptionDeclaration& size(const std::string& name, std::optional<Bytes>& target,
                          const std::string& help);
  /// One or more, "512MiB,1.2GiB".
  OptionDeclaration& sizes(const std::string& name, std::vector<Bytes>& target,
                           const std::string& help);
  OptionDeclaration& count(const std::string& name, std::optional<std::int64_t>& target,
                           std::int64_t least, std::int64_t most, const std::string& help);
  /// One or more, "1,4,16".
  OptionDeclaration& counts(const std::string& name, std::vector<std::int64_t>& target,
                            std::int64_t least, std::int64_t most, const std::string& help);
  OptionDeclaration& number(const std::string& name, double& target, double least, double most,
                            const std::string& help);
  /// Two options that exclude each other.
  void exclusive(const std::string& first, const std::string& second);

  /// False when help (or the declaration) was asked for and has been given: there is nothing more
  /// to do. What the command line leaves open is taken from the environment and the configuration
  /// file.
  bool parse(const Arguments& arguments);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// "--memory SIZE", "-o, --output OUT.gguf", "MODEL...": as help texts show it.
std::string usage_of(const OptionDeclaration& option);

/// "true", "yes", "on" and "1", and their opposites, in any case; empty for anything else.
std::optional<bool> parse_switch(std::string_view text);

}  // namespace plimsoll
