#include "hub/names.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "base/error.h"

namespace plimsoll {
namespace {

constexpr std::string_view hub_hosts[] = {"huggingface.co", "hf.co", "www.huggingface.co"};
constexpr std::size_t longest_path = 1024;
constexpr std::size_t longest_part = 200;

std::string lower(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), [](unsigned char c) { return std::tolower(c); });
  return out;
}

[[noreturn]] void wrong(std::string_view text, const std::string& why) {
  throw Error(ErrorCode::usage, fmt::format("\"{}\" is no model's name: {}", text, why),
              "names are like smollm2, hf:ORG/REPO, ORG/REPO:FILE.gguf, ORG/REPO:Q4_K_M, an address of a "
              "file, or ollama:NAME:TAG");
}

/// What the hub allows in an owner's and a repository's name.
bool is_repo_part(std::string_view part) {
  if (part.empty() || part.size() > 96 || part.front() == '.' || part.front() == '-' ||
      part.back() == '.' || part.find("..") != part.npos)
    return false;
  return std::ranges::all_of(part, [](unsigned char c) {
    return std::isalnum(c) || c == '-' || c == '_' || c == '.';
  });
}

bool is_revision(std::string_view text) {
  return is_safe_path(text) && text.find_first_of(" ?#%:@") == text.npos;
}

bool is_quant(std::string_view text) {
  return !text.empty() && text.size() <= 64 && std::ranges::all_of(text, [](unsigned char c) {
    return std::isalnum(c) || c == '_' || c == '-' || c == '.';
  });
}

bool names_a_file(std::string_view text) {
  const std::string small = lower(text);
  return text.find('/') != text.npos || small.ends_with(".gguf") || small.ends_with(".safetensors") ||
         small.ends_with(".json");
}

std::vector<std::string_view> split(std::string_view text, char at) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t end = text.find(at);
    parts.push_back(text.substr(0, end));
    if (end == text.npos) return parts;
    text.remove_prefix(end + 1);
  }
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char small = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return small >= 'a' && small <= 'f' ? small - 'a' + 10 : -1;
}

/// Of an address; a % without two digits stands for itself.
std::string percent_decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 &&
        hex_digit(text[i + 2]) >= 0) {
      out += static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

/// ORG/REPO[:FILE | :QUANT][@REVISION], the revision also before the colon. `strict` throws for what is wrong.
std::optional<ModelName> parse_repo(std::string_view text, std::string_view whole, bool strict) {
  const auto fail = [&](const std::string& why) -> std::optional<ModelName> {
    if (strict) wrong(whole, why);
    return {};
  };
  ModelName name;
  std::string_view repo = text, rest;
  if (const std::size_t colon = text.find(':'); colon != text.npos) {
    repo = text.substr(0, colon);
    rest = text.substr(colon + 1);
    if (rest.empty()) return fail("nothing stands behind its colon");
  }
  const auto take_revision = [&](std::string_view& from) {
    const std::size_t at = from.rfind('@');
    if (at == from.npos) return true;
    name.revision = from.substr(at + 1);
    from = from.substr(0, at);
    return is_revision(name.revision);
  };
  if (!take_revision(repo) || !take_revision(rest)) return fail("that is no revision behind its @");
  const auto parts = split(repo, '/');
  if (parts.size() != 2 || !is_repo_part(parts[0]) || !is_repo_part(parts[1]))
    return fail("a repository is ORG/REPO");
  name.repo = repo;
  if (names_a_file(rest)) {
    if (!is_safe_path(rest)) return fail("that is no path in a repository");
    name.file = rest;
  } else if (!rest.empty()) {
    if (!is_quant(rest)) return fail("behind the colon stands a file or a quantisation");
    name.quant = rest;
  }
  return name;
}

/// The path of an address on the hub: /ORG/REPO, with /resolve/REV/FILE, /blob/REV/FILE, /raw/REV/FILE or /tree/REV.
std::optional<ModelName> parse_hub_path(std::string_view path, std::string_view whole) {
  path = path.substr(0, path.find_first_of("?#"));
  while (path.ends_with('/')) path.remove_suffix(1);
  while (path.starts_with('/')) path.remove_prefix(1);
  const auto parts = split(path, '/');
  if (parts.size() == 2 && names_a_file(parts[1])) return {};  // a file at the top of some server
  if (parts.size() <= 2) return parse_repo(percent_decoded(path), whole, true);
  if (parts.size() < 4 || !is_repo_part(parts[0]) || !is_repo_part(parts[1])) return {};
  const std::string_view kind = parts[2];
  if (kind != "resolve" && kind != "blob" && kind != "raw" && kind != "tree") return {};
  ModelName name;
  name.repo = fmt::format("{}/{}", parts[0], parts[1]);
  name.revision = percent_decoded(parts[3]);
  for (std::size_t i = 4; i < parts.size(); ++i)
    name.file += fmt::format("{}{}", i > 4 ? "/" : "", percent_decoded(parts[i]));
  if (!is_revision(name.revision)) wrong(whole, "that is no revision");
  if (kind == "tree") name.file.clear();
  else if (!is_safe_path(name.file)) wrong(whole, "that is no path in a repository");
  return name;
}

/// A known model's own repository and file, or any.
void note_known(ModelName& name) {
  for (const KnownModel& model : known_models())
    if (name.source == ModelName::Source::hub && name.revision == "main" &&
        name.repo == model.repo && name.file == model.file && model.packaged == nullptr)
      name.known = &model;
}

std::optional<ModelName> parse_address(std::string_view text, std::string_view endpoint) {
  if (text.size() > 4096 || std::ranges::any_of(text, [](unsigned char c) { return c <= ' ' || c == 127; }))
    wrong(text.substr(0, 200), "an address has no spaces and at most 4,096 characters");
  const std::string small = lower(text);
  const auto on_hub = [&](std::string_view rest) { return parse_hub_path(rest, text); };
  if (!endpoint.empty() && text.starts_with(endpoint) && text.substr(endpoint.size()).starts_with('/'))
    if (auto name = on_hub(text.substr(endpoint.size()))) return name;
  for (const std::string_view host : hub_hosts)
    for (const std::string_view scheme : {"https://", "http://"}) {
      const std::string begin = fmt::format("{}{}/", scheme, host);
      if (!small.starts_with(begin)) continue;
      if (auto name = on_hub(text.substr(begin.size()))) return name;
      wrong(text, "that page of the hub is neither a model nor one of its files");
    }
  const std::size_t host_at = text.find("://") + 3;
  const std::string_view host = text.substr(host_at, text.find_first_of("/?#", host_at) - host_at);
  if (host.empty()) wrong(text, "it names no host");
  if (host.find('@') != host.npos) wrong(text, "no password belongs into an address");
  ModelName name;
  name.source = ModelName::Source::url;
  name.url = text.substr(0, text.find('#'));
  return name;
}

/// Edits (insert, remove, replace, swap neighbours) from one text to the other: Damerau and Levenshtein's distance.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<std::size_t>> d(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
  for (std::size_t j = 0; j <= b.size(); ++j) d[0][j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i)
    for (std::size_t j = 1; j <= b.size(); ++j) {
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
    }
  return d[a.size()][b.size()];
}

}  // namespace

std::string ModelName::text() const {
  if (known != nullptr) return std::string(known->name);
  switch (source) {
    case Source::url:
      return url;
    case Source::ollama:
      return fmt::format("ollama:{}:{}", repo, quant);
    case Source::hub:
      break;
  }
  std::string text = repo;
  const auto add = [&text](char mark, const std::string& part) {
    text += mark;
    text += part;
  };
  if (revision != "main") add('@', revision);
  if (!file.empty()) add(':', file);
  if (!quant.empty()) add(':', quant);
  return text;
}

std::optional<ModelName> parse_model_name(std::string_view text, std::string_view endpoint) {
  std::optional<ModelName> name;
  const std::string small = lower(text);
  if (const KnownModel* known = find_known_model(text)) {
    name.emplace();
    name->repo = known->repo;
    name->file = known->file;
    name->known = known;
    return name;
  }
  if (small.starts_with("http://") || small.starts_with("https://")) {
    name = parse_address(text, endpoint);
  } else if (small.starts_with("ollama:")) {
    const std::string_view rest = text.substr(7);
    const std::size_t colon = rest.find(':');
    name.emplace();
    name->source = ModelName::Source::ollama;
    name->repo = rest.substr(0, colon);
    name->quant = colon == rest.npos ? "latest" : rest.substr(colon + 1);
    if (!is_safe_path(name->repo) || !is_quant(name->quant)) wrong(text, "wanted ollama:NAME[:TAG]");
    return name;
  } else if (small.starts_with("hf:")) {
    std::string_view rest = text.substr(3);
    while (rest.starts_with('/')) rest.remove_prefix(1);
    name = parse_repo(rest, text, true);
  } else {
    for (const std::string_view host : hub_hosts)
      if (small.starts_with(fmt::format("{}/", host))) {
        const std::string_view path = text.substr(host.size() + 1);
        name = path.find(':') != path.npos ? parse_repo(path, text, true) : parse_hub_path(path, text);
        if (!name) wrong(text, "that page of the hub is neither a model nor one of its files");
      }
    if (!name) {
      const std::string_view path = text.substr(0, text.find('@'));
      const std::size_t slash = path.find('/');
      if (text.find(':') == text.npos && names_a_file(path.substr(slash == path.npos ? 0 : slash + 1)))
        return {};  // a path, by its ending
      name = parse_repo(text, text, false);
    }
  }
  if (name) note_known(*name);
  return name;
}

bool is_safe_path(std::string_view path) {
  if (path.empty() || path.size() > longest_path) return false;
  for (const std::string_view part : split(path, '/'))
    if (part.empty() || part == "." || part == ".." || part.size() > longest_part) return false;
  return std::ranges::none_of(path, [](unsigned char c) { return c < ' ' || c == 127 || c == '\\'; });
}

std::string_view file_name(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  return slash == path.npos ? path : path.substr(slash + 1);
}

std::vector<std::string> nearest_names(std::string_view wanted, std::span<const std::string> choices,
                                       std::size_t most) {
  constexpr std::size_t longest = 256;
  const std::string small = lower(wanted.substr(0, longest));
  std::vector<std::pair<std::size_t, std::string>> near;
  for (const std::string& choice : choices) {
    const std::string other = lower(std::string_view(choice).substr(0, longest));
    const std::size_t edits = distance(small, other);
    const bool holds = small.size() >= 3 && other.find(small) != other.npos;
    if (holds || edits <= std::max<std::size_t>(2, small.size() / 3))
      near.emplace_back(holds ? std::min<std::size_t>(edits, 2) : edits, choice);
  }
  std::ranges::stable_sort(near, {}, &std::pair<std::size_t, std::string>::first);
  std::vector<std::string> names;
  for (const auto& [edits, choice] : near)
    if (names.size() < most && std::ranges::find(names, choice) == names.end()) names.push_back(choice);
  return names;
}

}  // namespace plimsoll
