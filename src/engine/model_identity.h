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

/// The XXH3-128 of the pieces of every tensor (FilePieces), and of these digests, in order, with
/// each tensor's name, shape and format: so that pieces may come in any order, from any thread.
class IdentityHash {
 public:
  /// Of all tensors of a model, which must outlive it.
  explicit IdentityHash(std::span<const TensorUse> tensors);

  /// A piece of tensor `i`, as the file has it; each one once. Different pieces may come at the
  /// same time.
  void add(std::size_t i, std::int64_t piece, std::span<const std::uint8_t> bytes);

  /// 32 hexadecimal digits, when every piece has come.
  std::string finish() const;

 private:
  struct Digest {
    std::uint64_t low = 0, high = 0;
  };
  std::span<const TensorUse> tensors_;
  std::vector<std::size_t> first_;  ///< of each tensor: its first piece's place
  std::vector<Digest> digests_;
};

/// Reads every tensor for it, on all workers, through bounded staging. Throws as reading does, and
/// Error(file_corrupt) where the file was changed meanwhile.
std::string identify(Context& context, const ModelFile& file, std::span<const TensorUse> tensors);

/// Identities of files that were read before are noted in the cache folder with their names,
/// inodes, sizes and times, one file for each; what changes any of these changes the model, as far
/// as anybody knows without reading it.
class KnownIdentity {
 public:
  /// `configuration` is what decides the tensors' bytes beside the file (a folder's are converted
  /// by it). Takes the file's stamps; make it before the file is read.
  KnownIdentity(const ModelFile& file, std::string configuration);

  /// Of the file as it is now; empty where nothing is known.
  std::optional<std::string> find() const;
  /// What was noted for this name, whatever became of the file since.
  std::optional<std::string> find_by_name() const;
  /// Notes it, whole or not at all, unless the file is not what it was when this was made, or was
  /// touched so shortly before that its times may not tell. `is_own`: nobody else has written it.
  void remember(const std::string& identity, bool is_own = false) const;

 private:
  std::string stamp_lines() const;

  const ModelFile& file_;
  std::string configuration_, note_path_, stamps_;
  bool is_settled_ = true;
};

}  // namespace plimsoll
