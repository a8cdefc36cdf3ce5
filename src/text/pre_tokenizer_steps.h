// The steps that pre-tokenizers are made of: those of
// https://github.com/huggingface/tokenizers (tokenizers/src/pre_tokenizers).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "text/pre_tokenizer.h"
#include "text/regex.h"

namespace plimsoll {

/// What becomes of matches.
enum class SplitBehavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };
std::optional<SplitBehavior> split_behavior(std::string_view name);

using StepPointer = std::unique_ptr<PreTokenizer::Step>;

/// Cuts at the matches; `is_inverted`: at what stands between them.
StepPointer split_step(Regex regex, SplitBehavior behavior, bool is_inverted = false);
/// Cuts at every character for which `is_match` is true.
StepPointer split_step(bool (*is_match)(char32_t), SplitBehavior behavior);
/// Cuts at every `character`.
StepPointer split_step(char32_t character, SplitBehavior behavior);
/// Groups pieces that are digits only in threes, from the right.
StepPointer digit_groups_step();
/// Puts a space before every piece that has none.
StepPointer prefix_space_step();
/// Bytes become GPT-2's characters for them.
StepPointer spelling_step();
enum class PrependScheme { first, never, always };
/// Spaces become `mark`, which also comes before the text (`first`) or every piece (`always`).
StepPointer metaspace_step(std::string mark, PrependScheme scheme);
/// Pieces of `length` characters.
StepPointer fixed_length_step(std::size_t length);
/// Cuts where the script changes; spaces belong to what stands before them.
StepPointer scripts_step();

}  // namespace plimsoll
