#pragma once

#include "query/lang/logql/ast.h"
#include "query/logs/log_scan_units.h"

namespace varve::query {

/// Answers a log query: the `limit` newest or oldest entries that pass the pipeline, in the
/// direction's order. Chunks are read in that order too, and none any more once no chunk left can
/// hold a better entry. Entries with equal times come from streams with larger labels first;
/// those of one stream keep the order of arrival, or its reverse.
Result<Streams> RunLogQuery(LogContext& context, const logql::Expr& log, const Pipeline& pipeline,
                            const LogQueryRange& range);

/// Fills a stream from the labels and the line of an entry that passed a pipeline.
void TakeEntry(const EntryContext& entry, LogStream* out);

}  // namespace varve::query
