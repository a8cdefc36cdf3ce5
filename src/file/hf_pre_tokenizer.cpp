// The expressions are those that the models' own files publish. (llama.cpp's converter tells kinds
// by a hash of the ids of a text, which also depends on the vocabulary.)
#include "file/hf_pre_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <vector>

namespace plimsoll {
namespace {

constexpr std::string_view gpt2_words =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view punctuation = "(punctuation)";
constexpr std::string_view digits = R"(\p{N}+)";
constexpr std::string_view single_digits = R"(\p{N})";
constexpr std::string_view three_digits = "[0-9][0-9][0-9]";
constexpr std::string_view line_ends = R"([\r\n])";

constexpr std::string_view gpt2_steps[] = {gpt2_words};
constexpr std::string_view llama3_steps[] = {
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|)"
    R"(\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr std::string_view qwen2_steps[] = {
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|)"
    R"(\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr std::string_view tekken_steps[] = {
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr std::string_view gpt4o_steps[] = {
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|)"
    R"(\s+(?!\S)|\s+)"};
constexpr std::string_view starcoder_steps[] = {single_digits, gpt2_words};
constexpr std::string_view falcon_steps[] = {punctuation, gpt2_words, digits, three_digits};
constexpr std::string_view deepseek_coder_steps[] = {line_ends, R"(\s?\p{L}+)", R"(\s?\p{P}+)",
                                                     "[\u4E00-\u9FA5\u0800-\u4E00\uAC00-\uD7FF]+",
                                                     single_digits};
constexpr std::string_view deepseek3_steps[] = {
    R"(\p{N}{1,3})", "[\u4E00-\u9FA5\u3040-\u309F\u30A0-\u30FF]+",
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|)"
    R"([^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};

struct Kind {
  std::string_view name;
  bool ignores_merges;
  std::span<const std::string_view> steps;
};
constexpr Kind kinds[] = {
    {"gpt-2", false, gpt2_steps},
    {"llama-bpe", true, llama3_steps},
    {"dbrx", false, llama3_steps},
    {"qwen2", false, qwen2_steps},
    {"tekken", true, tekken_steps},
    {"gpt-4o", false, gpt4o_steps},
    {"starcoder", false, starcoder_steps},
    {"falcon", false, falcon_steps},
    {"deepseek-coder", false, deepseek_coder_steps},
    {"deepseek-v3", false, deepseek3_steps},
};

/// The same expression in the spelling of the table.
std::string canonical(std::string expression) {
  constexpr std::string_view spelled = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])";
  constexpr std::string_view canonical_form = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
  for (std::size_t at = expression.find(spelled); at != expression.npos;
       at = expression.find(spelled, at))
    expression.replace(at, spelled.size(), canonical_form);
  std::string result;
  for (const char c : expression) {
    if (c == '\r')
      result += R"(\r)";
    else if (c == '\n')
      result += R"(\n)";
    else
      result += c;
  }
  return result;
}

/// Appends the steps of one pre-tokenizer; a kind of step that no known kind has goes by its name
/// in brackets.
void append_steps(const JsonKeys& step, std::vector<std::string>& steps) {
  const std::string type = step.string("type").value_or("");
  if (type == "Sequence") {
    for (const JsonKeys& part : step.objects("pretokenizers")) append_steps(part, steps);
  } else if (type == "Split") {
    const auto expression = step.object("pattern").string("Regex");
    const std::string behavior = step.string("behavior").value_or("");
    const bool inverted = step.boolean("invert").value_or(false);
    // Removing what stands between the matches of an expression that matches everything, and
    // keeping both apart, is the same.
    const bool keeps_all =
        (behavior == "Isolated" && !inverted) || (behavior == "Removed" && inverted);
    steps.push_back(expression && keeps_all ? canonical(*expression) : "(Split)");
  } else if (type == "ByteLevel") {
    if (step.boolean("add_prefix_space").value_or(true)) steps.push_back("(space before)");
    if (step.boolean("use_regex").value_or(true)) steps.emplace_back(gpt2_words);
  } else if (type == "Digits") {
    steps.emplace_back(step.boolean("individual_digits").value_or(false) ? single_digits : digits);
  } else if (type == "Punctuation" && step.string("behavior").value_or("") == "Contiguous") {
    steps.emplace_back(punctuation);
  } else {
    steps.push_back(fmt::format("({})", type));
  }
}

}  // namespace

std::optional<std::string_view> pre_tokenizer_name(const JsonKeys& tokenizer,
                                                   bool ignores_merges) {
  std::vector<std::string> steps;
  if (tokenizer.contains("pre_tokenizer")) append_steps(tokenizer.object("pre_tokenizer"), steps);
  for (const Kind& kind : kinds)
    if (kind.ignores_merges == ignores_merges && std::ranges::equal(kind.steps, steps))
      return kind.name;
  return std::nullopt;
}

}  // namespace plimsoll
