// The C interface: handles around the application, errors as values.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <list>
#include <new>
#include <nlohmann/json.hpp>
#include <vector>

#include "app/instance.h"
#include "app/text_hold.h"
#include "base/error.h"
#include "plimsoll.h"

using plimsoll::Error;
using plimsoll::ErrorCode;

struct plimsoll_session {
  plimsoll_model* model;
  std::unique_ptr<plimsoll::Session> session;
};

struct plimsoll_model {
  plimsoll::Instance instance;
  std::list<plimsoll_session> sessions;  ///< under the instance's lock

  plimsoll_model(const std::string& path, plimsoll::InstanceOptions options)
      : instance(path, std::move(options)) {}
};

namespace {

/// What plimsoll_last_error() refers to.
struct LastError {
  std::string code, message, hint;
  plimsoll_error shown = {};

  LastError() { set(PLIMSOLL_OK, "", "", ""); }
  void set(plimsoll_status status, std::string_view with_code, std::string_view with_message,
           std::string_view with_hint) {
    code = with_code;
    message = with_message;
    hint = with_hint;
    shown = {sizeof shown, status, code.c_str(), message.c_str(), hint.c_str()};
  }
};

LastError& last_error() {
  thread_local LastError error;
  return error;
}

plimsoll_status fail(const Error& error) {
  const auto status = static_cast<plimsoll_status>(plimsoll::exit_code(error.code()));
  last_error().set(status, plimsoll::name(error.code()), error.message(), error.hint());
  return status;
}

/// Nothing is thrown across the border.
template <class Body>
plimsoll_status guarded(const Body& body) noexcept {
  try {
    body();
    return PLIMSOLL_OK;
  } catch (const Error& error) {
    return fail(error);
  } catch (const std::bad_alloc&) {
    return fail(Error(ErrorCode::machine_limit, "the machine has no more memory to give"));
  } catch (const std::exception& error) {
    return fail(Error(ErrorCode::internal, error.what(), "this is a bug in plimsoll"));
  }
}

void require(const void* pointer, const char* name) {
  if (pointer == nullptr) throw Error(ErrorCode::usage, fmt::format("{} is NULL", name));
}

/// The caller's options as this version has them: what its header did not know is zero.
template <class Options>
Options read(const Options* given, const Options& usual = {}) {
  if (given == nullptr) return usual;
  if (given->size < sizeof given->size || given->size > 4096)
    throw Error(ErrorCode::usage,
                fmt::format("the options' size is {}, wanted {}", given->size, sizeof(Options)),
                "set it with sizeof");
  Options options = usual;
  std::memcpy(static_cast<void*>(&options), given, std::min(given->size, sizeof options));
  options.size = sizeof options;
  return options;
}

char* copied(std::string_view text) {
  char* copy = static_cast<char*>(std::malloc(text.size() + 1));
  if (copy == nullptr) throw std::bad_alloc();
  std::memcpy(copy, text.data(), text.size());
  copy[text.size()] = '\0';
  return copy;
}

std::string dumped(const nlohmann::ordered_json& json) {
  return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
}

nlohmann::ordered_json parsed(const char* text, const char* what) {
  auto json = nlohmann::ordered_json::parse(text, nullptr, false);
  if (json.is_discarded() || !json.is_array())
    throw Error(ErrorCode::usage, fmt::format("{} is no JSON array", what));
  return json;
}

plimsoll::LoadRequest load_request(const plimsoll_load_options& options) {
  if (options.context < 0 || options.sessions < 0 || !(options.speed >= 0))
    throw Error(ErrorCode::usage, "context, sessions and speed cannot be negative");
  plimsoll::LoadRequest request;
  if (options.context > 0) request.context = options.context;
  request.sessions = std::max<int64_t>(1, options.sessions);
  request.speed = options.speed;
  request.keep = options.keep != 0;
  if (options.kv != nullptr) {
    request.kv = plimsoll::parse_kv_tiers(options.kv);
    if (!request.kv)
      throw Error(ErrorCode::usage, fmt::format("kv is \"{}\", wanted bits as 8 or 8/4", options.kv));
  }
  if (options.plan != nullptr) request.plan = plimsoll::parse_plan(options.plan, "the plan");
  return request;
}

plimsoll::GenerateOptions sampling_of(const plimsoll_generate_options& options,
                                      const plimsoll::Instance& instance) {
  plimsoll::GenerateOptions generate;
  generate.sampling = instance.usual_sampling();
  const auto take = [](double said, double& value) {
    if (!std::isnan(said)) value = said;
  };
  take(options.temperature, generate.sampling.temperature);
  take(options.top_p, generate.sampling.top_p);
  take(options.min_p, generate.sampling.min_p);
  take(options.repeat_penalty, generate.sampling.repetition_penalty);
  if (options.top_k >= 0) generate.sampling.top_k = options.top_k;
  if (options.seed != 0) generate.sampling.seed = options.seed;
  if (options.max_tokens < 0) throw Error(ErrorCode::usage, "max_tokens is negative");
  generate.max_tokens = options.max_tokens > 0 ? options.max_tokens : -1;
  if (options.stop_count > 0) require(options.stops, "stops");
  for (size_t i = 0; i < options.stop_count; ++i) {
    require(options.stops[i], "a stop");
    generate.stops.emplace_back(options.stops[i]);
  }
  return generate;
}

}  // namespace

extern "C" {

const plimsoll_error* plimsoll_last_error(void) { return &last_error().shown; }

int plimsoll_api_version(void) { return PLIMSOLL_API_VERSION; }

const char* plimsoll_version(void) { return PLIMSOLL_VERSION; }

void plimsoll_free(void* memory) { std::free(memory); }

plimsoll_status plimsoll_open(const char* path, const plimsoll_open_options* given,
                              plimsoll_model** model) {
  return guarded([&] {
    require(path, "path");
    require(model, "model");
    const plimsoll_open_options options = read(given);
    if (options.threads < 0 || options.threads > 256)
      throw Error(ErrorCode::usage,
                  fmt::format("threads are {}, wanted 0 to 256", options.threads));
    plimsoll::InstanceOptions wanted;
    if (options.memory > 0) wanted.memory = options.memory;
    wanted.threads = options.threads;
    wanted.process = plimsoll::Whose::shared;
    // Progress may say that work should stop: the watch asks before it shows the next step.
    const auto stopped = std::make_shared<bool>(false);
    if (options.progress != nullptr) {
      wanted.watch.progress = [options, stopped](std::string_view what, plimsoll::Watch::Unit,
                                                 uint64_t done, uint64_t total) {
        const int stops = options.progress(std::string(what).c_str(), done, total, options.user);
        // What has ended cannot be stopped, and what comes next is not meant.
        if (stops != 0 && done < total) *stopped = true;
      };
      wanted.watch.keep_going = [stopped] { return !std::exchange(*stopped, false); };
    }
    if (options.notice != nullptr)
      wanted.watch.notice = [options](const std::string& text) {
        options.notice(text.c_str(), options.user);
      };
    *model = new plimsoll_model(path, std::move(wanted));
  });
}

void plimsoll_close(plimsoll_model* model) { delete model; }

plimsoll_status plimsoll_plan(plimsoll_model* model, const plimsoll_load_options* given,
                              char** json) {
  return guarded([&] {
    require(model, "model");
    require(json, "json");
    const plimsoll::LoadRequest wanted = load_request(read(given));
    const auto turn = model->instance.lock();
    const plimsoll::Forecast said = model->instance.forecast(
        {.context = wanted.context, .sessions = wanted.sessions, .kv = wanted.kv, .speed = wanted.speed});
    *json = copied(dumped(plimsoll::plan_json(model->instance.model(), said.plan)));
  });
}

plimsoll_status plimsoll_load(plimsoll_model* model, const plimsoll_load_options* given) {
  return guarded([&] {
    require(model, "model");
    const plimsoll::LoadRequest request = load_request(read(given));
    const auto turn = model->instance.lock();
    model->instance.load(request);
  });
}

plimsoll_status plimsoll_move_line(plimsoll_model* model, uint64_t memory) {
  return guarded([&] {
    require(model, "model");
    if (memory == 0) throw Error(ErrorCode::usage, "a line of no bytes");
    const auto turn = model->instance.lock();
    model->instance.move_line(memory);
  });
}

plimsoll_status plimsoll_memory(plimsoll_model* model, char** json) {
  return guarded([&] {
    require(model, "model");
    require(json, "json");
    const plimsoll::Ledger& ledger = model->instance.host().line.ledger();
    nlohmann::ordered_json accounts;
    for (const plimsoll::Account account : plimsoll::all_accounts)
      accounts[std::string(plimsoll::name(account))] = ledger.used(account);
    *json = copied(dumped({{"budget_bytes", ledger.budget()},
                           {"used_bytes", ledger.used()},
                           {"peak_bytes", ledger.peak()},
                           {"accounts", accounts}}));
  });
}

plimsoll_status plimsoll_tokenize(plimsoll_model* model, const char* text, size_t bytes,
                                  int special, plimsoll_token* tokens, size_t capacity,
                                  size_t* count) {
  return guarded([&] {
    require(model, "model");
    require(count, "count");
    if (bytes > 0) require(text, "text");
    if (capacity > 0) require(tokens, "tokens");
    plimsoll::TextHold hold(model->instance.host().line);
    hold.grow_to(bytes);
    const std::vector<plimsoll::TokenId> ids =
        model->instance.model().tokenizer->encode({text, bytes}, special != 0);
    std::copy_n(ids.begin(), std::min(capacity, ids.size()), tokens);
    *count = ids.size();
  });
}

plimsoll_status plimsoll_detokenize(plimsoll_model* model, const plimsoll_token* tokens,
                                    size_t count, int special, char** text, size_t* bytes) {
  return guarded([&] {
    require(model, "model");
    require(text, "text");
    if (count > 0) require(tokens, "tokens");
    const plimsoll::Tokenizer& tokenizer = *model->instance.model().tokenizer;
    for (size_t i = 0; i < count; ++i)
      if (tokens[i] < 0 || tokens[i] >= tokenizer.vocabulary_size())
        throw Error(ErrorCode::usage, fmt::format("token {} is {}, the vocabulary has {}", i,
                                                  tokens[i], tokenizer.vocabulary_size()));
    const std::string decoded =
        tokenizer.decode(std::vector<plimsoll::TokenId>(tokens, tokens + count), special != 0);
    *text = copied(decoded);
    if (bytes != nullptr) *bytes = decoded.size();
  });
}

int64_t plimsoll_vocabulary_size(const plimsoll_model* model) {
  return model == nullptr ? 0 : model->instance.model().facts.description.vocabulary;
}

plimsoll_status plimsoll_session_open(plimsoll_model* model, plimsoll_session** session) {
  return guarded([&] {
    require(model, "model");
    require(session, "session");
    const auto turn = model->instance.lock();
    model->sessions.push_back({model, model->instance.open_session()});
    *session = &model->sessions.back();
  });
}

void plimsoll_session_close(plimsoll_session* session) {
  if (session == nullptr) return;
  plimsoll_model* const model = session->model;
  const auto turn = model->instance.lock();
  model->sessions.remove_if([session](const plimsoll_session& each) { return &each == session; });
}

plimsoll_generate_options plimsoll_generate_defaults(void) {
  plimsoll_generate_options options = {};
  options.size = sizeof options;
  options.temperature = options.top_p = options.min_p = options.repeat_penalty =
      std::numeric_limits<double>::quiet_NaN();
  options.top_k = -1;
  return options;
}

plimsoll_status plimsoll_generate(plimsoll_session* session, const char* prompt,
                                  const plimsoll_generate_options* given, plimsoll_answer* answer) {
  return guarded([&] {
    require(session, "session");
    const plimsoll_generate_options options = read(given, plimsoll_generate_defaults());
    if (answer != nullptr && answer->size < sizeof answer->size)
      throw Error(ErrorCode::usage, "the answer's size is not set", "set it with sizeof");
    plimsoll::Instance& instance = session->model->instance;
    plimsoll::Question question;
    question.text = prompt == nullptr ? "" : prompt;
    if (options.messages != nullptr) question.messages = parsed(options.messages, "messages");
    if (options.tools != nullptr) question.settings.tools = parsed(options.tools, "tools");
    if (options.thinking != 0) question.settings.thinking = options.thinking > 0;
    question.raw = options.raw != 0;
    question.generate = sampling_of(options, instance);
    const auto turn = instance.lock();
    const plimsoll::Answer found =
        instance.ask(*session->session, question, [&](const auto& piece) {
          return options.text == nullptr ||
                 options.text(piece.text.c_str(), piece.text.size(), piece.is_reasoning ? 1 : 0,
                              options.user) == 0;
        });
    if (answer == nullptr) return;
    const plimsoll::Generated& generated = found.generated;
    plimsoll_answer filled = {};
    const plimsoll::SplitAnswer split = found.split();
    filled.text = copied(split.text);
    filled.reasoning = copied(split.reasoning);
    filled.finish_reason = plimsoll::name(generated.reason).data();
    filled.prompt_tokens = found.cached_tokens + generated.prompt_tokens;
    filled.cached_tokens = found.cached_tokens;
    filled.tokens = std::ssize(generated.tokens);
    filled.prefill_seconds = generated.prefill_seconds;
    filled.decode_seconds = generated.decode_seconds;
    filled.size = std::min(answer->size, sizeof filled);
    std::memcpy(static_cast<void*>(answer), &filled, filled.size);
  });
}

int64_t plimsoll_session_length(const plimsoll_session* session) {
  return session == nullptr ? 0 : std::ssize(session->session->tokens());
}

int64_t plimsoll_session_context(const plimsoll_session* session) {
  return session == nullptr ? 0 : session->session->engine().plan().context;
}

plimsoll_status plimsoll_session_truncate(plimsoll_session* session, int64_t length) {
  return guarded([&] {
    require(session, "session");
    const auto turn = session->model->instance.lock();
    const auto size = std::ssize(session->session->tokens());
    if (length < 0 || length > size)
      throw Error(ErrorCode::usage,
                  fmt::format("the session has {} tokens, {} cannot stay", size, length));
    session->session->truncate(length);
  });
}

plimsoll_status plimsoll_session_append(plimsoll_session* session, const plimsoll_token* tokens,
                                        size_t count, float* logits) {
  return guarded([&] {
    require(session, "session");
    require(tokens, "tokens");
    if (count == 0) throw Error(ErrorCode::usage, "there are no tokens to append");
    const int64_t vocabulary = plimsoll_vocabulary_size(session->model);
    for (size_t i = 0; i < count; ++i)
      if (tokens[i] < 0 || tokens[i] >= vocabulary)
        throw Error(ErrorCode::usage,
                    fmt::format("token {} is {}, the vocabulary has {}", i, tokens[i], vocabulary));
    const auto turn = session->model->instance.lock();
    const plimsoll::Watch& watch = session->model->instance.host().watch;
    const auto keep_going = [&watch](std::int64_t done, std::int64_t total) {
      watch.show("reading the prompt", plimsoll::Watch::Unit::tokens, done, total);
      return watch.goes_on();
    };
    const plimsoll::Session::Appended appended = session->session->append({tokens, count}, keep_going);
    if (!appended.is_complete) throw Error(ErrorCode::interrupted, "stopped");
    if (logits != nullptr) std::ranges::copy(appended.logits, logits);
  });
}

}  // extern "C"
