// A model that is opened, planned, loaded and talked to by whoever lives longer than one command: a
// binding, a server.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "app/answering.h"
#include "app/forecast.h"
#include "app/host.h"
#include "app/loading.h"
#include "app/moving.h"
#include "app/plan_file.h"
#include "text/chat_template.h"

namespace plimsoll {

struct InstanceOptions {
  std::optional<Bytes> memory;  ///< that all of it may hold; without, what the machine has to give
  int threads = 0;              ///< workers; 0: one for each processor that may be used
  Whose process = Whose::shared;
  Watch watch = {};
};

struct LoadRequest {
  std::optional<std::int64_t>
      context;  ///< tokens of each session; empty: the most useful that fits
  std::int64_t sessions = 1;
  std::optional<KvTiers> kv = {};  ///< that full pages of the KV cache are kept in
  double speed = 0;   ///< that decoding must reach, tokens per second; 0: none asked for
  bool keep = false;  ///< rounded weights, in a file
  std::optional<SavedPlan> plan = {};  ///< instead: exactly these decisions
};

/// What is to be answered: a conversation in the model's chat format, or a text to write on from.
struct Question {
  std::string text;                 ///< a message of the user behind the others; or the text
  nlohmann::ordered_json messages;  ///< before it; null for none
  std::vector<TokenId> tokens;      ///< instead of all text: what to write on from
  ChatSettings settings;
  bool raw = false;  ///< write on from the text as it stands, without a chat format
  GenerateOptions generate;
};

/// Threads take turns: whatever computes holds lock().
class Instance {
 public:
  /// Opens a path, or the name of a model that is on this machine, under the line. Throws as
  /// open_model and resolve_model do.
  Instance(const std::string& model, InstanceOptions options);

  Host& host() { return host_; }
  const OpenModel& model() const { return model_; }
  /// The model's own chat template; null where it has none, and messages are in a plain format
  /// then.
  const ChatTemplate& chat_template() const { return chat_template_; }
  std::unique_lock<std::mutex> lock() { return std::unique_lock(mutex_); }

  /// Nothing is loaded. With what loading took meanwhile, where it has been.
  Forecast forecast(const ForecastRequest& request);
  /// Plans and loads, once. Throws Error(budget_refused) where it does not fit, Error(usage) the
  /// second time, and as load_model does.
  void load(const LoadRequest& request);
  /// Draws the line anew, and moves the weights to where they fit, all at once. Throws Error(usage)
  /// before load(), and as MovingLine does.
  void move_line(Bytes budget);
  bool is_loaded() const { return loaded_.engine != nullptr; }
  /// Throws Error(usage) before load().
  const Engine& engine() const;

  /// Throws Error(budget_exceeded) beyond the sessions that were planned.
  std::unique_ptr<Session> open_session() const;
  /// What the model's makers advise, with a seed of its own.
  SamplingOptions usual_sampling() const;
  /// An answer as it is made, a token at a time; nothing is computed yet. Sampling options are taken
  /// as they are. Throws as Conversation::prompt and generate() do.
  std::unique_ptr<Answering> begin(Session& session, const Question& question);
  /// All of it.
  Answer ask(Session& session, const Question& question,
             const std::function<bool(const ReasoningSplitter::Piece&)>& emit,
             const std::function<bool()>& keep_going = {});

 private:
  ConversationPrompt prompt_of(const Question& question) const;

  Host host_;
  OpenModel model_;
  ChatTemplate chat_template_;
  std::unique_ptr<Context> context_;
  LoadedModel loaded_;
  std::unique_ptr<MovingLine> line_;
  std::mutex mutex_;
};

}  // namespace plimsoll
