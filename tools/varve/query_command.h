#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "varve/query.h"
#include "varve/status.h"

namespace varve::cli {

/// `varve query`: one expression of any language, asked of a directory or of a server.
struct QueryCommand {
  std::string language = "promql";  // promql, logql, traceql
  std::string data;                 // a directory, or
  std::string url;                  // a server, http://HOST:PORT
  std::string expression;
  std::optional<std::string> time;
  std::optional<std::string> start;
  std::optional<std::string> end;
  std::optional<std::string> step;
  std::optional<uint32_t> limit;  // log lines (1000) or traces (20)
  bool forward = false;           // log lines oldest first
  std::string output = "table";   // table, csv, json; of log lines also raw, jsonl
  bool explain = false;
  bool analyze = false;
  query::EngineOptions engine;
};
int RunQuery(const QueryCommand& command);

}  // namespace varve::cli
