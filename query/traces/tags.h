#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "query/traces/context.h"
#include "varve/span_scan.h"
#include "varve/traceql.h"

namespace varve::query {

Result<std::vector<TagName>> FindTagNames(const TraceSnapshot& snapshot,
                                          std::optional<AttributeScope> scope, NsRange range,
                                          std::string_view filter, QueryContext& context);
Result<std::vector<TraceSnapshot::TagValue>> FindTagValues(const TraceSnapshot& snapshot,
                                                           std::string_view tag, NsRange range,
                                                           std::string_view filter, size_t limit,
                                                           QueryContext& context);

}  // namespace varve::query
