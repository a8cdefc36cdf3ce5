// Text that comes in from files and pipes, within bounds.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "base/bytes.h"
#include "file/output_path.h"

namespace plimsoll {

/// What this process is going to write is read only as what it has written before.
enum class Reading { input, own_output };

/// All of a file. `accept(bytes)` is asked before and while it is read and throws when that is too
/// much. Throws Error(file_not_found), Error(file_unreadable), and as InputMark does.
std::string read_text_file(const std::string& path, const std::function<void(Bytes)>& accept = {},
                           Reading reading = Reading::input);

/// All of standard input, likewise.
std::string read_standard_input(const std::function<void(Bytes)>& accept = {});

/// A file's or standard input's bytes, block by block: of any size, endless ones too.
class BlockReader {
 public:
  /// Throws as read_text_file does.
  explicit BlockReader(const std::string& path);
  static BlockReader of_standard_input() { return BlockReader(0, "standard input", false); }
  ~BlockReader();
  BlockReader(BlockReader&& other) noexcept;
  BlockReader& operator=(BlockReader&&) = delete;

  /// The next bytes, valid until the next call; empty at the end. Throws Error(file_unreadable).
  std::string_view next();

 private:
  BlockReader(int descriptor, std::string what, bool is_owned);

  int descriptor_;
  std::string what_;
  bool is_owned_;
  InputMark mark_;
  std::string block_;
};

/// The lines of what a BlockReader gives, without their ends.
class LineBlocks {
 public:
  /// What to do about a line of so many bytes.
  using Hint = std::function<std::string(Bytes)>;

  /// `most`: bytes of a line.
  LineBlocks(BlockReader reader, Bytes most, Hint hint)
      : reader_(std::move(reader)), most_(most), hint_(std::move(hint)) {}
  /// False at the end. Throws Error(budget_refused) for a longer line, when its end has come or
  /// so much of it that nobody would hold it.
  bool next(std::string& line);

 private:
  [[noreturn]] void refuse(Bytes length);

  BlockReader reader_;
  const Bytes most_;
  const Hint hint_;
  std::string_view rest_;
};

}  // namespace plimsoll
