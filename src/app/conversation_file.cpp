#include "app/conversation_file.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <filesystem>
#include <utility>

#include "base/error.h"
#include "file/output_file.h"
#include "file/text_input.h"
#include "fit/quality_file.h"
#include "text/chat_messages.h"

namespace plimsoll {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* version_key = "plimsoll_conversation";
constexpr int version = 1;
constexpr int most_levels = 64;
/// Room that reading may take for each byte of JSON: small values in nested arrays.
constexpr Bytes bytes_per_json_byte = 32;
/// The beginning of a saved conversation, by which it is known again.
constexpr std::string_view saved_mark = "{\"plimsoll_conversation\":";

Json member(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() ? Json() : *found;
}

/// Whether a file that may be replaced is there. Throws where another one is.
bool may_replace(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return false;
  std::string beginning;
  if (S_ISREG(status.st_mode)) {
    if (status.st_size == 0) return true;
    const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path.c_str(), "re"), std::fclose);
    beginning.resize(saved_mark.size());
    if (file) beginning.resize(std::fread(beginning.data(), 1, beginning.size(), file.get()));
  }
  if (beginning == saved_mark) return true;
  throw Error(ErrorCode::write_failed,
              fmt::format("{} exists and is no saved conversation: it stays as it is", path),
              "give another name");
}

}  // namespace

Json parse_json(const std::string& text, const std::string& what) {
  const auto levels = [&](int depth, Json::parse_event_t, Json&) {
    if (depth <= most_levels) return true;
    throw Error(ErrorCode::file_corrupt,
                fmt::format("{} has more than {} levels", what, most_levels));
  };
  try {
    return Json::parse(text, levels);
  } catch (const Json::exception& error) {
    throw Error(ErrorCode::file_corrupt, fmt::format("{} is not JSON: {}", what, error.what()),
                "it may be damaged, or of another program");
  }
}

MessagesFile read_messages_file(const std::string& path, const std::function<void(Bytes)>& accept) {
  const Json json = parse_json(read_text_file(path,
                                              [&](Bytes size) {
                                                if (accept) accept(size * bytes_per_json_byte);
                                              }),
                               path);
  MessagesFile file;
  if (json.is_object()) {
    const Json found = member(json, version_key);
    if (!found.is_null() && found != version)
      throw Error(ErrorCode::unsupported_version,
                  fmt::format("{} is of version {}, known is {}", path, found.dump(), version),
                  "read it with a newer plimsoll");
    file.messages = member(json, "messages");
    file.tools = member(json, "tools");
    file.variables = member(json, "chat_template_kwargs");
    file.model = member(json, "model");
    file.settings = member(json, "settings");
    file.token_ids = member(json, "token_ids");
  } else {
    file.messages = json;
  }
  const auto refuse = [&](const std::string& what) {
    throw Error(ErrorCode::file_corrupt, fmt::format("{} is no conversation: {}", path, what),
                "it is an array of messages, or an object with \"messages\"");
  };
  // A conversation may have been saved before anything was said.
  if (file.messages.is_null()) refuse("it has no \"messages\"");
  try {
    if (!file.messages.is_array() || !file.messages.empty()) check_messages(file.messages);
  } catch (const Error& error) {
    refuse(error.message());
  }
  if (!file.tools.is_null() && !file.tools.is_array()) refuse("\"tools\" is no array");
  if (!file.variables.is_null() && !file.variables.is_object())
    refuse("\"chat_template_kwargs\" is no object");
  if (!file.settings.is_null() && !file.settings.is_object()) refuse("\"settings\" is no object");
  return file;
}

Json identity_of(const OpenModel& model) {
  const Metadata& metadata = model.file.metadata();
  return {{"name", std::string(metadata.string("general.name").value_or(""))},
          {"architecture", std::string(metadata.string("general.architecture").value_or(""))},
          {"fingerprint", model_fingerprint(model.file)}};
}

bool save_conversation(const std::string& path, const Conversation& conversation, const Json& model,
                       const SamplingOptions& sampling) {
  const bool replaces = may_replace(path);
  const ChatSettings& settings = conversation.settings();
  Json json = {{version_key, version},
               {"model", model},
               {"settings",
                {{"temperature", sampling.temperature},
                 {"top_k", sampling.top_k},
                 {"top_p", sampling.top_p},
                 {"min_p", sampling.min_p},
                 {"repeat_penalty", sampling.repetition_penalty},
                 {"seed", sampling.seed},
                 {"thinking", settings.thinking ? Json(*settings.thinking) : Json()}}},
               {"messages", conversation.messages()}};
  if (!settings.tools.is_null()) json["tools"] = settings.tools;
  if (!settings.variables.is_null()) json["chat_template_kwargs"] = settings.variables;
  json["token_ids"] = conversation.token_ids();
  std::string text = json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  OutputFile file(path);
  file.append({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
  file.commit();
  return replaces;
}

SamplingOptions sampling_of(const Json& settings, SamplingOptions sampling) {
  if (!settings.is_object()) return sampling;
  const auto take = [&](const char* key, auto& value) {
    const auto found = settings.find(key);
    if (found == settings.end() || found->is_null()) return;
    if (!found->is_number())
      throw Error(ErrorCode::file_corrupt, fmt::format("the setting \"{}\" is no number", key));
    value = found->get<std::remove_reference_t<decltype(value)>>();
  };
  take("temperature", sampling.temperature);
  take("top_k", sampling.top_k);
  take("top_p", sampling.top_p);
  take("min_p", sampling.min_p);
  take("repeat_penalty", sampling.repetition_penalty);
  take("seed", sampling.seed);
  try {
    check(sampling);
  } catch (const Error& error) {
    throw Error(ErrorCode::file_corrupt, error.message());
  }
  return sampling;
}

}  // namespace plimsoll
