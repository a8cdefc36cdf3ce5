// A model ready to run under a plan, and conversations with it.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cache/page_pool.h"
#include "cache/prefix_index.h"
#include "cache/kv_sequence.h"
#include "engine/sampler.h"
#include "file/model_file.h"
#include "kernels/context.h"
#include "model/transformer.h"
#include "model/weights.h"
#include "plan/facts.h"
#include "plan/plan.h"
#include "text/tokenizer.h"

namespace plimsoll {

/// A model file with its tokenizer and facts, before anything big is loaded.
struct OpenModel {
  ModelFile file;
  std::unique_ptr<Tokenizer> tokenizer;
  ModelFacts facts;
  /// Of the text account, for who counts it there from the beginning.
  Reservation held = {};

  /// Throws Error as ModelFile::open, Tokenizer::from_metadata and model_facts do.
  /// `room` as ModelFile::open takes it.
  static OpenModel open(const std::string& path, Bytes room = ModelFile::any_room);
};

/// The loaded weights and the forward pass that all sessions share, one at a time. Sessions refer
/// to it.
class Engine {
 public:
  /// Who has the plan's runtime and text accounts in the Ledger.
  enum class Accounts { held_by_engine, held_by_caller };

  /// Sets the Ledger's budget (unless it has one: two engines in one context share it) and raises
  /// its caps by the plan's accounts while the engine lives, reserves the runtime and text accounts
  /// unless the caller has them, loads the weights.
  /// `progress` is called on this thread. `kept`, if given, has the weights in the plan's formats
  /// already (engine/kept_weights.h). Throws Error(budget_refused) when the plan does not fit,
  /// and whatever loading throws.
  Engine(Context& context, const OpenModel& model, const Plan& plan,
         const std::function<void(Weights::Progress)>& progress = {},
         const ModelFile* kept = nullptr, Accounts accounts = Accounts::held_by_engine);

  Context& context() const { return *context_; }
  const Description& description() const { return model_->facts.description; }
  const Tokenizer& tokenizer() const { return *model_->tokenizer; }
  const Weights& weights() const { return *weights_; }
  const OpenModel& model() const { return *model_; }
  /// False after a move that could not read a tensor: nothing can be computed any more.
  bool has_all_weights() const { return has_all_weights_; }
  const Plan& plan() const { return plan_; }
  /// Of the passes of its sessions.
  Transformer& transformer() const { return *transformer_; }
  /// Of the KV caches of its sessions.
  PagePool& pages() const { return *pages_; }
  /// What its sessions have begun with.
  PrefixIndex& prefixes() const { return *prefixes_; }

 private:
  friend class Move;
  Context* context_;
  const OpenModel* model_;
  Plan plan_;
  std::vector<CapLease> caps_;
  Reservation runtime_, text_;
  std::unique_ptr<Weights> weights_;
  bool has_all_weights_ = true;
  std::unique_ptr<Transformer> transformer_;
  std::unique_ptr<PagePool> pages_;
  std::unique_ptr<PrefixIndex> prefixes_;
};

/// One sequence of tokens with its KV cache. Not thread-safe; one session of an engine computes at a
/// time.
class Session {
 public:
  /// That may reach `context` tokens of the plan's, or all of them; memory is taken as it grows, and
  /// promised, unless it is to find what is left then. Throws Error(budget_exceeded) where the plan's
  /// sessions have promised all of their room.
  explicit Session(const Engine& engine, std::optional<std::int64_t> context = {},
                   KvSequence::Room room = KvSequence::Room::promised);

  const Engine& engine() const { return *engine_; }
  const std::vector<TokenId>& tokens() const { return tokens_; }
  std::int64_t room() const { return sequence_.context() - sequence_.length(); }

  struct Appended {
    bool is_complete = false;  ///< it was not stopped
    /// After the last token, where it is complete and there was one: [vocabulary]; the caller may
    /// change them. Valid until the engine's next pass.
    std::span<float> logits;
  };
  /// Appends tokens, in chunks. `keep_going(done, total)` is asked before each chunk; false stops
  /// there, with the tokens done so far kept. Throws Error(context_exceeded) before anything is
  /// done when they do not fit, Error(internal) for ids outside the vocabulary,
  /// Error(budget_exceeded) before a chunk that the KV cache has no memory for.
  Appended append(std::span<const TokenId> tokens,
                  const std::function<bool(std::int64_t done, std::int64_t total)>& keep_going = {});
  /// Appends tokens and hands every row of logits to `visit(index, row)`, index within `tokens`;
  /// rows of [first_wanted, size). Throws as append does.
  void append_scored(std::span<const TokenId> tokens, std::int64_t first_wanted,
                     const std::function<void(std::int64_t index, std::span<float> row)>& visit);
  /// Keeps the longest common prefix with `tokens` (or less, where the rest could not be gone on
  /// with: see KvSequence::truncate) and forgets the rest. Returns its length.
  std::int64_t rewind_to_prefix_of(std::span<const TokenId> tokens);
  /// The same, or what the engine still knows of the beginning of `tokens`, whoever computed it,
  /// where that is more.
  std::int64_t resume(std::span<const TokenId> tokens);
  /// Others may go on from here: see PrefixIndex::mark_end.
  void mark_end() { engine_->prefixes().mark_end(sequence_, tokens_); }
  /// Keeps the first `length` tokens, at most those that there are. Reads some of them again where
  /// the rest could not be gone on with otherwise; throws as append does.
  void truncate(std::int64_t length);
  void clear();

  /// Appends one token to each of several sessions of one engine in one pass, which reads the
  /// weights once for all. Returns their logits, [sessions][vocabulary]; at most the plan's
  /// logit_rows sessions. Throws as append does, before anything is done.
  static std::span<float> append_each(std::span<Session* const> sessions,
                                      std::span<const TokenId> tokens);

 private:
  void check(std::span<const TokenId> tokens) const;
  void add(std::span<const TokenId> tokens);

  const Engine* engine_;
  KvSequence sequence_;
  std::vector<TokenId> tokens_;
  PrefixIndex::Cursor indexed_;
};

enum class FinishReason { stop, length, context_full, cancelled };
/// "stop", "length" (also when the context is full), "cancelled".
std::string_view name(FinishReason reason);

struct GenerateOptions {
  std::int64_t max_tokens = -1;  ///< -1: until the end or the context is full
  std::vector<std::string>
      stops;  ///< texts that end the answer and are no part of it; found across token borders,
              ///< also where they are the text of a control token that is not shown
  SamplingOptions sampling;
  bool show_special = false;
};

struct Generated {
  std::string text;
  std::vector<TokenId> tokens;
  FinishReason reason = FinishReason::stop;
  std::int64_t prompt_tokens = 0;
  double prefill_seconds = 0;
  double decode_seconds = 0;
  double prefill_tokens_per_second() const;
  double decode_tokens_per_second() const;  ///< of the tokens after the first
};

/// Appends `prompt` to the session and generates. `emit(text)` gets text as it becomes final (whole
/// characters, never the beginning of a stop text); returning false cancels. The session keeps
/// everything that was appended. Throws Error(empty_prompt) when the session would have no token,
/// and as Session::append does. A step at a time: engine/generation.h.
Generated generate(
    Session& session, std::span<const TokenId> prompt, const GenerateOptions& options,
    const std::function<bool(std::string_view text)>& emit = {},
    const std::function<bool(std::int64_t done, std::int64_t total)>& prefill_progress = {});

/// BOS where the model expects it, then the text's tokens.
std::vector<TokenId> prompt_tokens(const Tokenizer& tokenizer, std::string_view text,
                                   bool parse_special);

}  // namespace plimsoll
