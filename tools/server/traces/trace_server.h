#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tools/otlp/receiver.h"
#include "tools/server/api/context.h"
#include "tools/server/grpc/grpc_server.h"
#include "tools/server/http/router.h"
#include "tools/server/http/server.h"
#include "tools/server/traces/trace_archive.h"
#include "tools/server/udp/udp_listener.h"
#include "tools/tracing/sampling.h"
#include "tools/tracing/trace_ingest.h"
#include "varve/traceql.h"

namespace varve::api {

struct TraceOptions {
  query::TraceEngineOptions engine;
  otlp::MetricOptions otlp_metrics;
  /// See ReceiverOptions; null: the store alone judges log entries.
  std::function<Result<otlp::LogOutcome>(const LogBatch&)> append_logs;
  tracing::SpanMetricsOptions span_metrics;
  /// How often the metrics of spans are appended. 0: never.
  std::chrono::milliseconds span_metrics_interval{15'000};
  /// A file of Jaeger's sampling strategies, read again when it changes. Empty: the default for
  /// all.
  std::string sampling_file;
  /// Where archived traces are kept; null: nowhere.
  TraceArchive::Open open_archive;

  // --- Ports that do not serve the main router; none by default ---

  struct Port {
    std::string name;
    std::string address = "127.0.0.1";
    uint16_t port = 0;
  };
  std::vector<Port> grpc_ports;      // OTLP, and everything of Jaeger
  std::vector<Port> compact_ports;   // UDP, Thrift's compact protocol
  std::vector<Port> binary_ports;    // UDP, Thrift's binary protocol
  std::vector<Port> sampling_ports;  // HTTP
  bool insecure_listen = false;
  size_t grpc_message_bytes_max = 4u << 20;
};

/// What the handlers of traces and OTLP share. Thread-safe once the routes are in use.
struct TraceContext {
  Context* base = nullptr;
  query::TraceEngine* engine = nullptr;
  tracing::SamplingFile* sampling = nullptr;
  TraceArchive* archive = nullptr;
  /// Appear when the database is open.
  std::atomic<otlp::Receiver*> receiver{nullptr};
  std::atomic<tracing::TraceIngest*> ingest{nullptr};
};

/// Everything of the server that speaks of traces, or OTLP: its routes, its state beside the
/// database, its background work.
class TraceServer {
 public:
  /// Adds its routes. `context` and `router` must outlive it.
  TraceServer(const TraceOptions& options, Context* context, http::Router* router,
              std::unique_ptr<query::TraceEngine> engine = nullptr);
  ~TraceServer();

  /// Opens the ports that are not HTTP, or not the main router's. Errors: those of binding.
  Status Listen();
  /// Names them, as name and "host:port".
  std::vector<std::pair<std::string, std::string>> addresses() const;
  /// Stops them once running calls have ended, or after `grace`.
  void Shutdown(std::chrono::milliseconds grace);

  /// Starts work once the database is open.
  void Open(Database& database);
  /// Stops it and closes the archive, before the database closes; call it when no request runs any
  /// more.
  void Close();
  void WriteMetrics(telemetry::Exposition* out) const;

  TraceContext& context() { return context_; }
  TraceArchive& archive() { return archive_; }

 private:
  void DumpSpanMetrics();
  void TakeDatagram(std::string_view bytes, Status (*decode)(std::string_view, SpanBatch*));

  const TraceOptions options_;
  std::unique_ptr<query::TraceEngine> engine_;
  std::unique_ptr<tracing::SamplingFile> sampling_;
  Status sampling_status_;
  TraceArchive archive_;
  TraceContext context_;
  http::Router sampling_router_;
  std::vector<std::unique_ptr<http::Server>> sampling_servers_;
  std::unique_ptr<rpc::Server> grpc_;
  std::vector<std::unique_ptr<udp::Listener>> udp_;
  std::atomic<uint64_t> datagrams_{0};
  std::atomic<uint64_t> datagrams_failed_{0};
  std::unique_ptr<tracing::TraceIngest> ingest_;
  std::unique_ptr<otlp::Receiver> receiver_;
  std::thread dumper_;
  std::mutex stop_mutex_;
  std::condition_variable stop_condition_;
  bool stop_ = false;  // guarded by stop_mutex_
};

/// Add the routes of each protocol.
void AddOtlpRoutes(TraceContext* context, http::Router* router);
/// Adds Loki's /otlp/v1/logs alone, for Loki's own port.
void AddLokiOtlpRoute(TraceContext* context, http::Router* router);
void AddZipkinRoutes(TraceContext* context, http::Router* router);  // and Jaeger's Thrift
void AddJaegerRoutes(TraceContext* context, http::Router* router);
void AddJaegerV3Routes(TraceContext* context, http::Router* router);
void AddTempoRoutes(TraceContext* context, http::Router* router);
void AddSamplingRoutes(TraceContext* context, http::Router* router, bool own_port);
void AddCorrelationRoutes(TraceContext* context, http::Router* router);

}  // namespace varve::api
