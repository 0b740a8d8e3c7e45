#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "tools/loki/api.h"

namespace varve::loki {
namespace {

using http::Request;
using http::Response;

constexpr http::RouteOptions kQuery{.lane = http::Lane::kQuery, .form = true};

// Logs Drilldown would rather have some series than an error.
bool WantsPartialSeries(const Request& request) {
  return request.headers.Joined("X-Query-Tags").find("grafana-lokiexplore-app") !=
         std::string::npos;
}

Result<query::LogQueryRange> ReadRange(const Context& context, const http::Params& params) {
  query::LogQueryRange out;
  VARVE_ASSIGN_OR_RETURN(const NsRange range, RangeParameters(context, params));
  out.start_ns = range.min_ns;
  out.end_ns = range.max_ns;
  if (out.end_ns <= out.start_ns) {
    return MakeStatus(StatusCode::kInvalidArgument,
                      "end timestamp must not be before or equal to start time");
  }
  if (const std::string_view text = params.Get("step"); !text.empty()) {
    VARVE_ASSIGN_OR_RETURN(out.step_ns, ParseDuration(text));
    if (out.step_ns <= 0) {
      return MakeStatus(StatusCode::kInvalidArgument,
                        "zero or negative query resolution step widths are not accepted. Try a "
                        "positive integer");
    }
  }
  if (const std::string_view text = params.Get("interval"); !text.empty()) {
    VARVE_ASSIGN_OR_RETURN(out.interval_ns, ParseDuration(text));
    if (out.interval_ns < 0) {
      return MakeStatus(StatusCode::kInvalidArgument, "interval must be >= 0");
    }
  }
  VARVE_ASSIGN_OR_RETURN(out.limit, CountParameter(params, "limit", 100));
  VARVE_ASSIGN_OR_RETURN(out.direction, DirectionParameter(params));
  return out;
}

query::LogQueryOptions OptionsOf(Request& request) {
  query::LogQueryOptions out;
  out.cancellation = CancellationOf(request);
  out.partial_series = WantsPartialSeries(request);
  return out;
}

Response QueryRange(Context& context, Database& database, Request& request) {
  const Result<query::LogQueryRange> range = ReadRange(context, request.params);
  if (!range.ok()) return ErrorResponse(range.status());
  auto snapshot = database.TakeLogSnapshot();
  if (!snapshot.ok()) return ErrorResponse(snapshot.status());
  Result<query::LogQueryResult> result = context.engine->Range(
      *std::move(snapshot), request.params.Get("query"), *range, OptionsOf(request));
  if (!result.ok()) return ErrorResponse(result.status());
  return ResultResponse(*std::move(result), WantsCategorizedLabels(request),
                        range->direction == query::LogDirection::kBackward);
}

Response Instant(Context& context, Database& database, Request& request) {
  const Result<int64_t> time = TimeParameter(request.params, "time", context.NowNs());
  if (!time.ok()) return ErrorResponse(time.status());
  if (const auto limit = CountParameter(request.params, "limit", 100); !limit.ok()) {
    return ErrorResponse(limit.status());
  }
  if (const auto direction = DirectionParameter(request.params); !direction.ok()) {
    return ErrorResponse(direction.status());
  }
  auto snapshot = database.TakeLogSnapshot();
  if (!snapshot.ok()) return ErrorResponse(snapshot.status());
  Result<query::LogQueryResult> result = context.engine->Instant(
      *std::move(snapshot), request.params.Get("query"), *time, OptionsOf(request));
  if (!result.ok()) return ErrorResponse(result.status());
  return ResultResponse(*std::move(result), WantsCategorizedLabels(request), true);
}

Response FormatQuery(Request& request) {
  const Result<std::string> text = query::FormatLogQuery(request.params.Get("query"));
  std::string body;
  json::Writer json(&body);
  json.BeginObject();
  if (text.ok()) {
    json.Field("status", "success").Field("data", *text);
  } else {
    json.Field("status", "invalid-query").Field("error", ToStd(text.status().message()));
  }
  json.EndObject();
  return Response::Json(text.ok() ? 200 : 400, std::move(body));
}

}  // namespace

void AddQueryRoutes(Context* context, http::Router* router) {
  for (const std::string_view prefix : {"/loki/api/v1/", "/api/prom/"}) {
    AddRoute(context, router, http::kGetPost, Concat(prefix, "query_range"), kQuery, QueryRange);
    // The older path gives log queries a range of their own.
    AddRoute(context, router, http::kGetPost, Concat(prefix, "query"), kQuery,
             prefix == "/loki/api/v1/" ? Instant : QueryRange);
  }
  router->Add(http::kGetPost, "/loki/api/v1/format_query", FormatQuery, {.form = true});
}

}  // namespace varve::loki
