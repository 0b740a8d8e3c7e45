#include "engine/base/strings.h"
#include "tools/server/traces/trace_server.h"
#include "tools/tracing/sampling.h"

/// Jaeger's remote sampling: how much clients shall sample.
namespace varve::api {
namespace {

http::Response Sampling(TraceContext& context, http::Request& request) {
  const auto services = request.params.All("service");
  if (services.size() != 1 || services[0].empty()) {
    return http::Response::Text(400, "'service' parameter must be provided once\n");
  }
  return http::Response::Json(200, tracing::SamplingJson(context.sampling->Find(services[0])));
}

}  // namespace

void AddSamplingRoutes(TraceContext* context, http::Router* router, bool own_port) {
  const auto handler = [context](http::Request& request) { return Sampling(*context, request); };
  router->Add(http::kGetOnly, "/api/sampling", handler);
  router->Add(http::kGetOnly, "/sampling", handler);
  // What the oldest clients ask; on a port of its own nothing else is at the root.
  if (own_port) router->Add(http::kGetOnly, "/", handler);
}

}  // namespace varve::api
