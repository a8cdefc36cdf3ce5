// Any bytes as a model file: each either opens, or is refused with a typed error. What opens is read through: every
// value, the description, the plan, and some of every tensor.
#include <cstdlib>
#include <vector>

#include "base/error.h"
#include "base/process.h"
#include "engine/engine.h"
#include "memory_file.h"
#include "model/architecture.h"

using namespace plimsoll;

namespace {

void read_value(const MetadataValue& value) {
  for (std::uint64_t i = 0; i < value.size(); ++i) {
    try {
      switch (value.is_array() ? value.element_type() : value.type()) {
        case MetadataType::string: (void)value.as_string(i).size(); break;
        case MetadataType::boolean: (void)value.as_bool(i); break;
        case MetadataType::f32:
        case MetadataType::f64: (void)value.as_float(i); break;
        default: (void)value.as_integer(i); break;
      }
    } catch (const Error&) {
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const fuzz::MemoryFile input(data, size);
  try {
    const ModelFile file = ModelFile::open(input.path());
    // Views into the header and tables of keys and tensors: a small multiple of what the file has.
    if (file.header_bytes() > 4 * size + 64 * KiB) std::abort();
    for (const Metadata::Entry& entry : file.metadata().entries()) read_value(entry.value);
    std::vector<char> bytes;
    for (const TensorInfo& tensor : file.tensors()) {
      bytes.resize(static_cast<std::size_t>(tensor.bytes));
      file.read(tensor.offset, tensor.bytes, bytes.data());
    }
    const OpenModel model = OpenModel::open(input.path());
    PlanRequest request;
    request.budget = 64 * MiB;
    const Plan plan = make_plan(model.facts, request);
    if (plan.fits && plan.peak_bytes > request.budget) std::abort();
  } catch (const Error&) {
  }
  return 0;
}
