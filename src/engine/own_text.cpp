#include "engine/own_text.h"

#include <algorithm>
#include <memory>
#include <random>

namespace plimsoll {
namespace {

/// Drawn from softmax(logits), which are overwritten.
TokenId draw(const Kernels& kernels, std::span<float> logits, double uniform) {
  kernels.softmax(logits.data(), static_cast<std::int64_t>(logits.size()));
  double left = uniform;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    left -= logits[i];
    if (left < 0) return static_cast<TokenId>(i);
  }
  return static_cast<TokenId>(std::ranges::max_element(logits) - logits.begin());
}

}  // namespace

std::vector<std::vector<TokenId>> write_own_text(
    const Engine& engine, std::int64_t count, std::int64_t tokens, std::uint64_t seed,
    const std::function<void(std::int64_t done, std::int64_t total)>& progress) {
  const std::int64_t vocabulary = engine.description().vocabulary;
  const std::int64_t together = std::min<std::int64_t>(count, engine.plan().logit_rows);
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<double> uniform(0, 1);
  std::vector<std::vector<TokenId>> texts;
  std::vector<std::unique_ptr<Session>> sessions;
  for (std::int64_t i = 0; i < together; ++i)
    sessions.push_back(std::make_unique<Session>(engine, tokens));
  while (static_cast<std::int64_t>(texts.size()) < count) {
    const auto batch = static_cast<std::size_t>(
        std::min<std::int64_t>(together, count - static_cast<std::int64_t>(texts.size())));
    const std::size_t first = texts.size();
    std::vector<Session*> running;
    std::vector<TokenId> last;
    for (std::size_t i = 0; i < batch; ++i) {
      sessions[i]->clear();
      running.push_back(sessions[i].get());
      const std::optional<TokenId> bos =
          engine.tokenizer().adds_bos() ? engine.tokenizer().bos() : std::nullopt;
      last.push_back(bos ? *bos
                         : static_cast<TokenId>(uniform(random) * static_cast<double>(vocabulary)));
      texts.push_back({last.back()});
    }
    for (std::int64_t t = 1; t < tokens; ++t) {
      const std::span<float> logits = Session::append_each(running, last);
      for (std::size_t i = 0; i < batch; ++i) {
        last[i] = draw(engine.context().kernels,
                       logits.subspan(i * static_cast<std::size_t>(vocabulary),
                                      static_cast<std::size_t>(vocabulary)),
                       uniform(random));
        texts[first + i].push_back(last[i]);
      }
      if (progress)
        progress(static_cast<std::int64_t>(first) * tokens + t * static_cast<std::int64_t>(batch),
                 count * tokens);
    }
  }
  return texts;
}

}  // namespace plimsoll
