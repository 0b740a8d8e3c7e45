#pragma once

#include <memory>
#include <string>

#include "tools/server/api/envelope.h"
#include "tools/server/http/message.h"
#include "tools/server/json/writer.h"
#include "varve/labels.h"
#include "varve/query.h"

namespace varve::api {

/// Writes {"name":"value",...}.
void WriteLabels(LabelsView labels, json::Writer* json);
/// Writes {"count":"..","sum":"..","buckets":[[rule,"lower","upper","count"],...]}; empty buckets
/// are left out, and the list too when nothing is in it.
void WriteHistogram(const query::FloatHistogram& histogram, json::Writer* json);
/// Writes the member "stats"; `all` adds samples per step and the operators of the plan.
void WriteStatistics(const query::Statistics& statistics, bool all, json::Writer* json);

struct ResultOptions {
  size_t limit = 0;  // series of a vector or matrix; 0: all
  bool stats = false;
  bool stats_all = false;

  /// Tells that an answer says nothing but the value of the query.
  bool WholeAndAlone() const { return limit == 0 && !stats; }
};

/// Answers with a query result, written series by series as the client reads: memory beyond the
/// result itself stays at one series' text. A short body is left with the result it was made of
/// (QueryResult::text), if that one is kept and the options are WholeAndAlone.
http::Response ResultResponse(query::QueryResult result, const ResultOptions& options);

}  // namespace varve::api
