#include "hub/fetcher.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "hub/child.h"

namespace plimsoll {
namespace {

const Places& online(const Places& places) {
  if (places.offline)
    throw Error(ErrorCode::not_available, "HF_HUB_OFFLINE is set: no server is asked for anything",
                "unset it, or name a model that is here (plimsoll list)");
  return places;
}

}  // namespace

Fetcher::Fetcher(const Places& places, Notice notice, const HttpSettings& settings,
                 const RetryPolicy& policy)
    : places_(online(places)),
      notice_(std::move(notice)),
      policy_(policy),
      client_(places, settings) {
  if (client_.withholds_token())
    notice_(fmt::format("the token is not sent to {}, which is not https", places.endpoint));
}

void Fetcher::repeat(const std::function<void()>& attempt, const std::function<Bytes()>& progress) {
  int failures = 0;
  double wait = policy_.first_wait;
  Bytes reached = progress ? progress() : 0;
  for (;;) {
    try {
      attempt();
      return;
    } catch (const PassingFailure& failure) {
      stop_if_interrupted();
      if (progress && progress() > reached) {
        failures = 0;
        wait = policy_.first_wait;
        reached = progress();
      }
      const bool used_up = ++failures >= (failure.is_hopeless_soon ? policy_.hopeless_attempts
                                                                    : policy_.attempts);
      const double pause = std::max(failure.retry_after.value_or(wait), 0.0);
      if (used_up || pause > policy_.most_retry_after)
        throw Error(ErrorCode::network_failed, failure.what(),
                    pause > policy_.most_retry_after
                        ? fmt::format("the server wants a pause of {:.0f} s: try again then", pause)
                        : std::string("check the network, then give the same command again: it goes "
                                      "on from where it was"));
      if (pause >= 1)
        notice_(fmt::format("{}; trying again in {:.0f} s", failure.what(), pause));
      wait_seconds(pause);
      wait = std::min(wait * 2, policy_.most_wait);
    }
  }
}

HttpResponse Fetcher::get_text(const std::string& url, Bytes limit, std::string& body) {
  HttpResponse response;
  repeat([&] { response = client_.get_text({.url = url, .if_range = {}}, limit, body); });
  return response;
}

}  // namespace plimsoll
