/* What a model expects next:  plimsoll_example_logits MODEL TEXT
 * Tokenizes the text, runs it, and prints the five likeliest next tokens. */
#include <math.h>
#include <plimsoll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void fail(void) {
  fprintf(stderr, "%s\n", plimsoll_last_error()->message);
  exit(plimsoll_last_error()->status);
}

int main(int argc, char** argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: %s MODEL TEXT\n", argv[0]);
    return 2;
  }
  plimsoll_model* model = NULL;
  plimsoll_session* session = NULL;
  if (plimsoll_open(argv[1], NULL, &model) || plimsoll_load(model, NULL) ||
      plimsoll_session_open(model, &session))
    fail();

  size_t count = 0;
  if (plimsoll_tokenize(model, argv[2], strlen(argv[2]), 0, NULL, 0, &count)) fail();
  plimsoll_token* tokens = malloc((count + 1) * sizeof *tokens);
  if (plimsoll_tokenize(model, argv[2], strlen(argv[2]), 0, tokens, count, &count)) fail();

  const int64_t vocabulary = plimsoll_vocabulary_size(model);
  float* logits = malloc((size_t)vocabulary * sizeof *logits);
  if (plimsoll_session_append(session, tokens, count, logits)) fail();

  float largest = logits[0];
  for (int64_t i = 1; i < vocabulary; ++i) largest = fmaxf(largest, logits[i]);
  double sum = 0;
  for (int64_t i = 0; i < vocabulary; ++i) sum += exp((double)logits[i] - largest);
  for (int rank = 0; rank < 5; ++rank) {
    int64_t best = 0;
    for (int64_t i = 1; i < vocabulary; ++i)
      if (logits[i] > logits[best]) best = i;
    char* text = NULL;
    plimsoll_token token = (plimsoll_token)best;
    if (plimsoll_detokenize(model, &token, 1, 1, &text, NULL)) fail();
    printf("%5.1f %%  \"%s\"\n", 100 * exp((double)logits[best] - largest) / sum, text);
    plimsoll_free(text);
    logits[best] = -INFINITY;
  }
  free(logits);
  free(tokens);
  plimsoll_close(model);
  return 0;
}
