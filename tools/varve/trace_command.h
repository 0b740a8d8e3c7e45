#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "varve/options.h"

namespace varve::cli {

struct TraceCommand {
  std::string data;  // a directory, or
  std::string url;   // a server, http://HOST:PORT
  std::string id;
  bool json = false;    // OTLP JSON instead of a picture
  bool logs = false;    // the trace's log entries, too
  size_t limit = 1000;  // spans drawn
};
/// Draws a trace as a waterfall. Returns kFailed also when there is no such trace.
int RunTrace(const TraceCommand& command);

struct ImportTracesCommand {
  Options database;  // `dir` is --data
  std::vector<std::string> files;
  bool json = false;  // summary
};
/// Imports traces from files: OTLP as JSON (one or a line each, also as Jaeger's API v3 answers) or
/// protobuf, Jaeger's JSON (answers, traces, lists of spans), Zipkin's JSON of both versions; each
/// plain, gzip or zstd. Returns kUsage for a file of none of these; an empty list is one.
int RunImportTraces(const ImportTracesCommand& command);

}  // namespace varve::cli
