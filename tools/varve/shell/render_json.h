#pragma once

#include <string>

#include "varve/logql.h"
#include "varve/query.h"
#include "varve/status.h"
#include "varve/traceql.h"

namespace varve::cli::shell {

/// Print results as the HTTP API of their language does, in one line: Prometheus's, Loki's and
/// Tempo's with the details that Varve adds.
Result<std::string> RenderJson(query::QueryResult result);
Result<std::string> RenderLogsJson(query::LogQueryResult result, bool backward);
std::string RenderTracesJson(const query::SearchResult& result);

/// Turns the samples of a LogQL metric query into what PromQL gives.
query::QueryResult MetricsOf(query::LogQueryResult result);

}  // namespace varve::cli::shell
