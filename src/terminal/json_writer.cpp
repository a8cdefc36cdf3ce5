#include "terminal/json_writer.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/process.h"
#include "terminal/output.h"
#include "text/utf8.h"

namespace plimsoll {
namespace {

constexpr std::size_t block_bytes = 16 * KiB;

std::string dumped(const nlohmann::ordered_json& value) {
  return value.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

/// At most block_bytes of `text`, up to where a character may begin.
std::string_view first_block(std::string_view text) {
  if (text.size() <= block_bytes) return text;
  std::size_t size = block_bytes;
  constexpr std::size_t longest_character = 4;
  while (size > block_bytes - longest_character && (text[size] & 0xC0) == 0x80) --size;
  return text.substr(0, size);
}

}  // namespace

JsonWriter::JsonWriter(bool one_line) : one_line_(one_line) {
  // All of it now, so that it is part of a peak that is asked for meanwhile.
  buffer_.assign(2 * block_bytes, '{');
  buffer_.resize(1);
}

void JsonWriter::write(std::string_view text) {
  if (buffer_.size() + text.size() > 2 * block_bytes) {
    write_out(buffer_);
    buffer_.clear();
  }
  buffer_ += text;
}

void JsonWriter::begin_member(std::string_view key) {
  if (!is_first_) write(",");
  is_first_ = false;
  break_line();
  if (!open_.empty() && open_.back() != Inside::object) return;
  write(dumped(std::string(key)));
  write(one_line_ ? ":" : ": ");
}

void JsonWriter::break_line() {
  if (one_line_ || (!open_.empty() && open_.back() == Inside::flat_array)) return;
  write("\n" + std::string(2 * open_.size() + 2, ' '));
}

void JsonWriter::open(std::string_view key, Inside inside) {
  begin_member(key);
  write(inside == Inside::object ? "{" : "[");
  open_.push_back(inside);
  is_first_ = true;
}

void JsonWriter::close() {
  const Inside inside = open_.back();
  open_.pop_back();
  if (!is_first_ && inside != Inside::flat_array) break_line();
  write(inside == Inside::object ? "}" : "]");
  is_first_ = false;
}

void JsonWriter::add(std::string_view key, const nlohmann::ordered_json& value) {
  begin_member(key);
  write(one_line_ ? dumped(value) : json_text(value, open_.size() + 1));
}

void JsonWriter::add_text(std::string_view key, std::string_view text) {
  begin_member(key);
  write("\"");
  while (!text.empty()) {
    const std::string_view block = first_block(text);
    text.remove_prefix(block.size());
    const std::string quoted = dumped(std::string(block));
    write(std::string_view(quoted).substr(1, quoted.size() - 2));
  }
  write("\"");
}

void JsonWriter::add_ids(std::string_view key, std::span<const TokenId> ids) {
  begin_member(key);
  write("[");
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (i > 0) write(",");
    write(std::to_string(ids[i]));
  }
  write("]");
}

void JsonWriter::end() {
  write(one_line_ ? "}\n" : "\n}\n");
  write_out(buffer_);
  buffer_.clear();
}

void print_json_with_peak(nlohmann::ordered_json object) {
  nlohmann::ordered_json& member = object["peak_bytes"];
  const Bytes before = member.is_number() ? member.get<Bytes>() : 0;
  // Twice: the text is made once with a number that takes as much room.
  std::string text;
  for (int i = 0; i < 2; ++i) {
    member = std::max(before, process_memory().peak);
    text = json_text(object);
  }
  write_out(text);
}

}  // namespace plimsoll
