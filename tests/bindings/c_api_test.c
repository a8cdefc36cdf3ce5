/* The C interface, from C: what its header promises. Ends with 0, or names the line that is wrong.
 *   c_api_test MODEL */
#include <math.h>
#include <plimsoll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                        \
  do {                                                                                          \
    if (!(condition)) {                                                                         \
      fprintf(stderr, "%s:%d: %s\n  last error: %s: %s\n", __FILE__, __LINE__, #condition,     \
              plimsoll_last_error()->code, plimsoll_last_error()->message);                     \
      exit(1);                                                                                  \
    }                                                                                           \
  } while (0)

static const char* code(void) { return plimsoll_last_error()->code; }

static const uint64_t line = (uint64_t)32 << 20;

/* VmRSS in bytes. */
static uint64_t resident(void) {
  FILE* file = fopen("/proc/self/statm", "r");
  unsigned long long all = 0, pages = 0;
  CHECK(file != NULL && fscanf(file, "%llu %llu", &all, &pages) == 2);
  fclose(file);
  return pages * 4096;
}

static plimsoll_model* opened(const char* path) {
  plimsoll_model* model = NULL;
  plimsoll_open_options options = {sizeof options};
  options.memory = line;
  options.threads = 2;
  CHECK(plimsoll_open(path, &options, &model) == PLIMSOLL_OK);
  CHECK(model != NULL);
  return model;
}

typedef struct Heard {
  char text[4096];
  size_t bytes;
  int pieces, stop_after;
} Heard;

static int hear(const char* text, size_t bytes, int reasoning, void* user) {
  Heard* heard = user;
  CHECK(strlen(text) == bytes && !reasoning);
  CHECK(heard->bytes + bytes < sizeof heard->text);
  memcpy(heard->text + heard->bytes, text, bytes + 1);
  heard->bytes += bytes;
  return ++heard->pieces == heard->stop_after;
}

static plimsoll_generate_options greedy(int64_t tokens, Heard* heard) {
  plimsoll_generate_options options = plimsoll_generate_defaults();
  options.max_tokens = tokens;
  options.temperature = 0;
  options.text = hear;
  options.user = heard;
  return options;
}

static void test_errors(const char* path) {
  plimsoll_model* model = NULL;
  CHECK(plimsoll_last_error()->status == PLIMSOLL_OK);
  CHECK(plimsoll_open(NULL, NULL, &model) == PLIMSOLL_USAGE);
  CHECK(plimsoll_open(path, NULL, NULL) == PLIMSOLL_USAGE);
  CHECK(plimsoll_open("/nowhere/at/all.gguf", NULL, &model) == PLIMSOLL_ERROR);
  CHECK(strcmp(code(), "file_not_found") == 0 && model == NULL);
  CHECK(*plimsoll_last_error()->hint != 0);
  plimsoll_open_options options = {0}; /* no size */
  CHECK(plimsoll_open(path, &options, &model) == PLIMSOLL_USAGE);
  options.size = sizeof options;
  options.threads = -1;
  CHECK(plimsoll_open(path, &options, &model) == PLIMSOLL_USAGE);
  options.threads = 0;
  options.memory = (uint64_t)1 << 60;
  CHECK(plimsoll_open(path, &options, &model) == PLIMSOLL_ERROR);
  CHECK(strcmp(code(), "machine_limit") == 0);
  /* Too little is refused with what would do, and that does. */
  options.memory = 3 << 20;
  CHECK(plimsoll_open(path, &options, &model) == PLIMSOLL_OK);
  CHECK(plimsoll_load(model, NULL) == PLIMSOLL_REFUSED);
  unsigned long long least = 0;
  CHECK(sscanf(plimsoll_last_error()->hint, "give --memory %llu", &least) == 1);
  plimsoll_close(model);
  options.memory = least;
  CHECK(plimsoll_open(path, &options, &model) == PLIMSOLL_OK);
  CHECK(plimsoll_load(model, NULL) == PLIMSOLL_OK);
  CHECK(plimsoll_load(model, NULL) == PLIMSOLL_USAGE); /* once */
  plimsoll_close(model);
  plimsoll_close(NULL);
  plimsoll_session_close(NULL);
  plimsoll_free(NULL);
}

/* A program that was compiled with an older or a newer header. */
static void test_sizes(const char* path) {
  struct {
    plimsoll_open_options known;
    char later[64];
  } newer;
  memset(&newer, 0, sizeof newer);
  newer.known.size = sizeof newer;
  newer.known.memory = line;
  plimsoll_model* model = NULL;
  CHECK(plimsoll_open(path, &newer.known, &model) == PLIMSOLL_OK);
  plimsoll_close(model);
  /* Older: what stands behind its size is not looked at. */
  plimsoll_open_options older;
  memset(&older, 0xFF, sizeof older);
  older.size = offsetof(plimsoll_open_options, threads);
  older.memory = line;
  CHECK(plimsoll_open(path, &older, &model) == PLIMSOLL_OK);
  plimsoll_close(model);
}

static void test_tokens(const char* path) {
  plimsoll_model* model = opened(path);
  const char text[] = "The kernel\0 keeps a list";
  size_t count = 0, again = 0, bytes = 0;
  CHECK(plimsoll_tokenize(model, text, sizeof text - 1, 0, NULL, 0, &count) == PLIMSOLL_OK);
  CHECK(count > 3);
  plimsoll_token* tokens = malloc(count * sizeof *tokens);
  tokens[count - 1] = -7;
  CHECK(plimsoll_tokenize(model, text, sizeof text - 1, 0, tokens, count - 1, &again) == PLIMSOLL_OK);
  CHECK(again == count && tokens[count - 1] == -7); /* no further than the capacity */
  CHECK(plimsoll_tokenize(model, text, sizeof text - 1, 0, tokens, count, &again) == PLIMSOLL_OK);
  char* back = NULL;
  CHECK(plimsoll_detokenize(model, tokens, count, 0, &back, &bytes) == PLIMSOLL_OK);
  /* This tokenizer begins every text with a space. */
  CHECK(bytes == sizeof text && *back == ' ' && memcmp(back + 1, text, bytes) == 0);
  plimsoll_free(back);
  tokens[0] = (plimsoll_token)plimsoll_vocabulary_size(model);
  CHECK(plimsoll_detokenize(model, tokens, 1, 0, &back, NULL) == PLIMSOLL_USAGE);
  CHECK(plimsoll_tokenize(model, "", 0, 0, NULL, 0, &count) == PLIMSOLL_OK && count == 0);
  free(tokens);
  plimsoll_close(model);
}

static void test_plans(const char* path) {
  plimsoll_model* model = opened(path);
  char* json = NULL;
  CHECK(plimsoll_plan(model, NULL, &json) == PLIMSOLL_OK);
  CHECK(strstr(json, "\"decisions\"") != NULL && strstr(json, "\"fits\": true") != NULL);
  plimsoll_load_options options = {sizeof options};
  options.plan = "{}";
  CHECK(plimsoll_load(model, &options) == PLIMSOLL_ERROR && strcmp(code(), "file_corrupt") == 0);
  options.plan = json;
  CHECK(plimsoll_load(model, &options) == PLIMSOLL_OK);
  plimsoll_free(json);
  CHECK(plimsoll_memory(model, &json) == PLIMSOLL_OK);
  CHECK(strstr(json, "\"weights\"") != NULL);
  /* Planning again changes nothing of what is counted. */
  char *said = NULL, *after = NULL;
  CHECK(plimsoll_plan(model, NULL, &said) == PLIMSOLL_OK);
  CHECK(plimsoll_memory(model, &after) == PLIMSOLL_OK);
  CHECK(strcmp(strstr(json, "\"accounts\""), strstr(after, "\"accounts\"")) == 0);
  plimsoll_free(said);
  plimsoll_free(after);
  plimsoll_free(json);
  plimsoll_close(model);
}

static void test_answers(const char* path) {
  const uint64_t before = resident();
  plimsoll_model* model = opened(path);
  plimsoll_session *session = NULL, *other = NULL;
  CHECK(plimsoll_session_open(model, &session) == PLIMSOLL_USAGE); /* nothing is loaded */
  plimsoll_load_options load = {sizeof load};
  load.context = 200;
  load.sessions = 2;
  CHECK(plimsoll_load(model, &load) == PLIMSOLL_OK);
  CHECK(plimsoll_session_open(model, &session) == PLIMSOLL_OK);
  CHECK(plimsoll_session_open(model, &other) == PLIMSOLL_OK);
  plimsoll_session* third = NULL;
  CHECK(plimsoll_session_open(model, &third) == PLIMSOLL_ERROR);
  CHECK(strcmp(code(), "budget_exceeded") == 0);
  CHECK(plimsoll_session_context(session) == 200);

  Heard heard = {"", 0, 0, 0};
  plimsoll_generate_options options = greedy(24, &heard);
  /* The line moves, and back; where it cannot go, nothing has changed. */
  char* held = NULL;
  CHECK(plimsoll_memory(model, &held) == PLIMSOLL_OK);
  const uint64_t line = strtoull(strstr(held, "\"budget_bytes\": ") + 16, NULL, 10),
                 used = strtoull(strstr(held, "\"used_bytes\": ") + 14, NULL, 10);
  plimsoll_free(held);
  CHECK(plimsoll_move_line(model, 1 << 20) == PLIMSOLL_REFUSED);
  CHECK(plimsoll_move_line(model, used - (2 << 20)) == PLIMSOLL_OK);
  CHECK(plimsoll_memory(model, &held) == PLIMSOLL_OK);
  CHECK(strtoull(strstr(held, "\"used_bytes\": ") + 14, NULL, 10) <= used - (2 << 20));
  plimsoll_free(held);
  CHECK(plimsoll_move_line(model, line) == PLIMSOLL_OK);
  plimsoll_answer answer = {sizeof answer};
  CHECK(plimsoll_generate(session, "The kernel keeps", &options, &answer) == PLIMSOLL_OK);
  CHECK(strcmp(answer.text, heard.text) == 0 && answer.tokens == 24);
  CHECK(strcmp(answer.finish_reason, "length") == 0 && *answer.reasoning == 0);
  CHECK(answer.cached_tokens == 0 && answer.prompt_tokens > 2);
  char first[4096];
  strcpy(first, answer.text);
  plimsoll_free(answer.text);
  plimsoll_free(answer.reasoning);

  /* The same again: most of the prompt is there; the text is the same. */
  heard = (Heard){"", 0, 0, 0};
  CHECK(plimsoll_generate(session, "The kernel keeps", &options, &answer) == PLIMSOLL_OK);
  CHECK(strcmp(answer.text, first) == 0 && answer.cached_tokens == answer.prompt_tokens - 1);
  plimsoll_free(answer.text);
  plimsoll_free(answer.reasoning);

  /* A callback stops it; what was said stays. */
  heard = (Heard){"", 0, 0, 3};
  CHECK(plimsoll_generate(other, "The kernel keeps", &options, &answer) == PLIMSOLL_OK);
  CHECK(strcmp(answer.finish_reason, "cancelled") == 0 && heard.pieces == 3);
  CHECK(strncmp(first, answer.text, strlen(answer.text)) == 0);
  plimsoll_free(answer.text);
  plimsoll_free(answer.reasoning);

  /* A stop text is no part of the answer. */
  heard = (Heard){"", 0, 0, 0};
  char stop[8];
  memcpy(stop, first + 10, 7);
  stop[7] = 0;
  const char* stops[] = {stop};
  options.stops = stops;
  options.stop_count = 1;
  CHECK(plimsoll_generate(other, "The kernel keeps", &options, NULL) == PLIMSOLL_OK);
  CHECK(strstr(heard.text, stop) == NULL && strncmp(first, heard.text, heard.bytes) == 0);
  options.stop_count = 0;

  options.temperature = -1;
  CHECK(plimsoll_generate(other, "x", &options, NULL) == PLIMSOLL_USAGE);
  options = greedy(0, &heard);
  options.messages = "{}";
  CHECK(plimsoll_generate(other, "x", &options, NULL) == PLIMSOLL_USAGE);
  options.messages = NULL;
  CHECK(plimsoll_generate(other, "\xff", &options, NULL) == PLIMSOLL_ERROR);
  CHECK(strcmp(code(), "invalid_text") == 0);
  char longer[8192];
  memset(longer, 'a', sizeof longer - 1);
  for (size_t i = 0; i < sizeof longer; i += 2) longer[i] = ' ';
  longer[sizeof longer - 1] = 0;
  CHECK(plimsoll_generate(other, longer, &options, NULL) == PLIMSOLL_ERROR);
  CHECK(strcmp(code(), "context_exceeded") == 0);

  /* Messages are a conversation, in a plain format where the model has none. */
  heard = (Heard){"", 0, 0, 0};
  options = greedy(4, &heard);
  options.messages = "[{\"role\": \"user\", \"content\": \"Hello\"}]";
  CHECK(plimsoll_generate(other, NULL, &options, NULL) == PLIMSOLL_OK);

  /* Logits of the same tokens are the same, however they came. */
  const int64_t vocabulary = plimsoll_vocabulary_size(model);
  float* once = malloc((size_t)vocabulary * sizeof *once);
  float* twice = malloc((size_t)vocabulary * sizeof *twice);
  plimsoll_token tokens[4];
  size_t count = 0;
  CHECK(plimsoll_tokenize(model, "The kernel keeps", 16, 0, tokens, 4, &count) == PLIMSOLL_OK);
  CHECK(count >= 2 && count <= 4);
  CHECK(plimsoll_session_truncate(session, 0) == PLIMSOLL_OK);
  CHECK(plimsoll_session_append(session, tokens, count, once) == PLIMSOLL_OK);
  CHECK(plimsoll_session_length(session) == (int64_t)count);
  CHECK(plimsoll_session_truncate(session, (int64_t)count - 1) == PLIMSOLL_OK);
  CHECK(plimsoll_session_append(session, tokens + count - 1, 1, twice) == PLIMSOLL_OK);
  CHECK(memcmp(once, twice, (size_t)vocabulary * sizeof *once) == 0);
  CHECK(plimsoll_session_truncate(session, 99) == PLIMSOLL_USAGE);
  tokens[0] = -1;
  CHECK(plimsoll_session_append(session, tokens, 1, NULL) == PLIMSOLL_USAGE);
  free(once);
  free(twice);

  /* What the library added to this process is below its line. */
  CHECK(resident() - before <= line);
  plimsoll_session_close(other);
  CHECK(plimsoll_session_open(model, &third) == PLIMSOLL_OK); /* its place is free */
  plimsoll_close(model); /* with the sessions that are open */
}

typedef struct Steps {
  int seen, stop;
} Steps;

static int step(const char* what, uint64_t done, uint64_t total, void* user) {
  Steps* steps = user;
  CHECK(*what != 0 && done <= total);
  ++steps->seen;
  return steps->stop;
}

static void test_progress(const char* path) {
  Steps steps = {0, 1};
  plimsoll_open_options options = {sizeof options};
  options.memory = line;
  options.progress = step;
  options.user = &steps;
  plimsoll_model* model = NULL;
  CHECK(plimsoll_open(path, &options, &model) == PLIMSOLL_OK);
  CHECK(plimsoll_load(model, NULL) == PLIMSOLL_INTERRUPTED);
  CHECK(steps.seen > 0);
  steps.stop = 0;
  CHECK(plimsoll_load(model, NULL) == PLIMSOLL_OK); /* nothing was left behind */
  plimsoll_close(model);
}

int main(int argc, char** argv) {
  CHECK(argc == 2);
  CHECK(plimsoll_api_version() == PLIMSOLL_API_VERSION);
  CHECK(strchr(plimsoll_version(), '.') != NULL);
  test_errors(argv[1]);
  test_sizes(argv[1]);
  test_tokens(argv[1]);
  test_plans(argv[1]);
  test_answers(argv[1]);
  test_progress(argv[1]);
  return 0;
}
