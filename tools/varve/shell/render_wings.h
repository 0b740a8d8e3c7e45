#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tools/varve/shell/render.h"
#include "varve/logql.h"
#include "varve/span_batch.h"
#include "varve/traceql.h"

namespace varve::cli::shell {

/// The entries of all streams in one order, by time.
struct LogTimeline {
  /// `streams` must outlive it.
  LogTimeline(const query::Streams& streams, bool backward);
  struct Row {
    int64_t time_ns = 0;
    uint32_t stream = 0;
    const std::string* line = nullptr;
  };
  std::vector<query::LogLabels> labels;  // of each stream, metadata and parsed ones folded in
  std::vector<Row> rows;
};

/// Prints log lines with their times, coloured by level; what all entries share
/// stands above them.
std::string RenderLogs(const query::Streams& streams, bool backward, const Look& look);
/// Prints comma-separated values with a header: time_ns, line, labels.
std::string RenderLogsCsv(const query::Streams& streams, bool backward);
/// Prints one line a trace: id, start, duration, spans, root.
std::string RenderTraceList(const query::SearchResult& result, const Look& look);
/// The same with a hint for the shell's user.
std::string RenderTraces(const query::SearchResult& result, const Look& look);
/// Prints comma-separated values with a header, one row a trace.
std::string RenderTracesCsv(const query::SearchResult& result);
/// Prints what a search looked at, in one line.
std::string RenderAnalysis(const query::TraceSearchStats& stats);
/// Prints a trace as a tree of spans, each with a bar where it lies in time.
std::string RenderWaterfall(const SpanBatch& spans, const Look& look);

/// Prints nanoseconds for people: 1.23 ms, 45 s.
std::string ShortDuration(int64_t ns);
/// Prints a time as RFC 3339 in UTC with nine digits of the second.
std::string TimeNsText(int64_t ns);

}  // namespace varve::cli::shell
