#include "tools/server/traces/trace_server.h"

#include "engine/base/clock.h"
#include "engine/base/macros.h"
#include "tools/loki/level.h"
#include "tools/server/traces/grpc_api.h"
#include "tools/tracing/wire_formats.h"

namespace varve::api {
namespace {

// Loki's order: what a label or the metadata calls it, then OTLP's number, then the line.
std::string_view DetectLevel(LabelsView stream, LabelsView metadata, std::string_view line) {
  std::string_view level = loki::LevelOfLabels(stream);
  if (level.empty()) level = loki::LevelOfLabels(metadata);
  if (!level.empty()) return level;
  const std::string_view number = FindLabel(metadata, "severity_number");
  return number.empty() ? loki::DetectLevel(line) : loki::LevelOfSeverityNumber(number);
}

}  // namespace

TraceServer::TraceServer(const TraceOptions& options, Context* context, http::Router* router,
                         std::unique_ptr<query::TraceEngine> engine)
    : options_(options), engine_(std::move(engine)), archive_(options.open_archive) {
  if (engine_ == nullptr) engine_ = query::TraceEngine::Make(options.engine);
  context_.base = context;
  context_.engine = engine_.get();
  auto sampling = tracing::SamplingFile::Open(options.sampling_file);
  sampling_status_ = sampling.status();
  if (!sampling.ok()) sampling = tracing::SamplingFile::Open({});
  sampling_ = *std::move(sampling);
  context_.sampling = sampling_.get();
  context_.archive = &archive_;
  AddOtlpRoutes(&context_, router);
  AddZipkinRoutes(&context_, router);
  AddSamplingRoutes(&context_, router, false);
  AddSamplingRoutes(&context_, &sampling_router_, true);
  AddCorrelationRoutes(&context_, router);
  // Before Jaeger's: /api/metrics/query_range would be one of /api/metrics/:metric.
  AddTempoRoutes(&context_, router);
  AddJaegerRoutes(&context_, router);
  AddJaegerV3Routes(&context_, router);
}

TraceServer::~TraceServer() { Close(); }

Status TraceServer::Listen() {
  VARVE_RETURN_IF_ERROR(sampling_status_);
  for (const TraceOptions::Port& port : options_.sampling_ports) {
    http::ServerOptions http;
    http.address = port.address;
    http.port = port.port;
    http.insecure_listen = options_.insecure_listen;
    http.lane_threads = {1, 1, 1};
    VARVE_ASSIGN_OR_RETURN(sampling_servers_.emplace_back(),
                           http::Server::Start(http, &sampling_router_, nullptr));
  }
  if (!options_.grpc_ports.empty()) {
    rpc::ServerOptions grpc;
    for (const TraceOptions::Port& port : options_.grpc_ports) {
      grpc.ports.push_back({port.name, port.address, port.port});
    }
    grpc.insecure_listen = options_.insecure_listen;
    grpc.message_bytes_max = options_.grpc_message_bytes_max;
    VARVE_ASSIGN_OR_RETURN(grpc_, rpc::Server::Start(grpc, TraceMethods(&context_)));
  }
  const auto listen = [&](const std::vector<TraceOptions::Port>& ports,
                          Status (*decode)(std::string_view, SpanBatch*)) -> Status {
    for (const TraceOptions::Port& port : ports) {
      udp::Listener::Options options;
      options.address = port.address;
      options.port = port.port;
      options.insecure_listen = options_.insecure_listen;
      VARVE_ASSIGN_OR_RETURN(udp_.emplace_back(),
                             udp::Listener::Start(options, [this, decode](std::string_view bytes) {
                               TakeDatagram(bytes, decode);
                             }));
    }
    return absl::OkStatus();
  };
  VARVE_RETURN_IF_ERROR(listen(options_.compact_ports, tracing::DecodeJaegerAgentCompact));
  return listen(options_.binary_ports, tracing::DecodeJaegerAgentBinary);
}

void TraceServer::TakeDatagram(std::string_view bytes,
                               Status (*decode)(std::string_view, SpanBatch*)) {
  datagrams_.fetch_add(1, std::memory_order_relaxed);
  tracing::TraceIngest* const ingest = context_.ingest.load(std::memory_order_acquire);
  SpanBatch batch;
  const bool good = ingest != nullptr && decode(bytes, &batch).ok() &&
                    (batch.empty() || ingest->Append(batch).ok());
  if (!good) datagrams_failed_.fetch_add(1, std::memory_order_relaxed);
}

std::vector<std::pair<std::string, std::string>> TraceServer::addresses() const {
  std::vector<std::pair<std::string, std::string>> out;
  for (size_t i = 0; i < sampling_servers_.size(); ++i) {
    out.emplace_back(options_.sampling_ports[i].name, sampling_servers_[i]->address());
  }
  if (grpc_ != nullptr) out.insert(out.end(), grpc_->addresses().begin(), grpc_->addresses().end());
  for (size_t i = 0; i < udp_.size(); ++i) {
    const size_t compact = options_.compact_ports.size();
    out.emplace_back(
        i < compact ? options_.compact_ports[i].name : options_.binary_ports[i - compact].name,
        udp_[i]->address());
  }
  return out;
}

void TraceServer::Shutdown(std::chrono::milliseconds grace) {
  for (const auto& listener : udp_) listener->Stop();
  for (const auto& server : sampling_servers_) server->Shutdown(grace);
  if (grpc_ != nullptr) grpc_->Shutdown(grace);
}

void TraceServer::Open(Database& database) {
  const std::shared_ptr<Clock> clock = context_.base->clock;
  ingest_ = std::make_unique<tracing::TraceIngest>(database, options_.span_metrics, clock);
  otlp::ReceiverOptions receiver;
  receiver.metrics = options_.otlp_metrics;
  receiver.detect_level = DetectLevel;
  receiver.append_logs = options_.append_logs;
  receiver.append_spans = [this](const SpanBatch& batch) { return ingest_->Append(batch); };
  receiver_ = std::make_unique<otlp::Receiver>(database, std::move(receiver), clock);
  context_.ingest.store(ingest_.get(), std::memory_order_release);
  context_.receiver.store(receiver_.get(), std::memory_order_release);
  if (options_.span_metrics_interval.count() > 0) {
    dumper_ = std::thread([this] { DumpSpanMetrics(); });
  }
}

void TraceServer::Close() {
  {
    const std::lock_guard<std::mutex> lock(stop_mutex_);
    stop_ = true;
  }
  stop_condition_.notify_all();
  if (dumper_.joinable()) dumper_.join();
  context_.receiver = nullptr;
  context_.ingest = nullptr;
  archive_.Close().IgnoreError();  // what was acknowledged is durable
}

void TraceServer::DumpSpanMetrics() {
  Database* const database = context_.base->database.load(std::memory_order_acquire);
  const auto dump = [&] {
    sampling_->Reload().IgnoreError();
    const int64_t now_ms = context_.base->clock->NowMs();
    ingest_->metrics().Expire(now_ms);
    WriteBatch batch;
    ingest_->metrics().Dump(now_ms, &batch);
    if (batch.empty() || database == nullptr) return;
    WriteOptions write;
    write.partial = true;
    write.durability = Durability::kProcessCrash;  // nobody was promised these
    database->Append(batch, write).IgnoreError();
  };
  while (true) {
    {
      std::unique_lock<std::mutex> lock(stop_mutex_);
      if (stop_condition_.wait_for(lock, options_.span_metrics_interval,
                                   [this] { return stop_; })) {
        break;
      }
    }
    dump();
  }
  dump();
}

void TraceServer::WriteMetrics(telemetry::Exposition* out) const {
  const otlp::Receiver* const receiver = context_.receiver.load(std::memory_order_acquire);
  if (receiver == nullptr) return;
  constexpr std::pair<otlp::Signal, std::string_view> kSignals[] = {
      {otlp::Signal::kTraces, "traces"},
      {otlp::Signal::kMetrics, "metrics"},
      {otlp::Signal::kLogs, "logs"}};
  const auto family = [&](std::string_view name, std::string_view help,
                          std::atomic<uint64_t> otlp::SignalCounters::* member) {
    out->Family(name, telemetry::Kind::kCounter, help);
    for (const auto& [signal, label] : kSignals) {
      const auto& value = receiver->counters(signal).*member;
      out->Sample({{"signal", std::string(label)}},
                  static_cast<double>(value.load(std::memory_order_relaxed)));
    }
  };
  family("varve_otlp_requests", "OTLP exports.", &otlp::SignalCounters::requests);
  family("varve_otlp_requests_failed", "OTLP exports of which nothing was stored.",
         &otlp::SignalCounters::requests_failed);
  family("varve_otlp_items_accepted", "Spans, data points and log records stored.",
         &otlp::SignalCounters::accepted);
  family("varve_otlp_items_rejected", "Spans, data points and log records refused.",
         &otlp::SignalCounters::rejected);
  family("varve_otlp_decoded_bytes", "Bytes of OTLP bodies after decompression.",
         &otlp::SignalCounters::bytes);
  if (const tracing::TraceIngest* ingest = context_.ingest.load(std::memory_order_acquire)) {
    out->Counter("varve_spans_ingested", "Spans stored, whatever protocol brought them.",
                 static_cast<double>(ingest->spans()));
    out->Counter("varve_datagrams", "Datagrams of spans received.",
                 static_cast<double>(datagrams_.load(std::memory_order_relaxed)));
    out->Counter("varve_datagrams_failed", "Datagrams that could not be decoded or stored.",
                 static_cast<double>(datagrams_failed_.load(std::memory_order_relaxed)));
    out->Counter("varve_spans_rejected", "Spans refused by the store.",
                 static_cast<double>(ingest->rejected()));
  }
}

}  // namespace varve::api
