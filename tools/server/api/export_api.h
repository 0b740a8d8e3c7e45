#pragma once

#include "tools/server/api/context.h"

namespace varve::api {

/// Adds the routes that stream what is stored, as it is stored and of any age, one JSON document a
/// line: /api/v1/export (samples), /api/v1/export/logs and /api/v1/export/traces. Each reads one
/// snapshot; memory stays at one chunk or trace. What they print goes back in through
/// /api/v1/import, a Loki push and an OTLP export. `context` must outlive the router.
void AddExportRoutes(Context* context, http::Router* router);

}  // namespace varve::api
