/* Answers a prompt under a line, as it comes:  plimsoll_example_answer MODEL MEMORY_MIB PROMPT */
#include <plimsoll.h>
#include <stdio.h>
#include <stdlib.h>

static int show(const char* text, size_t bytes, int reasoning, void* user) {
  (void)user;
  if (!reasoning) fwrite(text, 1, bytes, stdout);
  fflush(stdout);
  return 0; /* go on */
}

static int fail(void) {
  const plimsoll_error* error = plimsoll_last_error();
  fprintf(stderr, "%s: %s\n", error->code, error->message);
  if (*error->hint) fprintf(stderr, "  %s\n", error->hint);
  return error->status;
}

int main(int argc, char** argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: %s MODEL MEMORY_MIB PROMPT\n", argv[0]);
    return 2;
  }
  plimsoll_model* model = NULL;
  plimsoll_open_options open = {sizeof open};
  open.memory = (uint64_t)strtoull(argv[2], NULL, 10) << 20;
  if (plimsoll_open(argv[1], &open, &model)) return fail();

  plimsoll_session* session = NULL;
  if (plimsoll_load(model, NULL) || plimsoll_session_open(model, &session)) {
    const int status = fail();
    plimsoll_close(model);
    return status;
  }
  plimsoll_generate_options options = plimsoll_generate_defaults();
  options.max_tokens = 64;
  options.text = show;
  plimsoll_answer answer = {sizeof answer};
  int status = plimsoll_generate(session, argv[3], &options, &answer);
  if (status) {
    fail();
  } else {
    printf("\n");
    fprintf(stderr, "%lld tokens of prompt in %.3f s, %lld of the answer in %.3f s, ended by %s\n",
            (long long)answer.prompt_tokens, answer.prefill_seconds, (long long)answer.tokens,
            answer.decode_seconds, answer.finish_reason);
    plimsoll_free(answer.text);
    plimsoll_free(answer.reasoning);
  }
  plimsoll_close(model);
  return status;
}
