#include "text/token_stream.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "text/work_refusal.h"
#include "text/utf8.h"

namespace plimsoll {
namespace {

constexpr std::size_t first_try = 256 * 1024;

}  // namespace

TokenStream::TokenStream(const Tokenizer& tokenizer, Bytes most)
    : tokenizer_(tokenizer), most_(most), next_try_(first_try) {}

void TokenStream::check(std::size_t from, bool is_end) {
  const std::string_view text = std::string_view(pending_).substr(from);
  const std::optional<std::size_t> invalid = find_invalid_utf8(text);
  whole_ = from + invalid.value_or(text.size());
  if (!invalid) return;
  if (!is_end && next_utf8(text.substr(*invalid)).kind == Utf8Step::Kind::incomplete) return;
  throw Error(ErrorCode::invalid_text,
              fmt::format("the text is not UTF-8: byte 0x{:02X} at offset {}",
                          static_cast<unsigned>(static_cast<unsigned char>(pending_[whole_])),
                          done_ + whole_),
              "convert the text to UTF-8");
}

void TokenStream::push(std::string_view bytes, std::vector<TokenId>& out) {
  if (pending_.size() + bytes.size() > most_)
    throw WorkRefusal(fmt::format("the text goes on for more than {} from byte {} on without a place "
                                  "where it can be cut, and {} are there to hold it",
                                  format_bytes(pending_.size()), done_, format_bytes(most_)),
                      pending_.size() + bytes.size(), pending_.size() + bytes.size(), most_);
  pending_.append(bytes);
  check(whole_, false);
  while (whole_ >= next_try_) {
    const std::size_t taken =
        tokenizer_.encode_beginning(std::string_view(pending_).substr(0, whole_), progress_, out);
    next_try_ = taken > 0 ? first_try : 2 * whole_;
    pending_.erase(0, taken);
    whole_ -= taken;
    done_ += taken;
  }
}

void TokenStream::finish(std::vector<TokenId>& out) {
  check(whole_, true);
  tokenizer_.encode_end(pending_, progress_, out);
  pending_.clear();
}

}  // namespace plimsoll
