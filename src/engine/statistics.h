// Means of measurements that come in clusters, and how far they can be trusted.
//
// Tokens of one chunk of text share their topic and their past, so their scores are correlated and
// an error that counts every token as independent is too small. Here the chunk is the unit: the
// error comes from the spread of the chunks' means (cluster sampling: Cochran, Sampling Techniques,
// 3rd edition, 1977, chapter 9), and the few chunks of a short text are paid for by Student's t.
#pragma once

#include <cstdint>
#include <optional>

namespace plimsoll {

struct Interval {
  double low = 0, high = 0;
};

/// The mean over clusters of one size, one after the other (Welford, Technometrics 4:3, 1962). A
/// plain value: it can be saved and gone on with.
struct ClusterMean {
  std::int64_t clusters = 0;
  double mean = 0;
  double squares = 0;  ///< sum of the squared distances from the mean

  void add(double cluster_mean);
  /// Standard error of the mean; empty with fewer than two clusters.
  std::optional<double> error() const;
};

/// How many standard errors to both sides of a mean over `clusters` (2 or more) hold 95 %:
/// Student's t with one degree of freedom less (1.96 for many).
double interval_factor(std::int64_t clusters);

/// Holds the true mean with 95 %; empty with fewer than two clusters.
std::optional<Interval> interval_of_mean(const ClusterMean& mean);

/// The same for a share of `trials` yes-or-no answers, which stays within 0 and 1: the score
/// interval (Wilson, Journal of the American Statistical Association 22, 1927) over as many
/// independent trials as would have the clusters' error, at most all (Korn and Graubard, Survey
/// Methodology 24:2, 1998).
std::optional<Interval> interval_of_share(const ClusterMean& share, std::int64_t trials);

}  // namespace plimsoll
