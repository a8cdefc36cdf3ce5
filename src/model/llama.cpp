// Llama 1 to 3, Mistral, SmolLM, TinyLlama and everything else converted as "llama". Q and K rows
// are permuted by the converter so that RoPE rotates adjacent pairs. Llama 3.1 and later ship
// frequency factors; Mistral's first models have a window in every layer.
#include "model/architecture.h"

namespace plimsoll {

void describe_llama(const FamilyKeys& keys, Description& d) {
  d.rope_adjacent = true;
  describe_windows(keys, d, 0, 0);
}

}  // namespace plimsoll
