#include "plan/facts.h"

#include <fmt/format.h>

#include "base/error.h"
#include "model/architecture.h"
#include "model/tensors.h"
#include "model/weights.h"

namespace plimsoll {
ModelFacts model_facts(const ModelFile& file, const Tokenizer& tokenizer) {
  ModelFacts facts;
  facts.description = describe(file);
  facts.tensors = find_tensors(file, facts.description);
  const std::vector<TensorUse>& uses = facts.tensors;
  facts.weight_bytes = Weights::memory_bytes(uses);
  facts.staging_bytes_per_worker = Weights::staging_bytes(uses, 1);
  facts.table_bytes = Weights::heap_bytes(uses, facts.description.layers);
  facts.text_bytes = tokenizer.memory_bytes() + file.header_bytes();
  for (const TensorUse& use : uses) {
    facts.parameters += use.info->rows() * use.info->columns();
    facts.file_tensor_bytes += use.info->bytes;
  }
  if (tokenizer.vocabulary_size() > facts.description.vocabulary)
    throw Error(ErrorCode::invalid_model,
                fmt::format("the vocabulary has {} tokens, the embedding matrix only {} rows",
                            tokenizer.vocabulary_size(), facts.description.vocabulary),
                "the file is damaged or was converted wrongly");
  return facts;
}

}  // namespace plimsoll
