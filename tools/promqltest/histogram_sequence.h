#pragma once

#include <string_view>

#include "tools/promqltest/script.h"
#include "varve/query.h"
#include "varve/status.h"

namespace varve::promqltest {

/// Reads a histogram literal at the start of `*text`, `{{schema:1 sum:2 count:3 buckets:[1 2]}}`,
/// and removes it from there. Errors: kInvalidArgument.
Result<SequenceValue> ParseHistogram(std::string_view* text);

/// Adds `increment` to (or, if not `add`, subtracts it from) a histogram, as a sequence
/// `a+bxN` does. Errors: kInvalidArgument if the two cannot be combined at a's resolution.
Result<query::FloatHistogram> Combine(const query::FloatHistogram& a,
                                      const query::FloatHistogram& increment, bool add);

/// Adds to a load the native histograms with custom buckets that its classic ones amount to.
/// Errors: kInvalidArgument for counts that are no histogram.
Status AddCustomBucketHistograms(LoadCommand* load);

}  // namespace varve::promqltest
