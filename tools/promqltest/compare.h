#pragma once

#include <optional>
#include <string>

#include "tools/promqltest/script.h"
#include "varve/query.h"

namespace varve::promqltest {

/// Compare a result with what a script expects; nothing if they agree, else what differs. Floats
/// agree within 1e-6 of the sum of their magnitudes, NaN with NaN, stale markers with NaN too;
/// histograms after compaction, the reset hint only where the script names one.
std::optional<std::string> CompareValue(const EvalCommand& expected, const query::Value& actual);
std::optional<std::string> CompareAnnotations(const EvalCommand& expected,
                                              const query::Annotations& actual);
/// Compares the message of a failed query; precondition: expected.fail.
std::optional<std::string> CompareFailure(const EvalCommand& expected, const Status& actual);

/// Takes the points at one time out of a range query's result.
query::Vector AtTime(const query::Matrix& matrix, int64_t time_ms);

}  // namespace varve::promqltest
