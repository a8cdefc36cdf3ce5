#include "file/tensor_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <optional>
#include <string>

#include "base/error.h"

namespace plimsoll {
namespace {

constexpr int most_dimensions = 4;
constexpr std::size_t longest_name = 65535;
/// Length of the name, one character, rank, one dimension, type, offset.
constexpr Bytes least_entry_bytes = 33;

/// Types that programs have written and this one does not read, by their numbers.
struct UnreadType {
  std::uint32_t number;
  std::string_view name;
  std::string_view instead;
};
constexpr UnreadType unread_types[] = {
    {4, "Q4_2, of 2023", "Q4_0"},
    {5, "Q4_3, of 2023", "Q4_1"},
    {31, "Q4_0_4_4, Q4_0 in another order", "Q4_0"},
    {32, "Q4_0_4_8, Q4_0 in another order", "Q4_0"},
    {33, "Q4_0_8_8, Q4_0 in another order", "Q4_0"},
    {36, "IQ4_NL_4_4, IQ4_NL in another order", "IQ4_NL"},
    {37, "IQ4_NL_4_8, IQ4_NL in another order", "IQ4_NL"},
    {38, "IQ4_NL_8_8, IQ4_NL in another order", "IQ4_NL"},
};

const Format& checked_format(const HeaderCursor& cursor, std::string_view tensor,
                             std::uint32_t type) {
  const Format* f = find_format(type);
  if (f) return *f;
  std::string readable;
  for (const Format& row : formats())
    readable += fmt::format("{}{}", readable.empty() ? "" : ", ", row.name);
  const auto unread = std::ranges::find(unread_types, type, &UnreadType::number);
  const bool is_named = unread != std::end(unread_types);
  throw Error(ErrorCode::unsupported_format,
              fmt::format("{}: tensor {} has type number {}, which is {}", cursor.path(),
                          quoted(tensor), type,
                          is_named ? fmt::format("not read here: {}", unread->name) : "unknown"),
              is_named ? fmt::format("take the model in {}", unread->instead)
                       : fmt::format("take a version of the model in one of: {}", readable));
}

/// What Ollama's converter gives models without frequency factors: such a tensor of no values.
bool may_be_empty(std::string_view tensor) {
  return tensor == "rope_factors_long.weight" || tensor == "rope_factors_short.weight";
}

/// Rank and dimensions; their product fits 63 bits.
void read_shape(HeaderCursor& cursor, TensorInfo& tensor) {
  const std::uint32_t rank = cursor.u32("number of dimensions");
  if (rank < 1 || rank > most_dimensions)
    cursor.corrupt(fmt::format("tensor {}: wanted 1 to {} dimensions, found {}",
                               quoted(tensor.name), most_dimensions, rank));
  tensor.rank = static_cast<int>(rank);
  tensor.shape = {1, 1, 1, 1};
  std::uint64_t product = 1;
  for (std::uint32_t d = 0; d < rank; ++d) {
    const std::uint64_t dimension = cursor.u64("dimension");
    const std::optional<std::uint64_t> larger = checked_multiply(product, dimension);
    const bool is_empty = dimension == 0 && !may_be_empty(tensor.name);
    if (is_empty || !larger || *larger > std::numeric_limits<std::int64_t>::max())
      cursor.corrupt(fmt::format(
          "tensor {}: wanted dimensions whose product is from 1 to 2^63 - 1, found {} as number {}",
          quoted(tensor.name), dimension, d));
    product = *larger;
    tensor.shape[d] = static_cast<std::int64_t>(dimension);
  }
}

void check_overlaps(const HeaderCursor& cursor, const std::vector<TensorInfo>& tensors) {
  std::vector<std::uint32_t> order(tensors.size());
  std::iota(order.begin(), order.end(), 0u);
  std::ranges::sort(order, {}, [&](std::uint32_t i) { return tensors[i].offset; });
  for (std::size_t i = 1; i < order.size(); ++i) {
    const TensorInfo& before = tensors[order[i - 1]];
    const TensorInfo& after = tensors[order[i]];
    if (after.offset < before.offset + before.bytes)
      cursor.corrupt(fmt::format(
          "tensor {}: wanted to start at byte {} or later, after {}, found {}", quoted(after.name),
          before.offset + before.bytes, quoted(before.name), after.offset));
  }
}

}  // namespace

std::optional<Bytes> tensor_bytes(const Format& format, std::int64_t columns, std::int64_t rows) {
  const std::optional<Bytes> row = checked_multiply(
      static_cast<Bytes>(columns / format.block_values), static_cast<Bytes>(format.block_bytes));
  return row ? checked_multiply(*row, static_cast<Bytes>(rows)) : std::nullopt;
}

std::optional<std::string_view> index_names(TensorTable& table) {
  table.by_name.resize(table.tensors.size());
  std::iota(table.by_name.begin(), table.by_name.end(), 0u);
  const auto tensor_name = [&](std::uint32_t i) { return table.tensors[i].name; };
  std::ranges::sort(table.by_name, {}, tensor_name);
  const auto twice = std::ranges::adjacent_find(table.by_name, {}, tensor_name);
  if (twice == table.by_name.end()) return std::nullopt;
  return tensor_name(*twice);
}

TensorTable read_tensor_table(HeaderCursor& cursor, std::uint64_t count, std::int64_t alignment,
                              Bytes file_bytes) {
  if (count > cursor.remaining() / least_entry_bytes)
    cursor.corrupt(fmt::format(
        "wanted {} tensors, of {} bytes each at least, found {} bytes before the end of the file",
        count, least_entry_bytes, cursor.remaining()));
  TensorTable table;
  table.tensors.reserve(count);
  for (std::uint64_t i = 0; i < count; ++i) {
    TensorInfo tensor{};
    cursor.claim(sizeof(TensorInfo));
    tensor.name = cursor.string(fmt::format("name of tensor {}", i));
    if (tensor.name.empty() || tensor.name.size() > longest_name)
      cursor.corrupt(fmt::format("name of tensor {}: wanted 1 to {} bytes, found {}", i,
                                 longest_name, tensor.name.size()));
    read_shape(cursor, tensor);
    tensor.format = &checked_format(cursor, tensor.name, cursor.u32("tensor type"));
    if (tensor.columns() % tensor.format->block_values != 0)
      cursor.corrupt(fmt::format(
          "tensor {}: wanted rows of a multiple of {} values for {}, found {}", quoted(tensor.name),
          tensor.format->block_values, tensor.format->name, tensor.columns()));
    tensor.offset = cursor.u64("tensor offset");
    if (tensor.columns() > 0 && tensor.rows() > 0) table.tensors.push_back(tensor);
  }

  // Offsets count from the first multiple of the alignment after the table.
  const auto step = static_cast<std::uint64_t>(alignment);
  const std::uint64_t table_end = cursor.position();
  const std::optional<std::uint64_t> data_start =
      checked_add(table_end, (step - table_end % step) % step);
  const TensorInfo* outside = nullptr;  // the first that is not whole in the file
  std::optional<std::uint64_t> whole = 0;  // bytes of a file that has all of them
  for (TensorInfo& tensor : table.tensors) {
    if (tensor.offset % step != 0)
      cursor.corrupt(fmt::format("tensor {}: wanted an offset that is a multiple of {}, found {}",
                                 quoted(tensor.name), alignment, tensor.offset));
    const std::optional<Bytes> bytes =
        tensor_bytes(*tensor.format, tensor.columns(), tensor.rows());
    const std::optional<std::uint64_t> start =
        data_start ? checked_add(*data_start, tensor.offset) : std::nullopt;
    const std::optional<std::uint64_t> end =
        bytes && start ? checked_add(*start, *bytes) : std::nullopt;
    whole = whole && end ? std::optional(std::max(*whole, *end)) : std::nullopt;
    if (!outside && (!end || *end > file_bytes)) outside = &tensor;
    if (outside == &tensor) {
      tensor.bytes = bytes.value_or(0);
      continue;
    }
    if (outside) continue;
    tensor.offset = *start;
    tensor.bytes = *bytes;
  }
  if (outside)
    cursor.corrupt(fmt::format(
        "tensor {}: wanted {} bytes at offset {} of the tensor data, found a file of {} bytes{}",
        quoted(outside->name),
        outside->bytes > 0 ? fmt::to_string(outside->bytes) : "more than 2^64", outside->offset,
        file_bytes,
        whole ? fmt::format("; {} of the whole's {} bytes are missing", *whole - file_bytes, *whole)
              : ""));
  if (const auto twice = index_names(table))
    cursor.corrupt(fmt::format("tensor {}: wanted once, found twice", quoted(*twice)));
  check_overlaps(cursor, table.tensors);
  return table;
}

}  // namespace plimsoll
