#include "hub/hub_server.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "support/temporary_folder.h"

namespace plimsoll::test {
namespace {

std::string lower(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

std::string output_of(const std::string& command) {
  std::FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) throw std::runtime_error(command);
  std::string out;
  std::array<char, 65536> buffer;
  while (const std::size_t got = std::fread(buffer.data(), 1, buffer.size(), pipe))
    out.append(buffer.data(), got);
  if (::pclose(pipe) != 0) throw std::runtime_error(command);
  return out;
}

std::string through(const std::string& command, const std::string& content) {
  const TemporaryFolder folder;
  write_file(folder.file("in"), {reinterpret_cast<const std::uint8_t*>(content.data()), content.size()});
  return output_of(command + " < " + folder.file("in"));
}

std::string decoded(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size()) {
      out += static_cast<char>(std::stoi(text.substr(i + 1, 2), nullptr, 16));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

/// `count` bytes of a file from `at`.
std::string piece(const HubFile& file, std::uint64_t at, std::uint64_t count) {
  std::string out;
  if (at < file.content.size()) out = file.content.substr(at, count);
  out.resize(count, '\0');
  return out;
}

bool send_all(int connection, const char* data, std::size_t bytes) {
  while (bytes > 0) {
    const ssize_t put = ::send(connection, data, bytes, MSG_NOSIGNAL);
    if (put <= 0) return false;
    data += put;
    bytes -= static_cast<std::size_t>(put);
  }
  return true;
}

}  // namespace

std::string sum_by_command(const std::string& command, const std::string& content) {
  const std::string out = through(command, content);
  return out.substr(0, out.find(' '));
}

std::string HubRequest::header(const std::string& name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? "" : found->second;
}

/// The body is `text`, or a range of a file.
struct HubServer::Answer {
  int status = 200;
  std::string headers, text;
  std::optional<HubFile> file;
  std::uint64_t first = 0, count = 0;
};

HubServer::HubServer() {
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  if (::bind(listener_, reinterpret_cast<sockaddr*>(&address), length) != 0 ||
      ::listen(listener_, 64) != 0 ||
      ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &length) != 0)
    throw std::runtime_error("no port on the loopback");
  port_ = ntohs(address.sin_port);
  acceptor_ = std::thread([this] { accept_all(); });
}

HubServer::~HubServer() {
  ending_ = true;
  ::shutdown(listener_, SHUT_RDWR);
  acceptor_.join();
  ::close(listener_);
  {
    const std::lock_guard lock(mutex_);
    for (const int connection : connections_) ::shutdown(connection, SHUT_RDWR);
  }
  for (std::thread& worker : workers_) worker.join();
}

std::string HubServer::endpoint() const { return fmt::format("http://127.0.0.1:{}", port_); }

void HubServer::put(const std::string& repo, const std::string& path, HubFile file) {
  file.size = std::max<std::uint64_t>(file.size, file.content.size());
  if (file.is_lfs && file.sha256.empty()) file.sha256 = sum_by_command("sha256sum", file.content);
  if (file.git_oid.empty())
    file.git_oid = sum_by_command(
        "sha1sum", fmt::format("blob {}", file.content.size()) + '\0' + file.content);
  if (file.etag.empty()) file.etag = "\"" + (file.is_lfs ? file.sha256 : file.git_oid) + "\"";
  const std::lock_guard lock(mutex_);
  repos_[repo][path] = std::move(file);
}

void HubServer::put_plain(const std::string& name, const std::string& content) {
  HubFile file{content, content.size(), false, "", "", "\"" + sum_by_command("sha1sum", content) + "\""};
  const std::lock_guard lock(mutex_);
  plain_[name] = std::move(file);
}

void HubServer::set_faults(std::function<Fault(const HubRequest&, int)> faults) {
  const std::lock_guard lock(mutex_);
  faults_ = std::move(faults);
}
void HubServer::set_storage(const std::string& address) { storage_ = address; }
void HubServer::set_page(std::size_t entries) { page_ = entries; }
void HubServer::require_token(const std::string& token) { token_ = token; }

std::vector<HubRequest> HubServer::requests() const {
  const std::lock_guard lock(mutex_);
  return requests_;
}

int HubServer::requests_of(const std::string& part) const {
  const auto all = requests();
  return static_cast<int>(std::ranges::count_if(
      all, [&](const HubRequest& r) { return r.path.find(part) != std::string::npos; }));
}

void HubServer::accept_all() {
  while (!ending_) {
    const int connection = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (connection < 0) continue;
    const int small = 64 * 1024, yes = 1;  // what is sent is soon received: bodies are counted
    ::setsockopt(connection, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    ::setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
    const std::lock_guard lock(mutex_);
    connections_.push_back(connection);
    workers_.emplace_back([this, connection] { serve(connection); });
  }
}

void HubServer::serve(int connection) {
  std::string buffer;
  const auto read_request = [&](HubRequest& request) {
    std::size_t end;
    while ((end = buffer.find("\r\n\r\n")) == std::string::npos) {
      std::array<char, 8192> more;
      const ssize_t got = ::recv(connection, more.data(), more.size(), 0);
      if (got <= 0) return false;
      buffer.append(more.data(), static_cast<std::size_t>(got));
    }
    std::string head = buffer.substr(0, end + 2);
    buffer.erase(0, end + 4);
    std::size_t at = head.find("\r\n");
    const std::string line = head.substr(0, at);
    request.method = line.substr(0, line.find(' '));
    request.target = line.substr(request.method.size() + 1);
    request.target = request.target.substr(0, request.target.find(' '));
    std::string local = request.target;  // a proxy is asked for whole addresses
    if (local.starts_with("http://")) local = local.substr(std::min(local.find('/', 7), local.size()));
    request.path = decoded(local.substr(0, local.find('?')));
    if (local.find('?') != std::string::npos) request.query = local.substr(local.find('?') + 1);
    for (at += 2; at < head.size();) {
      const std::size_t next = head.find("\r\n", at), colon = head.find(':', at);
      std::size_t value = colon + 1;
      while (head[value] == ' ') ++value;
      request.headers[lower(head.substr(at, colon - at))] = head.substr(value, next - value);
      at = next + 2;
    }
    return true;
  };
  for (;;) {
    HubRequest request;
    if (!read_request(request)) break;
    Fault fault;
    {
      const std::lock_guard lock(mutex_);
      requests_.push_back(request);
      if (faults_) fault = faults_(request, counts_[request.path]++);
    }
    if (!send(connection, request, answer(request), fault)) break;
  }
  const std::lock_guard lock(mutex_);
  std::erase(connections_, connection);
  ::close(connection);
}

HubServer::Answer HubServer::file_answer(const HubFile& file, const HubRequest& request) {
  Answer answer;
  answer.file = file;
  answer.count = file.size;
  answer.headers = fmt::format("ETag: {}\r\nAccept-Ranges: bytes\r\nContent-Type: application/octet-stream\r\n",
                               file.etag);
  const std::string range = request.header("range");
  const std::string if_range = request.header("if-range");
  if (!range.starts_with("bytes=") || (!if_range.empty() && if_range != file.etag)) return answer;
  const std::uint64_t first = std::stoull(range.substr(6));
  const std::string end = range.substr(range.find('-') + 1);
  if (first >= file.size) {
    answer.status = 416;
    answer.headers += fmt::format("Content-Range: bytes */{}\r\n", file.size);
    answer.count = 0;
    answer.file.reset();
    return answer;
  }
  const std::uint64_t last = end.empty() ? file.size - 1 : std::min<std::uint64_t>(std::stoull(end), file.size - 1);
  answer.status = 206;
  answer.first = first;
  answer.count = last - first + 1;
  answer.headers += fmt::format("Content-Range: bytes {}-{}/{}\r\n", first, last, file.size);
  return answer;
}

HubServer::Answer HubServer::api(const HubRequest& request, const std::string& rest) {
  const std::size_t owner = rest.find('/'), name = rest.find('/', owner + 1);
  const std::string repo = rest.substr(0, name), what = name == rest.npos ? "" : rest.substr(name + 1);
  const auto found = repos_.find(repo);
  if (found == repos_.end()) return {404, "X-Error-Code: RepoNotFound\r\n", "{}", {}, 0, 0};
  const std::string revision = what.substr(what.find('/') + 1);
  if (revision != "main" && revision != commit && revision != "refs/pr/1")
    return {404, "X-Error-Code: RevisionNotFound\r\n", "{}", {}, 0, 0};
  if (what.starts_with("revision/")) return {200, "", nlohmann::json{{"sha", commit}}.dump(), {}, 0, 0};
  nlohmann::json entries = nlohmann::json::array();
  entries.push_back({{"type", "directory"}, {"oid", std::string(40, 'd')}, {"size", 0}, {"path", "folder"}});
  for (const auto& [path, file] : found->second) {
    nlohmann::json entry = {{"type", "file"}, {"oid", file.git_oid}, {"size", file.size}, {"path", path}};
    if (file.is_lfs)
      entry["lfs"] = {{"oid", file.sha256}, {"size", file.size}, {"pointerSize", 135}};
    entries.push_back(std::move(entry));
  }
  std::size_t from = 0;
  if (const std::size_t at = request.query.find("cursor="); at != request.query.npos)
    from = std::stoull(request.query.substr(at + 7));
  nlohmann::json page = nlohmann::json::array();
  for (std::size_t i = from; i < std::min(entries.size(), from + page_); ++i) page.push_back(entries[i]);
  Answer answer{200, "Content-Type: application/json\r\n", page.dump(), {}, 0, 0};
  if (from + page_ < entries.size())
    answer.headers += fmt::format("Link: <{}{}?recursive=true&cursor={}>; rel=\"next\"\r\n", endpoint(),
                                  request.path, from + page_);
  return answer;
}

HubServer::Answer HubServer::answer(const HubRequest& request) {
  const std::lock_guard lock(mutex_);
  if (request.path.starts_with("/files/")) {
    const auto found = plain_.find(request.path.substr(7));
    return found == plain_.end() ? Answer{404, "", "", {}, 0, 0} : file_answer(found->second, request);
  }
  const bool in_storage = request.path.starts_with("/storage/");
  if (!token_.empty() && !in_storage && request.header("authorization") != "Bearer " + token_)
    return {401, "X-Error-Code: GatedRepo\r\n", "{}", {}, 0, 0};
  if (request.path.starts_with("/api/models/")) return api(request, request.path.substr(12));
  // /ORG/REPO/resolve/COMMIT/FILE, /storage/ORG/REPO/resolve/COMMIT/FILE
  const std::string path = request.path.substr(in_storage ? 9 : 1);
  const std::size_t resolve = path.find("/resolve/");
  if (resolve == path.npos) return {404, "", "", {}, 0, 0};
  const std::string file = path.substr(path.find('/', resolve + 9) + 1);
  const auto repo = repos_.find(path.substr(0, resolve));
  if (repo == repos_.end() || !repo->second.contains(file))
    return {404, "X-Error-Code: EntryNotFound\r\n", "", {}, 0, 0};
  const HubFile& found = repo->second.at(file);
  if (!storage_.empty() && !in_storage && found.is_lfs)
    return {302, fmt::format("Location: {}/storage/{}?signature=secret\r\nX-Linked-Size: {}\r\n", storage_,
                             path, found.size), "", {}, 0, 0};
  return file_answer(found, request);
}

bool HubServer::send(int connection, const HubRequest& request, Answer answer, const Fault& fault) {
  if (!fault.body.empty()) {
    answer.file.reset();
    answer.text = fault.body;
    answer.status = 200;
    answer.headers = "Content-Type: text/html\r\n";
  }
  if (!fault.location.empty()) answer = {302, fmt::format("Location: {}\r\n", fault.location), "", {}, 0, 0};
  if (fault.status != 0) answer = {fault.status, "", "no", {}, 0, 0};
  if (answer.file && (fault.no_ranges || fault.wrong_range || fault.gzip)) {
    HubRequest other = request;
    other.headers.erase("range");
    if (fault.wrong_range) other.headers["range"] = fmt::format("bytes={}-", answer.first + 7);
    if (!(fault.gzip && answer.status == 206)) answer = file_answer(*answer.file, other);
  }
  if (fault.gzip && answer.file) {
    answer.text = through("gzip -c", piece(*answer.file, answer.first, answer.count));
    answer.file.reset();
    answer.headers += "Content-Encoding: gzip\r\n";
  }
  const std::uint64_t length = answer.file ? answer.count : answer.text.size();
  std::string head = fmt::format("HTTP/1.1 {} Some\r\n{}{}", answer.status, answer.headers, fault.headers);
  const bool ends = fault.cut_after.has_value() || fault.claimed_length_change != 0 || fault.chunked;
  if (!fault.chunked)
    head += fmt::format("Content-Length: {}\r\n", static_cast<std::int64_t>(length) + fault.claimed_length_change);
  if (ends) head += "Connection: close\r\n";
  head += "\r\n";
  if (!send_all(connection, head.data(), head.size())) return false;
  if (request.method == "HEAD") return !ends;

  const std::uint64_t until = std::min<std::uint64_t>(length, fault.cut_after.value_or(length));
  constexpr std::uint64_t step = 64 * 1024;
  const std::uint64_t slice = fault.bytes_per_second > 0 ? 4096 : step;
  for (std::uint64_t at = 0; at < until;) {
    const std::uint64_t count = std::min(slice, until - at);
    const std::string data = answer.file ? piece(*answer.file, answer.first + at, count) : answer.text.substr(at, count);
    if (!send_all(connection, data.data(), data.size())) return false;
    if (answer.file) body_bytes_ += count;
    at += count;
    if (fault.bytes_per_second > 0)
      std::this_thread::sleep_for(std::chrono::duration<double>(static_cast<double>(count) / fault.bytes_per_second));
  }
  if (fault.stall_seconds > 0) {
    pollfd waiting{connection, POLLIN, 0};  // until the other side gives up
    ::poll(&waiting, 1, static_cast<int>(fault.stall_seconds * 1000));
  }
  if (fault.reset) {
    const linger now{1, 0};
    ::setsockopt(connection, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    return false;
  }
  return !ends;
}

}  // namespace plimsoll::test
