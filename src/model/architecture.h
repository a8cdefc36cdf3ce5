// The families of architectures: one row and one file each.
#pragma once

#include <span>
#include <string_view>

#include "file/model_file.h"
#include "model/description.h"

namespace plimsoll {

/// Metadata of one model under its family's prefix, with errors that name the key.
class FamilyKeys {
 public:
  FamilyKeys(const Metadata& metadata, std::string_view family)
      : metadata_(metadata), family_(family) {}

  /// Of key FAMILY.suffix. required_* throw Error(invalid_model) when it is missing; counts must be
  /// 1 to `limit`. Numbers may be written as booleans, which count as 0 and 1.
  std::int64_t required_count(std::string_view suffix, std::int64_t limit) const;
  std::int64_t count_or(std::string_view suffix, std::int64_t otherwise, std::int64_t limit) const;
  double required_number(std::string_view suffix) const;
  double number_or(std::string_view suffix, double otherwise) const;
  std::string_view string_or(std::string_view suffix, std::string_view otherwise) const;
  bool boolean_or(std::string_view suffix, bool otherwise) const;
  bool contains(std::string_view suffix) const;
  const MetadataValue* find(std::string_view suffix) const;  ///< null where it is missing
  std::string key(std::string_view suffix) const;            ///< in full

 private:
  const Metadata& metadata_;
  std::string family_;
};

struct Family {
  std::string_view name;  ///< as in general.architecture
  /// Sets what is the family's own; shape, norms and RoPE scaling common to all have been filled in
  /// before.
  void (*describe)(const FamilyKeys& keys, Description& description);
};

std::span<const Family> families();

/// Sets each layer's window: of the key attention.sliding_window, or `default_window` (0: none)
/// without it, in the layers that attention.sliding_window_pattern names one by one (an array) or by
/// its period: all but the last of every so many layers. `default_period` stands for a missing
/// pattern; 0 means every layer. Windowed layers with a base of their own (rope.freq_base_swa) get
/// another rope. Throws Error(invalid_model).
void describe_windows(const FamilyKeys& keys, Description& description, std::int64_t default_window,
                      std::int64_t default_period);

/// Reads and checks a model's description. Throws Error(unsupported_model) for an unknown
/// architecture (named, with the known ones) or a feature that is not supported,
/// Error(invalid_model) for missing or inconsistent hyper-parameters.
Description describe(const ModelFile& file);

}  // namespace plimsoll
