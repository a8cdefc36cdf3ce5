// The Plan: every decision about memory before anything big is loaded, as a pure value. Nothing
// decides outside it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/bytes.h"
#include "base/ledger.h"
#include "model/description.h"
#include "model/kv.h"
#include "model/tensors.h"
#include "plan/quality.h"

namespace plimsoll {

struct Machine;

/// What a plan needs to know of a model file; read from its header alone (see model_facts).
struct ModelFacts {
  Description description;
  Bytes weight_bytes = 0;              ///< in memory, whole pages
  Bytes staging_bytes_per_worker = 0;  ///< while loading
  Bytes text_bytes = 0;                ///< tokenizer and file header
  Bytes table_bytes = 0;               ///< heap for the tables of tensors
  std::int64_t parameters = 0;         ///< numbers in all tensors
  Bytes file_tensor_bytes = 0;         ///< of all tensors in the file
  /// All of them, by position in find_tensors(); they refer to the ModelFile. None: nothing can be
  /// rounded.
  std::vector<TensorUse> tensors;
};

enum class WeightPolicy {
  exact,  ///< weights as the file has them, or a refusal
  fit,    ///< rounded where they do not fit as the file has them
};

/// What decoding must reach at least, as predicted for a machine that knows every format that the
/// weights may have.
struct SpeedFloor {
  double decode_tokens_per_second = 0;
  const Machine* machine = nullptr;
};

/// Of the runtime account, each worker's part.
constexpr Bytes stack_bytes_per_thread = 48 * KiB;

struct PlanRequest {
  Bytes budget = 0;
  /// Tokens of KV cache of each session; without it, the most useful that fits.
  std::optional<std::int64_t> context;
  std::int64_t sessions = 1;  ///< conversations at the same time
  /// What the KV cache of each layer is kept in; empty: in 16 bits.
  std::vector<KvTiers> kv;
  /// Sequences that the tokens of one session's context are divided among, where there may be more
  /// than one.
  std::int64_t branches = 1;
  /// Messages are typed, and kept as texts besides: see conversation_bytes().
  bool converses = false;
  int threads = 1;
  /// That loading goes through as many workers as (rows/staging.h); none: as there are threads.
  std::optional<int> processors;
  /// Wanted at a time: 1 to generate, more to evaluate or in batches.
  std::int64_t logit_rows = 1;
  /// Prefill chunk wanted; smaller ones are taken when memory is short.
  std::int64_t chunk_tokens = 256;
  /// What the process holds besides the accounts (see runtime_bytes).
  Bytes runtime_bytes = 0;
  /// Of that, what comes only when the weights are loaded, and their staging has gone.
  Bytes after_loading = 0;
  Bytes of_rounding = 0;  ///< besides, where weights are rounded
  bool counts_process = true;  ///< false for a second model beside one whose plan has the process
  Bytes held_text = 0;         ///< in the text account besides the model's own
  /// Measured anew, the process may hold so much more: what a refusal offers instead has it to
  /// spare.
  Bytes runtime_slack = 0;
  WeightPolicy policy = WeightPolicy::exact;
  /// What rounding costs; without it, prior_quality().
  std::optional<QualityModel> quality;
  Rounding rounding = Rounding::plain;
  /// With WeightPolicy::fit, weights that fit but are too slow are rounded too: fewer bytes are
  /// read faster.
  std::optional<SpeedFloor> speed;
};

/// What a plan's weights hold in one format.
struct FormatShare {
  const Format* format;
  std::int64_t tensors;
  std::int64_t parameters;
  Bytes bytes;  ///< in memory
};

/// One decided way to run. `fits` false: peak_bytes is the least that this request needs.
struct Plan {
  Bytes budget_bytes = 0;
  bool fits = false;
  std::array<Bytes, account_count> accounts{};  ///< while running, by Account
  Bytes loading_bytes = 0;                      ///< peak while loading
  Bytes loading_runtime_bytes = 0;              ///< of the runtime account while loading
  Bytes rounding_bytes = 0;                     ///< the request's of_rounding
  Bytes running_bytes = 0;                      ///< peak while running: the sum of the accounts
  Bytes peak_bytes = 0;                         ///< the larger of the two, with page tables
  Bytes process_bytes = 0;                      ///< the request's runtime_bytes
  bool counts_process = true;                   ///< the request's
  std::int64_t context = 0;                     ///< of each session
  std::int64_t sessions = 1;
  std::int64_t branches = 1;  ///< the request's
  /// What the KV cache of each layer is kept in; empty: in 16 bits.
  std::vector<KvTiers> kv;
  /// That would fit this budget, up to what the model was trained for or what was asked for; 0 for
  /// none.
  std::int64_t largest_context = 0;
  std::int64_t offered_context = 0;  ///< the same with the request's slack to spare
  /// For a plan that does not fit, with the slack to spare: fewer workers, and fewer sessions, with
  /// which what was asked for fits; 0 for none. And where no number of workers helps, the context
  /// with a single one.
  int offered_threads = 0;
  std::int64_t offered_sessions = 0;
  std::int64_t context_of_one_thread = 0;
  Bytes slack_bytes = 0;  ///< the request's
  /// Peak with the smallest chunk and least_context tokens (short_context, or what the model was
  /// trained for), and with every tensor in its smallest format where the policy is to fit; and
  /// what that loses.
  Bytes least_bytes = 0;
  std::int64_t least_context = 0;
  double least_kl_nats = 0;
  std::int64_t chunk_tokens = 0;
  std::int64_t logit_rows = 1;
  int threads = 1;
  double bits_per_weight = 0;  ///< of all weights as held in memory
  /// By position in find_tensors(): the format of each tensor in memory. Empty: as the file has
  /// them.
  std::vector<const Format*> formats;
  std::vector<FormatShare> shares;  ///< by format, most bytes first; vectors are F32
  double kl_nats = 0;  ///< predicted loss of the rounding; 0 where weights are the file's own
  QualitySource quality = QualitySource::prior;  ///< of kl_nats
  /// Tensors that no coded format can hold, since no block divides their rows.
  std::int64_t uncodable_tensors = 0;
  /// Of one session's prompt, and of each session while all are answering. Filled in with a speed
  /// floor, or by the caller (predict_speeds) when something is known of the machine.
  std::optional<double> prefill_tokens_per_second;
  std::optional<double> decode_tokens_per_second;
  std::optional<double> speed_floor;  ///< the request's, tokens per second
  /// Filled in with a speed floor: decoding on Machine::cautious().
  std::optional<double> promised_tokens_per_second;

  /// False for one that is too slow for its floor; it is the fastest within the budget then.
  bool keeps_speed() const;
  Bytes account(Account a) const { return accounts[static_cast<std::size_t>(a)]; }
};

/// On the heap for a sequence of so many tokens: the session's ids, those of prompt and answer, and
/// their texts. Part of every plan's runtime account.
Bytes sequence_bytes(std::int64_t context);

/// The same for what a conversation holds besides: messages, what templates make of them and their
/// ids, each several times while a turn begins; and the code of all that.
Bytes conversation_bytes(std::int64_t context);

/// Context that is taken when none is asked for and the model and the budget allow more.
constexpr std::int64_t default_context = 4096;

/// Context that is taken when none is asked for and weights are rounded anyhow: more would cost
/// precision.
constexpr std::int64_t fitted_context = 2048;

/// Context that is still of use to most people; a refusal names what it takes.
constexpr std::int64_t short_context = 512;

/// Pure. Takes the largest chunk and, without a wanted context, the largest context up to
/// default_context that fits.
///
/// With WeightPolicy::fit and weights that leave no room for the wanted context (without one,
/// fitted_context tokens): the KV cache and the activations come first, and the weights get what
/// they leave, in the formats of least loss. Without a wanted context, the context is halved from
/// fitted_context down to short_context until the KV cache takes at most an eighth of the budget;
/// the chunk is the largest whose activations take at most a thirty-second. Small differences of
/// what the process holds do not change the formats.
///
/// With a speed floor: the formats of least loss whose decoding keeps it on Machine::cautious(),
/// within the bytes; the fastest ones where none do.
Plan make_plan(const ModelFacts& facts, const PlanRequest& request);

/// What a refusal may offer besides more memory.
struct Remedies {
  bool context = true;                 ///< the command has --context
  std::int64_t least_context = 1;      ///< a shorter one would be refused again
  bool sessions = false;               ///< the command has --sessions
  bool any_memory = false;             ///< --memory may be more than this machine has to give
  std::optional<Bytes> memory = {};    ///< that it takes, where that is not the plan's peak
  std::vector<std::string> more = {};  ///< of the command's own: "--depths 300 or less"
};

/// Throws Error(budget_refused) for a plan that does not fit, or not in the time: names the
/// shortfall and the choices, each of which works when the process is measured anew: options and
/// values that are given together stand in one part, between commas. Of contexts, workers and
/// sessions the most are named; none that the command has no option for, and no memory that this
/// machine does not have.
void refuse_unless_it_fits(const Plan& plan, const Remedies& remedies = {});
/// The choices alone.
std::string offer_remedies(const Plan& plan, const Remedies& remedies);

/// "0.021", "1.3": two significant digits.
std::string format_nats(double nats);

/// Keys as in the command line contract.
nlohmann::json to_json(const Plan& plan);

}  // namespace plimsoll
