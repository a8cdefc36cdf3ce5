#include "engine/stop_finder.h"

#include <algorithm>

namespace plimsoll {
namespace {

/// Where the first stop text begins; npos without one.
std::size_t first_match(const std::string& text, const std::vector<std::string>& stops) {
  std::size_t first = std::string::npos;
  for (const std::string& stop : stops) first = std::min(first, text.find(stop));
  return first;
}

/// Where the longest end of the text that begins a stop text begins; its size without one.
std::size_t first_beginning(const std::string& text, const std::vector<std::string>& stops) {
  std::size_t keep = 0;
  for (const std::string& stop : stops)
    for (std::size_t length = std::min(stop.size() - 1, text.size()); length > keep; --length)
      if (text.compare(text.size() - length, length, stop, 0, length) == 0) keep = length;
  return text.size() - keep;
}

}  // namespace

std::string StopFinder::shown_before(std::size_t end) const {
  std::string text;
  for (const std::size_t place : seen_)
    if (place < end) text += held_[place];
  return text;
}

std::string StopFinder::push(std::string_view text, bool shown) {
  if (found_) return {};
  if (shown)
    for (std::size_t i = 0; i < text.size(); ++i) seen_.push_back(held_.size() + i);
  held_ += text;
  const std::string visible = shown_before(held_.size());
  /// A place among what is shown as one in all.
  const auto place = [&](std::size_t index) {
    return index < seen_.size() ? seen_[index] : held_.size();
  };
  const std::size_t match = std::min(first_match(held_, stops_), [&] {
    const std::size_t found = first_match(visible, stops_);
    return found == std::string::npos ? found : place(found);
  }());
  if (match != std::string::npos) {
    found_ = true;
    std::string rest = shown_before(match);
    held_.clear();
    seen_.clear();
    return rest;
  }
  const std::size_t kept =
      std::min(first_beginning(held_, stops_), place(first_beginning(visible, stops_)));
  std::string ready = shown_before(kept);
  held_.erase(0, kept);
  seen_.erase(seen_.begin(), seen_.begin() + static_cast<std::ptrdiff_t>(ready.size()));
  for (std::size_t& at : seen_) at -= kept;
  return ready;
}

std::string StopFinder::flush() {
  std::string rest = shown_before(held_.size());
  held_.clear();
  seen_.clear();
  return rest;
}

}  // namespace plimsoll
