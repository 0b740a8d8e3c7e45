#pragma once

#include <string>

#include "varve/span_batch.h"

namespace varve::tracing {

/// Appends the fields of a jaeger.api_v2.Span, its process included.
void AppendJaegerSpan(const SpanBatch& batch, const SpanBatch::Span& span, std::string* out);

}  // namespace varve::tracing
