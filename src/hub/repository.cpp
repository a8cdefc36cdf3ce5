#include "hub/repository.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "base/error.h"
#include "hub/parse_json.h"

namespace plimsoll {
namespace {

using nlohmann::json;

constexpr Bytes longest_answer = 16 * MiB;
constexpr int most_pages = 50;  // of a thousand files each
constexpr std::size_t most_files = 20'000;

json ask(Fetcher& fetcher, const std::string& url, const ModelName& name, HttpResponse& response) {
  std::string body;
  response = fetcher.get_text(url, longest_answer, body);
  if (response.status != 200) refuse_answer(response, name, fetcher.client().has_token());
  json answer = parse_json(body);
  if (answer.is_discarded())
    throw Error(ErrorCode::network_failed,
                fmt::format("{}: wanted JSON, found {}", url,
                            body.starts_with('<') ? "a web page" : "something else"),
                "is HF_ENDPOINT a hub? A network that wants a login answers so too");
  return answer;
}

std::string text_of(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

bool is_hex(const std::string& text, std::size_t digits) {
  return text.size() == digits && std::ranges::all_of(text, [](unsigned char c) {
           return std::isdigit(c) || (c >= 'a' && c <= 'f');
         });
}

/// {"type": "file", "path", "size", "oid": git's, "lfs": {"oid": SHA-256, "size"}}; others are left out.
std::optional<RemoteFile> file_of(const json& entry) {
  if (!entry.is_object() || text_of(entry, "type") != "file") return {};
  RemoteFile file;
  file.path = text_of(entry, "path");
  if (!is_safe_path(file.path)) return {};
  const auto size = entry.find("size");
  if (size != entry.end() && size->is_number_unsigned()) file.bytes = size->get<Bytes>();
  if (const auto lfs = entry.find("lfs"); lfs != entry.end() && lfs->is_object()) {
    std::string sum = text_of(*lfs, "oid");
    if (sum.starts_with("sha256:")) sum.erase(0, 7);
    if (is_hex(sum, 64)) file.sum = sum;
    const auto large = lfs->find("size");
    if (large != lfs->end() && large->is_number_unsigned()) file.bytes = large->get<Bytes>();
  } else if (const std::string oid = text_of(entry, "oid"); is_hex(oid, 40)) {
    file.kind = Digest::Kind::git_blob;
    file.sum = oid;
  }
  return file;
}

/// The address of a Link header's rel="next", or empty.
std::string next_page(const HttpResponse& response) {
  const std::string link = response.header("link");
  const std::size_t next = link.find("rel=\"next\"");
  if (next == link.npos) return "";
  const std::size_t begin = link.rfind('<', next), end = link.find('>', begin);
  return begin == link.npos || end == link.npos ? "" : link.substr(begin + 1, end - begin - 1);
}

}  // namespace

json to_json(const RemoteFile& file) {
  return {{"path", file.path},
          {"url", file.url},
          {"bytes", file.bytes ? json(*file.bytes) : json()},
          {"git", file.kind == Digest::Kind::git_blob},
          {"sum", file.sum}};
}

RemoteFile remote_file(const json& from) {
  RemoteFile file;
  file.path = from["path"].get<std::string>();
  file.url = from["url"].get<std::string>();
  if (!from["bytes"].is_null()) file.bytes = from["bytes"].get<Bytes>();
  file.kind = from["git"].get<bool>() ? Digest::Kind::git_blob : Digest::Kind::sha256;
  file.sum = from["sum"].get<std::string>();
  return file;
}

std::string percent_encoded(std::string_view path) {
  std::string out;
  for (const unsigned char c : path) {
    if (std::isalnum(c) || c == '-' || c == '.' || c == '_' || c == '~' || c == '/')
      out += static_cast<char>(c);
    else
      out += fmt::format("%{:02X}", c);
  }
  return out;
}

Repository list_repository(Fetcher& fetcher, const ModelName& name) {
  const std::string& endpoint = fetcher.places().endpoint;
  const std::string api = fmt::format("{}/api/models/{}", endpoint, name.repo);
  std::string revision = percent_encoded(name.revision);
  for (std::size_t at; (at = revision.find('/')) != revision.npos;) revision.replace(at, 1, "%2F");

  Repository repository;
  HttpResponse response;
  const json info = ask(fetcher, fmt::format("{}/revision/{}", api, revision), name, response);
  repository.commit = info.is_object() ? text_of(info, "sha") : "";
  // All files are taken of one commit, whatever is pushed meanwhile.
  if (is_hex(repository.commit, 40)) revision = repository.commit;

  std::string url = fmt::format("{}/tree/{}?recursive=true", api, revision);
  for (int page = 0; !url.empty() && page < most_pages; ++page) {
    const json entries = ask(fetcher, url, name, response);
    if (!entries.is_array())
      throw Error(ErrorCode::network_failed,
                  fmt::format("{}: wanted a list of files, found another answer", url),
                  "is HF_ENDPOINT a hub?");
    for (const json& entry : entries)
      if (auto file = file_of(entry); file && repository.files.size() < most_files) {
        file->url = fmt::format("{}/{}/resolve/{}/{}", endpoint, name.repo, revision,
                                percent_encoded(file->path));
        repository.files.push_back(std::move(*file));
      }
    url = next_page(response);
  }
  return repository;
}

void refuse_answer(const HttpResponse& response, const ModelName& name, bool has_token) {
  const std::string code = response.header("x-error-code");
  const std::string what = name.source == ModelName::Source::url ? name.url : name.repo;
  const bool on_hub = name.source == ModelName::Source::hub;
  constexpr const char* spelling = "check the spelling; a private model needs a token in HF_TOKEN";
  if (code == "GatedRepo" || (response.status == 403 && on_hub))
    throw Error(ErrorCode::access_denied, fmt::format("{} is gated: its owners ask who takes it", what),
                has_token ? fmt::format("accept their terms at https://huggingface.co/{} with the account "
                                        "that the token belongs to", what)
                          : fmt::format("accept their terms at https://huggingface.co/{}, then set HF_TOKEN "
                                        "to a token of yours", what));
  if (code == "RepoNotFound" || (response.status == 404 && on_hub && code.empty()))
    throw Error(ErrorCode::not_available,
                fmt::format("{} is not on the hub, or private", what), spelling);
  if (code == "RevisionNotFound")
    throw Error(ErrorCode::not_available,
                fmt::format("{} has no revision {}", what, name.revision),
                "leave out what follows the @, or name a branch, a tag or a commit");
  if (response.status == 401 && on_hub) {
    if (has_token)
      throw Error(ErrorCode::access_denied,
                  fmt::format("the hub does not accept the token, or it has no access to {}", what),
                  "set HF_TOKEN to a valid one");
    throw Error(ErrorCode::access_denied,
                fmt::format("{} is not on the hub, or private", what), spelling);
  }
  if (response.status == 401 || response.status == 403)
    throw Error(ErrorCode::access_denied,
                fmt::format("{} answers {}: access is denied", what, response.status),
                "download it by other means, and give the file");
  if (response.status == 404 || response.status == 410)
    throw Error(ErrorCode::not_available, fmt::format("{} is not there", what),
                "check the address");
  throw Error(ErrorCode::network_failed, fmt::format("{} answers {}", what, response.status),
              "check the address");
}

}  // namespace plimsoll
