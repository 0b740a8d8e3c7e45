#include "tools/loki/loki_server.h"

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "tools/loki/bulk.h"
#include "tools/loki/delete_log.h"
#include "tools/loki/tail.h"

namespace varve::loki {

void AddAllRoutes(Context* context, http::Router* router) {
  AddPushRoutes(context, router);
  AddStatusRoutes(context, router);
  AddDeleteRoutes(context, router);
  AddLabelRoutes(context, router);
  AddVolumeRoutes(context, router);
  AddQueryRoutes(context, router);
  AddFieldRoutes(context, router);
  AddPatternRoutes(context, router);
  AddTailRoute(context, router);
}

LokiServer::LokiServer(const LokiOptions& options, std::shared_ptr<Clock> clock,
                       std::string version, http::Router* router)
    : options_(options), engine_(query::LogEngine::Make(options.engine)) {
  context_.limits = options.limits;
  context_.clock = std::move(clock);
  context_.version = std::move(version);
  context_.engine = engine_.get();
  context_.enable_delete = options.enable_delete;
  tails_ = std::make_unique<TailHub>(options.limits.max_concurrent_tail_requests);
  context_.tails = tails_.get();
  context_.on_append = [this](const LogBatch& batch, const LogAppendResult& result) {
    tails_->Publish(batch, result);
  };
  context_.watched = [this] { return tails_->size() > 0; };
  if (options.limits.per_stream_rate_limit > 0) {
    context_.stream_rates = std::make_unique<StreamRates>(
        options.limits.per_stream_rate_limit, options.limits.per_stream_rate_limit_burst);
  }
  AddAllRoutes(&context_, router);
  AddPortRoutes(&context_, router, nullptr);
  AddBulkRoutes(&context_, router);
  if (!options.listen) return;
  AddAllRoutes(&context_, &own_router_);
  AddPortRoutes(&context_, &own_router_, [this](http::Request& request) {
    const telemetry::Format format = telemetry::NegotiateFormat(request.headers.Joined("Accept"));
    telemetry::Exposition exposition(format);
    WriteMetrics(&exposition);
    telemetry::WriteProcessMetrics(&exposition);
    http::Response response;
    response.headers.Add("Content-Type", telemetry::ContentTypeOf(format));
    response.body = exposition.Finish();
    return response;
  });
  AddBulkRoutes(&context_, &own_router_);
}

LokiServer::~LokiServer() { Close(); }

Status LokiServer::Listen(http::ServerObserver* observer) {
  if (options_.listen) {
    VARVE_ASSIGN_OR_RETURN(http_, http::Server::Start(options_.http, &own_router_, observer));
  }
  if (!options_.syslog.address.empty()) {
    VARVE_ASSIGN_OR_RETURN(syslog_, SyslogServer::Start(options_.syslog, &context_));
  }
  return absl::OkStatus();
}

void LokiServer::Shutdown(std::chrono::milliseconds grace) {
  if (http_ != nullptr) http_->Shutdown(grace);
  http_.reset();
}

Status LokiServer::Open(Database& database) {
  const Status status = options_.delete_log_path.empty()
                            ? absl::OkStatus()
                            : context_.delete_log->Open(options_.delete_log_path);
  context_.database.store(&database, std::memory_order_release);
  return status;
}

void LokiServer::Close() {
  Shutdown(std::chrono::milliseconds(0));
  syslog_.reset();
  context_.database.store(nullptr, std::memory_order_release);
}

std::vector<std::pair<std::string, std::string>> LokiServer::addresses() const {
  std::vector<std::pair<std::string, std::string>> out;
  if (http_ != nullptr) out.emplace_back("loki", http_->address());
  if (syslog_ == nullptr) return out;
  if (syslog_->tcp_port() != 0) {
    out.emplace_back("syslog-tcp", Concat(options_.syslog.address, ":", syslog_->tcp_port()));
  }
  if (syslog_->udp_port() != 0) {
    out.emplace_back("syslog-udp", Concat(options_.syslog.address, ":", syslog_->udp_port()));
  }
  return out;
}

void LokiServer::WriteMetrics(telemetry::Exposition* out) const {
  const PushCounters& counters = context_.counters;
  const auto counter = [&](std::string_view name, std::string_view help,
                           const std::atomic<uint64_t>& value) {
    out->Counter(name, help, static_cast<double>(value.load(std::memory_order_relaxed)));
  };
  counter("varve_log_requests", "Requests that bring log entries.", counters.requests);
  counter("varve_log_requests_failed", "Those answered with an error.", counters.requests_failed);
  counter("varve_log_received_bytes", "Bytes of their bodies as sent.", counters.bytes_received);
  counter("varve_log_decoded_bytes", "Bytes of their bodies after decompression.",
          counters.bytes_decoded);
  counter("varve_log_entries", "Log entries stored.", counters.entries);
  counter("varve_log_line_bytes", "Bytes of their lines.", counters.line_bytes);
  counter("varve_log_entries_discarded", "Log entries refused.", counters.entries_discarded);
  if (tails_ != nullptr) {
    out->Gauge("varve_log_tails", "Tails being served.", static_cast<double>(tails_->size()));
  }
  if (syslog_ != nullptr) {
    out->Counter("varve_syslog_messages", "Syslog messages received.",
                 static_cast<double>(syslog_->messages()));
    out->Counter("varve_syslog_messages_failed", "Syslog messages that were not stored.",
                 static_cast<double>(syslog_->failed()));
  }
}

}  // namespace varve::loki
