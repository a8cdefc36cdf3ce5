// What the kernel tests share: arrays with canaries around them, numbers that are the same every
// time, and the instruction sets to test.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "base/cpu.h"

namespace plimsoll {

/// The vector families that this processor supports.
inline std::vector<Isa> vector_isas() {
  std::vector<Isa> isas = supported_isas();
  std::erase(isas, Isa::reference);
  return isas;
}

inline std::string isa_name(const testing::TestParamInfo<Isa>& isa) {
  return std::string(name(isa.param));
}

/// An array of exactly `size` elements: on the heap, so that a sanitizer sees any access outside,
/// and with canaries on both sides, so that a plain build sees writes. `shift` elements move it off
/// its alignment.
template <typename T>
class Guarded {
 public:
  explicit Guarded(std::int64_t size, std::int64_t shift = 0)
      : size_(size),
        begin_(kGuard + shift),
        storage_(static_cast<std::size_t>(begin_ + size + kGuard)) {
    std::memset(storage_.data(), kCanary, storage_.size() * sizeof(T));
    for (std::int64_t i = 0; i < size; ++i) data()[i] = T{};
  }

  T* data() { return storage_.data() + begin_; }
  const T* data() const { return storage_.data() + begin_; }
  T& operator[](std::int64_t i) { return data()[i]; }
  const T& operator[](std::int64_t i) const { return data()[i]; }
  std::int64_t size() const { return size_; }

  bool intact() const {
    const auto* bytes = reinterpret_cast<const unsigned char*>(storage_.data());
    const std::size_t first = static_cast<std::size_t>(begin_) * sizeof(T);
    const std::size_t last = static_cast<std::size_t>(begin_ + size_) * sizeof(T);
    for (std::size_t i = 0; i < storage_.size() * sizeof(T); ++i)
      if ((i < first || i >= last) && bytes[i] != kCanary) return false;
    return true;
  }

 private:
  static constexpr std::int64_t kGuard = 32;
  static constexpr unsigned char kCanary = 0xa5;
  std::int64_t size_;
  std::int64_t begin_;
  std::vector<T> storage_;
};

/// A read-only input that ends where its heap block ends, for sanitizers.
template <typename T>
std::vector<T> exact(const Guarded<T>& a) {
  return std::vector<T>(a.data(), a.data() + a.size());
}

/// 64-byte aligned scratch.
class AlignedFloats {
 public:
  explicit AlignedFloats(std::int64_t count)
      : storage_(static_cast<std::size_t>((count + 15) / 16) + 1), count_(count) {
    for (Line& line : storage_)
      for (float& f : line.floats) f = kCanary;
  }
  float* data() { return storage_.front().floats; }
  bool intact() {
    for (std::int64_t i = count_; i < static_cast<std::int64_t>(storage_.size()) * 16; ++i)
      if (data()[i] != kCanary) return false;
    return true;
  }

 private:
  struct alignas(64) Line {
    float floats[16];
  };
  static constexpr float kCanary = -12345.0f;
  std::vector<Line> storage_;
  std::int64_t count_;
};

/// SplitMix64 (Steele, Lea and Flood, doi:10.1145/2714064.2660195).
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t bits() {
    state_ += 0x9e3779b97f4a7c15u;
    std::uint64_t z = state_;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
  }
  /// In [-1, 1).
  float symmetric() { return static_cast<float>(bits() >> 40) * 0x1p-23f - 1.0f; }

 private:
  std::uint64_t state_;
};

}  // namespace plimsoll
