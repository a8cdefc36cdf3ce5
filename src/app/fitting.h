// A model rewritten to a number of bytes.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "app/host.h"
#include "format/format.h"
#include "plan/quality.h"

namespace plimsoll {

struct FitRequest {
  std::string model;               ///< path
  std::string output;              ///< path
  std::optional<Bytes> size;       ///< of the file
  double bits = 0;                 ///< for each weight, the same
  const Format* format = nullptr;  ///< instead: every matrix in this one
  /// Without any of these: what running the result may take.
  std::optional<Bytes> running_memory;
  std::optional<std::string> text;  ///< path, to measure on; without it the model writes one
  bool thorough = true;             ///< measures the model, and rounds with error feedback

  bool has_target() const { return size || bits > 0 || format; }
  /// Each number by itself: there is nothing to be measured, and no error to be fed back.
  bool is_dense() const { return format && format->kind == Format::Kind::dense; }
  bool is_thorough() const { return thorough && !is_dense(); }

  /// Called with files that will be read, before anything is written; throws where one of them is
  /// to be written.
  std::function<void(std::span<const std::string> inputs)> check_inputs;
};

/// What is decided before anything is written, and what came of it.
struct FitReport {
  Bytes file_bytes = 0;
  std::optional<Bytes> target_bytes;
  double bits_per_weight = 0;
  bool is_copy = false;               ///< the source's own weights
  std::optional<double> kl_nats = 0;  ///< predicted; empty where nobody knows it
  QualitySource quality = QualitySource::prior;
  std::map<std::string, Bytes> formats;
  std::int64_t kept_tensors = 0;            ///< that no format's blocks divide
  std::int64_t tensors_without_format = 0;  ///< that the request's format cannot hold
  std::int64_t resumed_layers = 0;          ///< that an interrupted measuring had done
  bool has_levels = false;             ///< how many of the codes' bits are loaded is decided later
  double kl_nats_of_leading_bits = 0;  ///< with four bits of the codes that nest
  /// False for a folder's tokenizer that other readers of GGUF could only take for another one.
  bool has_named_tokenizer = true;
  Bytes source_bytes = 0;
  double seconds = 0;
  Bytes predicted_peak_bytes = 0;  ///< of this process
};

/// `decided` is called when the formats are known, before anything is written. Throws
/// Error(budget_refused) at once where the line has no room for the work or the target is too
/// small, Error(unsupported_format) where no matrix could have the format, Error(interrupted) when
/// the host's watch says so, and as reading and writing do; the output is whole or as it was.
FitReport fit_model(Host& host, const FitRequest& request,
                    const std::function<void(const FitReport&)>& decided = {});

}  // namespace plimsoll
