#include "engine/statistics.h"

#include <algorithm>
#include <cmath>

namespace plimsoll {

void ClusterMean::add(double cluster_mean) {
  ++clusters;
  const double before = cluster_mean - mean;
  mean += before / static_cast<double>(clusters);
  squares += before * (cluster_mean - mean);
}

std::optional<double> ClusterMean::error() const {
  if (clusters < 2) return std::nullopt;
  const double n = static_cast<double>(clusters);
  return std::sqrt(std::max(0.0, squares) / (n * (n - 1)));
}

double interval_factor(std::int64_t clusters) {
  const double freedom = static_cast<double>(clusters - 1);
  if (clusters == 2) return 12.706204736;  // tan(0.475 pi)
  if (clusters == 3) return 4.302652730;   // 0.95 sqrt(2 / (1 - 0.95^2))
  // Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.5: within 0.2 % from three
  // degrees of freedom on.
  const double z = 1.959963985;
  const double z2 = z * z;
  const double g1 = z * (z2 + 1) / 4;
  const double g2 = z * ((5 * z2 + 16) * z2 + 3) / 96;
  const double g3 = z * (((3 * z2 + 19) * z2 + 17) * z2 - 15) / 384;
  const double g4 = z * ((((79 * z2 + 776) * z2 + 1482) * z2 - 1920) * z2 - 945) / 92160;
  return z + (g1 + (g2 + (g3 + g4 / freedom) / freedom) / freedom) / freedom;
}

std::optional<Interval> interval_of_mean(const ClusterMean& mean) {
  const auto error = mean.error();
  if (!error) return std::nullopt;
  const double reach = interval_factor(mean.clusters) * *error;
  return Interval{mean.mean - reach, mean.mean + reach};
}

std::optional<Interval> interval_of_share(const ClusterMean& share, std::int64_t trials) {
  const auto error = share.error();
  if (!error) return std::nullopt;
  const double p = std::clamp(share.mean, 0.0, 1.0);
  const double variance = p * (1 - p);
  double n = static_cast<double>(trials);
  if (*error > 0) n = std::min(n, variance / (*error * *error));
  const double t2 = std::pow(interval_factor(share.clusters), 2);
  const double middle = (p + t2 / (2 * n)) / (1 + t2 / n);
  const double reach = std::sqrt(t2 * (variance / n + t2 / (4 * n * n))) / (1 + t2 / n);
  return Interval{std::max(0.0, middle - reach), std::min(1.0, middle + reach)};
}

}  // namespace plimsoll
