// What a long measuring has so far, saved for the case that it is interrupted.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstring>
#include <functional>
#include <span>
#include <string>

#include "file/input_file.h"
#include "file/output_file.h"

namespace plimsoll {

class InterimWriter {
 public:
  explicit InterimWriter(OutputFile& file) : file_(file) {}
  template <class T>
  void value(T number) {
    file_.append({reinterpret_cast<const std::uint8_t*>(&number), sizeof number});
  }
  void floats(std::span<const float> values) {
    file_.append({reinterpret_cast<const std::uint8_t*>(values.data()), values.size_bytes()});
  }

 private:
  OutputFile& file_;
};

/// Throws Error(file_corrupt) at the end of the file: see left().
class InterimReader {
 public:
  InterimReader(const InputFile& file, std::uint64_t at) : file_(file), at_(at) {}
  template <class T>
  T value() {
    T number;
    take(sizeof number, &number);
    return number;
  }
  void floats(std::span<float> values) { take(values.size_bytes(), values.data()); }
  Bytes left() const { return file_.size() - at_; }

 private:
  void take(Bytes bytes, void* destination) {
    file_.read(at_, bytes, destination);
    at_ += bytes;
  }
  const InputFile& file_;
  std::uint64_t at_;
};

/// A file that appears whole or not at all. That it cannot be written, or is of something else, is
/// no error: what it would have saved is then done again.
class InterimFile {
 public:
  /// `key` is all that the state depends on; an empty path: nothing is saved.
  InterimFile(std::string path, const std::string& key);

  /// Calls `restore` where there is a state under this key. Throws what reading throws, having
  /// removed the file.
  void read(const std::function<void(InterimReader&)>& restore) const;
  /// Calls `save` and puts what it writes into the file, unless the last time was so short ago that
  /// this would take more than a twentieth of the time.
  void write(const std::function<void(InterimWriter&)>& save);
  void remove() const;

 private:
  using Clock = std::chrono::steady_clock;

  std::string path_;
  std::uint64_t key_;
  Clock::time_point next_;  ///< not before
};

}  // namespace plimsoll
