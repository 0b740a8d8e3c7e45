#pragma once

#include <string>
#include <vector>

#include "query/exec/operator.h"
#include "query/exec/selector.h"

namespace varve::query {

enum class Aggregation : uint8_t {
  kSum,
  kAvg,
  kCount,
  kMin,
  kMax,
  kGroup,
  kStddev,
  kStdvar,
  kQuantile
};
std::string_view ToString(Aggregation aggregation);

/// Says which series fall into one group: those that agree in these labels, or in all others.
struct Grouping {
  std::vector<std::string> labels;  // sorted, unique
  bool without = false;
};

/// Assigns group numbers in order of first appearance.
struct Groups {
  std::vector<uint32_t> of_series;
  std::vector<SeriesHeader> headers;
};
Groups MakeGroups(ExecContext& context, const std::vector<SeriesHeader>& series,
                  const Grouping& grouping);

/// Aggregates over groups, step by step, in the order of the input's rows: sums have the same bits
/// whatever the tiles and threads. `place` is that of the argument. Holds one cell a group and
/// step. For every aggregation but kQuantile.
OperatorPtr Aggregate(ExecContext& context, Aggregation aggregation, Grouping grouping,
                      OperatorPtr input, std::string place);
/// The same over a scan, in which the aggregation runs: a row is folded where it is made, and of
/// the members' labels only those that make the groups are looked at. The series must have one
/// metric name if the scan drops names.
OperatorPtr AggregateInScan(ExecContext& context, Aggregation aggregation, Grouping grouping,
                            ScanPtr scan, std::string place);

/// Gives a quantile of each group, at each step that of `parameter`. Holds its whole input.
OperatorPtr AggregateQuantile(ExecContext& context, Grouping grouping, OperatorPtr input,
                              std::string place, OperatorPtr parameter,
                              std::string parameter_place);

enum class Selecting : uint8_t { kTopk, kBottomk, kLimitk, kLimitRatio };
/// Keeps some series of each group at each step. Instant queries get topk and bottomk by value.
OperatorPtr SelectSeries(ExecContext& context, Selecting selecting, Grouping grouping,
                         OperatorPtr input, OperatorPtr parameter, std::string place,
                         std::string parameter_place);

/// Counts equal values in each group; the value becomes label `label`.
OperatorPtr CountValues(ExecContext& context, std::string label, Grouping grouping,
                        OperatorPtr input);

}  // namespace varve::query
