// What a file is checked against.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/bytes.h"

namespace plimsoll {

/// Collects a file's bytes. Uses OpenSSL, loaded on first use. Throws Error(not_available) without it.
class Digest {
 public:
  enum class Kind {
    sha256,
    git_blob,  ///< the SHA-1 by which git names a file's content, its length before it
  };

  /// `bytes` is the whole length, which a git_blob begins with.
  Digest(Kind kind, Bytes bytes);
  ~Digest();
  Digest(Digest&&) noexcept;
  Digest& operator=(Digest&&) noexcept;

  void update(std::span<const std::uint8_t> data);
  /// Lower-case hexadecimal. To be called once, at the end.
  std::string hex();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// SHA-256 of a short text.
std::string sha256_hex(const std::string& text);

}  // namespace plimsoll
