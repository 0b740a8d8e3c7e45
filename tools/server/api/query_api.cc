#include <chrono>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "query/lang/promql/parse.h"
#include "query/lang/promql/print.h"
#include "tools/server/api/context.h"
#include "tools/server/api/envelope.h"
#include "tools/server/api/parameters.h"
#include "tools/server/api/result_json.h"

namespace varve::api {
namespace {

// What instant and range queries have in common.
struct QueryParameters {
  std::string query;
  query::QueryOptions options;
  ResultOptions result;
};

Result<QueryParameters> ReadCommon(Context& context, http::Request& request) {
  QueryParameters out;
  out.query = request.params.Get("query");
  VARVE_ASSIGN_OR_RETURN(out.result.limit, LimitParameter(request.params));
  const std::string_view stats = request.params.Get("stats");
  out.result.stats = !stats.empty();
  out.result.stats_all = stats == "all";
  out.options.per_step_stats = out.result.stats_all;
  out.options.analyze = out.result.stats_all;
  if (const std::string_view text = request.params.Get("timeout"); !text.empty()) {
    const auto timeout = ParseDuration(text);
    if (!timeout.ok()) return InvalidParameter("timeout", timeout.status());
    // A client may ask for less than the server allows, never for more.
    const auto most = context.engine->options().timeout;
    // No time at all is less than any; the engine takes 0 for a query without a limit.
    const auto wanted = timeout->count() > 0 ? *timeout : std::chrono::milliseconds(-1);
    out.options.timeout = most.count() > 0 ? std::min(wanted, most) : wanted;
  }
  if (const std::string_view text = request.params.Get("lookback_delta"); !text.empty()) {
    const auto lookback = ParseDuration(text);
    if (!lookback.ok()) {
      return MakeStatus(
          StatusCode::kInvalidArgument,
          Concat("error parsing lookback delta duration: ", ToStd(lookback.status().message())));
    }
    if (lookback->count() > 0) out.options.lookback_delta = *lookback;
  }
  out.options.prefer_text = out.result.WholeAndAlone();
  const std::string_view no_cache = request.params.Get("nocache");
  out.options.no_cache = no_cache == "1" || no_cache == "true";
  auto cancellation = std::make_shared<query::Cancellation>();
  request.cancel->OnCancel([cancellation] { cancellation->Cancel(); });
  out.options.cancellation = std::move(cancellation);
  return out;
}

http::Response Answer(Context& context, std::string_view endpoint,
                      Result<query::QueryResult> result, const ResultOptions& options) {
  if (!result.ok()) {
    Status status = result.status();
    context.queries.With({endpoint, ToStd(absl::StatusCodeToString(status.code()))}).Add();
    if (status.code() == StatusCode::kInvalidArgument && TextPlaceOf(status).has_value()) {
      status = InvalidParameter("query", status);
    }
    return Error(status);
  }
  context.queries.With({endpoint, "OK"}).Add();
  context.query_samples.Add(result->statistics.total_samples);
  if (result->text != nullptr && options.WholeAndAlone()) {
    if (const auto text = result->text->Get()) return http::Response::Json(200, *text);
  }
  return ResultResponse(*std::move(result), options);
}

http::Response Instant(Context& context, Database& database, http::Request& request) {
  Result<QueryParameters> parameters = ReadCommon(context, request);
  if (!parameters.ok()) return Error(parameters.status());
  const Result<int64_t> time = TimeParameter(request.params, "time", context.clock->NowMs());
  if (!time.ok()) return Error(time.status());
  auto snapshot = database.TakeSnapshot();
  if (!snapshot.ok()) return Error(snapshot.status());
  return Answer(
      context, "query",
      context.engine->Instant(*std::move(snapshot), parameters->query, *time, parameters->options),
      parameters->result);
}

Result<query::QueryRange> ReadRange(Context& context, const http::Params& params) {
  query::QueryRange range;
  const Result<int64_t> start = ParseTime(params.Get("start"));
  if (!start.ok()) return InvalidParameter("start", start.status());
  const Result<int64_t> end = ParseTime(params.Get("end"));
  if (!end.ok()) return InvalidParameter("end", end.status());
  if (*end < *start) {
    return InvalidParameter("end", "end timestamp must not be before start time");
  }
  const auto step = ParseDuration(params.Get("step"));
  if (!step.ok()) return InvalidParameter("step", step.status());
  if (step->count() <= 0) {
    return InvalidParameter("step",
                            "zero or negative query resolution step widths are not accepted. Try a "
                            "positive integer");
  }
  const uint64_t span = static_cast<uint64_t>(*end) - static_cast<uint64_t>(*start);
  const uint64_t points_max = context.engine->options().max_points;
  if (points_max != 0 && span / static_cast<uint64_t>(step->count()) > points_max) {
    return MakeStatus(StatusCode::kInvalidArgument,
                      "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing "
                      "the query resolution (?step=XX)");
  }
  range.start_ms = *start;
  range.end_ms = *end;
  range.step_ms = step->count();
  return range;
}

http::Response Range(Context& context, Database& database, http::Request& request) {
  const Result<query::QueryRange> range = ReadRange(context, request.params);
  if (!range.ok()) return Error(range.status());
  Result<QueryParameters> parameters = ReadCommon(context, request);
  if (!parameters.ok()) return Error(parameters.status());
  auto snapshot = database.TakeSnapshot();
  if (!snapshot.ok()) return Error(snapshot.status());
  return Answer(
      context, "query_range",
      context.engine->Range(*std::move(snapshot), parameters->query, *range, parameters->options),
      parameters->result);
}

http::Response FormatQuery(http::Request& request) {
  const Result<promql::ExprPtr> tree = promql::Parse(request.params.Get("query"));
  if (!tree.ok()) return Error(InvalidParameter("query", tree.status()));
  std::string data;
  json::AppendString(promql::PrettyPrint(**tree), &data);
  return Success(data);
}

http::Response ParseQuery(http::Request& request) {
  const Result<promql::ExprPtr> tree = promql::Parse(request.params.Get("query"));
  if (!tree.ok()) return Error(InvalidParameter("query", tree.status()));
  return Success(promql::ToJson(**tree));
}

// Collects the matchers of every selector in a query, as exemplars are looked up by them.
void CollectSelectors(const promql::Expr& expr, std::vector<std::vector<Matcher>>* out) {
  if (const auto* selector = promql::As<promql::VectorSelector>(expr)) {
    out->push_back(selector->matchers);
  }
  promql::ForEachChild(expr, [&](const promql::Expr& child) { CollectSelectors(child, out); });
}

http::Response Exemplars(Context&, Database& database, http::Request& request) {
  const Result<TimeRange> range = RangeParameters(request.params);
  if (!range.ok()) return Error(range.status());
  const Result<promql::ExprPtr> tree = promql::Parse(request.params.Get("query"));
  if (!tree.ok()) return Error(InvalidParameter("query", tree.status()));
  std::vector<std::vector<Matcher>> selectors;
  CollectSelectors(**tree, &selectors);
  const auto snapshot = database.TakeSnapshot();
  if (!snapshot.ok()) return Error(snapshot.status());
  std::map<Labels, SeriesExemplars> found;
  for (const std::vector<Matcher>& matchers : selectors) {
    auto exemplars = (*snapshot)->Exemplars(matchers, *range);
    if (!exemplars.ok()) return Error(exemplars.status());
    for (SeriesExemplars& series : *exemplars) {
      Labels labels = series.labels;
      found.try_emplace(std::move(labels), std::move(series));
    }
  }
  std::string data;
  json::Writer json(&data);
  json.BeginArray();
  for (const auto& [labels, series] : found) {
    json.BeginObject().Key("seriesLabels");
    WriteLabels(labels, &json);
    json.Key("exemplars").BeginArray();
    for (const Exemplar& exemplar : series.exemplars) {
      json.BeginObject().Key("labels");
      WriteLabels(exemplar.labels, &json);
      json.Key("value").FloatString(exemplar.value).Key("timestamp").TimeMs(exemplar.time_ms);
      json.EndObject();
    }
    json.EndArray().EndObject();
  }
  json.EndArray();
  return Success(data);
}

}  // namespace

void AddRoute(Context* context, http::Router* router, http::MethodSet methods,
              std::string_view pattern, const http::RouteOptions& options,
              DatabaseHandler handler) {
  router->Add(
      methods, pattern,
      [context, handler = std::move(handler)](http::Request& request) {
        Database* const database = context->database.load(std::memory_order_acquire);
        if (database == nullptr) return NotReady();
        return handler(*context, *database, request);
      },
      options);
}

void AddQueryRoutes(Context* context, http::Router* router) {
  constexpr http::RouteOptions kQuery{
      .lane = http::Lane::kQuery, .body_bytes_max = 10u << 20, .form = true};
  constexpr http::RouteOptions kQuick{
      .lane = http::Lane::kQuick, .body_bytes_max = 10u << 20, .form = true};
  AddRoute(context, router, http::kGetPost, "/api/v1/query", kQuery, Instant);
  AddRoute(context, router, http::kGetPost, "/api/v1/query_range", kQuery, Range);
  AddRoute(context, router, http::kGetPost, "/api/v1/query_exemplars", kQuery, Exemplars);
  router->Add(http::kGetPost, "/api/v1/format_query", FormatQuery, kQuick);
  router->Add(http::kGetPost, "/api/v1/parse_query", ParseQuery, kQuick);
}

}  // namespace varve::api
