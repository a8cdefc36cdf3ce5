#include "file/hf_added_tokens.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <map>
#include <utility>

#include "base/error.h"
#include "file/header_bytes.h"

namespace plimsoll {
namespace {

HfAddedToken read_token(const JsonKeys& keys) {
  const auto text = keys.string("content");
  if (!text) keys.invalid("content", "a string");
  const auto flag = [&](const char* name) { return keys.boolean(name).value_or(false); };
  HfAddedToken token;
  token.text = *text;
  token.single_word = flag("single_word");
  token.lstrip = flag("lstrip");
  token.rstrip = flag("rstrip");
  token.special = flag("special");
  token.normalized = keys.boolean("normalized").value_or(!token.special);
  return token;
}

/// The tokens of tokenizer_config.json with their ids, ascending.
std::vector<HfAddedToken> configured_tokens(const JsonKeys& settings) {
  std::vector<HfAddedToken> tokens;
  const JsonKeys decoder = settings.object("added_tokens_decoder");
  for (const auto& [key, value] : decoder.members().items()) {
    std::int64_t id = -1;
    const auto end = std::from_chars(key.data(), key.data() + key.size(), id);
    if (end.ec != std::errc() || end.ptr != key.data() + key.size() || id < 0 ||
        id > std::numeric_limits<std::int32_t>::max())
      decoder.invalid(key, "an id as its key");
    tokens.push_back(read_token(decoder.object(key)));
    tokens.back().id = id;
  }
  std::ranges::stable_sort(tokens, {}, &HfAddedToken::id);
  return tokens;
}

std::int32_t id_of(const JsonKeys& keys, const Json& value) {
  if (!value.is_number_integer() || value < 0 || value > std::numeric_limits<std::int32_t>::max())
    keys.invalid("ids", "ids of tokens");
  return value.get<std::int32_t>();
}

void append_template(const JsonKeys& keys, const FindToken& find, HfFrame& frame) {
  const JsonKeys specials = keys.object("special_tokens");
  HfFrame own;
  bool is_behind = false;
  for (const JsonKeys& part : keys.objects("single")) {
    if (part.contains("Sequence")) {
      is_behind = true;
      continue;
    }
    const auto name = part.object("SpecialToken").string("id");
    if (!name) part.invalid("SpecialToken", "a Sequence or a SpecialToken with its id");
    std::vector<std::int32_t>& side = is_behind ? own.after : own.before;
    if (!specials.contains(*name)) {
      const auto id = find(*name);
      if (!id) specials.invalid(*name, "a token's ids");
      side.push_back(static_cast<std::int32_t>(*id));
      continue;
    }
    const JsonKeys special = specials.object(*name);
    const Json* ids = special.find("ids");
    if (!ids || !ids->is_array()) special.invalid("ids", "an array of ids");
    for (const Json& id : *ids) side.push_back(id_of(special, id));
  }
  frame.before.insert(frame.before.begin(), own.before.begin(), own.before.end());
  frame.after.insert(frame.after.end(), own.after.begin(), own.after.end());
}

void append_processor(const JsonKeys& keys, const FindToken& find, std::optional<HfFrame>& frame,
                      int depth) {
  const auto type = keys.string("type");
  if (!type) keys.invalid("type", "the name of a post-processor");
  if (*type == "ByteLevel") return;  // changes offsets only
  if (*type == "Sequence") {
    if (depth > 16) keys.invalid("processors", "sequences nested less deeply");
    for (const JsonKeys& part : keys.objects("processors"))
      append_processor(part, find, frame, depth + 1);
    return;
  }
  if (!frame) frame.emplace();
  if (*type == "TemplateProcessing") return append_template(keys, find, *frame);
  if (*type != "BertProcessing" && *type != "RobertaProcessing")
    throw Error(ErrorCode::unsupported_model,
                fmt::format("tokenizer.json: the post-processor {} is not known", plimsoll::quoted(*type)),
                "known: BertProcessing, ByteLevel, RobertaProcessing, Sequence, "
                "TemplateProcessing");
  const auto pair_id = [&](const char* name) {
    const Json* pair = keys.find(name);
    if (!pair || !pair->is_array() || pair->size() != 2) keys.invalid(name, "a text and an id");
    return id_of(keys, (*pair)[1]);
  };
  frame->before.insert(frame->before.begin(), pair_id("cls"));
  frame->after.push_back(pair_id("sep"));
}

}  // namespace

std::vector<HfAddedToken> hf_added_tokens(const TokenizerJson& tokenizer,
                                          const JsonKeys& settings) {
  std::vector<HfAddedToken> tokens;
  for (const JsonKeys& keys : tokenizer.keys().objects("added_tokens")) {
    keys.required_integer("id");
    tokens.push_back(read_token(keys));
  }
  std::map<std::string, std::size_t, std::less<>> by_text;
  // Of two with one text the later one counts, as a change of the first.
  std::vector<HfAddedToken> distinct;
  const auto add = [&](const HfAddedToken& token) {
    if (token.text.empty()) return;
    const auto [at, is_new] = by_text.emplace(token.text, distinct.size());
    if (is_new)
      distinct.push_back(token);
    else
      distinct[at->second] = token;
  };
  for (const HfAddedToken& token : tokens) add(token);
  for (const HfAddedToken& token : configured_tokens(settings)) add(token);
  for (HfAddedToken& token : distinct) token.id = -1;

  for (const TokenizerJson::Token& token : tokenizer.tokens) {
    const auto found = by_text.find(tokenizer.text(token));
    if (found == by_text.end()) continue;
    distinct[found->second].id = token.id;
    distinct[found->second].is_in_model = true;
  }
  const auto vocabulary = static_cast<std::int64_t>(tokenizer.tokens.size());
  std::int64_t highest = -1;
  for (HfAddedToken& token : distinct) {
    if (!token.is_in_model) token.id = std::max(highest + 1, vocabulary);
    highest = std::max(highest, token.id);
  }
  return distinct;
}

std::vector<HfAddedToken> hf_added_tokens(const JsonKeys& settings, const JsonKeys& added_ids) {
  std::vector<HfAddedToken> tokens = configured_tokens(settings);
  for (const auto& member : added_ids.members().items()) {
    const std::string& text = member.key();
    if (std::ranges::any_of(tokens, [&](const auto& token) { return token.text == text; })) continue;
    HfAddedToken token;
    token.id = added_ids.required_integer(text);
    token.text = text;
    tokens.push_back(std::move(token));
  }
  return tokens;
}

std::optional<HfFrame> hf_frame(const JsonKeys& tokenizer, const FindToken& find) {
  std::optional<HfFrame> frame;
  if (tokenizer.contains("post_processor"))
    append_processor(tokenizer.object("post_processor"), find, frame, 0);
  return frame;
}

Json hf_added_json(const std::vector<HfAddedToken>& tokens) {
  Json list = Json::array();
  for (const HfAddedToken& token : tokens)
    list.push_back({{"id", token.id},
                    {"content", token.text},
                    {"single_word", token.single_word},
                    {"lstrip", token.lstrip},
                    {"rstrip", token.rstrip},
                    {"normalized", token.normalized},
                    {"special", token.special}});
  return list;
}

}  // namespace plimsoll
