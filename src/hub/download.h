// One file, from its server to the disk: resumed, checked, and under its name only when it is whole.
#pragma once

#include <functional>
#include <string>

#include "hub/fetcher.h"
#include "hub/repository.h"

namespace plimsoll {

/// Bytes on the disk so far, of all.
using DownloadProgress = std::function<void(Bytes)>;

/// Makes `target` the remote file. What has come so far stands in `target`.part, and beside it in `target`.state what it is
/// a part of (address, length, ETag, sum); a later call goes on from there, if the server still has the same. A part whose
/// whole has a wrong sum is removed. A `target` that exists is whole, and left as it is. `name` is for messages.
///
/// Throws Error: checksum_mismatch (twice wrong where it was resumed, once where it was not), network_failed,
/// write_failed (a full disk: the part is kept), interrupted (likewise), and as refuse_answer does.
void download(Fetcher& fetcher, RemoteFile& file, const ModelName& name, const std::string& target,
              const DownloadProgress& progress);

/// Bytes of `target` that are there: all of it or its part's.
Bytes downloaded_bytes(const std::string& target);

/// A file's digest, read without leaving pages in the kernel's cache. Throws Error(file_unreadable).
std::string file_sum(const std::string& path, Digest::Kind kind);

/// Throws Error(write_failed) unless the file system of `folder` has room for `bytes`.
void require_disk_space(const std::string& folder, Bytes bytes);

}  // namespace plimsoll
