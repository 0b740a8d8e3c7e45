#pragma once

#include <string>

#include "tests/support/memory_trace_snapshot.h"
#include "tests/support/random_traceql.h"
#include "tools/tracing/span_filter.h"
#include "varve/traceql.h"

namespace varve::testing {

/// Asks whether what a structured filter leaves to the store covers it: no span that the filter
/// takes may be missing among what its TraceQL finds. Keeps a few hundred spans of a small
/// vocabulary with odd values on every level, each span in a trace of its own.
class FilterCover {
 public:
  FilterCover();
  /// Names a span that the filter takes and its TraceQL does not find, or what the engine said;
  /// empty if all is well.
  std::string Missing(const tracing::SpanFilter& filter) const;
  /// How many of the spans the filter takes.
  size_t Taken(const tracing::SpanFilter& filter) const;

 private:
  SpanBatch spans_;
  MemoryTraceStore store_;
  std::unique_ptr<query::TraceEngine> engine_;
};

/// Makes the JSON of a filter over that vocabulary: nearly always a valid one.
std::string RandomFilter(Choices& choices);

}  // namespace varve::testing
