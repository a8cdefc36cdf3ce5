// Which files may be written: none that is read, and of others' none that is there, unless that is asked for.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <string_view>

namespace plimsoll {

/// What is written, and how an earlier one is known again: that may be replaced without being asked.
struct OutputKind {
  static constexpr std::size_t beginning_bytes = 4096;

  std::string_view name;  ///< "saved conversation"
  /// Of up to beginning_bytes of a file that is there.
  bool (*is_ours)(std::string_view beginning);
  /// What to do about a file that is in the way.
  std::string_view advice;
};

/// Leave to write a file. OutputFile takes nothing else, so that nobody forgets to ask. Copies share the claim.
class OutputPath {
 public:
  /// A file of this program's own folders (cache, state, store): what is there was written by it.
  static OutputPath own(std::string path);

  /// A file that the user names with `option` ("-o"). It is claimed for as long as one of the copies lives: opening it to
  /// read (InputMark) is refused. Throws Error(usage) where it is read already, or claimed by another option, is standard
  /// output's or standard error's file, or no name of a file; Error(write_failed) for directories, devices and pipes, and
  /// where it could not be written. A foreign file is told later (refuse_foreign()), when all that is read is known.
  static OutputPath named(std::string option, std::string path, const OutputKind& kind, bool force);

  const std::string& path() const;    ///< as it was given
  bool is_forced() const;
  const std::string& target() const;  ///< where links lead
  /// Whether a file of the kind is there, with something in it.
  bool finds_own() const;
  /// Whether another file with something in it is there, and may not be replaced.
  bool finds_foreign() const;
  /// Throws Error(write_failed) where a file is there that is none of the kind, unless that is forced.
  void refuse_foreign() const;
  /// Throws Error(usage) where `input` is the same file.
  void refuse_input(const std::string& input) const;

 private:
  struct State;
  explicit OutputPath(std::shared_ptr<const State> state) : state_(std::move(state)) {}
  std::shared_ptr<const State> state_;
};

/// A file that is open for reading. No claim is given on it while this lives.
class InputMark {
 public:
  InputMark() = default;
  /// Throws Error(usage) where the descriptor's file is claimed. With `is_streamed`, it is read while there is output
  /// already: also where standard output or standard error append to it.
  InputMark(int descriptor, const std::string& path, bool is_streamed);
  InputMark(InputMark&& other) noexcept;
  InputMark& operator=(InputMark&& other) noexcept;
  ~InputMark();

  /// Never ends.
  void keep() { token_ = 0; }

 private:
  std::size_t token_ = 0;
};

/// Whether both name the same existing file, by whatever path, link or symbolic link.
bool is_same_file(const std::string& a, const std::string& b);

}  // namespace plimsoll
