#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "varve/span_batch.h"
#include "varve/status.h"

/// JSON of other formats than OTLP.
namespace varve::tracing {

/// Reads a JSON object of strings; numbers and booleans are taken as they print.
Status ParseTagMap(std::string_view json, std::vector<std::pair<std::string, std::string>>* tags);

/// Decodes Zipkin's list of spans, version 2, or version 1. Everything is copied into `out`.
/// Errors: kInvalidArgument that names the span and the field.
Status DecodeZipkinJson(std::string_view json, SpanBatch* out);
Status DecodeZipkinV1Json(std::string_view json, SpanBatch* out);

}  // namespace varve::tracing
