// The one error type. User data (files, flags, prompts) never aborts the process: it throws an Error, which the command
// line turns into a message and an exit code. Assertions are for bugs only.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace plimsoll {

enum class ErrorCode {
  usage,               ///< a flag or its value is wrong
  file_not_found,      ///< no such file
  file_unreadable,     ///< a directory, no permission, an I/O error
  file_corrupt,        ///< truncated, or its parts contradict each other
  unsupported_version, ///< a version of the file format that is not read
  unsupported_format,  ///< a known tensor format that has no codec yet, or an unknown one
  unsupported_model,   ///< an architecture or a feature of one that is not known
  invalid_model,       ///< hyper-parameters, tensors or vocabulary missing or inconsistent
  invalid_weights,     ///< NaN or infinity where numbers are needed
  invalid_text,        ///< text that cannot be tokenized
  empty_prompt,        ///< nothing to continue
  context_exceeded,    ///< prompt longer than the context
  budget_refused,      ///< the plan does not fit the budget
  budget_exceeded,     ///< a reservation did not fit while running
  plan_mismatch,       ///< a saved plan is for another model or machine
  machine_limit,       ///< the machine or container cannot give what was asked
  write_failed,        ///< output not writable, disk full
  network_failed,      ///< a server that cannot be reached, or does not answer as it should
  access_denied,       ///< a server wants a token, or another one
  not_available,       ///< a model that is known by name but is not here, or not where it was looked for
  checksum_mismatch,   ///< what was downloaded is not what its makers published
  interrupted,         ///< stopped by the user (Ctrl-C)
  internal,            ///< a bug that was caught
};

/// Stable snake_case name, as it stands in JSON.
std::string_view name(ErrorCode code);

/// 1 for a typed error, 2 for wrong usage, 3 for refused because it can't fit; 130 for Ctrl-C, as shells have it.
int exit_code(ErrorCode code);

class Error : public std::runtime_error {
 public:
  /// `message` says what happened, with the wanted and the found value; `hint` what to do.
  Error(ErrorCode code, const std::string& message, std::string hint = {})
      : std::runtime_error(message), code_(code), hint_(std::move(hint)) {}

  ErrorCode code() const { return code_; }
  std::string message() const { return what(); }
  const std::string& hint() const { return hint_; }

 private:
  ErrorCode code_;
  std::string hint_;
};

}  // namespace plimsoll
