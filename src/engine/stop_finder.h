// Finds stop texts in text that arrives by pieces.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace plimsoll {

/// Looks in two texts at once: in all that the model says, control tokens spelled, and in what of
/// it is shown. A stop text may thus be the text of a control token, or begin or end with one, and
/// one that stands in what is shown is found even where a token that nobody sees stands inside.
/// Holds shown text back as long as it may be the beginning of a stop text. Not thread-safe.
class StopFinder {
 public:
  /// None of `stops` is empty. They must outlive this.
  explicit StopFinder(const std::vector<std::string>& stops) : stops_(stops) {}

  /// Appends `text`; returns what is final now of what is shown. Sets found() when a stop text is
  /// complete: of what is shown, nothing from its beginning on is returned, then or later.
  std::string push(std::string_view text, bool shown = true);
  /// What was held back for a stop text that did not come.
  std::string flush();
  bool found() const { return found_; }

 private:
  /// Of held_, the first `end` bytes that are shown.
  std::string shown_before(std::size_t end) const;

  const std::vector<std::string>& stops_;
  std::string held_;               ///< everything, spelled
  std::vector<std::size_t> seen_;  ///< places in held_ of the bytes that are shown
  bool found_ = false;
};

}  // namespace plimsoll
