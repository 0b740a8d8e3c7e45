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
/// Imports traces from files: OTLP as JSON (one or a line each) or protobuf, Jaeger's JSON,
/// Zipkin's JSON; each plain, gzip or zstd.
int RunImportTraces(const ImportTracesCommand& command);

}  // namespace varve::cli
