#pragma once

#include <span>
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

/// Names the members of nested objects by their paths, as a query string would: {"a":{"b":1}} is
/// a.b=1. Strings are taken plain, numbers and booleans as they print, null is absent. Objects
/// whose name is in `whole`, and lists, keep their JSON. Errors: kInvalidArgument for text that is
/// no object, kResourceExhausted for objects more than four deep.
Status FlattenObject(std::string_view json, std::span<const std::string_view> whole,
                     std::vector<std::pair<std::string, std::string>>* out);

/// Decodes Zipkin's list of spans, version 2, or version 1. Everything is copied into `out`.
/// Errors: kInvalidArgument that names the span and the field.
Status DecodeZipkinJson(std::string_view json, SpanBatch* out);
Status DecodeZipkinV1Json(std::string_view json, SpanBatch* out);

}  // namespace varve::tracing
