#include "hub/http.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <exception>

#include "base/error.h"
#include "hub/child.h"
#include "hub/library.h"

namespace plimsoll {
namespace {

constexpr std::size_t most_headers = 200;
constexpr std::size_t longest_header = 16 * 1024;

struct Curl {
  Library library{{"libcurl.so.4", "libcurl-gnutls.so.4"}, "libcurl4"};
  decltype(&::curl_global_init) global_init;
  decltype(&::curl_easy_init) easy_init;
  decltype(&::curl_easy_cleanup) easy_cleanup;
  decltype(&::curl_easy_reset) easy_reset;
  decltype(&::curl_easy_perform) easy_perform;
  decltype(&::curl_easy_strerror) easy_strerror;
  CURLcode (*setopt)(CURL*, CURLoption, ...);
  CURLcode (*getinfo)(CURL*, CURLINFO, ...);
  decltype(&::curl_slist_append) slist_append;
  decltype(&::curl_slist_free_all) slist_free_all;

  Curl() {
    library.find("curl_global_init", global_init);
    library.find("curl_easy_init", easy_init);
    library.find("curl_easy_cleanup", easy_cleanup);
    library.find("curl_easy_reset", easy_reset);
    library.find("curl_easy_perform", easy_perform);
    library.find("curl_easy_strerror", easy_strerror);
    library.find("curl_easy_setopt", setopt);
    library.find("curl_easy_getinfo", getinfo);
    library.find("curl_slist_append", slist_append);
    library.find("curl_slist_free_all", slist_free_all);
    global_init(CURL_GLOBAL_DEFAULT);
  }
};

const Curl& curl() {
  static const Curl loaded;
  return loaded;
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), [](unsigned char c) { return std::tolower(c); });
  return out;
}

std::string_view trimmed(std::string_view text) {
  const auto is_space = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

std::optional<std::uint64_t> number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return {};
  return value;
}

/// "https://host:port" in lower case, the port as it stands.
std::string origin(std::string_view url) {
  const std::size_t scheme = url.find("://");
  if (scheme == url.npos) return "";
  return lower(url.substr(0, url.find_first_of("/?#", scheme + 3)));
}

std::string host(std::string_view url) {
  std::string text = origin(url);
  text.erase(0, text.find("://") + 3);
  if (text.starts_with('[')) return text.substr(0, text.find(']') + 1);
  return text.substr(0, text.find(':'));
}

bool is_this_machine(std::string_view url) {
  const std::string name = host(url);
  return name == "localhost" || name == "127.0.0.1" || name == "[::1]";
}

bool may_carry_token(std::string_view url) {
  return lower(url.substr(0, 8)) == "https://" || is_this_machine(url);
}

/// For a person: without what follows a question mark, which is often a signature.
std::string shown(const std::string& url) {
  const std::size_t query = url.find('?');
  return query == url.npos ? url : url.substr(0, query) + "?...";
}

/// Seconds of a Retry-After; dates are not understood, and hardly sent.
std::optional<double> retry_after(const HttpResponse& response) {
  const auto seconds = number(response.header("retry-after"));
  return seconds ? std::optional<double>(static_cast<double>(*seconds)) : std::nullopt;
}

class HeaderList {
 public:
  ~HeaderList() { curl().slist_free_all(list_); }
  HeaderList() = default;
  HeaderList(const HeaderList&) = delete;
  HeaderList& operator=(const HeaderList&) = delete;
  void add(const std::string& line) { list_ = curl().slist_append(list_, line.c_str()); }
  curl_slist* get() const { return list_; }

 private:
  curl_slist* list_ = nullptr;
};

/// One exchange, as the callbacks see it.
struct Exchange {
  HttpResponse response;
  const HttpClient::Sink* sink = nullptr;
  CURL* handle = nullptr;
  bool stopped = false;  ///< by the sink
  std::exception_ptr error;
};

bool is_success(long status) { return status == 200 || status == 206; }

std::size_t take_header(char* data, std::size_t size, std::size_t count, void* user) {
  auto& exchange = *static_cast<Exchange*>(user);
  const std::string_view line(data, size * count);
  if (line.starts_with("HTTP/")) {  // a proxy's or an interim answer came before
    exchange.response.headers.clear();
    return size * count;
  }
  const std::size_t colon = line.find(':');
  if (colon != line.npos && line.size() <= longest_header &&
      exchange.response.headers.size() < most_headers)
    exchange.response.headers[lower(trimmed(line.substr(0, colon)))] =
        trimmed(line.substr(colon + 1));
  return size * count;
}

std::size_t take_body(char* data, std::size_t size, std::size_t count, void* user) {
  auto& exchange = *static_cast<Exchange*>(user);
  const std::size_t bytes = size * count;
  if (exchange.response.status == 0)
    curl().getinfo(exchange.handle, CURLINFO_RESPONSE_CODE, &exchange.response.status);
  if (!is_success(exchange.response.status)) return bytes;
  try {
    if ((*exchange.sink)(exchange.response, {reinterpret_cast<const std::uint8_t*>(data), bytes}))
      return bytes;
    exchange.stopped = true;
  } catch (...) {
    exchange.error = std::current_exception();
  }
  return 0;
}

int watch(void*, curl_off_t, curl_off_t, curl_off_t, curl_off_t) { return is_interrupted() ? 1 : 0; }

}  // namespace

std::string HttpResponse::header(const std::string& name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? "" : found->second;
}

bool HttpResponse::is_encoded() const {
  const std::string encoding = lower(header("content-encoding"));
  return !encoding.empty() && encoding != "identity";
}

std::optional<Bytes> HttpResponse::total() const {
  if (is_encoded()) return {};
  if (status == 200) return number(header("content-length"));
  const std::string range = header("content-range");
  const std::size_t slash = range.rfind('/');
  return slash == range.npos ? std::nullopt : number(std::string_view(range).substr(slash + 1));
}

std::optional<std::uint64_t> HttpResponse::range_start() const {
  const std::string range = lower(header("content-range"));
  if (!range.starts_with("bytes ")) return {};
  const std::string_view numbers = std::string_view(range).substr(6);
  return number(trimmed(numbers.substr(0, numbers.find('-'))));
}

std::string HttpResponse::strong_etag() const {
  const std::string etag = header("etag");
  return etag.size() >= 2 && etag.front() == '"' && etag.back() == '"' ? etag : "";
}

struct HttpClient::State {
  State(const Places& places, const HttpSettings& s)
      : settings(s), handle(curl().easy_init()), endpoint(origin(places.endpoint)) {
    if (handle == nullptr) throw Error(ErrorCode::internal, "libcurl could not be started");
    if (places.token && may_carry_token(places.endpoint)) token = *places.token;
    withheld = places.token.has_value() && token.empty();
  }
  ~State() { curl().easy_cleanup(handle); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  HttpSettings settings;
  CURL* handle;
  std::string endpoint, token;
  bool withheld = false;
};

HttpClient::HttpClient(const Places& places, const HttpSettings& settings)
    : state_(std::make_unique<State>(places, settings)) {}
HttpClient::~HttpClient() = default;

bool HttpClient::withholds_token() const { return state_->withheld; }
bool HttpClient::has_token() const { return !state_->token.empty(); }

HttpResponse HttpClient::get(const HttpRequest& request, const Sink& sink) {
  HttpRequest hop = request;
  for (int redirects = 0;; ++redirects) {
    std::string next;
    HttpResponse response = get_once(hop, sink, next);
    if (next.empty()) return response;
    if (redirects == state_->settings.most_redirects)
      throw Error(ErrorCode::network_failed,
                  fmt::format("{}: more than {} redirects", shown(request.url),
                              state_->settings.most_redirects),
                  "check the address");
    if (lower(hop.url.substr(0, 8)) == "https://" && lower(next.substr(0, 8)) != "https://")
      throw Error(ErrorCode::network_failed,
                  fmt::format("{} leads from https to {}", shown(hop.url), shown(next)),
                  "that is not followed: anyone on the way could change the file");
    hop.url = next;
  }
}

HttpResponse HttpClient::get_once(const HttpRequest& request, const Sink& sink,
                                  std::string& redirect) {
  const Curl& lib = curl();
  CURL* handle = state_->handle;
  lib.easy_reset(handle);  // keeps connections
  Exchange exchange;
  exchange.sink = &sink;
  exchange.handle = handle;
  exchange.response.url = request.url;

  HeaderList headers;
  if (!request.if_range.empty()) headers.add("If-Range: " + request.if_range);
  // By hand at every hop: the token goes to the endpoint and nowhere else.
  if (!state_->token.empty() && origin(request.url) == state_->endpoint)
    headers.add("Authorization: Bearer " + state_->token);

  std::array<char, CURL_ERROR_SIZE> message{};
  const auto set = [&](CURLoption option, auto value) {
    if (const CURLcode code = lib.setopt(handle, option, value); code != CURLE_OK)
      throw Error(ErrorCode::network_failed,
                  fmt::format("{}: libcurl refuses its option {}: {}", shown(request.url),
                              static_cast<int>(option), lib.easy_strerror(code)),
                  "check the address, or install a newer libcurl");
  };
  set(CURLOPT_URL, request.url.c_str());
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_FOLLOWLOCATION, 0L);
  set(CURLOPT_HTTPHEADER, headers.get());
  set(CURLOPT_USERAGENT, "plimsoll/" PLIMSOLL_VERSION);
  set(CURLOPT_ACCEPT_ENCODING, "identity");
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(state_->settings.connect_seconds * 1000));
  set(CURLOPT_LOW_SPEED_LIMIT, 1L);
  set(CURLOPT_LOW_SPEED_TIME, state_->settings.stall_seconds);
  set(CURLOPT_ERRORBUFFER, message.data());
  set(CURLOPT_NOPROGRESS, 0L);
  set(CURLOPT_XFERINFOFUNCTION, watch);
  set(CURLOPT_HEADERFUNCTION, take_header);
  set(CURLOPT_HEADERDATA, static_cast<void*>(&exchange));
  set(CURLOPT_WRITEFUNCTION, take_body);
  set(CURLOPT_WRITEDATA, static_cast<void*>(&exchange));
  std::string range;
  if (request.first) {
    range = fmt::format("{}-{}", *request.first,
                        request.last ? fmt::format("{}", *request.last) : std::string());
    set(CURLOPT_RANGE, range.c_str());
  }

  const CURLcode code = lib.easy_perform(handle);
  lib.getinfo(handle, CURLINFO_RESPONSE_CODE, &exchange.response.status);
  if (exchange.error) std::rethrow_exception(exchange.error);
  stop_if_interrupted();
  if (exchange.stopped) return exchange.response;

  const long status = exchange.response.status;
  if (code != CURLE_OK && !(status >= 300 && status < 400)) {
    const std::string reason =
        fmt::format("{}: {}", shown(request.url),
                    message[0] != '\0' ? message.data() : lib.easy_strerror(code));
    switch (code) {
      case CURLE_COULDNT_RESOLVE_HOST:
      case CURLE_COULDNT_RESOLVE_PROXY:
      case CURLE_COULDNT_CONNECT:
        throw PassingFailure(reason, true);
      case CURLE_URL_MALFORMAT:
      case CURLE_UNSUPPORTED_PROTOCOL:
        throw Error(ErrorCode::network_failed, reason, "check the address");
      case CURLE_PEER_FAILED_VERIFICATION:
      case CURLE_SSL_CACERT_BADFILE:
      case CURLE_SSL_CERTPROBLEM:
        throw Error(ErrorCode::network_failed, reason,
                    "check the clock and the installed certificates (Debian: apt-get install "
                    "ca-certificates)");
      default:
        throw PassingFailure(reason, false);
    }
  }
  if (status == 429 || status >= 500)
    throw PassingFailure(fmt::format("{} answers {}", shown(request.url), status), false,
                         retry_after(exchange.response));
  if (status == 301 || status == 302 || status == 303 || status == 307 || status == 308) {
    const char* next = nullptr;
    lib.getinfo(handle, CURLINFO_REDIRECT_URL, &next);
    if (next == nullptr || *next == '\0')
      throw Error(ErrorCode::network_failed,
                  fmt::format("{} redirects to nowhere", shown(request.url)), "check the address");
    redirect = next;
  }
  return exchange.response;
}

HttpResponse HttpClient::get_text(const HttpRequest& request, Bytes limit, std::string& body) {
  body.clear();
  return get(request, [&](const HttpResponse&, std::span<const std::uint8_t> data) {
    if (data.size() > limit - body.size())
      throw Error(ErrorCode::network_failed,
                  fmt::format("{}: the answer is longer than {}", shown(request.url),
                              format_bytes(limit)),
                  "check the address");
    body.append(reinterpret_cast<const char*>(data.data()), data.size());
    return true;
  });
}

}  // namespace plimsoll
