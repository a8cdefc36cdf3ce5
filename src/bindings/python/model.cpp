#include "model.h"

#include <fmt/format.h>
#include <nanobind/stl/string.h>
#include <unistd.h>

#include <algorithm>
#include <exception>
#include <nlohmann/json.hpp>
#include <type_traits>

#include "app/text_hold.h"
#include "base/error.h"

namespace plimsoll::python {
namespace {

using Json = nlohmann::ordered_json;

[[noreturn]] void refuse_closed(const char* what) {
  throw Error(ErrorCode::usage, fmt::format("the {} is closed", what), "open it anew");
}

/// Of a child that was forked, with a model that lived in its parent: its workers are not there, and
/// locks may be held by nobody. Nothing of it is used, nor given back.
struct NotAfterFork {
  pid_t process = getpid();
  template <class T>
  void operator()(T* object) const {
    if (getpid() == process) delete object;
  }
};

void refuse_after_fork(const std::shared_ptr<Live>& live) {
  if (std::get_deleter<NotAfterFork>(live)->process != getpid())
    throw Error(ErrorCode::usage, "this model was opened before the process was forked",
                "open it anew in this process, or start processes by spawn");
}

/// Runs `body` without the interpreter's lock, then raises what stopped it.
template <class Body>
auto without_lock(Call& call, const Body& body) {
  using Result = std::invoke_result_t<Body>;
  std::exception_ptr thrown;
  if constexpr (std::is_void_v<Result>) {
    {
      const nb::gil_scoped_release release;
      try {
        body();
      } catch (...) {
        thrown = std::current_exception();
      }
    }
    call.rethrow();
    if (thrown) std::rethrow_exception(thrown);
  } else {
    std::optional<Result> result;
    {
      const nb::gil_scoped_release release;
      try {
        result.emplace(body());
      } catch (...) {
        thrown = std::current_exception();
      }
    }
    call.rethrow();
    if (thrown) std::rethrow_exception(thrown);
    return std::move(*result);
  }
}

/// The same on the model's turn.
template <class Body>
auto compute(const std::shared_ptr<Live>& live, Call& call, const Body& body) {
  refuse_after_fork(live);
  return without_lock(call, [&] {
    const TurnTaken turn(live->turn, [&call] { call.check(); });
    if (live->is_closing) refuse_closed("model");
    const auto lock = live->instance.lock();
    try {
      return body();
    } catch (const Error& error) {
      if (error.code() == ErrorCode::interrupted && live->is_closing) refuse_closed("model");
      throw;
    }
  });
}

std::shared_ptr<Live> live_of(const Slot& slot) {
  if (!slot.live) refuse_closed("session");
  return slot.live;
}

/// Under the model's turn.
Session& session_of(Slot& slot) {
  if (!slot.session) refuse_closed("session");
  return *slot.session;
}

std::uint64_t next_user() {
  static std::atomic<std::uint64_t> last{0};
  return ++last;
}

std::string dumped(const Json& json) {
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

Json parsed(const std::string& text, const char* what) {
  if (text.empty()) return nullptr;
  Json json = Json::parse(text, nullptr, false);
  if (!json.is_array()) throw Error(ErrorCode::usage, fmt::format("{} are no list", what));
  return json;
}

Question question_of(const Request& request, const Instance& instance) {
  Question question;
  question.text = request.text;
  question.tokens = request.tokens;
  question.messages = parsed(request.messages, "messages");
  question.settings.tools = parsed(request.tools, "tools");
  question.settings.thinking = request.thinking;
  question.raw = request.raw;
  GenerateOptions& generate = question.generate;
  generate.max_tokens = request.max_tokens;
  generate.stops = request.stops;
  SamplingOptions& sampling = generate.sampling = instance.usual_sampling();
  sampling.temperature = request.temperature.value_or(sampling.temperature);
  sampling.top_p = request.top_p.value_or(sampling.top_p);
  sampling.min_p = request.min_p.value_or(sampling.min_p);
  sampling.repetition_penalty = request.repeat_penalty.value_or(sampling.repetition_penalty);
  sampling.top_k = request.top_k.value_or(sampling.top_k);
  sampling.seed = request.seed.value_or(sampling.seed);
  return question;
}

void check_tokens(std::span<const TokenId> tokens, std::int64_t vocabulary) {
  for (std::size_t i = 0; i < tokens.size(); ++i)
    if (tokens[i] < 0 || tokens[i] >= vocabulary)
      throw Error(ErrorCode::usage,
                  fmt::format("token {} is {}, the vocabulary has {}", i, tokens[i], vocabulary));
}

std::span<const TokenId> span_of(const Tokens& tokens) { return {tokens.data(), tokens.size()}; }

std::int64_t vocabulary_of(const Instance& instance) {
  return instance.model().facts.description.vocabulary;
}

nb::list list_of(const Answering::Pieces& pieces) {
  nb::list list;
  for (const ReasoningSplitter::Piece& piece : pieces)
    if (!piece.text.empty()) list.append(nb::make_tuple(piece.text, piece.is_reasoning));
  return list;
}

nb::dict dict_of(const Answer& answer) {
  const Generated& generated = answer.generated;
  nb::dict dict;
  const SplitAnswer split = answer.split();
  dict["text"] = split.text;
  dict["reasoning"] = split.reasoning;
  dict["finish_reason"] = std::string(plimsoll::name(generated.reason));
  dict["prompt_tokens"] = answer.cached_tokens + generated.prompt_tokens;
  dict["cached_tokens"] = answer.cached_tokens;
  nb::list tokens;
  for (const TokenId token : generated.tokens) tokens.append(token);
  dict["tokens"] = tokens;
  dict["prefill_seconds"] = generated.prefill_seconds;
  dict["decode_seconds"] = generated.decode_seconds;
  return dict;
}

/// The host's watch, which stops for a model that is closed too.
Watch watch_of(Live& live) {
  Watch watch = live.instance.host().watch;
  watch.keep_going = [goes_on = watch.keep_going, &live] { return !live.is_closing && goes_on(); };
  return watch;
}

}  // namespace

// --- models ---

NativeModel::NativeModel(const std::string& path, std::optional<std::uint64_t> memory,
                         int threads) {
  InstanceOptions options;
  options.memory = memory;
  options.threads = threads;
  options.watch = Call::watch([notices = notices_](const std::string& text) {
    const std::lock_guard lock(notices->mutex);
    notices->texts.push_back(text);
  });
  Call call;
  live_ = without_lock(call, [&] {
    return std::shared_ptr<Live>(new Live(path, std::move(options)), NotAfterFork());
  });
  Watch& watch = live_->instance.host().watch;
  Live* const live = live_.get();
  watch.keep_going = [goes_on = watch.keep_going, live] { return !live->is_closing && goes_on(); };
}

std::shared_ptr<Live> NativeModel::live() const {
  if (!live_) refuse_closed("model");
  refuse_after_fork(live_);
  return live_;
}

void NativeModel::close() {
  if (!live_) return;
  if (std::get_deleter<NotAfterFork>(live_)->process == getpid() && live_->turn.is_mine())
    throw Error(ErrorCode::usage, "this model is at work, and what it calls cannot close it",
                "do that when the call has ended");
  std::shared_ptr<Live> live = std::move(live_);
  std::vector<std::shared_ptr<Slot>> slots;
  for (const std::weak_ptr<Slot>& each : slots_)
    if (auto slot = each.lock()) slots.push_back(std::move(slot));
  slots_.clear();
  if (std::get_deleter<NotAfterFork>(live)->process == getpid()) {
    live->is_closing = true;
    const nb::gil_scoped_release release;
    const TurnTaken turn(live->turn, {});
    for (const auto& slot : slots) slot->session.reset();
  }
  for (const auto& slot : slots) slot->live.reset();
  const nb::gil_scoped_release release;
  live.reset();
}

namespace {

KvTiers tiers_of(const std::string& kv) {
  const std::optional<KvTiers> tiers = parse_kv_tiers(kv);
  if (!tiers) throw Error(ErrorCode::usage, fmt::format("kv is \"{}\", wanted bits as 8 or 8/4", kv));
  return *tiers;
}

}  // namespace

std::string NativeModel::plan(std::optional<std::int64_t> context, std::int64_t sessions,
                              double speed, const std::string& kv) {
  const auto live = this->live();
  Call call;
  return compute(live, call, [&] {
    const Forecast said =
        live->instance.forecast({.context = context,
                                                   .sessions = sessions,
                                                   .kv = tiers_of(kv),
                                                   .speed = speed});
    return dumped(plan_json(live->instance.model(), said.plan));
  });
}

void NativeModel::load(std::optional<std::int64_t> context, std::int64_t sessions, double speed,
                       const std::string& kv, const std::string& plan, bool keep,
                       nb::object progress, bool if_needed) {
  const auto live = this->live();
  if (if_needed && live->is_loaded) return;
  LoadRequest request{.context = context,
                      .sessions = sessions,
                      .kv = tiers_of(kv),
                      .speed = speed,
                      .keep = keep};
  if (!plan.empty()) request.plan = parse_plan(plan, "the plan");
  Call call(std::move(progress));
  compute(live, call, [&] {
    if (if_needed && live->is_loaded) return;
    live->instance.load(request);
    live->is_loaded = true;
  });
}

void NativeModel::move_line(std::uint64_t memory, nb::object progress) {
  const auto live = this->live();
  Call call(std::move(progress));
  compute(live, call, [&] { live->instance.move_line(memory); });
}

std::unique_ptr<NativeSession> NativeModel::open_session(bool is_shared) {
  const auto live = this->live();
  const std::shared_ptr<Slot> slot(new Slot, NotAfterFork());
  slot->is_shared = is_shared;
  Call call;
  compute(live, call, [&] { slot->session = live->instance.open_session(); });
  if (!live_) refuse_closed("model");  // meanwhile
  slot->live = live;
  std::erase_if(slots_, [](const std::weak_ptr<Slot>& each) { return each.expired(); });
  slots_.push_back(slot);
  return std::make_unique<NativeSession>(slot);
}

/// What does not change while a model is open needs no turn.
template <class Body>
auto NativeModel::read(Body body) const {
  const auto live = this->live();
  Call call;
  return without_lock(call, [&] { return body(live->instance); });
}

std::vector<TokenId> NativeModel::tokenize(const std::string& text, bool special) {
  return read([&](Instance& instance) {
    TextHold hold(instance.host().line);
    hold.grow_to(text.size());
    return instance.model().tokenizer->encode(text, special);
  });
}

std::string NativeModel::detokenize(const Tokens& tokens, bool special) {
  return read([&](Instance& instance) {
    const Tokenizer& tokenizer = *instance.model().tokenizer;
    check_tokens(span_of(tokens), tokenizer.vocabulary_size());
    return tokenizer.decode(span_of(tokens), special);
  });
}

std::string NativeModel::memory() {
  return read([](Instance& instance) {
    const Ledger& ledger = instance.host().line.ledger();
    Json accounts;
    for (const Account account : all_accounts)
      accounts[std::string(plimsoll::name(account))] = ledger.used(account);
    return dumped({{"budget_bytes", ledger.budget()},
                   {"used_bytes", ledger.used()},
                   {"peak_bytes", ledger.peak()},
                   {"accounts", accounts}});
  });
}

std::vector<std::string> NativeModel::take_notices() {
  const std::lock_guard lock(notices_->mutex);
  return std::exchange(notices_->texts, {});
}

std::string NativeModel::name() const { return live()->instance.model().facts.description.name; }
std::string NativeModel::path() const { return live()->instance.model().file.path(); }
std::int64_t NativeModel::vocabulary_size() const { return vocabulary_of(live()->instance); }
std::int64_t NativeModel::trained_context() const {
  return live()->instance.model().facts.description.trained_context;
}

std::int64_t NativeModel::context() {
  const auto live = this->live();
  Call call;
  return compute(live, call, [&] { return live->instance.engine().plan().context; });
}

// --- sessions ---

void NativeSession::close() {
  const auto live = slot_->live;
  if (!live) return;
  if (std::get_deleter<NotAfterFork>(live)->process == getpid()) {
    Call call;
    without_lock(call, [&] {
      const TurnTaken turn(live->turn, {});
      slot_->session.reset();
    });
  }
  slot_->live.reset();
}

void NativeSession::append(const Tokens& tokens, std::optional<Logits> logits) {
  const auto live = live_of(*slot_);
  const std::int64_t vocabulary = vocabulary_of(live->instance);
  if (logits && static_cast<std::int64_t>(logits->size()) != vocabulary)
    throw Error(ErrorCode::usage, fmt::format("room for {} logits, the vocabulary has {}",
                                              logits->size(), vocabulary));
  Call call;
  compute(live, call, [&] {
    Session& session = session_of(*slot_);
    const std::span<const TokenId> ids = span_of(tokens);
    if (ids.empty()) throw Error(ErrorCode::usage, "there are no tokens to append");
    check_tokens(ids, vocabulary);
    const Watch watch = watch_of(*live);
    slot_->user = 0;
    const Session::Appended appended =
        session.append(ids, [&](std::int64_t, std::int64_t) { return watch.goes_on(); });
    if (!appended.is_complete) throw Error(ErrorCode::interrupted, "stopped");
    if (logits) std::ranges::copy(appended.logits, logits->data());
  });
}

void NativeSession::truncate(std::int64_t length) {
  const auto live = live_of(*slot_);
  Call call;
  compute(live, call, [&] {
    Session& session = session_of(*slot_);
    const std::vector<TokenId>& tokens = session.tokens();
    if (length < 0 || length > std::ssize(tokens))
      throw Error(ErrorCode::usage,
                  fmt::format("the session has {} tokens, {} cannot stay", tokens.size(), length));
    slot_->user = 0;
    session.truncate(length);
  });
}

std::vector<TokenId> NativeSession::tokens() {
  const auto live = live_of(*slot_);
  Call call;
  return compute(live, call, [&] { return session_of(*slot_).tokens(); });
}

std::int64_t NativeSession::length() {
  const auto live = live_of(*slot_);
  Call call;
  return compute(live, call, [&] { return std::ssize(session_of(*slot_).tokens()); });
}

std::int64_t NativeSession::context() {
  const auto live = live_of(*slot_);
  Call call;
  return compute(live, call, [&] { return session_of(*slot_).engine().plan().context; });
}

nb::dict NativeSession::ask(const Request& request, nb::object progress) {
  const auto live = live_of(*slot_);
  Call call(std::move(progress));
  const Answer answer = compute(live, call, [&] {
    Session& session = session_of(*slot_);
    const Question question = question_of(request, live->instance);
    check_tokens(question.tokens, vocabulary_of(live->instance));
    slot_->user = 0;
    Answer found = live->instance.ask(session, question, {});
    if (live->is_closing) refuse_closed("model");
    return found;
  });
  return dict_of(answer);
}

std::unique_ptr<NativeStream> NativeSession::stream(const Request& request) {
  live_of(*slot_);
  return std::make_unique<NativeStream>(slot_, request);
}

// --- answers ---

NativeStream::NativeStream(std::shared_ptr<Slot> slot, const Request& request)
    : slot_(std::move(slot)), request_(request), number_(next_user()) {}

nb::tuple NativeStream::step(nb::object progress) {
  const auto live = live_of(*slot_);
  Call call(std::move(progress));
  Answering::Pieces pieces;
  const bool goes_on = compute(live, call, [&] {
    Session& session = session_of(*slot_);
    const Watch watch = watch_of(*live);
    if (!answering_) {
      const Question question = question_of(request_, live->instance);
      check_tokens(question.tokens, vocabulary_of(live->instance));
      answering_ = live->instance.begin(session, question);
    } else if (answering_->has_ended()) {
      return false;
    } else if (slot_->user != number_) {
      if (!slot_->is_shared) {
        answering_->cancel(pieces);
        throw Error(ErrorCode::usage, "this answer has ended: its session was used since",
                    "answer in a session of its own, or do the other thing behind it");
      }
      slot_->user = number_;
      if (!answering_->rejoin(watch)) return false;
    }
    slot_->user = number_;
    const bool more = answering_->step(pieces, watch);
    if (live->is_closing) refuse_closed("model");
    return more;
  });
  return nb::make_tuple(list_of(pieces), goes_on);
}

nb::list NativeStream::cancel() {
  Answering::Pieces pieces;
  const auto live = slot_->live;
  if (!live || std::get_deleter<NotAfterFork>(live)->process != getpid()) return list_of(pieces);
  Call call;
  without_lock(call, [&] {
    const TurnTaken turn(live->turn, [&call] { call.check(); });
    if (answering_ && slot_->session) answering_->cancel(pieces);
  });
  return list_of(pieces);
}

nb::dict NativeStream::answer() {
  const auto said = [this] { return answering_ ? answering_->answer() : Answer{}; };
  const auto live = slot_->live;
  if (!live) return dict_of(said());
  refuse_after_fork(live);
  Call call;
  return dict_of(without_lock(call, [&] {
    const TurnTaken turn(live->turn, [&call] { call.check(); });
    return said();
  }));
}

}  // namespace plimsoll::python
