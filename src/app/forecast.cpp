#include "app/forecast.h"

#include <algorithm>
#include <iterator>

#include "base/error.h"
#include "plan/plan_frontier.h"
#include "plan/speed.h"
#include "probe/probe.h"

namespace plimsoll {
namespace {

/// Without a speed floor, after planning: it touches code and memory that a run does not.
void predict_all_speeds(const Host& host, const OpenModel& model, const ForecastRequest& request,
                        Forecast& said) {
  if (!said.plan.fits && !request.all_speeds && !request.probe) return;
  std::vector<FormatId> formats = formats_of(model.facts, said.plan);
  if (request.probe) formats = matrix_formats();
  if (request.all_speeds)
    for (const Plan& plan : said.frontier)
      std::ranges::copy(formats_of(model.facts, plan), std::back_inserter(formats));
  said.machine = machine_for(host, formats, request.probe);
  if (!said.machine) return;
  if (said.plan.fits) predict_speeds(*said.machine, model.facts, said.plan);
  if (request.all_speeds)
    for (Plan& plan : said.frontier) predict_speeds(*said.machine, model.facts, plan);
}

std::optional<LoadingTime> loading_time(const Host& host, const OpenModel& model,
                                        const Plan& plan) {
  // What it holds is given back: of the line it needs only the room, by an account of its own.
  Context context(host.threads, choose_isa());
  const Bytes held = host.line.held(), all = host.line.budget();
  try {
    return predict_loading(context, model.file, model.facts.tensors, plan.formats,
                           all > held ? all - held : 0);
  } catch (const Error&) {
    return {};  // what is wrong with the file is for loading to say
  }
}

}  // namespace

Forecast forecast(Host& host, const OpenModel& model, const ForecastRequest& request) {
  Forecast said;
  PlanNeeds needs;
  needs.context = request.context;
  needs.kv = request.kv;
  needs.policy = WeightPolicy::fit;
  needs.shows_losses = true;
  needs.sessions = request.sessions;
  needs.converses = request.converses;
  if (request.speed > 0) {
    said.machine = machine_for_floor(host, formats_of_any_plan(model.facts));
    needs.speed = {request.speed, &*said.machine};
  }
  PlanRequest asked = plan_request(host, model, needs);
  said.plan = make_plan(model.facts, asked);
  asked.context = said.plan.context;
  said.frontier = plan_frontier(model.facts, asked);
  predict_all_speeds(host, model, request, said);
  if (said.plan.fits) said.loading = loading_time(host, model, said.plan);
  return said;
}

}  // namespace plimsoll
