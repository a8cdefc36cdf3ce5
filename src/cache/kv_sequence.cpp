#include "cache/kv_sequence.h"

#include <algorithm>
#include <cassert>
#include <utility>

namespace plimsoll {

KvSequence::KvSequence(PagePool& pool, std::int64_t context, Room room)
    : pool_(&pool), context_(context), tables_(pool.shape().size()) {
  if (room == Room::promised) pool.promise(promised_ = context);
  const auto most = static_cast<std::size_t>(kv_pages(context));
  for (Table& table : tables_) table.pages.reserve(most);
  views_.reserve(most);
}

KvSequence::~KvSequence() {
  truncate(0);
  pool_->release_promise(promised_);
  pool_->trim();
}

KvSequence::KvSequence(KvSequence&& other) noexcept
    : pool_(other.pool_),
      context_(other.context_),
      promised_(std::exchange(other.promised_, 0)),
      length_(std::exchange(other.length_, 0)),
      tables_(std::exchange(other.tables_, std::vector<Table>(other.tables_.size()))),
      views_(std::move(other.views_)) {}

KvSequence& KvSequence::operator=(KvSequence&& other) noexcept {
  std::swap(pool_, other.pool_);
  std::swap(context_, other.context_);
  std::swap(promised_, other.promised_);
  std::swap(length_, other.length_);
  std::swap(tables_, other.tables_);
  std::swap(views_, other.views_);
  return *this;
}

std::int64_t KvSequence::first_seen(std::int64_t layer, std::int64_t position) const {
  const std::int64_t window = pool_->shape()[static_cast<std::size_t>(layer)].window;
  return window > 0 ? std::max<std::int64_t>(0, position + 1 - window) : 0;
}

void KvSequence::release_from(std::int64_t layer, std::size_t page) {
  Table& table = tables_[static_cast<std::size_t>(layer)];
  while (table.pages.size() > page) {
    if (table.pages.back() != no_kv_page) pool_->release(table.pages.back());
    table.pages.pop_back();
  }
  table.first = std::min(table.first, table.pages.size());
}

void KvSequence::release_before(std::int64_t layer, std::size_t page) {
  Table& table = tables_[static_cast<std::size_t>(layer)];
  for (; table.first < std::min(page, table.pages.size()); ++table.first)
    if (KvPageId& id = table.pages[table.first]; id != no_kv_page) {
      pool_->release(id);
      id = no_kv_page;
    }
}

std::int64_t KvSequence::truncate(std::int64_t length) {
  length = std::min(length, length_);
  const auto full_pages = length / kv_page_positions;
  if (length % kv_page_positions != 0) {
    // The page that would be written again.
    const bool is_there = std::ranges::all_of(tables_, [&](const Table& table) {
      const auto at = static_cast<std::size_t>(full_pages);
      return at < table.pages.size() && table.pages[at] != no_kv_page &&
             pool_->has_exact(table.pages[at]);
    });
    if (!is_there) length = full_pages * kv_page_positions;
  }
  for (std::size_t layer = 0; layer < tables_.size() && length > 0; ++layer) {
    const std::int64_t first = first_seen(static_cast<std::int64_t>(layer), length);
    if (first < length && tables_[layer].first > static_cast<std::size_t>(first / kv_page_positions))
      length = 0;
  }
  for (std::size_t layer = 0; layer < tables_.size(); ++layer)
    release_from(static_cast<std::int64_t>(layer), static_cast<std::size_t>(kv_pages(length)));
  length_ = length;
  return length;
}

void KvSequence::fork_from(const KvSequence& other) {
  assert(other.pool_ == pool_ && this != &other);
  truncate(0);
  for (std::size_t layer = 0; layer < tables_.size(); ++layer) {
    for (const KvPageId id : other.tables_[layer].pages)
      if (id != no_kv_page) pool_->retain(id);
    tables_[layer].pages.assign(other.tables_[layer].pages.begin(),
                                other.tables_[layer].pages.end());
    tables_[layer].first = other.tables_[layer].first;
  }
  length_ = other.length_;
}

void KvSequence::adopt(const std::vector<std::vector<KvPageId>>& pages, std::int64_t length) {
  assert(length_ == 0 && pages.size() == tables_.size() && length % kv_page_positions == 0);
  for (std::size_t layer = 0; layer < tables_.size(); ++layer) {
    Table& table = tables_[layer];
    table.pages.assign(pages[layer].begin(), pages[layer].end());
    table.first = static_cast<std::size_t>(
        std::ranges::find_if(table.pages, [](KvPageId id) { return id != no_kv_page; }) -
        table.pages.begin());
    for (const KvPageId id : table.pages)
      if (id != no_kv_page) pool_->retain(id);
  }
  length_ = length;
}

void KvSequence::replace(std::int64_t layer, std::int64_t place, KvPageId page) {
  KvPageId& own =
      tables_[static_cast<std::size_t>(layer)].pages[static_cast<std::size_t>(place)];
  pool_->retain(page);
  pool_->release(std::exchange(own, page));
}

const KvPageView* KvSequence::views(std::int64_t layer) {
  const Table& table = tables_[static_cast<std::size_t>(layer)];
  views_.assign(table.pages.size(), {});
  for (std::size_t i = table.first; i < table.pages.size(); ++i)
    views_[i] = pool_->view(table.pages[i]);
  return views_.data();
}

}  // namespace plimsoll
