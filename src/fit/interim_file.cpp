#include "fit/interim_file.h"

#include <filesystem>

#include "base/error.h"
#include "text/hash.h"

namespace plimsoll {
namespace {

/// Another order of what is written gets another number.
constexpr std::uint64_t version = 0x504C494D0001;

}  // namespace

InterimFile::InterimFile(std::string path, const std::string& key)
    : path_(std::move(path)), key_(hash_text(key)), next_(Clock::now()) {}

void InterimFile::read(const std::function<void(InterimReader&)>& restore) const {
  std::error_code ignored;
  if (path_.empty() || !std::filesystem::exists(path_, ignored)) return;
  try {
    const InputFile file(path_);
    InterimReader reader(file, 0);
    if (file.size() < 2 * sizeof(std::uint64_t) || reader.value<std::uint64_t>() != version ||
        reader.value<std::uint64_t>() != key_)
      return;
    restore(reader);
  } catch (const Error&) {
    remove();
    throw;
  }
}

void InterimFile::write(const std::function<void(InterimWriter&)>& save) {
  constexpr int share = 20;
  const Clock::time_point start = Clock::now();
  if (path_.empty() || start < next_) return;
  try {
    std::error_code ignored;
    std::filesystem::create_directories(std::filesystem::path(path_).parent_path(), ignored);
    OutputFile file(OutputPath::own(path_));
    InterimWriter writer(file);
    writer.value(version);
    writer.value(key_);
    save(writer);
    file.commit();
  } catch (const Error&) {
    path_.clear();  // a full disk will not be emptier for the next layer
  }
  next_ = Clock::now() + share * (Clock::now() - start);
}

void InterimFile::remove() const {
  std::error_code ignored;
  if (!path_.empty()) std::filesystem::remove(path_, ignored);
}

}  // namespace plimsoll
