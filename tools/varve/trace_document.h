#pragma once

#include <string>
#include <string_view>

#include "tools/otlp/traces.h"
#include "varve/span_batch.h"
#include "varve/status.h"

namespace varve::cli {

/// Reads a document of OTLP JSON: a request or a file of spans, or an answer of Jaeger's API v3,
/// which wraps one in "result". Adds its spans to `batch`, which borrows from `wire`.
/// Errors: those of JsonToWire and DecodeTraces.
Status DecodeTraceDocument(std::string_view json, std::string* wire, SpanBatch* batch,
                           otlp::DecodeReport* report);

}  // namespace varve::cli
