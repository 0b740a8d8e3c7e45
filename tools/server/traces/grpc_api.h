#pragma once

#include "tools/server/grpc/grpc_server.h"
#include "tools/server/traces/trace_server.h"

namespace varve::api {

/// The gRPC methods of OTLP (three signals), Jaeger's collector, its query service of both
/// generations, its remote storage (what a stock Jaeger reads traces from) and its sampling.
rpc::Methods TraceMethods(TraceContext* context);

}  // namespace varve::api
