#include "hub/remote_header.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "base/error.h"
#include "hub/header_scan.h"

namespace plimsoll {
namespace {

/// Of a vocabulary of 32k pieces; each further request doubles what is there.
constexpr Bytes first_request = 1 * MiB;
/// Stands for the tensors of a file whose server does not tell its length.
constexpr Bytes unknown_size = 256 * GiB;

std::span<const std::uint8_t> bytes_of(const std::string& text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

}  // namespace

std::string HeaderReader::read_header(RemoteFile& file, bool is_gguf) {
  std::string begin;
  HeaderScan scan;
  Bytes next_scan = 0;  // each scan begins anew: only when a quarter has come since the last one
  const auto rescan = [&] {
    next_scan = begin.size() + begin.size() / 4;
    scan = is_gguf ? scan_gguf_header(bytes_of(begin)) : scan_safetensors_header(bytes_of(begin));
    return scan.is_complete;
  };
  const auto at_end = [&] { return file.bytes && begin.size() >= *file.bytes; };
  while (!rescan() && !at_end()) {
    const Bytes left = received_ < most ? most - received_ : 0;
    Bytes wanted = std::max<Bytes>({first_request, begin.size(), scan.bytes - begin.size()});
    wanted = std::min(wanted, left);
    if (scan.bytes - begin.size() > left)
      throw Error(ErrorCode::file_corrupt,
                  fmt::format("{}: its header is longer than the {} that are read to see whether it "
                              "fits", file.path, format_bytes(most)),
                  "give --anyway to download it unseen");
    fetcher_.repeat(
        [&] {
          const Bytes from = begin.size();
          Bytes position = 0;  // of the answer's next byte in the file
          bool is_first = true;
          const auto take = [&](const HttpResponse& response, std::span<const std::uint8_t> data) {
            if (is_first) {
              is_first = false;
              position = response.status == 206 ? response.range_start().value_or(from) : 0;
              if (position > from)
                throw PassingFailure(fmt::format("{}: the server sent another range", file.path), false);
              if (const auto total = response.total(); total && !file.bytes) file.bytes = total;
            }
            received_ += data.size();
            // Without ranges all comes again from the beginning.
            const Bytes known = std::min<Bytes>(begin.size() - std::min<Bytes>(begin.size(), position),
                                                data.size());
            begin.append(reinterpret_cast<const char*>(data.data()) + known, data.size() - known);
            position += data.size();
            if (begin.size() >= 16) refuse_web_page(bytes_of(begin), file.path);
            if (response.status != 200) return received_ < most;  // the range ends by itself
            if (begin.size() < std::max(scan.bytes, next_scan)) return received_ < most;
            return !rescan() && received_ < most;
          };
          const HttpResponse response = fetcher_.client().get(
              {.url = file.url, .first = from, .last = from + wanted - 1, .if_range = {}}, take);
          if (response.status == 416 && !file.bytes) {
            file.bytes = from;
            return;
          }
          if (response.status != 200 && response.status != 206)
            refuse_answer(response, name_, fetcher_.client().has_token());
          if (begin.size() == from && received_ < most)
            throw PassingFailure(fmt::format("{}: the server sent nothing", file.path), false);
        },
        [&] { return begin.size(); });
  }
  if (!scan.is_complete)
    throw Error(ErrorCode::file_corrupt,
                fmt::format("{}: wanted a header of at least {}, found a file of {}", file.path,
                            format_bytes(scan.bytes), format_bytes(begin.size())),
                "the file there is damaged");
  begin.resize(std::min<Bytes>(begin.size(), scan.bytes));
  return begin;
}

void HeaderReader::copy_header(RemoteFile& file, const std::string& target) {
  const bool is_gguf = !file.path.ends_with(".safetensors");
  const std::string header = read_header(file, is_gguf);
  const auto fail = [&](int error) {
    throw Error(ErrorCode::write_failed,
                fmt::format("{} cannot be written: {}", target, std::generic_category().message(error)),
                "check the folder and its permissions");
  };
  const int out = ::open(target.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
  if (out < 0) fail(errno);
  int error = 0;
  for (Bytes done = 0; done < header.size() && error == 0;) {
    const ssize_t put = ::write(out, header.data() + done, header.size() - done);
    if (put > 0) done += static_cast<Bytes>(put);
    else if (errno != EINTR) error = errno;
  }
  const Bytes whole = std::max<Bytes>(file.bytes.value_or(header.size() + unknown_size), header.size());
  if (error == 0 && ::ftruncate(out, static_cast<off_t>(whole)) != 0) error = errno;
  ::close(out);
  if (error != 0) fail(error);
}

}  // namespace plimsoll
