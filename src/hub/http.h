// A small HTTP client over libcurl, which is loaded when the first one is made: to be used in a child (hub/child.h), so that
// no running model pays for it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>

#include "base/bytes.h"
#include "hub/places.h"

namespace plimsoll {

/// A failure that may pass: a broken connection, a server that is busy. Fetcher repeats what fails so.
struct PassingFailure : std::runtime_error {
  PassingFailure(const std::string& message, bool soon_hopeless, std::optional<double> wait = {})
      : std::runtime_error(message), is_hopeless_soon(soon_hopeless), retry_after(wait) {}
  bool is_hopeless_soon;              ///< nobody answers: a few tries are enough
  std::optional<double> retry_after;  ///< seconds, as the server says
};

struct HttpRequest {
  std::string url;
  std::optional<std::uint64_t> first;  ///< of a range of bytes
  std::optional<std::uint64_t> last;   ///< included; with `first` only
  std::string if_range;                ///< strong ETag; empty for none
};

struct HttpResponse {
  long status = 0;
  std::string url;                             ///< where the redirects led to
  std::map<std::string, std::string> headers;  ///< names in lower case; of the last hop

  std::string header(const std::string& name) const;
  /// What a 200's Content-Length or a 206's Content-Range says of the whole; empty where it says nothing, or where the
  /// body is encoded, so that its bytes are not the file's.
  std::optional<Bytes> total() const;
  /// Of a 206; empty where its Content-Range is missing or senseless.
  std::optional<std::uint64_t> range_start() const;
  bool is_encoded() const;
  /// Usable with If-Range; empty for a weak one.
  std::string strong_etag() const;
};

struct HttpSettings {
  double connect_seconds = 30;
  long stall_seconds = 30;  ///< less than a byte a second for that long is a stall
  int most_redirects = 10;
};

class HttpClient {
 public:
  /// Gets a piece of the body of a 200 or 206, in order; false ends the transfer, which is no failure then.
  using Sink = std::function<bool(const HttpResponse&, std::span<const std::uint8_t>)>;

  /// Sends the places' token to their endpoint alone: same scheme, host and port, and only over https or to this machine
  /// itself. Proxies are those of the environment. Throws Error(not_available) without libcurl.
  HttpClient(const Places& places, const HttpSettings& settings);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  /// Follows redirects, but never from https to http. Bodies of other answers are dropped. Asks for no encoding, and
  /// decodes what comes encoded all the same. Throws PassingFailure (network trouble, a body that ends early),
  /// Error(network_failed) (certificates, redirects, addresses that cannot be), Error(interrupted).
  HttpResponse get(const HttpRequest& request, const Sink& sink);

  /// A body of at most `limit` bytes, as text. Throws Error(network_failed) for a longer one.
  HttpResponse get_text(const HttpRequest& request, Bytes limit, std::string& body);

  /// Whether a token is there that must not be sent, since the endpoint is neither https nor this machine.
  bool withholds_token() const;
  /// Whether requests to the endpoint carry a token.
  bool has_token() const;

 private:
  struct State;
  HttpResponse get_once(const HttpRequest& request, const Sink& sink, std::string& redirect);
  std::unique_ptr<State> state_;
};

}  // namespace plimsoll
