// Models, sessions and answers as Python holds them. Every function is called with the interpreter's
// lock, lets it go while it works, and is safe beside all others, on any thread.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "app/instance.h"
#include "call.h"
#include "turn.h"

namespace plimsoll::python {

/// What a model shares with its sessions while it is open.
struct Live {
  Live(const std::string& path, InstanceOptions options) : instance(path, std::move(options)) {}

  Instance instance;
  Turn turn;
  std::atomic<bool> is_closing{false}, is_loaded{false};
};

/// One session. Of a model that was closed, nothing is left in it.
struct Slot {
  std::shared_ptr<Live> live;        ///< under the interpreter's lock
  std::unique_ptr<Session> session;  ///< what follows is under the model's turn
  std::uint64_t user = 0;            ///< who used it last; 0: nobody
  bool is_shared = false;            ///< answers may use it by turns: one that lost it reads again
};

using Tokens = nb::ndarray<const std::int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Logits = nb::ndarray<float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

/// What an answer is to be, from Python.
struct Request {
  std::string text, messages, tools;  ///< the latter two JSON, or empty
  std::vector<TokenId> tokens;
  bool raw = false;
  std::optional<bool> thinking;
  std::int64_t max_tokens = -1;
  std::vector<std::string> stops;
  std::optional<double> temperature, top_p, min_p, repeat_penalty;
  std::optional<std::int64_t> top_k;
  std::optional<std::uint64_t> seed;
};

class NativeSession;

class NativeModel {
 public:
  NativeModel(const std::string& path, std::optional<std::uint64_t> memory, int threads);

  /// Waits for what is at work, which stops at its next token.
  void close();
  bool is_closed() const { return live_ == nullptr; }
  bool is_loaded() const { return live_ != nullptr && live_->is_loaded; }

  std::string plan(std::optional<std::int64_t> context, std::int64_t sessions, double speed,
                   const std::string& kv);
  /// `plan` is JSON, or empty. With `if_needed`, what is loaded stays as it is.
  void load(std::optional<std::int64_t> context, std::int64_t sessions, double speed,
            const std::string& kv, const std::string& plan, bool keep, nb::object progress,
            bool if_needed);
  void move_line(std::uint64_t memory, nb::object progress);
  std::unique_ptr<NativeSession> open_session(bool is_shared);

  std::vector<TokenId> tokenize(const std::string& text, bool special);
  std::string detokenize(const Tokens& tokens, bool special);
  std::string memory();
  /// What the user should know, since this was asked last.
  std::vector<std::string> take_notices();

  std::string name() const;
  std::string path() const;
  std::int64_t vocabulary_size() const;
  std::int64_t trained_context() const;
  std::int64_t context();

 private:
  std::shared_ptr<Live> live() const;
  template <class Body>
  auto read(Body body) const;

  struct Notices {
    std::mutex mutex;
    std::vector<std::string> texts;
  };
  std::shared_ptr<Notices> notices_ = std::make_shared<Notices>();
  std::shared_ptr<Live> live_;
  std::vector<std::weak_ptr<Slot>> slots_;
};

/// An answer as it comes.
class NativeStream {
 public:
  NativeStream(std::shared_ptr<Slot> slot, const Request& request);

  /// Pieces of (text, whether it is reasoning), and whether there may be more.
  nb::tuple step(nb::object progress);
  /// Ends it here. Pieces that were held back.
  nb::list cancel();
  /// So far.
  nb::dict answer();

 private:
  std::shared_ptr<Slot> slot_;
  Request request_;
  std::unique_ptr<Answering> answering_;  ///< under the model's turn
  std::uint64_t number_;
};

class NativeSession {
 public:
  explicit NativeSession(std::shared_ptr<Slot> slot) : slot_(std::move(slot)) {}

  void close();
  bool is_closed() const { return slot_->live == nullptr; }
  /// `logits`: [vocabulary], those behind the last token; empty: not wanted.
  void append(const Tokens& tokens, std::optional<Logits> logits);
  void truncate(std::int64_t length);
  std::vector<TokenId> tokens();
  std::int64_t length();
  std::int64_t context();
  /// The whole answer in one turn.
  nb::dict ask(const Request& request, nb::object progress);
  std::unique_ptr<NativeStream> stream(const Request& request);

 private:
  std::shared_ptr<Slot> slot_;
};

}  // namespace plimsoll::python
