#include "tools/server/app.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "query/lang/promql/literals.h"
#include "tools/ingest/import.h"
#include "tools/server/api/context.h"
#include "tools/server/api/export_api.h"
#include "tools/server/api/remote_read.h"
#include "tools/server/telemetry/registry.h"

namespace varve::server {
namespace {

using SteadyClock = std::chrono::steady_clock;

/// Keeps the metrics of HTTP traffic.
class Traffic final : public http::ServerObserver {
 public:
  void OnRequest(std::string_view route, http::Method method, int status,
                 std::chrono::nanoseconds elapsed, size_t bytes_in, size_t bytes_out) override {
    requests_.With({route, http::ToString(method), std::to_string(status)}).Add();
    durations_.With({route}).Observe(std::chrono::duration<double>(elapsed).count());
    bytes_in_.Add(bytes_in);
    bytes_out_.Add(bytes_out);
  }
  void OnConnections(int64_t change) override { connections_.Add(change); }
  void OnInFlight(int64_t change) override { in_flight_.Add(change); }

  void Write(telemetry::Exposition* out) const {
    using telemetry::Kind;
    out->Family("varve_http_requests", Kind::kCounter, "HTTP requests answered.");
    requests_.ForEach([&](const telemetry::LabelList& labels, const telemetry::Counter& counter) {
      out->Sample(labels, static_cast<double>(counter.value()));
    });
    out->Family("varve_http_request_duration_seconds", Kind::kHistogram,
                "Time from the end of the request head to the end of the answer.");
    durations_.ForEach(
        [&](const telemetry::LabelList& labels, const telemetry::DurationHistogram& histogram) {
          histogram.Write(labels, out);
        });
    out->Counter("varve_http_received_bytes", "Bytes of request heads and bodies.",
                 static_cast<double>(bytes_in_.value()));
    out->Counter("varve_http_sent_bytes", "Bytes of response bodies, the first 64 KiB of streams.",
                 static_cast<double>(bytes_out_.value()));
    out->Gauge("varve_http_connections", "Open connections.",
               static_cast<double>(connections_.value()));
    out->Gauge("varve_http_requests_in_flight", "Requests being handled.",
               static_cast<double>(in_flight_.value()));
  }

 private:
  telemetry::Family<telemetry::Counter> requests_{{"handler", "method", "code"}};
  telemetry::Family<telemetry::DurationHistogram> durations_{{"handler"}};
  telemetry::Counter bytes_in_;
  telemetry::Counter bytes_out_;
  telemetry::Gauge connections_;
  telemetry::Gauge in_flight_;
};

double AsDouble(uint64_t value) { return static_cast<double>(value); }

void WriteDatabaseMetrics(const Database& database, telemetry::Exposition* out) {
  const DatabaseStats stats = database.Stats();
  const RecoveryReport& recovery = database.recovery();
  out->Gauge("varve_head_series", "Series in the head.", AsDouble(stats.head_series));
  out->Gauge("varve_head_samples", "Samples in the head.", AsDouble(stats.head_samples));
  out->Gauge("varve_head_chunks", "Chunks in the head.", AsDouble(stats.head_chunks));
  out->Gauge("varve_head_bytes", "Memory of the head.", AsDouble(stats.head_bytes));
  if (stats.head_range.min_ms <= stats.head_range.max_ms) {
    out->Gauge("varve_head_min_time_seconds", "Oldest sample of the head, Unix time.",
               static_cast<double>(stats.head_range.min_ms) / 1000);
    out->Gauge("varve_head_max_time_seconds", "Newest sample of the head, Unix time.",
               static_cast<double>(stats.head_range.max_ms) / 1000);
  }
  out->Counter("varve_samples_appended", "Samples accepted.", AsDouble(stats.samples_appended));
  out->Counter("varve_samples_rejected", "Samples refused.", AsDouble(stats.samples_rejected));
  out->Counter("varve_series_created", "Series that entered the head.",
               AsDouble(stats.series_created));
  out->Gauge("varve_exemplars", "Exemplars kept.", AsDouble(stats.exemplars));
  out->Gauge("varve_wal_bytes", "Size of the write-ahead log.", AsDouble(stats.wal_bytes));
  out->Counter("varve_wal_syncs", "Syncs of the write-ahead log.", AsDouble(stats.wal_syncs));
  out->Counter("varve_wal_appends", "Batches written to the write-ahead log.",
               AsDouble(stats.wal_appends));
  out->Counter("varve_seals", "Heads sealed into blocks.", AsDouble(stats.seals));
  out->Counter("varve_compactions", "Block merges.", AsDouble(stats.compactions));
  out->Counter("varve_compaction_failures", "Block merges that failed.",
               AsDouble(stats.compaction_failures));
  out->Counter("varve_blocks_expired", "Blocks removed by retention.",
               AsDouble(stats.blocks_expired));
  out->Gauge("varve_tombstones", "Deletions not yet compacted away.", AsDouble(stats.tombstones));
  out->Gauge("varve_disk_bytes", "Bytes on disk.", AsDouble(stats.disk_bytes));
  out->Gauge("varve_blocks", "Blocks on disk.", AsDouble(stats.blocks.size()));
  uint64_t samples = 0;
  uint64_t bytes = 0;
  for (const BlockStats& block : stats.blocks) {
    samples += block.samples;
    bytes += block.bytes;
  }
  out->Gauge("varve_block_samples", "Samples in blocks.", AsDouble(samples));
  out->Gauge("varve_block_bytes", "Bytes of blocks.", AsDouble(bytes));
  out->Gauge("varve_read_only", "1 after a failed sync, until reopened.", stats.read_only ? 1 : 0);
  out->Gauge("varve_background_error", "1 while background work fails.",
             stats.background_error.ok() ? 0 : 1);
  out->Gauge("varve_recovery_damage", "Damaged places found when opening.",
             AsDouble(recovery.damage.size()));
  out->Gauge("varve_recovery_quarantined_files", "Files set aside when opening.",
             AsDouble(recovery.quarantined.size()));
  out->Gauge("varve_recovery_wal_tail_cut_bytes", "Torn tail cut off when opening.",
             AsDouble(recovery.wal_tail_bytes_cut));
  out->Gauge("varve_recovery_duration_seconds", "Time that opening took.",
             std::chrono::duration<double>(recovery.elapsed).count());
}

void WriteIngestMetrics(const ingest::IngestContext& ingest, telemetry::Exposition* out) {
  const ingest::IngestCounters& counters = ingest.counters();
  const auto counter = [&](std::string_view name, std::string_view help,
                           const std::atomic<uint64_t>& value) {
    out->Counter(name, help, AsDouble(value.load(std::memory_order_relaxed)));
  };
  counter("varve_ingest_requests", "Ingest requests.", counters.requests);
  counter("varve_ingest_requests_failed", "Ingest requests answered with an error.",
          counters.requests_failed);
  counter("varve_ingest_received_bytes", "Bytes of ingest bodies as sent.",
          counters.bytes_received);
  counter("varve_ingest_decoded_bytes", "Bytes of ingest bodies after decompression.",
          counters.bytes_decoded);
  counter("varve_ingest_samples", "Float samples ingested.", counters.samples);
  counter("varve_ingest_histograms", "Native histogram samples ingested.", counters.histograms);
  counter("varve_ingest_exemplars", "Exemplars ingested.", counters.exemplars);
  counter("varve_ingest_exemplars_rejected", "Exemplars refused.", counters.exemplars_rejected);
  counter("varve_ingest_rows_rejected", "Samples and histograms that the store refused.",
          counters.rows_rejected);
  counter("varve_ingest_series_invalid", "Series refused for their labels.",
          counters.series_invalid_labels);
}

class AppImpl final : public App {
 public:
  AppImpl(const AppOptions& options, std::unique_ptr<query::Engine> engine, LogSink log,
          OpenDatabase open)
      : options_(options),
        engine_(std::move(engine)),
        log_(std::move(log)),
        open_(std::move(open)) {
    context_.engine = engine_.get();
    if (options.database.clock != nullptr) context_.clock = options.database.clock;
    context_.start_time_ms = context_.clock->NowMs();
    context_.version = options.version;
    context_.data_dir = options.database.dir;
    context_.flags = options.flags;
    context_.enable_admin_api = options.enable_admin_api;
    context_.enable_remote_write = options.enable_remote_write;
    if (options.enable_lifecycle) context_.quit = [this] { quit_asked_ = true; };
    context_.scrape_interval = options.scrape_interval;
    context_.retention_text = RetentionText();
    context_.write_metrics = [this](telemetry::Exposition* out) { WriteMetrics(out); };
    api::AddAllRoutes(&context_, &router_);
    api::AddRemoteReadRoute(&context_, &router_);
    api::AddExportRoutes(&context_, &router_);
    loki::LokiOptions loki = options.loki;
    loki.delete_log_path = Concat(options.database.dir, "/loki_deletions");
    loki_ = std::make_unique<loki::LokiServer>(loki, context_.clock, options.version, &router_);
    api::TraceOptions traces = options.traces;
    traces.open_archive = [this](bool create) { return OpenArchive(create); };
    traces.append_logs = [this](const LogBatch& batch) { return AppendLogs(batch); };
    traces_ = std::make_unique<api::TraceServer>(traces, &context_, &router_);
    api::AddLokiOtlpRoute(&traces_->context(), loki_->own_router());
    context_.backup_beside = [this](const std::string& dir, const BackupOptions& backup) {
      return traces_->archive().Backup(ArchiveIn(dir), backup);
    };
  }
  ~AppImpl() override { Stop().IgnoreError(); }

  Status Listen() {
    VARVE_ASSIGN_OR_RETURN(http_, http::Server::Start(options_.http, &router_, &traffic_));
    port_ = http_->port();
    context_.address = http_->address();
    VARVE_RETURN_IF_ERROR(loki_->Listen(&traffic_));
    for (const AppOptions::Alias& alias : options_.aliases) {
      http::ServerOptions http = options_.http;
      http.address = alias.address;
      http.port = alias.port;
      http.lane_threads = {1, std::min<size_t>(8, http.lane_threads[1]),
                           std::min<size_t>(4, http.lane_threads[2])};
      VARVE_ASSIGN_OR_RETURN(aliases_.emplace_back(),
                             http::Server::Start(http, &router_, &traffic_));
    }
    VARVE_RETURN_IF_ERROR(traces_->Listen());
    opener_ = std::thread([this] { Open(); });
    return absl::OkStatus();
  }

  bool quit_asked() const override { return quit_asked_; }
  Status WaitUntilReady() override {
    opened_.WaitForNotification();
    return open_status_;
  }
  std::optional<Status> OpenResult() const override {
    if (!opened_.HasBeenNotified()) return std::nullopt;
    return open_status_;
  }
  uint16_t port() const override { return port_; }
  std::string address() const override { return context_.address; }
  std::vector<std::pair<std::string, std::string>> other_addresses() const override {
    auto addresses = traces_->addresses();
    for (auto& address : loki_->addresses()) addresses.push_back(std::move(address));
    for (size_t i = 0; i < aliases_.size(); ++i) {
      addresses.emplace_back(options_.aliases[i].name, aliases_[i]->address());
    }
    return addresses;
  }

  Status Stop() override {
    if (http_ == nullptr || stopped_) return absl::OkStatus();
    stopped_ = true;
    // Replay cannot be interrupted, only awaited; nothing is lost either way.
    if (opener_.joinable()) opener_.join();  // not when a second port could not be bound
    http_->Shutdown(options_.shutdown_grace);
    loki_->Shutdown(options_.shutdown_grace);
    for (const auto& alias : aliases_) alias->Shutdown(options_.shutdown_grace);
    traces_->Shutdown(options_.shutdown_grace);
    {
      const std::lock_guard<std::mutex> lock(stop_mutex_);
      stop_ = true;
    }
    stop_condition_.notify_all();
    if (scraper_.joinable()) scraper_.join();
    http_.reset();
    loki_->Close();
    aliases_.clear();
    traces_->Close();
    context_.ingest = nullptr;
    context_.database = nullptr;
    ingest_.reset();
    if (database_ == nullptr) return absl::OkStatus();
    const Status status = database_->Close();
    database_.reset();
    return status;
  }

 private:
  /// Stores log entries that came by OTLP, under the rules of those that come by Loki's protocol.
  Result<otlp::LogOutcome> AppendLogs(const LogBatch& batch) {
    const loki::AppendOutcome outcome = loki::AppendDecoded(loki_->context(), *database_, batch);
    if (outcome.status == 429 && outcome.accepted == 0) {
      return MakeStatus(StatusCode::kResourceExhausted, outcome.error);
    }
    if (outcome.status >= 500) return MakeStatus(StatusCode::kUnavailable, outcome.error);
    return otlp::LogOutcome{outcome.accepted, outcome.rejected, outcome.error};
  }

  std::string RetentionText() const {
    const int64_t time_ms = options_.database.retention_time.count();
    const uint64_t bytes = options_.database.retention_bytes;
    std::string text;
    if (time_ms > 0) text = promql::FormatDurationMs(time_ms);
    if (bytes > 0) text += Concat(text.empty() ? "" : " or ", bytes, "B");
    return text.empty() ? "unlimited" : text;
  }

  static std::string ArchiveIn(const std::string& dir) { return Concat(dir, "/archive"); }

  // The archive is a database in the database's directory that forgets nothing. Its logs are short,
  // since they are replayed when a trace is first looked for.
  Result<std::unique_ptr<Database>> OpenArchive(bool create) {
    Options archive;
    archive.dir = ArchiveIn(options_.database.dir);
    archive.create_if_missing = create;
    archive.limits = options_.database.limits;
    archive.head_bytes_max = archive.wal_bytes_max = 64u << 20;
    archive.background_threads = 0;
    archive.file_system = options_.database.file_system;
    archive.clock = options_.database.clock;
    return open_(archive);
  }

  void Open() {
    auto database = open_(options_.database);
    if (!database.ok()) {
      open_status_ = database.status();
      opened_.Notify();
      return;
    }
    database_ = *std::move(database);
    const RecoveryReport& report = database_->recovery();
    for (const Status& damage : report.damage) {
      log_(LogLevel::kWarning, "damage found when opening",
           {{"error", std::string(ToStd(damage.message()))}});
    }
    for (const std::string& file : report.quarantined) {
      log_(LogLevel::kWarning, "file set aside when opening", {{"file", file}});
    }
    ingest_ = std::make_unique<ingest::IngestContext>(*database_, options_.ingest, context_.clock);
    context_.ingest.store(ingest_.get(), std::memory_order_release);
    context_.database.store(database_.get(), std::memory_order_release);
    if (const Status status = loki_->Open(*database_); !status.ok()) {
      log_(LogLevel::kWarning, "the list of deleted logs is lost",
           {{"error", std::string(ToStd(status.message()))}});
    }
    traces_->Open(*database_);
    log_(LogLevel::kInfo, "ready",
         {{"wal_records", std::to_string(report.wal_records)},
          {"wal_samples", std::to_string(report.wal_samples)},
          {"wal_tail_bytes_cut", std::to_string(report.wal_tail_bytes_cut)},
          {"open_seconds", std::to_string(std::chrono::duration<double>(report.elapsed).count())}});
    scraper_ = std::thread([this] { Watch(); });
    opened_.Notify();
  }

  void WriteMetrics(telemetry::Exposition* out) {
    out->Family("varve_build", telemetry::Kind::kInfo, "The running program.");
    out->Sample({{"version", options_.version}}, 1);
    out->Gauge("varve_ready", "1 once the database is open.",
               context_.database.load() != nullptr ? 1 : 0);
    traffic_.Write(out);
    out->Family("varve_queries", telemetry::Kind::kCounter, "Queries by outcome.");
    context_.queries.ForEach(
        [&](const telemetry::LabelList& labels, const telemetry::Counter& counter) {
          out->Sample(labels, AsDouble(counter.value()));
        });
    out->Counter("varve_query_samples", "Samples that queries covered.",
                 AsDouble(context_.query_samples.value()));
    const query::ResultCacheStats cache = engine_->result_cache_stats();
    out->Counter("varve_query_result_cache_hits",
                 "Range queries of which the result cache had some steps.", AsDouble(cache.hits));
    out->Counter("varve_query_result_cache_misses", "Range queries of which it had none.",
                 AsDouble(cache.misses));
    out->Counter("varve_query_result_cache_evictions", "Answers dropped for lack of room.",
                 AsDouble(cache.evictions));
    out->Gauge("varve_query_result_cache_entries", "Answers kept.", AsDouble(cache.entries));
    out->Gauge("varve_query_result_cache_bytes", "Memory of answers kept.", AsDouble(cache.bytes));
    if (const Database* database = context_.database.load(std::memory_order_acquire)) {
      WriteDatabaseMetrics(*database, out);
    }
    if (const auto* ingest = context_.ingest.load(std::memory_order_acquire)) {
      WriteIngestMetrics(*ingest, out);
    }
    loki_->WriteMetrics(out);
    traces_->WriteMetrics(out);
    telemetry::WriteProcessMetrics(out);
  }

  // Scrapes ourselves and reports trouble of background work, until Stop.
  void Watch() {
    const bool scrape = options_.scrape_interval.count() > 0;
    ingest::ScrapeTarget target(*ingest_, Labels{{"job", "varve"}, {"instance", context_.address}});
    const auto period =
        scrape ? options_.scrape_interval : std::chrono::milliseconds(std::chrono::seconds(15));
    Status last_trouble;
    bool first = true;
    auto next = SteadyClock::now();
    while (true) {
      {
        std::unique_lock<std::mutex> lock(stop_mutex_);
        if (stop_condition_.wait_until(lock, next, [this] { return stop_; })) break;
      }
      next += period;
      // After a suspended machine wakes up, one scrape is enough.
      next = std::max(next, SteadyClock::now());
      const Status trouble = database_->Stats().background_error;
      if (!trouble.ok() && trouble != last_trouble) {
        log_(LogLevel::kError, "background work fails",
             {{"error", std::string(ToStd(trouble.message()))}});
      } else if (trouble.ok() && !last_trouble.ok()) {
        log_(LogLevel::kInfo, "background work has recovered", {});
      }
      last_trouble = trouble;
      if (scrape) {
        Scrape(&target, first);
        first = false;
      }
    }
    if (scrape && !first) target.AppendEnd(context_.clock->NowMs()).IgnoreError();
  }

  void Scrape(ingest::ScrapeTarget* target, bool first) {
    api::ScrapeState state;
    state.time_ms = context_.clock->NowMs();
    const auto begin = SteadyClock::now();
    telemetry::Exposition exposition(telemetry::Format::kText);
    WriteMetrics(&exposition);
    const std::string body = exposition.Finish();
    state.duration = SteadyClock::now() - begin;
    const Status status = target->Append(state.time_ms, state.duration,
                                         telemetry::ContentTypeOf(telemetry::Format::kText), body);
    if (!status.ok()) {
      state.error = ToStd(status.message());
      if (first || context_.GetScrapeState().error.empty()) {
        log_(LogLevel::kWarning, "storing our own metrics fails", {{"error", state.error}});
      }
    }
    context_.SetScrapeState(std::move(state));
  }

  const AppOptions options_;
  std::atomic<bool> quit_asked_{false};
  const std::unique_ptr<query::Engine> engine_;
  const LogSink log_;
  const OpenDatabase open_;
  Traffic traffic_;
  api::Context context_;
  http::Router router_;
  std::unique_ptr<loki::LokiServer> loki_;
  std::unique_ptr<api::TraceServer> traces_;
  std::unique_ptr<http::Server> http_;
  uint16_t port_ = 0;
  std::vector<std::unique_ptr<http::Server>> aliases_;
  std::unique_ptr<Database> database_;
  std::unique_ptr<ingest::IngestContext> ingest_;
  std::thread opener_;
  Status open_status_;  // written before opened_ is notified
  absl::Notification opened_;
  std::thread scraper_;
  std::mutex stop_mutex_;
  std::condition_variable stop_condition_;
  bool stop_ = false;  // guarded by stop_mutex_
  bool stopped_ = false;
};

}  // namespace

Result<std::unique_ptr<App>> App::Start(const AppOptions& options,
                                        std::unique_ptr<query::Engine> engine, LogSink log,
                                        OpenDatabase open) {
  auto app = std::make_unique<AppImpl>(options, std::move(engine), std::move(log), std::move(open));
  VARVE_RETURN_IF_ERROR(app->Listen());
  return std::unique_ptr<App>(std::move(app));
}

}  // namespace varve::server
