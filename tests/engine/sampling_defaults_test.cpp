#include "engine/sampling_defaults.h"

#include <gtest/gtest.h>

#include <limits>

#include "base/error.h"
#include "file/gguf_writer.h"
#include "file/model_file.h"
#include "support/temporary_folder.h"

namespace plimsoll {
namespace {

template <typename Write>
SamplingOptions read(const Write& write, SamplingOptions otherwise = {}) {
  const test::TemporaryFolder folder;
  GgufWriter writer(OutputPath::own(folder.file("model.gguf")));
  writer.add_string("general.architecture", "llama");
  write(writer);
  writer.finish();
  return sampling_defaults(ModelFile::open(folder.file("model.gguf")).metadata(), otherwise);
}

TEST(SamplingDefaults, AreTheFilesWhereItHasAny) {
  SamplingOptions otherwise;
  otherwise.top_k = 7;
  const SamplingOptions none = read([](GgufWriter&) {}, otherwise);
  EXPECT_EQ(none.temperature, SamplingOptions{}.temperature);
  EXPECT_EQ(none.top_k, 7);

  const SamplingOptions some = read(
      [](GgufWriter& writer) {
        writer.add_number("general.sampling.temp", 0.7);
        writer.add_integer("general.sampling.top_k", -1, MetadataType::i32);
        writer.add_number("general.sampling.penalty_repeat", 1.5);
        writer.add_integer("general.sampling.penalty_last_n", -1, MetadataType::i32);
      },
      otherwise);
  EXPECT_EQ(some.temperature, 0.7);
  EXPECT_EQ(some.top_k, 0);
  EXPECT_EQ(some.top_p, SamplingOptions{}.top_p);
  EXPECT_EQ(some.repetition_penalty, 1.5);
  EXPECT_EQ(some.repetition_window, std::numeric_limits<std::int64_t>::max());
  EXPECT_NO_THROW(check(some));
}

TEST(SamplingDefaults, OutOfRangeAreRefusedByName) {
  for (const auto& [key, value] :
       {std::pair("general.sampling.temp", -1.0), std::pair("general.sampling.top_p", 1.5),
        std::pair("general.sampling.penalty_repeat", 0.0)}) {
    try {
      read([&](GgufWriter& writer) { writer.add_number(key, value); });
      ADD_FAILURE() << key;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid_model);
      EXPECT_NE(error.message().find(key), std::string::npos) << error.message();
    }
  }
}

}  // namespace
}  // namespace plimsoll
