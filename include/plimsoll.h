/* Plimsoll: language models on the CPU inside a byte budget that is never exceeded. The C interface.
 *
 *   plimsoll_model* model;
 *   plimsoll_open_options open = {.size = sizeof open, .memory = 512u << 20};
 *   if (plimsoll_open("model.gguf", &open, &model) || plimsoll_load(model, NULL)) ... plimsoll_last_error()
 *
 * Conventions
 *   - Functions that can fail return a plimsoll_status; plimsoll_last_error() then says why. What they write through
 *     pointers is untouched when they fail.
 *   - Options are structs whose first member is their size: set it with sizeof, leave the rest zero for what is usual. A
 *     library that is newer than the header it was compiled with reads no further than that size. NULL takes all that is
 *     usual.
 *   - Texts are UTF-8 and end in 0, unless a length stands beside them. Texts and arrays that are returned through
 *     char** are the caller's: plimsoll_free(). All other pointers that are returned belong to the library.
 *   - Handles may be used from any thread; calls on one model take turns. A callback must not call back into its model.
 *   - The library changes nothing of its process: no signal handlers, no allocator settings, no locale, no output.
 *   - `memory` bounds what the library itself holds: weights, KV cache, activations, tokenizer, its own code and stacks.
 *     What else is in the process is the caller's to count.
 */
#ifndef PLIMSOLL_H
#define PLIMSOLL_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define PLIMSOLL_API
#else
#define PLIMSOLL_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Of this header. Grows with every addition; what is there keeps its meaning. */
#define PLIMSOLL_API_VERSION 1

typedef enum plimsoll_status {
  PLIMSOLL_OK = 0,
  PLIMSOLL_ERROR = 1,       /* code says which */
  PLIMSOLL_USAGE = 2,       /* an argument is wrong */
  PLIMSOLL_REFUSED = 3,     /* it cannot fit: the hint says what would */
  PLIMSOLL_INTERRUPTED = 130 /* a callback stopped it */
} plimsoll_status;

typedef struct plimsoll_error {
  size_t size;
  plimsoll_status status;
  const char* code;    /* "budget_refused", ...: as in JSON, stable */
  const char* message; /* what happened, with the wanted and the found value */
  const char* hint;    /* what to do; may be empty */
} plimsoll_error;

/* Of the last call on this thread that failed; valid until the next call on this thread. Never NULL. */
PLIMSOLL_API const plimsoll_error* plimsoll_last_error(void);

PLIMSOLL_API int plimsoll_api_version(void);      /* of the library */
PLIMSOLL_API const char* plimsoll_version(void);  /* "0.2.0" */
/* What a function gave through char** or uint8_t**. NULL is nothing. */
PLIMSOLL_API void plimsoll_free(void* memory);

/* --- models --- */

typedef struct plimsoll_model plimsoll_model;

/* Of long work: `what` is under way ("loading"), `done` of `total`. Not 0 stops it: PLIMSOLL_INTERRUPTED. */
typedef int (*plimsoll_progress)(const char* what, uint64_t done, uint64_t total, void* user);
/* Something that the user should know, such as what was rounded. */
typedef void (*plimsoll_notice)(const char* text, void* user);

typedef struct plimsoll_open_options {
  size_t size;
  uint64_t memory;  /* bytes that the library may hold for this model; 0: what this machine or container has to give */
  int32_t threads;  /* workers; 0: one for each processor that may be used */
  plimsoll_progress progress;
  plimsoll_notice notice;
  void* user; /* for both */
} plimsoll_open_options;

/* Reads the header and makes the tokenizer. `path`: a GGUF file, a folder with config.json and safetensors files, or the
 * name of a model that is on this machine. */
PLIMSOLL_API plimsoll_status plimsoll_open(const char* path, const plimsoll_open_options* options,
                                           plimsoll_model** model);
/* Ends its sessions too. NULL is nothing. */
PLIMSOLL_API void plimsoll_close(plimsoll_model* model);

typedef struct plimsoll_load_options {
  size_t size;
  int64_t context;  /* tokens of each session; 0: the most useful that fits */
  int64_t sessions; /* at the same time; 0: 1 */
  double speed;     /* that decoding must reach, tokens a second; 0: none asked for */
  const char* plan; /* JSON as plimsoll_plan() gives it: exactly these decisions instead; NULL: none */
  int32_t keep;     /* not 0: rounded weights are kept in the cache folder, for the next time */
  const char* kv;   /* bits of keys and values in full pages of the KV cache: "16", "8", "8/4", ...; NULL: 16 */
} plimsoll_load_options;

/* What loading would decide and take, as JSON (docs/commands.md, plan): "peak_bytes", "fits", "accounts", "kl_nats",
 * "decode_tokens_per_second", "decisions", ... Loads nothing. A plan that does not fit is no failure: "fits" says it. */
PLIMSOLL_API plimsoll_status plimsoll_plan(plimsoll_model* model, const plimsoll_load_options* options,
                                           char** json);
/* Loads the weights, rounded where they do not fit. Once for each model. */
PLIMSOLL_API plimsoll_status plimsoll_load(plimsoll_model* model, const plimsoll_load_options* options);
/* Draws the line of a loaded model anew: its weights become what fits there, with all of its sessions as they are. What
 * does not fit is refused with what would, and changes nothing. */
PLIMSOLL_API plimsoll_status plimsoll_move_line(plimsoll_model* model, uint64_t memory);
/* What the model holds by account, and where the line is: {"budget_bytes", "used_bytes", "peak_bytes", "accounts"}. */
PLIMSOLL_API plimsoll_status plimsoll_memory(plimsoll_model* model, char** json);

/* --- tokens --- */

typedef int32_t plimsoll_token;

/* The ids of `bytes` bytes of text, without BOS. Writes up to `capacity` of them and always says how many there are; a
 * call with capacity 0 counts them. `special` not 0: names of control tokens in the text mean these. */
PLIMSOLL_API plimsoll_status plimsoll_tokenize(plimsoll_model* model, const char* text, size_t bytes,
                                               int special, plimsoll_token* tokens, size_t capacity,
                                               size_t* count);
/* The text of ids, as they stand: some tokenizers begin every text with a space, and it shows. `special` not 0: control tokens are shown. `bytes` is without the 0 at its end, and may be NULL. */
PLIMSOLL_API plimsoll_status plimsoll_detokenize(plimsoll_model* model, const plimsoll_token* tokens,
                                                 size_t count, int special, char** text, size_t* bytes);
PLIMSOLL_API int64_t plimsoll_vocabulary_size(const plimsoll_model* model);

/* --- sessions: one sequence of tokens each, with its KV cache --- */

typedef struct plimsoll_session plimsoll_session;

/* Of a loaded model; at most as many as were planned. */
PLIMSOLL_API plimsoll_status plimsoll_session_open(plimsoll_model* model, plimsoll_session** session);
PLIMSOLL_API void plimsoll_session_close(plimsoll_session* session);

/* A piece of the answer as it becomes final: whole characters, `bytes` of them, ending in 0. `reasoning` not 0: what the
 * model thinks before it answers. Not 0 stops the answer, which keeps what was said. */
typedef int (*plimsoll_text)(const char* text, size_t bytes, int reasoning, void* user);

typedef struct plimsoll_generate_options {
  size_t size;
  int64_t max_tokens; /* 0: until the model's own end or a full context */
  /* What is NaN is as the model's makers advise. plimsoll_generate_defaults() fills them in. */
  double temperature, top_p, min_p, repeat_penalty;
  int64_t top_k; /* -1: as advised; 0: all */
  uint64_t seed; /* 0: a random one */
  const char* const* stops; /* texts that end the answer and are no part of it */
  size_t stop_count;
  int32_t raw;          /* not 0: write on from the text as it stands, without the chat format */
  const char* messages; /* JSON array of {"role", "content"}: the conversation before the prompt; NULL: none */
  const char* tools;    /* JSON array, NULL: none */
  int32_t thinking;     /* 1: on, -1: off, 0: as the template does by itself */
  plimsoll_text text;
  void* user;
} plimsoll_generate_options;

/* All that is usual, with the size set. */
PLIMSOLL_API plimsoll_generate_options plimsoll_generate_defaults(void);

typedef struct plimsoll_answer {
  size_t size;
  char* text; /* without reasoning; the caller's, like the next one: plimsoll_free() */
  char* reasoning;
  const char* finish_reason; /* "stop", "length", "cancelled" */
  int64_t prompt_tokens;     /* all of the prompt */
  int64_t cached_tokens;     /* of them, those that the session had already */
  int64_t tokens;            /* of the answer */
  double prefill_seconds, decode_seconds;
} plimsoll_answer;

/* Answers `prompt` (a message for a chat model, otherwise a text to write on from; NULL or empty behind messages). What
 * the session has in common with the prompt is not computed again. `answer` may be NULL; set its size. */
PLIMSOLL_API plimsoll_status plimsoll_generate(plimsoll_session* session, const char* prompt,
                                               const plimsoll_generate_options* options,
                                               plimsoll_answer* answer);

/* The session's tokens. */
PLIMSOLL_API int64_t plimsoll_session_length(const plimsoll_session* session);
PLIMSOLL_API int64_t plimsoll_session_context(const plimsoll_session* session);
/* Keeps the first `length` tokens. */
PLIMSOLL_API plimsoll_status plimsoll_session_truncate(plimsoll_session* session, int64_t length);
/* Appends tokens and gives the logits behind the last one: plimsoll_vocabulary_size() floats, or NULL for none. */
PLIMSOLL_API plimsoll_status plimsoll_session_append(plimsoll_session* session,
                                                     const plimsoll_token* tokens, size_t count,
                                                     float* logits);

#ifdef __cplusplus
}
#endif

#endif
