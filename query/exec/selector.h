#pragma once

#include <optional>
#include <string>
#include <vector>

#include "query/exec/operator.h"
#include "query/functions/window.h"
#include "varve/scan.h"

namespace varve::query {

class ScanOperator;
using ScanPtr = std::unique_ptr<ScanOperator>;  // see scan.h

/// Says which series to read and when: at each step's time, or always at one time, shifted back.
struct Selection {
  std::vector<Matcher> matchers;
  int64_t offset_ms = 0;
  std::optional<int64_t> at_ms;
  WindowEdges edges = WindowEdges::kPlain;
  std::string place;  // of the selector, for notes
  /// Gives histograms whose storage does not know a hint about that, by comparing neighbours.
  bool track_resets = false;
};

/// Prints the matchers and where the selection looks, for explain.
std::string DescribeSelection(const Selection& selection);

/// What an instant selector gives as its value.
enum class SelectorValue : uint8_t {
  kSample,
  kTimestamp,        // of the sample, in seconds
  kTimestampMillis,  // the same in milliseconds; histograms are errors (info metrics)
  kStartTimestamp,   // of the sample, in seconds; 0 if unknown
};

/// Gives, at each step, the newest sample within the lookback that is not a stale marker.
ScanPtr InstantSelector(ExecContext& context, const StepGrid& grid, Selection selection,
                        SelectorValue value);

/// A function over windows, with what its results and notes need.
struct WindowCall {
  WindowSpec spec;
  std::string place;                  // for notes
  bool keeps_name = false;            // last_over_time, first_over_time
  std::vector<double> parameters[2];  // per step; empty if the function has none
  bool start_timestamps = false;
};
/// Reads the parameters of a call when the operator opens.
struct WindowParameters {
  OperatorPtr operators[2];
};

/// Evaluates a window function over stored samples: decodes a series, slides the windows over it,
/// forgets it. Series are spread over the threads.
ScanPtr RangeFunction(ExecContext& context, const StepGrid& grid, Selection selection,
                      WindowCall call, WindowParameters parameters);
/// The same over the points of a subquery, which was planned on its own grid.
OperatorPtr SubqueryFunction(ExecContext& context, const StepGrid& grid, OperatorPtr input,
                             int64_t offset_ms, std::optional<int64_t> at_ms, WindowCall call,
                             WindowParameters parameters);

/// Reads the raw samples of a range selector for one evaluation time: the result of an instant
/// query that is just `m[5m]`.
Status ReadMatrix(ExecContext& context, const Selection& selection, int64_t time_ms,
                  int64_t range_ms, Matrix* out);

}  // namespace varve::query
