// What tells one model's weights from another's: XXH3 of every byte of every tensor.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "file/model_file.h"
#include "kernels/context.h"
#include "model/tensors.h"

namespace plimsoll {

/// The XXH3-128 of the chunks that loading reads (model/row_rounder.h), and of them, in order, with
/// each tensor's name, shape and format: so that chunks may come in any order, from any thread.
class IdentityHash {
 public:
  /// Of all tensors of a model, which must outlive it.
  explicit IdentityHash(std::span<const TensorUse> tensors);

  /// The chunk of tensor `i` that begins with `first_row`, as the file has it; each one once.
  /// Different chunks may come at the same time.
  void add(std::size_t i, std::int64_t first_row, std::span<const std::uint8_t> bytes);

  /// 32 hexadecimal digits, when every chunk has come.
  std::string finish() const;

 private:
  struct Digest {
    std::uint64_t low = 0, high = 0;
  };
  std::span<const TensorUse> tensors_;
  std::vector<std::size_t> first_;  ///< of each tensor: its first chunk's place
  std::vector<Digest> digests_;
};

/// Reads every tensor for it, on all workers, through bounded staging. Throws as reading does, and
/// Error(file_corrupt) where the file was changed meanwhile.
std::string identify(Context& context, const ModelFile& file, std::span<const TensorUse> tensors);

/// Identities of files that were read before are kept in the cache folder with their names, inodes,
/// sizes and times, one file for each; what changes any of these changes the model, as far as
/// anybody knows without reading it.
class KnownIdentity {
 public:
  /// `besides` is what else decides the tensors' bytes (a folder's are converted by its
  /// configuration). Takes the file's stamps; make it before the file is read.
  KnownIdentity(const ModelFile& file, std::string besides);

  /// Of the file as it is now; empty where nothing is known.
  std::optional<std::string> find() const;
  /// What was noted for this name, whatever became of the file since.
  std::optional<std::string> find_by_name() const;
  /// Keeps it, whole or not at all, unless the file is not what it was when this was made, or was
  /// touched so shortly before that its times may not tell. `is_own`: nobody else has written it.
  void remember(const std::string& identity, bool is_own = false) const;

 private:
  std::string stamp_lines() const;

  const ModelFile& file_;
  std::string besides_, note_path_, stamps_;
  bool is_settled_ = true;
};

}  // namespace plimsoll
