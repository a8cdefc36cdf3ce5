#include "hub/choice.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <map>

#include "base/error.h"

namespace plimsoll {
namespace {

/// Best first, where nobody says: 4 bits lose little and are quick; of those the mixed ones lose least.
constexpr std::array usual = {"Q4_K_M", "Q4_K_XL", "Q4_K_L", "Q4_K_S", "IQ4_XS", "IQ4_NL",
                              "Q4_1",   "Q4_0",    "Q4",     "MXFP4",  "Q5_K_M", "Q5_K_S",
                              "Q5_1",   "Q5_0",    "Q6_K",   "Q8_0"};

/// Beyond the weights: program, KV cache, activations.
constexpr Bytes running_room = 24 * MiB;

std::string upper(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), [](unsigned char c) { return std::toupper(c); });
  return out;
}

bool has_digits(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](unsigned char c) { return std::isdigit(c); });
}

/// "model-00002-of-00005" of "model-00002-of-00005.gguf": number and count of a part.
struct Part {
  std::string whole;  ///< the path without number and ending
  int number = 1, count = 1;
};

Part part_of(std::string_view path, std::string_view ending) {
  const std::string_view stem = path.substr(0, path.size() - std::min(path.size(), ending.size()));
  constexpr std::size_t digits = 5, tail = 1 + digits + 4 + digits;  // "-00001-of-00002"
  if (stem.size() > tail) {
    const std::string_view number = stem.substr(stem.size() - tail + 1, digits);
    const std::string_view count = stem.substr(stem.size() - digits);
    if (stem[stem.size() - tail] == '-' && stem.substr(stem.size() - digits - 4, 4) == "-of-" &&
        has_digits(number) && has_digits(count))
      return {std::string(stem.substr(0, stem.size() - tail)), std::stoi(std::string(number)),
              std::stoi(std::string(count))};
  }
  return {std::string(stem), 1, 1};
}

/// One model in GGUF: a file, or all parts of a set in their order.
struct Candidate {
  std::string whole, quant;
  std::vector<RemoteFile> files;
  int count = 1;
  Bytes bytes = 0;

  bool is_complete() const { return files.size() == static_cast<std::size_t>(count); }
};

bool is_gguf(const RemoteFile& file) {
  const std::string small = upper(file.path);
  if (!small.ends_with(".GGUF")) return false;
  const std::string name(file_name(small));  // parts of other models, and notes for quantisers
  return name.find("MMPROJ") == name.npos && name.find("IMATRIX") == name.npos;
}

std::vector<Candidate> candidates(const Repository& repository) {
  std::map<std::pair<std::string, int>, std::map<int, RemoteFile>> sets;
  for (const RemoteFile& file : repository.files)
    if (is_gguf(file)) {
      const Part part = part_of(file.path, ".gguf");
      sets[{part.whole, part.count}].emplace(part.number, file);
    }
  std::vector<Candidate> found;
  for (const auto& [key, parts] : sets) {
    Candidate candidate;
    candidate.whole = key.first;
    candidate.count = key.second;
    for (const auto& [number, file] : parts) {
      candidate.files.push_back(file);
      candidate.bytes += file.bytes.value_or(0);
    }
    candidate.quant = quant_of(candidate.files.front().path);
    if (candidate.is_complete()) found.push_back(std::move(candidate));
  }
  std::ranges::stable_sort(found, {}, &Candidate::bytes);
  return found;
}

Choice chosen(const Candidate& candidate, std::string why = {}) {
  return {candidate.files, candidate.files.front().path, std::move(why)};
}

std::string joined(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : ", ") + name;
  return out;
}

[[noreturn]] void refuse_missing(const ModelName& name, const std::string& wanted,
                                 std::vector<std::string> names) {
  std::vector<std::string> near = nearest_names(wanted, names, 5);
  if (near.empty()) {
    names.resize(std::min<std::size_t>(names.size(), 8));
    near = names;
  }
  throw Error(ErrorCode::not_available, fmt::format("{} has no {}", name.repo, wanted),
              near.empty() ? std::string("it has no model in GGUF or safetensors")
                           : "it has " + joined(near));
}

const RemoteFile* find(const Repository& repository, std::string_view path) {
  const auto found = std::ranges::find(repository.files, path, &RemoteFile::path);
  return found == repository.files.end() ? nullptr : &*found;
}

/// What loading a folder may read, besides the weights.
bool is_beside_weights(std::string_view path) {
  constexpr std::array names = {
      "config.json",     "generation_config.json", "tokenizer.json",    "tokenizer_config.json",
      "tokenizer.model", "vocab.json",             "merges.txt",        "added_tokens.json",
      "vocab.txt",       "special_tokens_map.json", "chat_template.json", "chat_template.jinja"};
  return std::ranges::find(names, path) != names.end() ||
         (path.starts_with("additional_chat_templates/") && path.ends_with(".jinja"));
}

Choice choose_folder(const Repository& repository, const ModelName& name) {
  constexpr std::string_view one = "model.safetensors", index = "model.safetensors.index.json";
  Choice choice;
  choice.entry = ".";
  if (find(repository, index) != nullptr) {
    choice.files.push_back(*find(repository, index));
    int count = 0, have = 0;
    for (const RemoteFile& file : repository.files) {
      if (!file.path.starts_with("model-") || !file.path.ends_with(".safetensors")) continue;
      const Part part = part_of(file.path, ".safetensors");
      if (part.whole != "model") continue;
      count = std::max(count, part.count);
      ++have;
      choice.files.push_back(file);
    }
    if (have == 0 || have != count) choice.files.clear();
  }
  if (choice.files.empty() && find(repository, one) != nullptr)
    choice.files.push_back(*find(repository, one));
  if (choice.files.empty()) {
    std::vector<std::string> names;
    for (const RemoteFile& file : repository.files) names.push_back(file.path);
    refuse_missing(name, name.quant.empty() ? "model in GGUF or safetensors" : name.quant, names);
  }
  // What is small comes first: it is read before the rest is decided on.
  std::vector<RemoteFile> files;
  for (const RemoteFile& file : repository.files)
    if (is_beside_weights(file.path)) files.push_back(file);
  choice.files.insert(choice.files.begin(), files.begin(), files.end());
  return choice;
}

Choice choose_named(const Repository& repository, const ModelName& name,
                    const std::vector<Candidate>& all) {
  for (const Candidate& candidate : all)
    for (const RemoteFile& file : candidate.files)
      if (upper(file.path) == upper(name.file)) return chosen(candidate);
  if (name.file.ends_with(".safetensors") || name.file.ends_with(".safetensors.index.json")) {
    if (find(repository, name.file) != nullptr && name.file.find('/') == name.file.npos)
      return choose_folder(repository, name);
  }
  if (const RemoteFile* other = find(repository, name.file); other != nullptr && !is_gguf(*other))
    throw Error(ErrorCode::not_available,
                fmt::format("{} of {} is no model file", name.file, name.repo),
                "name a .gguf file, or the repository alone for its safetensors folder");
  std::vector<std::string> names;
  for (const RemoteFile& file : repository.files)
    if (is_gguf(file) || file.path.ends_with(".safetensors")) names.push_back(file.path);
  refuse_missing(name, name.file, names);
}

Choice choose_quant(const ModelName& name, const std::vector<Candidate>& all) {
  const std::string wanted = upper(name.quant);
  for (const Candidate& candidate : all)
    if (candidate.quant == wanted) return chosen(candidate);
  // "UD-Q4_K_XL" and whatever else tells names apart.
  for (const Candidate& candidate : all)
    if (upper(candidate.whole).find(wanted) != std::string::npos) return chosen(candidate);
  std::vector<std::string> quants;
  for (const Candidate& candidate : all)
    if (!candidate.quant.empty()) quants.push_back(candidate.quant);
  refuse_missing(name, name.quant, quants);
}

bool is_beyond_8_bits(const Candidate& candidate) {
  return candidate.quant == "F16" || candidate.quant == "BF16" || candidate.quant == "F32" ||
         candidate.quant == "FP16";
}

Choice choose_by_room(const std::vector<Candidate>& all, const Room& room) {
  const auto fits = [&](const Candidate& candidate) {
    return candidate.bytes + candidate.bytes / 20 + running_room <= room.bytes;
  };
  const std::string of = fmt::format("of {} in this repository", all.size());
  if (!room.is_wish)
    for (const char* quant : usual)
      for (const Candidate& candidate : all)
        if (candidate.quant == quant && fits(candidate))
          return chosen(candidate, fmt::format("{} {}: the usual balance of size and quality",
                                               quant, of));
  const Candidate* best = nullptr;
  for (const Candidate& candidate : all)
    if (fits(candidate) && !is_beyond_8_bits(candidate)) best = &candidate;
  for (const Candidate& candidate : all)
    if (best == nullptr && fits(candidate)) best = &candidate;
  if (best != nullptr)
    return chosen(*best, fmt::format("{} {}: the largest that {} has room for",
                                     best->quant.empty() ? best->whole : best->quant, of,
                                     format_bytes(room.bytes)));
  return chosen(all.front(), fmt::format("{} {}: the smallest",
                                         all.front().quant.empty() ? all.front().whole
                                                                   : all.front().quant,
                                         of));
}

}  // namespace

std::optional<Bytes> Choice::bytes() const {
  Bytes total = 0;
  for (const RemoteFile& file : files) {
    if (!file.bytes) return {};
    total += *file.bytes;
  }
  return total;
}

std::string quant_of(std::string_view path) {
  const std::string stem = upper(part_of(file_name(path), ".gguf").whole);
  constexpr std::array exact = {"F16", "BF16", "F32", "FP16", "MXFP4", "NVFP4"};
  for (std::size_t end = stem.size(); end > 0;) {
    const std::size_t begin = stem.find_last_of("-.", end - 1);
    const std::size_t at = begin == stem.npos ? 0 : begin + 1;
    const std::string_view word = std::string_view(stem).substr(at, end - at);
    const std::size_t q = word.starts_with("IQ") || word.starts_with("TQ") ? 2 : 1;
    const bool is_coded = word.size() > q && word[q - 1] == 'Q' && std::isdigit(static_cast<unsigned char>(word[q]));
    if (is_coded || std::ranges::find(exact, word) != exact.end()) return std::string(word);
    if (at == 0) break;
    end = at - 1;
  }
  return "";
}

Choice choose_files(const Repository& repository, const ModelName& name, const Room& room) {
  const std::vector<Candidate> all = candidates(repository);
  if (!name.file.empty()) return choose_named(repository, name, all);
  if (upper(name.quant) == "SAFETENSORS" || all.empty()) return choose_folder(repository, name);
  if (!name.quant.empty()) return choose_quant(name, all);
  if (all.size() == 1) return chosen(all.front());
  return choose_by_room(all, room);
}

}  // namespace plimsoll
