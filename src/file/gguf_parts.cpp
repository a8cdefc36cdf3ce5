#include "file/gguf_parts.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <set>

#include "base/error.h"
#include "file/header_bytes.h"
#include "file/input_file.h"

namespace plimsoll {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view number_key = "split.no";
constexpr std::string_view count_key = "split.count";
constexpr std::string_view tensors_key = "split.tensors.count";
/// Five digits in the names.
constexpr std::int64_t most_parts = 99'999;
constexpr std::string_view suffix = ".gguf";
/// Names in a message.
constexpr std::size_t most_named = 3;

struct PartName {
  std::string prefix;  ///< with its folder
  std::int64_t number, count;
};

std::string part_name(const std::string& prefix, std::int64_t number, std::int64_t count) {
  return fmt::format("{}-{:05}-of-{:05}{}", prefix, number, count, suffix);
}

/// Five digits.
std::optional<std::int64_t> part_number(std::string_view digits) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error != std::errc() || end != digits.data() + digits.size() || number < 1)
    return std::nullopt;
  return number;
}

std::optional<PartName> parse_part_name(std::string_view path) {
  constexpr std::string_view form = "-00001-of-00001.gguf";
  if (path.size() < form.size()) return std::nullopt;
  const std::string_view end = path.substr(path.size() - form.size());
  const auto number = part_number(end.substr(1, 5)), count = part_number(end.substr(10, 5));
  if (!number || !count || end[0] != '-' || end.substr(6, 4) != "-of-" || !end.ends_with(suffix))
    return std::nullopt;
  return PartName{std::string(path.substr(0, path.size() - form.size())), *number, *count};
}

/// The same, of the path or of a link's target, one link after the other.
std::optional<PartName> followed_part_name(const std::string& path) {
  constexpr int most_links = 40;
  fs::path at = path;
  for (int i = 0; i < most_links; ++i) {
    if (auto name = parse_part_name(at.string())) return name;
    std::error_code error;
    const fs::path target = fs::read_symlink(at, error);
    if (error) return std::nullopt;
    at = at.parent_path() / target;  // an absolute target stands for itself
  }
  return std::nullopt;
}

/// "part 2", "parts 2 and 3", "parts 2, 3, 5 and 4 more".
std::string listed(const std::vector<std::int64_t>& parts) {
  std::string text = parts.size() == 1 ? "part " : "parts ";
  const std::size_t named = parts.size() <= most_named ? parts.size() : most_named;
  for (std::size_t i = 0; i < named; ++i) {
    const bool closes = i + 1 == named && named == parts.size();
    text += fmt::format("{}{}", i == 0 ? "" : closes ? " and " : ", ", parts[i]);
  }
  if (named < parts.size()) text += fmt::format(" and {} more", parts.size() - named);
  return text;
}

std::string file_name(const std::string& path) { return fs::path(path).filename().string(); }

/// The name that the first part needs, where others beside it tell.
std::optional<std::string> name_by_siblings(const std::string& path, std::int64_t count) {
  std::set<std::string> names;
  std::error_code error;
  const fs::path parent = fs::path(path).parent_path();
  for (const auto& entry : fs::directory_iterator(parent.empty() ? "." : parent, error))
    if (const auto name = parse_part_name(entry.path().filename().string());
        name && name->count == count && name->number > 1)
      names.insert(part_name(name->prefix, 1, count));
  return names.size() == 1 ? std::optional(*names.begin()) : std::nullopt;
}

[[noreturn]] void refuse(const std::string& path, const std::string& what, std::string hint) {
  throw Error(ErrorCode::invalid_model, fmt::format("{}: {}", path, what), std::move(hint));
}

}  // namespace

std::optional<GgufPart> part_of(const Metadata& metadata, const std::string& path) {
  const auto corrupt = [&path](const std::string& what) {
    throw Error(ErrorCode::file_corrupt, fmt::format("{}: {}", path, what),
                "the file is damaged or was split wrongly: download or split it again");
  };
  const auto integer = [&](std::string_view key) -> std::optional<std::int64_t> {
    try {
      return metadata.integer(key);
    } catch (const Error& error) {
      corrupt(error.message());
      return std::nullopt;
    }
  };
  const std::int64_t count = integer(count_key).value_or(0);
  // Files that were put together again keep the key, with 0.
  if (count == 0 || count == 1) return std::nullopt;
  if (count < 0 || count > most_parts)
    corrupt(fmt::format("key {}: wanted 0 to {}, found {}", quoted(count_key), most_parts, count));
  const auto number = integer(number_key);
  if (!number)
    corrupt(fmt::format("is one of {} parts, but key {} is missing", count, quoted(number_key)));
  if (*number < 0 || *number >= count)
    corrupt(fmt::format("key {}: wanted 0 to {}, found {}", quoted(number_key), count - 1, *number));
  return GgufPart{*number + 1, count, integer(tensors_key)};
}

std::vector<std::string> part_paths(const std::string& path, const GgufPart& part) {
  const std::optional<PartName> name = followed_part_name(path);
  const std::string which = fmt::format("part {} of {} of a model", part.number, part.count);
  if (part.number != 1) {
    if (!name || name->count != part.count)
      refuse(path, fmt::format("is {}: only the first part can be opened", which),
             "name the first part");
    const std::string first = part_name(name->prefix, 1, part.count);
    const bool there = file_exists(first);
    refuse(path, fmt::format("is {}; the first is {}{}", which, first, there ? "" : ", which is missing"),
           there ? "name " + first : "download the first part into the same folder, and name it");
  }
  if (!name) {
    const auto wanted = name_by_siblings(path, part.count);
    refuse(path,
           fmt::format("is {}, but its name does not end in \"{}\", by which the others are found",
                       which, part_name("", 1, part.count)),
           wanted ? fmt::format("rename it to {}", *wanted)
                  : "give all parts the names that they were split with");
  }
  if (name->number != part.number || name->count != part.count)
    refuse(path,
           fmt::format("is {} by what it holds, and part {} of {} by its name", which, name->number,
                       name->count),
           "give all parts the names that they were split with");

  std::vector<std::string> paths;
  std::vector<std::int64_t> missing;
  for (std::int64_t number = 1; number <= part.count; ++number) {
    paths.push_back(part_name(name->prefix, number, part.count));
    if (!file_exists(paths.back())) missing.push_back(number);
  }
  if (missing.empty()) return paths;
  std::string names;
  for (std::size_t i = 0; i < std::min(missing.size(), most_named); ++i)
    names += fmt::format("{}{}", i == 0 ? "" : ", ",
                         file_name(paths[static_cast<std::size_t>(missing[i] - 1)]));
  throw Error(ErrorCode::file_not_found,
              fmt::format("{}: {} of {} {} missing: {}{}", path, listed(missing), part.count,
                          missing.size() == 1 ? "is" : "are", names,
                          missing.size() > most_named ? ", ..." : ""),
              "download all parts into one folder, under the names that they were split with");
}

void check_part(const std::optional<GgufPart>& found, const std::string& path, std::int64_t number,
                const GgufPart& first) {
  const std::string hint = "download or split the model again: its parts do not belong together";
  const std::string wanted = fmt::format("wanted part {} of {}", number, first.count);
  if (!found) refuse(path, fmt::format("{}, found a whole file", wanted), hint);
  if (found->number != number || found->count != first.count)
    refuse(path, fmt::format("{}, found part {} of {}", wanted, found->number, found->count), hint);
  if (found->tensors != first.tensors)
    refuse(path,
           fmt::format("{} of a model of {} tensors, found one of {}", wanted,
                       first.tensors ? fmt::to_string(*first.tensors) : "unknown",
                       found->tensors ? fmt::to_string(*found->tensors) : "unknown"),
           hint);
}

void allow_open_files(std::int64_t files) {
  constexpr rlim_t others = 64;
  rlimit limit{};
  // Each is opened twice: through the file cache, and around it.
  const rlim_t needed = 2 * static_cast<rlim_t>(files) + others;
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= needed) return;
  limit.rlim_cur = std::min(needed, limit.rlim_max);
  ::setrlimit(RLIMIT_NOFILE, &limit);  // where that fails, opening says what is wrong
}

std::optional<std::string> gguf_in_folder(const std::string& folder) {
  std::set<std::string> models;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    std::error_code ignored;
    if (!name.ends_with(suffix) || name.starts_with("mmproj") || name.starts_with(".") ||
        !entry.is_regular_file(ignored))
      continue;
    const std::optional<PartName> part = parse_part_name(entry.path().string());
    models.insert(part ? part_name(part->prefix, 1, part->count) : entry.path().string());
  }
  if (models.empty()) return std::nullopt;
  if (models.size() == 1) return *models.begin();
  std::string names;
  std::size_t named = 0;
  for (const std::string& model : models) {
    if (named++ == most_named) break;
    names += fmt::format("{}{}", named == 1 ? "" : ", ", file_name(model));
  }
  throw Error(ErrorCode::file_unreadable,
              fmt::format("{}: wanted one model, found a directory with {}: {}{}", folder,
                          models.size(), names, models.size() > most_named ? ", ..." : ""),
              fmt::format("name one of them, such as {}", *models.begin()));
}

}  // namespace plimsoll
