#include "tools/ingest/exposition.h"
#include "tools/ingest/import.h"
#include "tools/ingest/remote_write.h"
#include "tools/server/api/context.h"
#include "tools/server/api/envelope.h"

namespace varve::api {
namespace {

http::Response FromOutcome(ingest::HttpOutcome outcome) {
  http::Response response;
  response.status = outcome.status;
  for (auto& [name, value] : outcome.headers) response.headers.Add(name, value);
  response.body = std::move(outcome.body);
  return response;
}

}  // namespace

void AddIngestRoutes(Context* context, http::Router* router) {
  // What has arrived is worth storing even if nobody waits for the answer.
  constexpr http::RouteOptions kWrite{.lane = http::Lane::kWrite, .ignore_disconnect = true};
  const auto with_ingest = [context](auto handler) {
    return [context, handler](http::Request& request) {
      ingest::IngestContext* const ingest = context->ingest.load(std::memory_order_acquire);
      if (ingest == nullptr) return NotReady();
      return handler(*ingest, request);
    };
  };
  router->Add(http::kPostOnly, "/api/v1/write",
              with_ingest([context](ingest::IngestContext& ingest, http::Request& request) {
                if (!context->enable_remote_write) {
                  return http::Response::Text(404, "remote write receiver is disabled\n");
                }
                const std::string encoding = request.headers.Joined("Content-Encoding");
                return FromOutcome(ingest::HandleRemoteWrite(
                    ingest, {.content_type = request.headers.Get("Content-Type"),
                             .content_encoding = encoding,
                             .body = request.body}));
              }),
              kWrite);
  const auto import_of = [](http::Request& request, const std::string& encoding) {
    ingest::ImportRequest import;
    import.content_type = request.headers.Get("Content-Type");
    // curl --data-binary says "form" when told nothing; an exposition never is one.
    if (import.content_type.starts_with("application/x-www-form-urlencoded")) {
      import.content_type = {};
    }
    import.content_encoding = encoding;
    import.body = request.body;
    import.query.assign(request.params.begin(), request.params.end());
    return import;
  };
  router->Add(
      http::kPostPut, "/api/v1/import/prometheus",
      with_ingest([import_of](ingest::IngestContext& ingest, http::Request& request) {
        const std::string encoding = request.headers.Joined("Content-Encoding");
        return FromOutcome(ingest::HandleImportPrometheus(ingest, import_of(request, encoding)));
      }),
      kWrite);
  router->Add(
      http::kPostPut, "/api/v1/import",
      with_ingest([import_of](ingest::IngestContext& ingest, http::Request& request) {
        const std::string encoding = request.headers.Joined("Content-Encoding");
        return FromOutcome(ingest::HandleImportSeries(ingest, import_of(request, encoding)));
      }),
      kWrite);
}

}  // namespace varve::api
