#pragma once

#include <string>

#include "tools/varve/shell/render.h"
#include "varve/logql.h"
#include "varve/span_batch.h"
#include "varve/traceql.h"

namespace varve::cli::shell {

/// Prints log lines with their times, coloured by level; what all entries share
/// stands above them.
std::string RenderLogs(const query::Streams& streams, bool backward, const Look& look);
/// Prints one line a trace: id, start, duration, spans, root.
std::string RenderTraceList(const query::SearchResult& result, const Look& look);
/// The same with a hint for the shell's user.
std::string RenderTraces(const query::SearchResult& result, const Look& look);
/// Prints comma-separated values with a header, one row a trace.
std::string RenderTracesCsv(const query::SearchResult& result);
/// Prints a trace as a tree of spans, each with a bar where it lies in time.
std::string RenderWaterfall(const SpanBatch& spans, const Look& look);

/// Prints nanoseconds for people: 1.23 ms, 45 s.
std::string ShortDuration(int64_t ns);

}  // namespace varve::cli::shell
