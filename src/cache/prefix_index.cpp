#include "cache/prefix_index.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

namespace plimsoll {
namespace {

/// Uses of other pages after which one's own count half.
constexpr double half_life = 256;

}  // namespace

PrefixIndex::PrefixIndex(PagePool& pool, double depth_cost)
    : pool_(pool), depth_cost_(depth_cost) {
  for (std::int64_t layer = 0; layer < std::ssize(pool.shape()); ++layer)
    if (pool.shape()[static_cast<std::size_t>(layer)].window > 0) window_layers_.push_back(layer);
}

PrefixIndex::~PrefixIndex() {
  for (auto& [key, node] : nodes_) let_go(node);
}

PrefixIndex::Key PrefixIndex::next_key(const Key& parent, std::span<const std::int32_t> tokens,
                                       std::int64_t page) {
  std::int32_t input[4 + kv_page_positions];
  static_assert(sizeof(Key) == 4 * sizeof(std::int32_t));
  std::memcpy(input, &parent, sizeof(Key));
  std::memcpy(input + 4, tokens.data() + page * kv_page_positions,
              kv_page_positions * sizeof(std::int32_t));
  const XXH128_hash_t hash = XXH3_128bits(input, sizeof(input));
  return {hash.low64, hash.high64};
}

void PrefixIndex::let_go(Node& node) {
  for (KvPageId& page : node.pages)
    if (page != no_kv_page) pool_.release(std::exchange(page, no_kv_page));
}

double PrefixIndex::uses(const Node& node) const {
  return node.uses * std::exp2(static_cast<double>(node.used - clock_) / half_life);
}

double PrefixIndex::worth(const Node& node) const {
  const double depth = static_cast<double>(node.depth * kv_page_positions);
  return uses(node) * (1 + depth * depth_cost_);  // all pages have the same bytes
}

bool PrefixIndex::is_held_alone(const Node& node, std::int64_t layer) const {
  const KvPageId page = node.pages[static_cast<std::size_t>(layer)];
  return page != no_kv_page && pool_.holders(page) == 1;
}

void PrefixIndex::add(KvSequence& sequence, std::span<const std::int32_t> tokens, Cursor& cursor) {
  const std::int64_t full =
      std::min(sequence.length(), std::ssize(tokens)) / kv_page_positions;
  for (; cursor.pages < full; ++cursor.pages) {
    const auto at = static_cast<std::size_t>(cursor.pages);
    const Key key = next_key(cursor.key, tokens, cursor.pages);
    const auto [found, is_new] = nodes_.try_emplace(key);
    Node& node = found->second;
    if (is_new) {
      ++clock_;
      node.parent = cursor.key;
      node.depth = cursor.pages;
      node.used = clock_;
      node.pages.assign(pool_.shape().size(), no_kv_page);
      if (const auto parent = nodes_.find(cursor.key); parent != nodes_.end())
        ++parent->second.children;
    }
    for (std::int64_t layer = 0; layer < std::ssize(node.pages); ++layer) {
      if (pool_.shape()[static_cast<std::size_t>(layer)].window > 0) continue;
      KvPageId& known = node.pages[static_cast<std::size_t>(layer)];
      const KvPageId own = sequence.pages(layer)[at];
      if (known == no_kv_page) {
        known = own;
        pool_.retain(own);
      } else if (known != own) {
        sequence.replace(layer, cursor.pages, known);
      }
    }
    cursor.key = key;
  }
}

std::vector<PrefixIndex::Node*> PrefixIndex::chain(std::span<const std::int32_t> tokens) {
  std::vector<Node*> nodes;
  Key key;
  for (std::int64_t page = 0; (page + 1) * kv_page_positions <= std::ssize(tokens); ++page) {
    key = next_key(key, tokens, page);
    const auto found = nodes_.find(key);
    if (found == nodes_.end()) break;
    nodes.push_back(&found->second);
  }
  return nodes;
}

void PrefixIndex::mark_end(const KvSequence& sequence, std::span<const std::int32_t> tokens) {
  if (window_layers_.empty()) return;
  const std::vector<Node*> nodes =
      chain(tokens.first(static_cast<std::size_t>(sequence.length())));
  const std::int64_t end = std::ssize(nodes);
  for (const std::int64_t layer : window_layers_) {
    const std::int64_t first =
        sequence.first_seen(layer, end * kv_page_positions) / kv_page_positions;
    for (std::int64_t page = first; page < end; ++page) {
      KvPageId& known =
          nodes[static_cast<std::size_t>(page)]->pages[static_cast<std::size_t>(layer)];
      const KvPageId own = sequence.pages(layer)[static_cast<std::size_t>(page)];
      if (known != no_kv_page || own == no_kv_page) continue;
      known = own;
      pool_.retain(own);
    }
  }
}

std::int64_t PrefixIndex::usable(std::span<Node* const> nodes) const {
  // The longest run of pages that a window has before each place.
  std::vector<std::int64_t> run(window_layers_.size(), 0);
  std::int64_t best = 0;
  for (std::int64_t page = 0; page < std::ssize(nodes); ++page) {
    bool is_usable = true;
    for (std::size_t i = 0; i < window_layers_.size(); ++i) {
      const auto layer = static_cast<std::size_t>(window_layers_[i]);
      run[i] = nodes[static_cast<std::size_t>(page)]->pages[layer] == no_kv_page ? 0 : run[i] + 1;
      const std::int64_t position = (page + 1) * kv_page_positions,
                         first = std::max<std::int64_t>(
                             0, position + 1 - pool_.shape()[layer].window);
      is_usable = is_usable && (first >= position || page + 1 - run[i] <= first / kv_page_positions);
    }
    if (is_usable) best = page + 1;
  }
  return best;
}

std::int64_t PrefixIndex::find(std::span<const std::int32_t> tokens) {
  return usable(chain(tokens)) * kv_page_positions;
}

std::int64_t PrefixIndex::adopt(std::span<const std::int32_t> tokens, KvSequence& sequence) {
  const std::vector<Node*> nodes = chain(tokens);
  const std::int64_t count = usable(nodes);
  if (count == 0) return 0;
  ++clock_;
  const std::int64_t length = count * kv_page_positions;
  std::vector<std::vector<KvPageId>> pages(pool_.shape().size());
  for (std::int64_t page = 0; page < count; ++page) {
    Node& node = *nodes[static_cast<std::size_t>(page)];
    node.uses = 1 + uses(node);
    node.used = clock_;
    for (std::size_t layer = 0; layer < pages.size(); ++layer) {
      const std::int64_t first = sequence.first_seen(static_cast<std::int64_t>(layer), length);
      pages[layer].push_back(page >= first / kv_page_positions ? node.pages[layer] : no_kv_page);
    }
  }
  sequence.adopt(pages, length);
  return length;
}

bool PrefixIndex::reclaim() {
  auto least = nodes_.end();
  double least_worth = 0;
  bool is_whole = false;
  for (auto each = nodes_.begin(); each != nodes_.end(); ++each) {
    const Node& node = each->second;
    const auto is_alone = [&](std::int64_t layer) { return is_held_alone(node, layer); };
    bool goes_whole = false;
    for (std::int64_t layer = 0; node.children == 0 && layer < std::ssize(node.pages); ++layer)
      goes_whole = goes_whole || is_alone(layer);
    if (!goes_whole && std::ranges::none_of(window_layers_, is_alone)) continue;
    const double value = worth(node);
    if (least != nodes_.end() && value >= least_worth) continue;
    least = each;
    least_worth = value;
    is_whole = goes_whole;
  }
  if (least == nodes_.end()) return false;
  Node& node = least->second;
  if (!is_whole) {
    for (const std::int64_t layer : window_layers_)
      if (KvPageId& page = node.pages[static_cast<std::size_t>(layer)]; page != no_kv_page)
        pool_.release(std::exchange(page, no_kv_page));
    return true;
  }
  erase(least);
  return true;
}

void PrefixIndex::erase(Nodes::iterator node) {
  let_go(node->second);
  if (const auto parent = nodes_.find(node->second.parent);
      parent != nodes_.end() && parent->second.children > 0)
    --parent->second.children;
  nodes_.erase(node);
}

void PrefixIndex::forget(std::span<const std::int32_t> tokens, std::int64_t page) {
  if ((page + 1) * kv_page_positions > std::ssize(tokens)) return;
  Key key;
  for (std::int64_t i = 0; i <= page; ++i) key = next_key(key, tokens, i);
  const auto found = nodes_.find(key);
  if (found == nodes_.end()) return;
  // What others have is theirs, and is copied.
  if (std::ranges::all_of(found->second.pages, [&](KvPageId id) {
        return id == no_kv_page || pool_.holders(id) <= 2;
      }))
    erase(found);
}

}  // namespace plimsoll
