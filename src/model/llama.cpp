// Llama 1 to 3, Mistral, SmolLM, TinyLlama and everything else converted as "llama". Q and K rows
// are permuted by the converter so that RoPE rotates adjacent pairs. Llama 3.1 and later ship
// frequency factors.
#include "model/architecture.h"

namespace plimsoll {

void describe_llama(const FamilyKeys&, Description& d) {
  d.rope_adjacent = true;
  d.ropes[0].factors_tensor = "rope_freqs.weight";
}

}  // namespace plimsoll
