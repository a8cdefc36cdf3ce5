#include "text/special_tokens.h"

#include <algorithm>
#include <string>

namespace plimsoll {
namespace {

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

bool is_special(TokenKind kind) {
  return kind == TokenKind::control || kind == TokenKind::unknown ||
         kind == TokenKind::user_defined;
}

/// Files don't say which tokens take white space with them; models are known by name.
class StripRules {
 public:
  explicit StripRules(const Metadata& metadata) {
    std::string model(metadata.string("general.name").value_or(""));
    std::transform(model.begin(), model.end(), model.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    phi3_ = model.find("phi-3") != std::string::npos || model.find("phi3") != std::string::npos;
    const std::string_view pre = metadata.string("tokenizer.ggml.pre").value_or("");
    jina_ = pre == "jina-v2-de" || pre == "jina-v2-es" || pre == "jina-v2-code";
  }

  SpecialTokens::Strip of(std::string_view text) const {
    if (jina_) return {.left = text == "<mask>"};
    if (phi3_) return {.right = text != "<unk>" && text != "<s>" && text != "<|endoftext|>"};
    return {};
  }

 private:
  bool phi3_ = false;
  bool jina_ = false;
};

}  // namespace

SpecialTokens::SpecialTokens(const Vocabulary& vocabulary, const Metadata& metadata)
    : vocabulary_(vocabulary) {
  const StripRules rules(metadata);
  roots_.fill(-1);
  std::size_t count = 0;
  for (TokenId id = 0; id < vocabulary.size(); ++id) count += is_special(vocabulary.kind(id));
  entries_.reserve(count);
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    const std::string_view text = vocabulary.text(id);
    // Of duplicates only the first can be found.
    if (!is_special(vocabulary.kind(id)) || vocabulary.find(text) != id) continue;
    entries_.push_back({.token = id,
                        .length = static_cast<std::uint32_t>(text.size()),
                        .is_mark = vocabulary.kind(id) != TokenKind::user_defined ||
                                   vocabulary.is_end_of_generation(id),
                        .strip = rules.of(text)});
  }
  std::stable_sort(entries_.begin(), entries_.end(),
                   [](const Entry& a, const Entry& b) { return a.length > b.length; });
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    insert(vocabulary.text(entries_[i].token), static_cast<std::int32_t>(i));
  }
  nodes_.shrink_to_fit();
}

void SpecialTokens::insert(std::string_view text, std::int32_t entry) {
  std::int32_t parent = -1;
  for (const char c : text) {
    const auto byte = static_cast<std::uint8_t>(c);
    const std::int32_t first =
        parent < 0 ? roots_[byte] : nodes_[static_cast<std::size_t>(parent)].child;
    std::int32_t node = first;
    while (node >= 0 && nodes_[static_cast<std::size_t>(node)].byte != byte) {
      node = nodes_[static_cast<std::size_t>(node)].sibling;
    }
    if (node < 0) {
      node = static_cast<std::int32_t>(nodes_.size());
      nodes_.push_back({.sibling = parent < 0 ? -1 : first, .byte = byte});
      (parent < 0 ? roots_[byte] : nodes_[static_cast<std::size_t>(parent)].child) = node;
    }
    parent = node;
  }
  nodes_[static_cast<std::size_t>(parent)].entry = entry;
}

std::vector<std::int32_t> SpecialTokens::entries_in(std::string_view text,
                                                    bool with_marks) const {
  std::vector<std::int32_t> found;
  std::vector<bool> seen(entries_.size());
  for (std::size_t begin = 0; begin < text.size(); ++begin) {
    std::int32_t node = roots_[static_cast<std::uint8_t>(text[begin])];
    for (std::size_t next = begin + 1; node >= 0; ++next) {
      const Node& here = nodes_[static_cast<std::size_t>(node)];
      if (here.entry >= 0 && !seen[static_cast<std::size_t>(here.entry)]) {
        seen[static_cast<std::size_t>(here.entry)] = true;
        if (with_marks || !entries_[static_cast<std::size_t>(here.entry)].is_mark) {
          found.push_back(here.entry);
        }
      }
      if (next == text.size()) break;
      node = here.child;
      while (node >= 0 &&
             nodes_[static_cast<std::size_t>(node)].byte != static_cast<std::uint8_t>(text[next])) {
        node = nodes_[static_cast<std::size_t>(node)].sibling;
      }
    }
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::vector<Fragment> SpecialTokens::split(std::string_view text,
                                           std::span<const ByteRange> special) const {
  std::vector<Fragment> fragments;
  if (text.empty()) return fragments;
  fragments.push_back({.text = text});
  if (entries_.empty()) return fragments;

  const auto may_stand_at = [&](std::size_t begin, std::size_t end) {
    const auto range = std::ranges::lower_bound(special, end, {}, &ByteRange::end);
    return range != special.end() && range->begin <= begin;
  };

  std::vector<Fragment> next;
  for (const std::int32_t index : entries_in(text, !special.empty())) {
    const Entry& entry = entries_[static_cast<std::size_t>(index)];
    const std::string_view wanted = vocabulary_.text(entry.token);
    next.clear();
    for (const Fragment& fragment : fragments) {
      if (fragment.token != no_token) {
        next.push_back(fragment);
        continue;
      }
      std::string_view rest = fragment.text;
      while (!rest.empty()) {
        const auto offset = static_cast<std::size_t>(rest.data() - text.data());
        std::size_t found = rest.find(wanted);
        while (entry.is_mark && found != std::string_view::npos &&
               !may_stand_at(offset + found, offset + found + wanted.size()))
          found = rest.find(wanted, found + 1);
        if (found == std::string_view::npos) {
          next.push_back({.text = rest});
          break;
        }
        std::string_view left = rest.substr(0, found);
        while (entry.strip.left && !left.empty() && is_space(left.back())) left.remove_suffix(1);
        if (!left.empty()) next.push_back({.text = left});
        next.push_back({.text = rest.substr(found, wanted.size()), .token = entry.token});
        rest.remove_prefix(found + wanted.size());
        while (entry.strip.right && !rest.empty() && is_space(rest.front())) rest.remove_prefix(1);
      }
    }
    fragments.swap(next);
  }
  return fragments;
}

Bytes SpecialTokens::memory_bytes() const {
  return sizeof *this + entries_.capacity() * sizeof(Entry) + nodes_.capacity() * sizeof(Node);
}

}  // namespace plimsoll
