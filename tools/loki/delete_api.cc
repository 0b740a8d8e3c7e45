#include <memory>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "tools/loki/api.h"
#include "tools/loki/delete_log.h"

namespace varve::loki {

namespace {

using http::Request;
using http::Response;

Response Create(Context& context, Database& database, Request& request, DeleteLog* log) {
  const std::string_view text = request.params.Get("query");
  if (text.empty()) return TextError(400, "query not set");
  const auto info = query::InspectLogQuery(text);
  if (!info.ok()) return ErrorResponse(info.status());
  if (!info->is_log_query || info->selectors.size() != 1) {
    return TextError(400, "invalid query: a log selector with line filters is needed");
  }
  if (info->has_pipeline && !info->only_line_filters) {
    return TextError(400, "invalid query: only line filters (|= != |~ !~) can narrow a deletion");
  }
  const int64_t now = context.NowNs();
  if (request.params.Get("start").empty()) return TextError(400, "start time not set");
  const Result<int64_t> start = TimeParameter(request.params, "start", 0);
  if (!start.ok()) return ErrorResponse(start.status());
  const Result<int64_t> end = TimeParameter(request.params, "end", now);
  if (!end.ok()) return ErrorResponse(end.status());
  if (*end > now) return TextError(400, "deletes in the future are not allowed");
  if (*start >= *end)
    return TextError(400, "start time can't be greater than or equal to end time");
  if (const std::string_view interval = request.params.Get("max_interval"); !interval.empty()) {
    if (const auto parsed = ParseDuration(interval); !parsed.ok() || *parsed <= 0) {
      return TextError(400, "invalid max_interval: valid time units are 's', 'm', 'h'");
    }
  }
  const NsRange range{*start, *end};
  const Status status = database.DeleteLogs(info->selectors.front(), range, info->line_filters, {});
  if (!status.ok()) return ErrorResponse(status);
  const Result<std::string> id = log->Add({"", std::string(text), range, now});
  if (!id.ok()) return ErrorResponse(id.status());
  Response response;
  response.status = 204;
  response.headers.Add("X-Delete-Request-ID", *id);
  return response;
}

Response List(const DeleteLog& log) {
  std::string body;
  json::Writer json(&body);
  json.BeginArray();
  for (const DeleteLog::Item& item : log.items()) {
    json.BeginObject().Field("request_id", item.id);
    json.Key("start_time").TimeMs(item.range.min_ns / 1'000'000);
    json.Key("end_time").TimeMs(item.range.max_ns / 1'000'000);
    json.Field("query", item.query).Field("status", "processed");
    json.Key("created_at").TimeMs(item.created_ns / 1'000'000).EndObject();
  }
  json.EndArray();
  return Response::Json(200, std::move(body));
}

Response Cancel(Request& request, const DeleteLog& log) {
  const std::string_view id = request.params.Get("request_id");
  if (id.empty()) return TextError(400, "request_id not set");
  if (!log.Has(id)) return TextError(404, "could not find delete request with given id");
  return TextError(400,
                   "deletion of request which is in process or already processed is not allowed");
}

}  // namespace

void AddDeleteRoutes(Context* context, http::Router* router) {
  if (context->delete_log == nullptr) context->delete_log = std::make_shared<DeleteLog>();
  const std::shared_ptr<DeleteLog> log = context->delete_log;
  const auto guarded = [](auto handler) {
    return [handler](Context& context, Database& database, Request& request) {
      if (!context.enable_delete) {
        return TextError(403,
                         "deletion is not available: the server was started without "
                         "--web.enable-admin-api");
      }
      return handler(context, database, request);
    };
  };
  const http::RouteOptions write{
      .lane = http::Lane::kWrite, .form = true, .ignore_disconnect = true};
  for (const std::string_view path : {"/loki/api/v1/delete", "/loki/api/admin/delete"}) {
    AddRoute(
        context, router, http::kPostPut, path, write,
        guarded([log](Context& c, Database& d, Request& r) { return Create(c, d, r, log.get()); }));
    AddRoute(context, router, http::kGetOnly, path, {},
             guarded([log](Context&, Database&, Request&) { return List(*log); }));
    AddRoute(context, router, http::Only(http::Method::kDelete), path, {},
             guarded([log](Context&, Database&, Request& r) { return Cancel(r, *log); }));
  }
}

}  // namespace varve::loki
