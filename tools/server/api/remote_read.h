#pragma once

#include "tools/server/api/context.h"

namespace varve::api {

/// Adds POST /api/v1/read: Prometheus's remote read, answered as samples (one snappy message) or
/// as streamed XOR chunks, whichever the client names first. A selection with native histograms is
/// always answered as samples.
void AddRemoteReadRoute(Context* context, http::Router* router);

}  // namespace varve::api
