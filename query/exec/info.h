#pragma once

#include <optional>
#include <vector>

#include "query/exec/operator.h"
#include "query/exec/selector.h"
#include "varve/labels.h"

namespace varve::query {

/// Adds the labels of info metrics to the series that they describe, matched by instance and job.
/// `matchers` choose info metrics (by name; default target_info) and the labels to add (default:
/// all). Info samples are taken where `when` says. Holds both inputs.
OperatorPtr JoinInfo(ExecContext& context, OperatorPtr input, std::vector<Matcher> matchers,
                     int64_t offset_ms, std::optional<int64_t> at_ms);

}  // namespace varve::query
