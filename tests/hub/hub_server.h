// A server on this machine's loopback that behaves like the hub, and misbehaves on demand.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace plimsoll::test {

/// A file of a repository. `size` beyond the content stands for zeros, which are not stored.
struct HubFile {
  std::string content;
  std::uint64_t size = 0;
  bool is_lfs = true;
  std::string sha256, git_oid;  ///< what the listing says; empty: the true ones (of content alone)
  std::string etag;             ///< empty: from the sum
};

struct HubRequest {
  std::string method, target, path, query;
  std::map<std::string, std::string> headers;  ///< names in lower case
  std::string header(const std::string& name) const;
};

/// How one answer goes wrong. The defaults are a good one.
struct Fault {
  int status = 0;                            ///< instead of the answer
  std::string headers;                       ///< further lines, each with its end
  std::optional<std::uint64_t> cut_after;    ///< bytes of the body; then the connection ends
  bool reset = false;                        ///< ... by a reset
  double stall_seconds = 0;                  ///< silence after cut_after instead of the end
  double bytes_per_second = 0;               ///< 0: as fast as it goes
  std::int64_t claimed_length_change = 0;    ///< added to Content-Length
  bool no_ranges = false;                    ///< a range request gets the whole
  bool wrong_range = false;                  ///< a range request gets a range that begins elsewhere
  bool gzip = false;                         ///< the body compressed, unasked
  bool chunked = false;                      ///< no length at all
  std::string body;                          ///< instead of the file
  std::string location;                      ///< a redirect to there
};

class HubServer {
 public:
  static constexpr const char* commit = "0123456789abcdef0123456789abcdef01234567";

  HubServer();
  ~HubServer();
  HubServer(const HubServer&) = delete;
  HubServer& operator=(const HubServer&) = delete;

  std::string endpoint() const;  ///< "http://127.0.0.1:PORT"
  int port() const { return port_; }

  /// Adds or replaces a file of "ORG/REPO".
  void put(const std::string& repo, const std::string& path, HubFile file);
  void put(const std::string& repo, const std::string& path, const std::string& content) {
    put(repo, path, HubFile{content, 0, true, "", "", ""});
  }
  /// Served at /files/NAME, outside of any repository.
  void put_plain(const std::string& name, const std::string& content);

  /// Asked before every answer, with the number of requests for the same path before; the fault is done.
  void set_faults(std::function<Fault(const HubRequest&, int)> faults);
  /// Files are sent from this address (another server's) instead, as the hub sends them from its storage.
  void set_storage(const std::string& address);
  /// Listings have pages of so many entries.
  void set_page(std::size_t entries);
  /// Without it, everything of the repositories is answered with 401.
  void require_token(const std::string& token);

  std::vector<HubRequest> requests() const;
  int requests_of(const std::string& part) const;  ///< whose path contains it
  std::uint64_t body_bytes() const { return body_bytes_; }  ///< of files, handed to the kernel

 private:
  struct Answer;
  void accept_all();
  void serve(int connection);
  Answer answer(const HubRequest& request);
  Answer api(const HubRequest& request, const std::string& rest);
  Answer file_answer(const HubFile& file, const HubRequest& request);
  bool send(int connection, const HubRequest& request, Answer answer, const Fault& fault);

  int listener_ = -1, port_ = 0;
  std::atomic<bool> ending_{false};
  std::atomic<std::uint64_t> body_bytes_{0};
  std::thread acceptor_;
  mutable std::mutex mutex_;
  std::vector<std::thread> workers_;
  std::vector<int> connections_;
  std::map<std::string, std::map<std::string, HubFile>> repos_;
  std::map<std::string, HubFile> plain_;
  std::function<Fault(const HubRequest&, int)> faults_;
  std::map<std::string, int> counts_;
  std::vector<HubRequest> requests_;
  std::string storage_, token_;
  std::size_t page_ = 1000;
};

/// By the command sha256sum or sha1sum: not by the library that is tested.
std::string sum_by_command(const std::string& command, const std::string& content);

}  // namespace plimsoll::test
