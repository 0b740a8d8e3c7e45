#include "tools/server/api/envelope.h"

#include <algorithm>

#include "engine/base/strings.h"
#include "tools/server/json/writer.h"

namespace varve::api {
namespace {

// As many of each as Prometheus sends, then a count of the rest.
constexpr size_t kNotesMax = 10;

void AppendNotes(std::string_view key, std::string_view what, const std::vector<std::string>& notes,
                 std::string* out) {
  if (notes.empty()) return;
  out->append(",");
  json::Writer json(out);
  json.Key(key).BeginArray();
  for (size_t i = 0; i < std::min(notes.size(), kNotesMax); ++i) json.String(notes[i]);
  if (notes.size() > kNotesMax) {
    json.String(Concat(notes.size() - kNotesMax, " more ", what, " annotations omitted"));
  }
  json.EndArray();
}

}  // namespace

void AppendSuccessHead(std::string* out) { out->append(R"({"status":"success","data":)"); }

void AppendSuccessTail(const Notes& notes, std::string* out) {
  AppendNotes("warnings", "warning", notes.warnings, out);
  AppendNotes("infos", "info", notes.infos, out);
  out->append("}");
}

http::Response Success(std::string_view data, const Notes& notes) {
  std::string body;
  AppendSuccessHead(&body);
  body.append(data);
  AppendSuccessTail(notes, &body);
  return http::Response::Json(200, std::move(body));
}

http::Response Error(int status, std::string_view type, std::string_view message) {
  std::string body;
  json::Writer json(&body);
  json.BeginObject().Field("status", "error").Field("errorType", type).Field("error", message);
  json.EndObject();
  return http::Response::Json(status, std::move(body));
}

http::Response Error(const Status& status) {
  const std::string_view message = ToStd(status.message());
  switch (status.code()) {
    case StatusCode::kInvalidArgument:
      return Error(400, "bad_data", message);
    case StatusCode::kFailedPrecondition:
    case StatusCode::kResourceExhausted:
      return Error(422, "execution", message);
    case StatusCode::kDeadlineExceeded:
      return Error(503, "timeout", message);
    case StatusCode::kCancelled:
      return Error(499, "canceled", message);
    case StatusCode::kNotFound:
      return Error(404, "not_found", message);
    default:
      return Error(500, "internal", message);
  }
}

http::Response NotReady() {
  http::Response response = http::Response::Text(503, "Service Unavailable\n");
  response.headers.Add("Retry-After", "1");
  return response;
}

}  // namespace varve::api
