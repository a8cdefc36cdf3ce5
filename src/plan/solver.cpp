#include "plan/solver.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

namespace plimsoll {
namespace {

using Tensors = std::span<const std::vector<Choice>>;

const Choice& chosen(Tensors tensors, std::span<const int> choices, std::size_t tensor) {
  return tensors[tensor][static_cast<std::size_t>(choices[tensor])];
}

Selection selection(Tensors tensors, std::vector<int> choices) {
  Selection result;
  for (std::size_t t = 0; t < tensors.size(); ++t) {
    const Choice& choice = chosen(tensors, choices, t);
    result.bytes += choice.bytes;
    result.loss += choice.loss;
    result.seconds += choice.seconds;
  }
  result.choices = std::move(choices);
  return result;
}

/// Cost saved for each byte more.
double slope(const Choice& from, double from_cost, const Choice& to, double to_cost) {
  return (from_cost - to_cost) / static_cast<double>(to.bytes - from.bytes);
}

/// Where a second is worth `per_second`, a choice costs its loss and its time.
double cost(const Choice& choice, double per_second) {
  return choice.loss + per_second * choice.seconds;
}

/// The choices on the lower convex hull of bytes and cost: bytes rise, cost and slopes fall.
std::vector<int> hull(const std::vector<Choice>& choices, double per_second) {
  std::vector<int> order(choices.size());
  std::iota(order.begin(), order.end(), 0);
  const auto at = [&](int i) -> const Choice& { return choices[static_cast<std::size_t>(i)]; };
  const auto cost_at = [&](int i) { return cost(at(i), per_second); };
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    return at(a).bytes != at(b).bytes ? at(a).bytes < at(b).bytes : cost_at(a) < cost_at(b);
  });
  std::vector<int> on;
  const auto slope_between = [&](int a, int b) {
    return slope(at(a), cost_at(a), at(b), cost_at(b));
  };
  for (const int i : order) {
    if (!on.empty() && cost_at(i) >= cost_at(on.back())) continue;  // dominated
    while (on.size() > 1 &&
           slope_between(on.back(), i) >= slope_between(on[on.size() - 2], on.back()))
      on.pop_back();
    on.push_back(i);
  }
  return on;
}

struct HullStep {
  double slope;
  int tensor;
  int choice;
};

/// Each tensor's smallest choice, and the steps of all hulls from there, steepest first; those of
/// one tensor in their order, since slopes on a hull fall strictly.
struct Hulls {
  std::vector<int> smallest;
  std::vector<HullStep> steps;

  Hulls(Tensors tensors, double per_second) {
    for (std::size_t t = 0; t < tensors.size(); ++t) {
      const std::vector<int> on = hull(tensors[t], per_second);
      smallest.push_back(on.front());
      for (std::size_t i = 1; i < on.size(); ++i) {
        const Choice& from = tensors[t][static_cast<std::size_t>(on[i - 1])];
        const Choice& to = tensors[t][static_cast<std::size_t>(on[i])];
        steps.push_back({slope(from, cost(from, per_second), to, cost(to, per_second)),
                         static_cast<int>(t), on[i]});
      }
    }
    std::stable_sort(steps.begin(), steps.end(), [](const HullStep& a, const HullStep& b) {
      return a.slope != b.slope ? a.slope > b.slope : a.tensor < b.tensor;
    });
  }
};

constexpr int constraints = 2;  // bytes and seconds
using Amounts = std::array<double, constraints>;

Amounts amounts(const Choice& choice) {
  return {static_cast<double>(choice.bytes), choice.seconds};
}

/// The relaxation in which one tensor may be split between two choices: its optimum is the greedy
/// one, and with the prices there (Lagrangian multipliers) no selection within the limits costs
/// less than `bound`.
struct Relaxation {
  Amounts prices{};
  double bound = 0;
  double seconds = 0;        ///< with the split tensor
  std::vector<int> choices;  ///< without the part that did not fit
};

std::optional<Relaxation> relax(Tensors tensors, const Amounts& limits, double per_second) {
  Hulls hulls(tensors, per_second);
  Relaxation result;
  result.choices = std::move(hulls.smallest);
  result.prices[1] = per_second;
  double bytes = 0;
  for (std::size_t t = 0; t < tensors.size(); ++t) {
    const Choice& choice = chosen(tensors, result.choices, t);
    bytes += static_cast<double>(choice.bytes);
    result.bound += cost(choice, per_second);
    result.seconds += choice.seconds;
  }
  if (bytes > limits[0]) return {};
  for (const HullStep& step : hulls.steps) {
    const auto t = static_cast<std::size_t>(step.tensor);
    const Choice& from = chosen(tensors, result.choices, t);
    const Choice& to = tensors[t][static_cast<std::size_t>(step.choice)];
    const double more = static_cast<double>(to.bytes - from.bytes);
    const double part = std::min(1.0, (limits[0] - bytes) / more);
    result.bound -= step.slope * part * more;
    result.seconds += part * (to.seconds - from.seconds);
    if (part < 1) {
      result.prices[0] = step.slope;
      break;
    }
    bytes += more;
    result.choices[t] = step.choice;
  }
  if (per_second > 0) result.bound -= per_second * limits[1];
  return result;
}

/// From a selection to the best one, with the bound of a relaxation. At its prices every choice has
/// a regret, what it costs more than its tensor's cheapest, and a selection within the limits loses
///
///   bound + sum of regrets + prices * what it leaves unused of the limits.
///
/// So whatever regrets more than the best selection known is above the bound takes no part, which
/// leaves a core of a few tensors for dynamic programming: it starts from the cheapest choices,
/// takes tensors in order of their least regret and keeps undominated states (the core and its
/// order as in Pisinger, EJOR 83, 1995).
class CoreSearch {
 public:
  CoreSearch(Tensors tensors, const Amounts& limits, const Relaxation& relaxation, Selection start)
      : tensors_(tensors),
        limits_(limits),
        prices_(relaxation.prices),
        bound_(relaxation.bound),
        best_(std::move(start)) {
    for (std::size_t t = 0; t < tensors.size(); ++t) add_tensor(static_cast<int>(t));
    std::stable_sort(candidates_.begin(), candidates_.end(),
                     [](const Candidate& a, const Candidate& b) {
                       return a.options.front().regret < b.options.front().regret;
                     });
  }

  /// Ends with a gap of at most `gap` of the loss, unless that takes too many states.
  Selection run(double gap) {
    std::int64_t work = most_work;
    for (std::size_t width = first_width; width <= most_width; width *= 8)
      if (pass(gap, width, work)) break;
    return std::move(best_);
  }

 private:
  static constexpr std::size_t first_width = 64;
  static constexpr std::size_t most_width = 4096;       // some 2 MiB
  static constexpr std::int64_t most_work = 3'000'000;  // states looked at: a fraction of a second

  /// A choice beside its tensor's cheapest.
  struct Option {
    int choice;
    double regret;
    Amounts more;
  };
  struct Candidate {
    int tensor;
    std::vector<Option> options;  ///< by regret
  };
  /// All tensors at their cheapest but for those on the path.
  struct State {
    Amounts used;
    double regret;
    int path;  ///< last node, -1 for none
  };
  struct Node {
    int before;
    int tensor;
    int choice;
  };

  void add_tensor(int tensor) {
    const std::vector<Choice>& choices = tensors_[static_cast<std::size_t>(tensor)];
    const auto price = [&](const Choice& choice) {
      const Amounts amount = amounts(choice);
      return choice.loss + prices_[0] * amount[0] + prices_[1] * amount[1];
    };
    const auto cheapest =
        std::min_element(choices.begin(), choices.end(),
                         [&](const Choice& a, const Choice& b) { return price(a) < price(b); });
    const Amounts base = amounts(*cheapest);
    cheapest_.push_back(static_cast<int>(cheapest - choices.begin()));
    for (int c = 0; c < constraints; ++c) used_[c] += base[c];
    Candidate candidate{tensor, {}};
    for (std::size_t i = 0; i < choices.size(); ++i) {
      if (static_cast<int>(i) == cheapest_.back()) continue;
      const Amounts amount = amounts(choices[i]);
      candidate.options.push_back({static_cast<int>(i),
                                   price(choices[i]) - price(*cheapest),
                                   {amount[0] - base[0], amount[1] - base[1]}});
    }
    if (candidate.options.empty()) return;
    std::stable_sort(candidate.options.begin(), candidate.options.end(),
                     [](const Option& a, const Option& b) { return a.regret < b.regret; });
    candidates_.push_back(std::move(candidate));
  }

  /// A state whose cost above the bound reaches this is of no use.
  double threshold(double gap) const { return best_.loss - bound_ - gap * best_.loss; }

  /// What a state costs above the bound, if the tensors to come can change what it uses by no less
  /// than `least` and no more than `most`; infinite where it can't come within the limits.
  double cost_above_bound(const State& state, const Amounts& least, const Amounts& most) const {
    double cost = state.regret;
    for (int c = 0; c < constraints; ++c) {
      if (state.used[c] + least[c] > limits_[c]) return std::numeric_limits<double>::infinity();
      if (prices_[c] > 0) cost += prices_[c] * std::max(0.0, limits_[c] - state.used[c] - most[c]);
    }
    return cost;
  }

  /// One dynamic programme with at most `width` states at a time. True if nothing better is left.
  bool pass(double gap, std::size_t width, std::int64_t& work) {
    if (threshold(gap) <= 0) return true;
    // The tensors of the core, and what those after each of them can still change.
    std::size_t core = 0;
    while (core < candidates_.size() && candidates_[core].options.front().regret < threshold(gap))
      ++core;
    std::vector<Amounts> least(core + 1, Amounts{}), most(core + 1, Amounts{});
    for (std::size_t i = core; i-- > 0;) {
      Amounts low{}, high{};
      for (const Option& option : candidates_[i].options) {
        if (option.regret >= threshold(gap)) break;
        for (int c = 0; c < constraints; ++c) {
          low[c] = std::min(low[c], option.more[c]);
          high[c] = std::max(high[c], option.more[c]);
        }
      }
      for (int c = 0; c < constraints; ++c) {
        least[i][c] = least[i + 1][c] + low[c];
        most[i][c] = most[i + 1][c] + high[c];
      }
    }
    nodes_.clear();
    bool complete = true;
    std::vector<State> states{{used_, 0, -1}}, next;
    consider(states.front());
    for (std::size_t i = 0; i < core; ++i) {
      next.clear();
      for (const State& state : states) {
        if (cost_above_bound(state, least[i + 1], most[i + 1]) < threshold(gap))
          next.push_back(state);
        for (const Option& option : candidates_[i].options) {
          if (state.regret + option.regret >= threshold(gap)) break;
          State after = state;
          after.regret += option.regret;
          for (int c = 0; c < constraints; ++c) after.used[c] += option.more[c];
          --work;
          if (cost_above_bound(after, least[i + 1], most[i + 1]) >= threshold(gap)) continue;
          after.path = static_cast<int>(nodes_.size());
          nodes_.push_back({state.path, candidates_[i].tensor, option.choice});
          consider(after);
          next.push_back(after);
        }
      }
      keep_undominated(next);
      if (next.size() > width) {
        complete = false;
        std::nth_element(next.begin(), next.begin() + static_cast<std::ptrdiff_t>(width),
                         next.end(), [](const State& a, const State& b) {
                           return a.regret != b.regret ? a.regret < b.regret : a.path < b.path;
                         });
        next.resize(width);
      }
      forget_lost_paths(next);
      states.swap(next);
      if (states.empty() || work <= 0) break;
    }
    return work <= 0 || complete || threshold(gap) <= 0;
  }

  /// A state with all other tensors at their cheapest is a selection.
  void consider(const State& state) {
    if (cost_above_bound(state, {}, {}) >= best_.loss - bound_) return;
    std::vector<int> choices = cheapest_;
    for (int at = state.path; at >= 0; at = nodes_[static_cast<std::size_t>(at)].before) {
      const Node& node = nodes_[static_cast<std::size_t>(at)];
      choices[static_cast<std::size_t>(node.tensor)] = node.choice;
    }
    Selection found = selection(tensors_, std::move(choices));
    // The sums of the search were rounded in another order.
    if (found.loss < best_.loss && static_cast<double>(found.bytes) <= limits_[0] &&
        found.seconds <= limits_[1])
      best_ = std::move(found);
  }

  /// Leaves those that no other one equals or betters in bytes, seconds and loss together.
  void keep_undominated(std::vector<State>& states) const {
    const auto loss = [&](const State& s) {  // but for a constant
      return s.regret - prices_[0] * s.used[0] - prices_[1] * s.used[1];
    };
    std::sort(states.begin(), states.end(), [&](const State& a, const State& b) {
      if (a.used[0] != b.used[0]) return a.used[0] < b.used[0];
      if (loss(a) != loss(b)) return loss(a) < loss(b);
      return a.used[1] != b.used[1] ? a.used[1] < b.used[1] : a.path < b.path;
    });
    std::map<double, double> least_loss;  // by seconds, falling: of all states with fewer bytes
    std::size_t left = 0;
    for (const State& state : states) {
      const double this_loss = loss(state);
      auto after = least_loss.upper_bound(state.used[1]);
      if (after != least_loss.begin() && std::prev(after)->second <= this_loss) continue;
      while (after != least_loss.end() && after->second >= this_loss)
        after = least_loss.erase(after);
      least_loss[state.used[1]] = this_loss;
      states[left++] = state;
    }
    states.resize(left);
  }

  /// Leaves only the nodes that a state's path has, so that memory follows the number of states.
  void forget_lost_paths(std::vector<State>& states) {
    std::vector<bool> live(nodes_.size());
    for (const State& state : states)
      for (int at = state.path; at >= 0 && !live[static_cast<std::size_t>(at)];
           at = nodes_[static_cast<std::size_t>(at)].before)
        live[static_cast<std::size_t>(at)] = true;
    std::vector<int> moved(nodes_.size());
    int left = 0;
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      if (!live[i]) continue;
      Node node = nodes_[i];
      if (node.before >= 0) node.before = moved[static_cast<std::size_t>(node.before)];
      nodes_[static_cast<std::size_t>(left)] = node;
      moved[i] = left++;
    }
    nodes_.resize(static_cast<std::size_t>(left));
    for (State& state : states)
      if (state.path >= 0) state.path = moved[static_cast<std::size_t>(state.path)];
  }

  Tensors tensors_;
  Amounts limits_;
  Amounts prices_;
  double bound_;
  Selection best_;
  std::vector<int> cheapest_;  ///< at the prices, by tensor
  Amounts used_{};             ///< by the cheapest choices
  std::vector<Candidate> candidates_;
  std::vector<Node> nodes_;
};

/// Of the loss; a tenth of what is promised.
constexpr double wanted_gap = 1e-4;

/// Sums of seconds in different orders differ by less.
constexpr double rounding = 1e-9;

std::optional<Selection> solve_bytes(Tensors tensors, Bytes limit, double gap) {
  const Amounts limits{static_cast<double>(limit), std::numeric_limits<double>::infinity()};
  const std::optional<Relaxation> relaxed = relax(tensors, limits, 0);
  if (!relaxed) return {};
  return CoreSearch(tensors, limits, *relaxed, selection(tensors, relaxed->choices)).run(gap);
}

/// The fastest selection within the bytes.
std::optional<Selection> fastest(Tensors tensors, Bytes limit) {
  std::vector<std::vector<Choice>> by_time(tensors.begin(), tensors.end());
  for (std::vector<Choice>& choices : by_time)
    for (Choice& choice : choices) choice.loss = choice.seconds;
  const std::optional<Selection> found = solve_bytes(by_time, limit, 0);
  if (!found) return {};
  return selection(tensors, found->choices);
}

}  // namespace

std::optional<Selection> solve(std::span<const std::vector<Choice>> tensors, Bytes limit,
                               std::optional<double> most_seconds) {
  std::optional<Selection> start = solve_bytes(tensors, limit, wanted_gap);
  if (!start || !most_seconds || start->seconds <= *most_seconds) return start;

  // The price of a second that gives the highest bound: the bound is concave in it, and rises as
  // long as the relaxation takes too long.
  const Amounts limits{static_cast<double>(limit), *most_seconds};
  std::optional<Relaxation> best;
  start.reset();
  const auto too_slow = [&](double per_second) {
    std::optional<Relaxation> relaxed = relax(tensors, limits, per_second);
    Selection rounded = selection(tensors, relaxed->choices);
    if (rounded.seconds <= *most_seconds && (!start || rounded.loss < start->loss))
      start = std::move(rounded);
    const bool slow = relaxed->seconds > *most_seconds;
    if (!best || relaxed->bound > best->bound) best = std::move(relaxed);
    return slow;
  };
  double loss = 0, seconds = 0, least_seconds = 0;  // a scale to begin from, and a quick no
  for (const std::vector<Choice>& choices : tensors) {
    double least = choices.front().seconds;
    for (const Choice& choice : choices) {
      loss += choice.loss;
      seconds += choice.seconds;
      least = std::min(least, choice.seconds);
    }
    least_seconds += least;
  }
  if (least_seconds > *most_seconds * (1 + rounding)) return {};
  double low = 0, high = std::max(loss, std::numeric_limits<double>::min()) / seconds;
  constexpr int most_doublings = 40, halvings = 40;
  for (int i = 0; i < most_doublings && too_slow(high); ++i) {
    low = high;
    high *= 2;
  }
  for (int i = 0; i < halvings; ++i) {
    const double middle = (low + high) / 2;
    (too_slow(middle) ? low : high) = middle;
  }
  if (!start) {
    start = fastest(tensors, limit);
    if (start->seconds > *most_seconds) return {};
  }
  return CoreSearch(tensors, limits, *best, std::move(*start)).run(wanted_gap);
}

Frontier frontier(std::span<const std::vector<Choice>> tensors) {
  Hulls hulls(tensors, 0);
  Frontier result;
  result.smallest = selection(tensors, std::move(hulls.smallest));
  std::vector<int> choices = result.smallest.choices;
  Bytes bytes = result.smallest.bytes;
  double seconds = result.smallest.seconds;
  std::vector<double> savings;
  for (const HullStep& step : hulls.steps) {
    const auto t = static_cast<std::size_t>(step.tensor);
    const Choice& from = chosen(tensors, choices, t);
    const Choice& to = tensors[t][static_cast<std::size_t>(step.choice)];
    bytes += to.bytes - from.bytes;
    seconds += to.seconds - from.seconds;
    savings.push_back(from.loss - to.loss);
    choices[t] = step.choice;
    result.steps.push_back({step.tensor, step.choice, bytes, 0, seconds});
  }
  // Losses from the end, where they are smallest: subtracting from the largest would drown them.
  double loss = selection(tensors, std::move(choices)).loss;
  for (std::size_t i = result.steps.size(); i-- > 0;) {
    result.steps[i].loss = loss;
    loss += savings[i];
  }
  return result;
}

}  // namespace plimsoll
