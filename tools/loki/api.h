#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tools/loki/context.h"
#include "tools/server/http/router.h"
#include "tools/server/json/writer.h"
#include "varve/log_scan.h"
#include "varve/logql.h"

/// Loki's HTTP API over a database and a LogEngine. Errors are plain text with a newline.
namespace varve::loki {

/// The version of Loki whose API the answers follow; Grafana chooses features by it.
inline constexpr std::string_view kApiVersion = "3.8.0";

/// Adds every route of Loki's API, push included. `context` must outlive the router.
void AddAllRoutes(Context* context, http::Router* router);
/// Adds what clients of a Loki look for at the root of its own port: /ready, /config, /services,
/// /metrics and their like. Not for a router that has such paths already.
void AddPortRoutes(Context* context, http::Router* router,
                   std::function<http::Response(http::Request&)> metrics);

/// The parts of AddAllRoutes.
void AddQueryRoutes(Context* context, http::Router* router);
void AddLabelRoutes(Context* context, http::Router* router);
void AddVolumeRoutes(Context* context, http::Router* router);
void AddFieldRoutes(Context* context, http::Router* router);
void AddPatternRoutes(Context* context, http::Router* router);
void AddDeleteRoutes(Context* context, http::Router* router);
void AddTailRoute(Context* context, http::Router* router);
void AddStatusRoutes(Context* context, http::Router* router);

// --- Parameters: all errors are kInvalidArgument ---

/// Reads a point in time as Loki does: an integer of at most ten digits is seconds, a longer one
/// nanoseconds, a decimal seconds; else RFC 3339. Unix nanoseconds.
Result<int64_t> ParseTime(std::string_view text);
/// Reads seconds as a number, or a duration such as 15s, 1h30m, 250ms, 1.5h. Nanoseconds.
Result<int64_t> ParseDuration(std::string_view text);

/// start, end and since: [now - since, now] by default, since 1h.
Result<NsRange> RangeParameters(const Context& context, const http::Params& params);
Result<int64_t> TimeParameter(const http::Params& params, std::string_view name, int64_t otherwise);
Result<uint32_t> CountParameter(const http::Params& params, std::string_view name,
                                uint32_t otherwise);
Result<query::LogDirection> DirectionParameter(const http::Params& params);

/// Tests for `X-Loki-Response-Encoding-Flags: categorize-labels`.
bool WantsCategorizedLabels(const http::Request& request);

// --- Answers ---

/// Makes Loki's answer to an error: see varve/logql.h for the codes.
http::Response ErrorResponse(const Status& status);
http::Response TextError(int status, std::string_view text);

void WriteLabels(const query::LogLabels& labels, json::Writer* json);
void WriteLabels(LabelsView labels, json::Writer* json);
/// Writes one group of a log query as a member of "result": labels and values.
void WriteStreamGroup(const query::Streams& streams, const query::StreamGroup& group,
                      bool categorize, json::Writer* json);
/// Writes the member "stats" of an answer.
void WriteStatistics(const query::LogStatistics& statistics, json::Writer* json);
/// Answers with a query result.
http::Response ResultResponse(query::LogQueryResult result, bool categorize, bool backward);

/// Makes a cancellation that follows the client of `request`.
std::shared_ptr<const query::Cancellation> CancellationOf(http::Request& request);

}  // namespace varve::loki
