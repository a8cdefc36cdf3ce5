// The first bytes of a file in one buffer that grows in place, and a cursor that checks every step
// against the file.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/error.h"
#include "file/input_file.h"

namespace plimsoll {

/// What a file says of itself takes `wanted` bytes, and there was less room. budget_refused; whoever gave the room knows
/// a hint.
class HeaderRefusal : public Error {
 public:
  HeaderRefusal(const std::string& path, Bytes wanted, Bytes room);
  Bytes wanted() const { return wanted_; }
  Bytes room() const { return room_; }

 private:
  Bytes wanted_, room_;
};

/// Owns address space for as much of the file as a header may take, and memory for what has been
/// read of it, so that views stay valid while it grows and nothing is ever held twice. The file
/// must outlive fill_to() only. A header that was made rather than read is there from the start.
class HeaderBytes {
 public:
  /// No header is longer: vocabularies of 256k pieces take some 10 MB.
  static constexpr Bytes limit = 1 * GiB;

  /// Throws Error(machine_limit) when there is no address space.
  HeaderBytes(const InputFile& file, Bytes room);
  /// All of a header that stands for a file's; `path` names it in messages.
  HeaderBytes(std::string path, std::string made);
  ~HeaderBytes();
  HeaderBytes(const HeaderBytes&) = delete;
  HeaderBytes& operator=(const HeaderBytes&) = delete;

  const std::string& path() const { return path_; }
  Bytes file_bytes() const { return file_bytes_; }
  const std::uint8_t* data() const { return data_; }
  Bytes filled() const { return filled_; }

  /// Makes at least the first `wanted` bytes present, reading a little ahead; `wanted` is at most
  /// the file's size and the limit. Throws as InputFile::read does, Error(machine_limit)
  /// without memory, and HeaderRefusal beyond the room.
  void fill_to(Bytes wanted);
  /// So many bytes of the room are held beside them, for tables. Throws HeaderRefusal beyond it.
  void claim(Bytes bytes);
  /// Gives back everything after the first `used` bytes.
  void trim(Bytes used);

 private:
  const InputFile* file_ = nullptr;
  std::string made_;
  std::string path_;
  Bytes file_bytes_ = 0;
  std::uint8_t* data_ = nullptr;
  Bytes room_ = limit;
  Bytes reserved_ = 0;  ///< of address space
  Bytes filled_ = 0;
  Bytes claimed_ = 0;
};

/// Reads little-endian fields one after the other. Every claim of the file is held against its size
/// before anything is read or allocated; what does not fit throws Error(file_corrupt) naming the
/// field, the wanted and the found bytes.
class HeaderCursor {
 public:
  explicit HeaderCursor(HeaderBytes& bytes) : bytes_(bytes) {}

  std::uint64_t position() const { return position_; }
  Bytes remaining() const { return bytes_.file_bytes() - position_; }
  const std::string& path() const { return bytes_.path(); }

  std::uint32_t u32(std::string_view what) { return number<std::uint32_t>(what); }
  std::uint64_t u64(std::string_view what) { return number<std::uint64_t>(what); }
  /// A 64-bit count of things that take `least_bytes` each, at least.
  std::uint64_t count(Bytes least_bytes, std::string_view what);
  /// A 64-bit length and that many bytes.
  std::string_view string(std::string_view what);
  /// Of what is made of them.
  void claim(Bytes bytes) { bytes_.claim(bytes); }
  /// The next `bytes` bytes.
  const std::uint8_t* skip(Bytes bytes, std::string_view what);

  /// Error(file_corrupt) with the file's name before the message.
  [[noreturn]] void corrupt(const std::string& message) const;

 private:
  template <class T>
  T number(std::string_view what) {
    T value;
    std::memcpy(&value, skip(sizeof value, what), sizeof value);
    return value;
  }

  HeaderBytes& bytes_;
  std::uint64_t position_ = 0;
};

/// A name out of a file, safe to print: in quotes, unprintable bytes as "?", cut after 80 bytes.
std::string quoted(std::string_view name);

}  // namespace plimsoll
