// Any bytes as each of the files that the program writes for itself and reads again: what they say is taken when all of it is
// usable, and otherwise as if the file were not there. The first byte says which.
#include <stdlib.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/error.h"
#include "app/evaluation_file.h"
#include "terminal/history.h"
#include "fit/calibration.h"
#include "fit/interim_file.h"
#include "hub/store.h"
#include "plan/machine.h"
#include "probe/machine_file.h"
#include "fit/quality_file.h"

using namespace plimsoll;

namespace {

namespace fs = std::filesystem;

/// Removed at the end.
struct Folder {
  fs::path path;
  Folder() {
    char name[] = "/tmp/plimsoll-fuzz-XXXXXX";
    if (!mkdtemp(name)) std::abort();
    path = name;
  }
  ~Folder() { fs::remove_all(path); }
  std::string write(const std::string& name, std::string_view text) const {
    fs::create_directories((path / name).parent_path());
    std::ofstream(path / name, std::ios::binary | std::ios::trunc) << text;
    return (path / name).string();
  }
};

/// A model of a matrix and a vector.
const std::vector<TensorUse>& uses() {
  static const std::vector<TensorInfo> infos = [] {
    std::vector<TensorInfo> made(2);
    made[0] = {"token_embd.weight", &format(FormatId::F16), 2, {32, 64, 1, 1}, 4096, 4096};
    made[1] = {"output_norm.weight", &format(FormatId::F32), 1, {32, 1, 1, 1}, 8192, 128};
    return made;
  }();
  static const std::vector<TensorUse> made = [] {
    std::vector<TensorUse> all;
    for (const TensorInfo& info : infos) {
      const bool is_vector = info.rank == 1;
      all.push_back({{is_vector ? Role::output_norm : Role::token_embedding, -1, std::string(info.name), info.rows(),
                      info.columns(), true},
                     &info});
    }
    return all;
  }();
  return made;
}

void require(bool holds) {
  if (!holds) std::abort();
}

void read_quality(std::string_view text) {
  const std::optional<QualityModel> quality = parse_quality(text, uses());
  if (!quality) return;
  require(quality->tensors.size() == uses().size());
  for (const Format& f : formats())
    require(!std::isnan(quality->tensors[0].loss(f, Rounding::plain, ProductEngine::plimsoll)));
  require(parse_quality(to_json(*quality, uses()).dump(), uses()).has_value());
}

void read_machine(std::string_view text, const Folder& folder) {
  const std::optional<Machine> machine = parse_machine(text);
  if (!machine) return;
  require(!machine->speeds.empty());
  for (int threads : {1, 2, 1000}) {
    require(machine->with(threads) < machine->speeds.size());
    const double reach = machine->usual_reach(threads, WeightPlace::memory, Phase::decode);
    require(std::isfinite(reach) && reach > 0);
  }
  require(parse_machine(to_json(*machine).dump()).has_value());
  save_machine(folder.path.string(), *machine);
}

void read_notes(std::string_view text, const Folder& folder) {
  Machine machine;
  machine.key.isa = Isa::reference;
  folder.write("reached-reference-0.json", text);
  for (const ReachedSpeed& speed : load_notes(folder.path.string(), machine))
    require(std::isfinite(speed.decode) && speed.decode >= 0);
}

void read_sequences(std::string_view text, const Folder& folder) {
  const auto sequences = load_sequences(folder.write("text.json", text), 2, 3, 10);
  require(sequences.empty() || sequences.size() == 2);
  for (const Sequence& sequence : sequences) {
    require(sequence.size() == 3);
    for (const TokenId token : sequence) require(token >= 0 && token < 10);
  }
}

void read_resume(std::string_view text, const Folder& folder) {
  const ResumeFile resume(
      OutputPath::named("--resume", folder.write("resume", text), ResumeFile::kind, false),
      [](Bytes) {});
  Chunks chunks;
  chunks.context = 8;
  chunks.count = 3;
  resume.find(nlohmann::json::object(), chunks, true);
  resume.save();
}

void read_interim(std::string_view text, const Folder& folder) {
  const InterimFile file(folder.write("measuring.part", text), "key");
  try {
    file.read([](InterimReader& reader) {
      std::vector<float> values(4);
      while (reader.left() > 0) reader.floats(values);
    });
  } catch (const Error& error) {
    require(error.code() != ErrorCode::internal);
  }
}

void read_history(std::string_view text, const Folder& folder) {
  const HistoryFile history(folder.write("history", text));
  require(history.load().size() <= 500);
}

void read_record(std::string_view text, const Folder& folder) {
  folder.write("models/hf/a/b/c/plimsoll.json", text);
  folder.write("models/hf/a/b/c/model.gguf", "GGUF");
  Places places;
  places.store = (folder.path / "models").string();
  stored_models(places);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Folder folder;
  if (size < 1) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data + 1), size - 1);
  try {
    switch (data[0] % 8) {
      case 0: read_quality(text); break;
      case 1: read_machine(text, folder); break;
      case 2: read_notes(text, folder); break;
      case 3: read_sequences(text, folder); break;
      case 4: read_resume(text, folder); break;
      case 5: read_interim(text, folder); break;
      case 6: read_history(text, folder); break;
      default: read_record(text, folder); break;
    }
  } catch (const Error& error) {
    if (error.code() == ErrorCode::internal) std::abort();
  }
  return 0;
}
