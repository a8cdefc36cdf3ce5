// Text that a model writes itself, to measure it on where there is no other.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "engine/engine.h"

namespace plimsoll {

/// `count` sequences of `tokens` tokens, each beginning with BOS where the model has one (otherwise
/// with a token drawn from all), every other drawn from the model's own distribution. Runs up to
/// the plan's logit_rows of them together; the plan's context has room for as many times `tokens`.
/// The same seed gives the same text. `progress(done, total)` counts tokens.
std::vector<std::vector<TokenId>> write_own_text(
    const Engine& engine, std::int64_t count, std::int64_t tokens, std::uint64_t seed,
    const std::function<void(std::int64_t done, std::int64_t total)>& progress = {});

}  // namespace plimsoll
