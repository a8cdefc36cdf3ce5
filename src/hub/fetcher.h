// Requests that are repeated while their failures may pass.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "hub/http.h"

namespace plimsoll {

struct RetryPolicy {
  int attempts = 7;           ///< without any progress between them
  int hopeless_attempts = 2;  ///< where nobody answers at all
  double first_wait = 0.5;    ///< seconds, doubled from one to the next
  double most_wait = 15;
  double most_retry_after = 120;  ///< a server that wants a longer pause is told of, not waited for
};

/// Something that the user should know meanwhile.
using Notice = std::function<void(const std::string&)>;

class Fetcher {
 public:
  /// Throws as HttpClient does, and Error(not_available) where the places are offline. Says once when a token is withheld.
  Fetcher(const Places& places, Notice notice, const HttpSettings& settings = {},
          const RetryPolicy& policy = {});

  HttpClient& client() { return client_; }
  const Places& places() const { return places_; }
  void notice(const std::string& text) const { notice_(text); }

  /// Calls `attempt` until it throws no PassingFailure. `progress` counts what was gained: while it grows, the policy begins
  /// anew. Throws Error(network_failed) when the attempts are used up, Error(interrupted), and what `attempt` throws.
  void repeat(const std::function<void()>& attempt, const std::function<Bytes()>& progress = {});

  /// HttpClient::get_text, repeated.
  HttpResponse get_text(const std::string& url, Bytes limit, std::string& body);

 private:
  Places places_;
  Notice notice_;
  RetryPolicy policy_;
  HttpClient client_;
};

}  // namespace plimsoll
