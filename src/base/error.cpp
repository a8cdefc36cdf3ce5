#include "base/error.h"

namespace plimsoll {

std::string_view name(ErrorCode code) {
  switch (code) {
    case ErrorCode::usage:
      return "usage";
    case ErrorCode::file_not_found:
      return "file_not_found";
    case ErrorCode::file_unreadable:
      return "file_unreadable";
    case ErrorCode::file_corrupt:
      return "file_corrupt";
    case ErrorCode::unsupported_version:
      return "unsupported_version";
    case ErrorCode::unsupported_format:
      return "unsupported_format";
    case ErrorCode::unsupported_model:
      return "unsupported_model";
    case ErrorCode::invalid_model:
      return "invalid_model";
    case ErrorCode::invalid_weights:
      return "invalid_weights";
    case ErrorCode::invalid_text:
      return "invalid_text";
    case ErrorCode::empty_prompt:
      return "empty_prompt";
    case ErrorCode::context_exceeded:
      return "context_exceeded";
    case ErrorCode::budget_refused:
      return "budget_refused";
    case ErrorCode::budget_exceeded:
      return "budget_exceeded";
    case ErrorCode::plan_mismatch:
      return "plan_mismatch";
    case ErrorCode::machine_limit:
      return "machine_limit";
    case ErrorCode::write_failed:
      return "write_failed";
    case ErrorCode::network_failed:
      return "network_failed";
    case ErrorCode::access_denied:
      return "access_denied";
    case ErrorCode::not_available:
      return "not_available";
    case ErrorCode::checksum_mismatch:
      return "checksum_mismatch";
    case ErrorCode::interrupted:
      return "interrupted";
    case ErrorCode::internal:
      return "internal";
  }
  return "internal";
}

int exit_code(ErrorCode code) {
  switch (code) {
    case ErrorCode::usage:
      return 2;
    case ErrorCode::budget_refused:
      return 3;
    case ErrorCode::interrupted:
      return 130;
    default:
      return 1;
  }
}

}  // namespace plimsoll
