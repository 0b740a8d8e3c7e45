#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "engine/base/clock.h"
#include "tools/ingest/context.h"
#include "tools/server/http/router.h"
#include "tools/server/telemetry/registry.h"
#include "varve/database.h"
#include "varve/query.h"

namespace varve::api {

/// The version of Prometheus's HTTP API that the answers follow; what /status/buildinfo reports,
/// since clients choose endpoints by it.
inline constexpr std::string_view kApiVersion = "3.14.0";

/// What the last scrape of ourselves did, for /targets.
struct ScrapeState {
  int64_t time_ms = 0;  // 0: none yet
  std::chrono::nanoseconds duration{0};
  std::string error;
};

/// What the handlers share. Thread-safe once the routes are in use, members as they say.
struct Context {
  // --- Set before the first request, then constant ---

  query::Engine* engine = nullptr;
  std::shared_ptr<Clock> clock = Clock::Real();
  int64_t start_time_ms = 0;
  std::string version;  // Varve's own
  std::string address;  // host:port that is listened on
  std::string data_dir;
  std::string retention_text;  // for runtimeinfo
  std::vector<std::pair<std::string, std::string>> flags;
  bool enable_admin_api = false;
  bool enable_remote_write = true;
  std::function<void()> quit;  // asks the program to end; null: the lifecycle API is off
  std::chrono::milliseconds scrape_interval{0};  // 0: no scrape of ourselves
  /// Completes a backup of the database in a directory with what is kept beside it; may be null.
  std::function<Status(const std::string& dir, const BackupOptions& options)> backup_beside;

  // --- Appear when the database is open ---

  std::atomic<Database*> database{nullptr};
  std::atomic<ingest::IngestContext*> ingest{nullptr};

  // --- Telemetry ---

  telemetry::Family<telemetry::Counter> queries{{"endpoint", "result"}};
  telemetry::Counter query_samples;
  std::function<void(telemetry::Exposition*)> write_metrics;

  void SetScrapeState(ScrapeState state) {
    const absl::MutexLock lock(&mutex);
    scrape_state = std::move(state);
  }
  ScrapeState GetScrapeState() const {
    const absl::MutexLock lock(&mutex);
    return scrape_state;
  }
  mutable absl::Mutex mutex;
  ScrapeState scrape_state ABSL_GUARDED_BY(mutex);
};

using DatabaseHandler = std::function<http::Response(Context&, Database&, http::Request&)>;

/// Adds a route whose handler needs the database; until that is open it answers 503.
void AddRoute(Context* context, http::Router* router, http::MethodSet methods,
              std::string_view pattern, const http::RouteOptions& options, DatabaseHandler handler);

/// The scrape of ourselves in the words of a configuration file; lines after the first are
/// indented.
std::string ScrapeConfigYaml(const Context& context, std::string_view indent);

/// Add the routes of each part. `context` must outlive the router.
void AddQueryRoutes(Context* context, http::Router* router);
void AddSeriesRoutes(Context* context, http::Router* router);
void AddStatusRoutes(Context* context, http::Router* router);
void AddLifecycleRoutes(Context* context, http::Router* router);
void AddAdminRoutes(Context* context, http::Router* router);
void AddIngestRoutes(Context* context, http::Router* router);
void AddFederateRoute(Context* context, http::Router* router);
void AddTargetRoutes(Context* context, http::Router* router);
void AddSearchRoutes(Context* context, http::Router* router);
/// Describes the routes of /api/v1 that `router` has when it is asked.
void AddOpenApiRoute(http::Router* router);
inline void AddAllRoutes(Context* context, http::Router* router) {
  AddQueryRoutes(context, router);
  AddSeriesRoutes(context, router);
  AddStatusRoutes(context, router);
  AddLifecycleRoutes(context, router);
  AddAdminRoutes(context, router);
  AddIngestRoutes(context, router);
  AddFederateRoute(context, router);
  AddTargetRoutes(context, router);
  AddSearchRoutes(context, router);
  AddOpenApiRoute(router);
}

}  // namespace varve::api
