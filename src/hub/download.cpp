#include "hub/download.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <system_error>

#include "base/error.h"
#include "base/small_file.h"
#include "file/input_file.h"
#include "file/output_file.h"
#include "hub/child.h"
#include "hub/header_scan.h"
#include "hub/parse_json.h"
#include "hub/part_file.h"

namespace plimsoll {
namespace {

using nlohmann::json;

/// Kept free beside what is downloaded.
constexpr Bytes disk_margin = 16 * MiB;
/// Answers that contradict what is known of the file, before it is given up.
constexpr int most_contradictions = 3;

std::string part_of(const std::string& target) { return target + ".part"; }
std::string state_of(const std::string& target) { return target + ".state"; }

/// Of what the part is one.
struct PartState {
  std::string url, etag, sum;
  std::optional<Bytes> bytes;

  static PartState of(const RemoteFile& file) { return {file.url, "", file.sum, file.bytes}; }

  static std::optional<PartState> read(const std::string& path) {
    const json from = parse_json(read_small_file(path, most_of_own_file).value_or(""));
    PartState state;
    try {
      state.url = from.at("url").get<std::string>();
      state.etag = from.at("etag").get<std::string>();
      state.sum = from.at("sum").get<std::string>();
      if (!from.at("bytes").is_null()) state.bytes = from.at("bytes").get<Bytes>();
    } catch (const json::exception&) {
      return {};
    }
    return state;
  }

  void write(const std::string& path) const {
    const std::string text =
        json{{"url", url}, {"etag", etag}, {"sum", sum}, {"bytes", bytes ? json(*bytes) : json()}}.dump() +
        "\n";
    OutputFile file(OutputPath::own(path));
    file.append({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
    file.commit();
  }

  /// Whether a part of this one can become `file`. With a sum the address may have changed: the whole is checked.
  bool is_of(const RemoteFile& file) const {
    if (!file.sum.empty()) return sum == file.sum;
    return url == file.url && !etag.empty();
  }
};

void remove(const std::string& path) {
  std::error_code ignored;
  std::filesystem::remove(path, ignored);
}

/// One file's way; lives as long as its part is open.
class Download {
 public:
  Download(Fetcher& fetcher, RemoteFile& file, const ModelName& name, std::string target,
           const DownloadProgress& progress)
      : fetcher_(fetcher),
        file_(file),
        name_(name),
        target_(std::move(target)),
        progress_(progress),
        state_(prepare_state()),
        part_(part_of(target_),
              file.sum.empty() ? std::nullopt : std::optional(file.kind), file.bytes.value_or(0)),
        began_with_(part_.bytes()) {}

  void run() {
    progress_(part_.bytes());
    if (file_.bytes && part_.bytes() > *file_.bytes) restart();
    if (file_.bytes && part_.bytes() < *file_.bytes)
      require_disk_space(std::filesystem::path(target_).parent_path().string(),
                         *file_.bytes - part_.bytes());
    state_.write(state_of(target_));
    while (!is_whole()) {
      fetcher_.repeat([this] { transfer(); }, [this] { return gained_; });
    }
    check_and_finish();
  }

  bool was_resumed() const { return began_with_ > 0 && !restarted_; }

 private:
  PartState prepare_state() {
    const auto before = PartState::read(state_of(target_));
    if (before && before->is_of(file_)) {
      if (!file_.bytes) file_.bytes = before->bytes;
      return *before;
    }
    remove(part_of(target_));
    return PartState::of(file_);
  }

  bool is_whole() const {
    return ended_ || (file_.bytes && part_.bytes() == *file_.bytes && (part_.bytes() > 0 || asked_));
  }

  void restart() {
    part_.restart();
    restarted_ = true;
    progress_(0);
  }

  [[noreturn]] void contradict(const std::string& what) {
    if (++contradictions_ >= most_contradictions)
      throw Error(ErrorCode::network_failed, fmt::format("{}: {}", file_.path, what),
                  "the server, or something on the way to it, changes what it sends: try later or "
                  "elsewhere");
    throw PassingFailure(fmt::format("{}: {}", file_.path, what), false);
  }

  /// What the answer says of itself, before its first byte is taken. Returns how many of its bytes are there already.
  Bytes accept(const HttpResponse& response) {
    const Bytes have = part_.bytes();
    const std::string etag = response.strong_etag();
    const auto total = response.total();
    if (response.status == 206) {
      if (response.is_encoded()) {
        plain_ranges_ = false;  // pieces of a compressed text are no pieces of the file
        contradict("the server compresses parts of it");
      }
      const auto from = response.range_start();
      if (!from || *from > have) contradict("the server sent another range than was asked for");
      if (total && file_.bytes && *total != *file_.bytes) {
        if (file_.sum.empty()) become(etag, total);
        contradict(fmt::format("wanted {} bytes, the server has {}", *file_.bytes, *total));
      }
      if (!state_.etag.empty() && !etag.empty() && etag != state_.etag && file_.sum.empty()) {
        become(etag, total);
        contradict("it has changed on the server");
      }
      note(etag, total);
      return have - *from;
    }
    // All of it from the beginning: it has changed, or there are no ranges.
    if (total && file_.bytes && *total != *file_.bytes) {
      if (!file_.sum.empty())
        contradict(fmt::format("wanted {} bytes, the server has {}", *file_.bytes, *total));
      become(etag, total);
    }
    if (have > 0) restart();
    if (file_.sum.empty() && !etag.empty() && etag != state_.etag) become(etag, total);
    note(etag, total);
    return 0;
  }

  /// The file on the server is another one now: what is here is of no use.
  void become(const std::string& etag, std::optional<Bytes> total) {
    if (part_.bytes() > 0) {
      fetcher_.notice(fmt::format("{} has changed on its server: beginning anew", file_.path));
      restart();
    }
    file_.bytes = total;
    state_.etag = etag;
    state_.bytes = total;
    state_.write(state_of(target_));
  }

  void note(const std::string& etag, std::optional<Bytes> total) {
    if (!file_.bytes && total) {
      file_.bytes = total;
      require_disk_space(std::filesystem::path(target_).parent_path().string(),
                         *total - std::min(*total, part_.bytes()));
    }
    if (state_.etag == etag && state_.bytes == file_.bytes) return;
    state_.etag = etag;
    state_.bytes = file_.bytes;
    state_.write(state_of(target_));
  }

  void transfer() {
    HttpRequest request{.url = file_.url, .if_range = {}};
    if (part_.bytes() > 0 && !plain_ranges_) restart();
    if (part_.bytes() > 0) {
      request.first = part_.bytes();
      request.if_range = state_.etag;
    }
    bool is_first = true;
    Bytes known = 0;  // bytes of the answer that are here already
    const HttpResponse response =
        fetcher_.client().get(request, [&](const HttpResponse& answer, auto data) {
          if (is_first) {
            known = accept(answer);
            is_first = false;
            if (part_.bytes() == 0) refuse_web_page(data, file_.path);
          }
          const Bytes skipped = std::min<Bytes>(known, data.size());
          known -= skipped;
          data = data.subspan(skipped);
          if (file_.bytes)
            data = data.first(std::min<Bytes>(data.size(), *file_.bytes - part_.bytes()));
          part_.append(data);
          gained_ += data.size();
          progress_(part_.bytes());
          return !file_.bytes || part_.bytes() < *file_.bytes;
        });
    part_.flush();
    asked_ = true;
    if (response.status == 416) {
      restart();
      contradict("the server does not have the rest of it");
    }
    if (response.status != 200 && response.status != 206)
      refuse_answer(response, name_, fetcher_.client().has_token());
    // Only a transfer that the client saw to its end tells a length that nobody said.
    if (!file_.bytes) {
      ended_ = true;
    } else if (part_.bytes() < *file_.bytes) {
      if (is_first || response.total().value_or(*file_.bytes) < *file_.bytes || response.is_encoded())
        contradict(fmt::format("wanted {} bytes, the server sent {}", *file_.bytes, part_.bytes()));
      throw PassingFailure(fmt::format("{}: its end is missing", file_.path), false);
    }
  }

  void check_and_finish() {
    if (const std::string sum = part_.sum(); !file_.sum.empty() && sum != file_.sum) {
      remove(part_of(target_));
      remove(state_of(target_));
      throw Error(ErrorCode::checksum_mismatch,
                  fmt::format("{}: wanted the {} {}, found {}", file_.path,
                              file_.kind == Digest::Kind::sha256 ? "SHA-256" : "git blob", file_.sum, sum),
                  "what was downloaded is removed; try again, and if it stays so, the file on the server "
                  "is not the published one");
    }
    part_.finish(target_);
    remove(state_of(target_));
  }

  Fetcher& fetcher_;
  RemoteFile& file_;
  const ModelName& name_;
  std::string target_;
  const DownloadProgress& progress_;
  PartState state_;
  PartFile part_;
  Bytes began_with_;
  Bytes gained_ = 0;
  bool restarted_ = false, ended_ = false, asked_ = false, plain_ranges_ = true;
  int contradictions_ = 0;
};

}  // namespace

void download(Fetcher& fetcher, RemoteFile& file, const ModelName& name, const std::string& target,
              const DownloadProgress& progress) {
  if (file_exists(target)) {
    remove(state_of(target));  // of one that was killed between putting the file in its place and this
    progress(downloaded_bytes(target));
    return;
  }
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(target).parent_path(), error);
  for (bool is_second = false;; is_second = true) {
    Download one(fetcher, file, name, target, progress);
    try {
      one.run();
      return;
    } catch (const Error& wrong) {
      // A part that was damaged on this disk is no reason to give up.
      if (wrong.code() != ErrorCode::checksum_mismatch || !one.was_resumed() || is_second) throw;
      fetcher.notice(fmt::format("{}: what was here of it was damaged; beginning anew", file.path));
    }
  }
}

Bytes downloaded_bytes(const std::string& target) {
  std::error_code error;
  for (const std::string& path : {target, part_of(target)}) {
    const auto bytes = std::filesystem::file_size(path, error);
    if (!error) return bytes;
  }
  return 0;
}

std::string file_sum(const std::string& path, Digest::Kind kind) {
  const InputFile file(path);
  Digest digest(kind, file.size());
  std::vector<std::uint8_t> piece(MiB);
  for (Bytes at = 0; at < file.size(); at += piece.size()) {
    stop_if_interrupted();
    const Bytes bytes = std::min<Bytes>(piece.size(), file.size() - at);
    file.read(at, bytes, piece.data());
    digest.update({piece.data(), bytes});
  }
  return digest.hex();
}

void require_disk_space(const std::string& folder, Bytes bytes) {
  struct statvfs space;
  if (::statvfs(folder.c_str(), &space) != 0) return;
  const Bytes free = Bytes{space.f_bavail} * space.f_frsize;
  if (bytes + disk_margin <= free) return;
  throw Error(ErrorCode::write_failed,
              fmt::format("{}: wanted {} on the disk, found {} free", folder,
                          format_bytes(bytes + disk_margin), format_bytes(free)),
              "make room, or set XDG_DATA_HOME to a folder on another disk; what is here already stays");
}

}  // namespace plimsoll
