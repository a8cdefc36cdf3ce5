// What a repository of the hub holds.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "hub/digest.h"
#include "hub/fetcher.h"
#include "hub/names.h"

namespace plimsoll {

struct RemoteFile {
  std::string path;  ///< in the repository; safe (is_safe_path)
  std::string url;
  std::optional<Bytes> bytes;  ///< nothing where the server does not say
  Digest::Kind kind = Digest::Kind::sha256;
  std::string sum;  ///< lower-case hexadecimal; empty where none is published
};

nlohmann::json to_json(const RemoteFile& file);
RemoteFile remote_file(const nlohmann::json& json);

struct Repository {
  std::string commit;  ///< that the revision means now
  std::vector<RemoteFile> files;
};

/// Asks the hub's API. Throws as refuse_answer and Fetcher do, and Error(network_failed) for an answer of another shape.
Repository list_repository(Fetcher& fetcher, const ModelName& name);

/// Throws what a status other than 200 and 206 means for a model: Error(access_denied) with the way to a token,
/// Error(not_available), Error(network_failed).
[[noreturn]] void refuse_answer(const HttpResponse& response, const ModelName& name, bool has_token);

/// `path` for an address: all but letters, digits, "-._~" and slashes as %XX.
std::string percent_encoded(std::string_view path);

}  // namespace plimsoll
