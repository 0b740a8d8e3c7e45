#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "engine/base/strings.h"
#include "tools/ingest/import_command.h"
#include "tools/promqltest/command.h"
#include "tools/server/api/parameters.h"
#include "tools/server/app.h"
#include "tools/varve/commands.h"
#include "tools/varve/log_commands.h"
#include "tools/varve/loki_flags.h"
#include "tools/varve/query_command.h"
#include "tools/varve/trace_command.h"
#include "tools/varve/trace_flags.h"

namespace varve::cli {
namespace {

using std::chrono::milliseconds;

// Gives CLI11 a check that says why a text is not a duration or size.
CLI::Validator Duration(bool zero_allowed) {
  return CLI::Validator(
      [zero_allowed](std::string& text) {
        const Result<milliseconds> value = api::ParseDuration(text);
        if (!value.ok()) return std::string(ToStd(value.status().message()));
        if (value->count() < 0 || (value->count() == 0 && !zero_allowed)) {
          return std::string("must be positive");
        }
        return std::string();
      },
      "DURATION");
}
CLI::Validator Size() {
  return CLI::Validator(
      [](std::string& text) {
        const Result<uint64_t> value = ParseSize(text);
        return value.ok() ? std::string() : std::string(ToStd(value.status().message()));
      },
      "SIZE");
}
CLI::Validator HostPort() {
  return CLI::Validator(
      [](std::string& text) {
        const Result<ListenAddress> value = ParseListenAddress(text);
        return value.ok() ? std::string() : std::string(ToStd(value.status().message()));
      },
      "HOST:PORT");
}

milliseconds DurationOf(const std::string& text) { return *api::ParseDuration(text); }
uint64_t SizeOf(const std::string& text) { return *ParseSize(text); }

// The text forms of everything that `serve` takes; converted once parsing has succeeded.
struct ServeFlags {
  std::string data;
  std::string http = "127.0.0.1:9090";
  std::string retention_time = "0s";
  std::string retention_size = "0";
  std::string out_of_order_window = "30m";
  std::string durability = "durable";
  std::string query_timeout = "2m";
  std::string lookback_delta = "5m";
  std::string query_memory = "4GB";
  std::string query_cache = "64MB";
  uint64_t query_max_samples = 50'000'000;
  size_t query_max_concurrency = 20;
  uint32_t query_threads = 0;
  std::vector<std::string> features;
  bool admin_api = false;
  bool lifecycle = false;
  bool remote_write = true;
  bool insecure_listen = false;
  std::vector<std::string> allowed_hosts;
  size_t max_connections = 512;
  std::string header_timeout = "5s";
  std::string body_timeout = "30s";
  std::string idle_timeout = "2m";
  std::string body_max = "64MB";
  std::string decoded_max = "32MB";
  std::string head_max = "512MB";
  std::string wal_max = "1GB";
  size_t io_threads = 1;
  size_t write_threads = 16;
  std::string scrape_interval = "15s";
  std::string shutdown_grace = "20s";
};

void AddServeOptions(CLI::App* serve, ServeFlags* flags) {
  serve->add_option("--data,--storage.tsdb.path", flags->data, "Directory of the store")
      ->required();
  serve->add_option("--http,--web.listen-address", flags->http, "Address to listen on")
      ->check(HostPort())
      ->capture_default_str();
  serve->add_flag("--insecure-listen", flags->insecure_listen,
                  "Listen on an address that other machines reach, without TLS or authentication");
  serve->add_option("--web.allowed-host", flags->allowed_hosts,
                    "Name accepted in Host headers besides loopback names and IP addresses; "
                    "repeatable; * accepts any");

  serve
      ->add_option("--retention-time,--storage.tsdb.retention.time", flags->retention_time,
                   "Age at which blocks go; 0 keeps them")
      ->check(Duration(true))
      ->capture_default_str()
      ->group("Storage");
  serve
      ->add_option("--retention-size,--storage.tsdb.retention.size", flags->retention_size,
                   "Disk use at which the oldest blocks go; 0 is unbounded")
      ->check(Size())
      ->capture_default_str()
      ->group("Storage");
  serve
      ->add_option("--out-of-order-window,--storage.tsdb.out-of-order-time-window",
                   flags->out_of_order_window, "How late a sample may come")
      ->check(Duration(true))
      ->capture_default_str()
      ->group("Storage");
  serve
      ->add_option("--durability", flags->durability,
                   "What an acknowledged write survives: durable (power loss) or process-crash "
                   "(kill -9; power loss costs up to a second)")
      ->check(CLI::IsMember({"durable", "process-crash"}))
      ->capture_default_str()
      ->group("Storage");
  serve->add_option("--storage.head-size", flags->head_max, "Memory at which the head is sealed")
      ->check(Size())
      ->capture_default_str()
      ->group("Storage");
  serve->add_option("--storage.wal-size", flags->wal_max, "WAL size at which the head is sealed")
      ->check(Size())
      ->capture_default_str()
      ->group("Storage");

  serve->add_option("--query.timeout", flags->query_timeout, "Longest time for one query")
      ->check(Duration(false))
      ->capture_default_str()
      ->group("Queries");
  serve
      ->add_option("--query.lookback-delta", flags->lookback_delta,
                   "How far a selector looks back for a sample")
      ->check(Duration(false))
      ->capture_default_str()
      ->group("Queries");
  serve
      ->add_option("--query.max-samples", flags->query_max_samples,
                   "Samples that one query may hold at once")
      ->check(CLI::PositiveNumber)
      ->capture_default_str()
      ->group("Queries");
  serve->add_option("--query.max-memory", flags->query_memory, "Memory that one query may hold")
      ->check(Size())
      ->capture_default_str()
      ->group("Queries");
  serve
      ->add_option("--query.cache-size", flags->query_cache,
                   "Memory for answers that late data cannot change any more; 0 is none")
      ->check(Size())
      ->capture_default_str()
      ->group("Queries");
  serve
      ->add_option("--query.max-concurrency", flags->query_max_concurrency,
                   "Queries that run at once")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str()
      ->group("Queries");
  serve
      ->add_option("--query.threads", flags->query_threads,
                   "Threads that queries share; 0 is one per core")
      ->capture_default_str()
      ->group("Queries");
  serve
      ->add_option("--enable-feature", flags->features,
                   "promql-delayed-name-removal, use-start-timestamps, type-and-unit-labels")
      ->delimiter(',')
      ->check(CLI::IsMember(
          {"promql-delayed-name-removal", "use-start-timestamps", "type-and-unit-labels"}))
      ->group("Queries");

  serve
      ->add_flag("--web.enable-lifecycle", flags->lifecycle,
                 "Serve /-/quit, which ends the program, and /-/reload")
      ->group("HTTP");
  serve
      ->add_flag("--web.enable-admin-api", flags->admin_api,
                 "Serve /api/v1/admin/tsdb: snapshots and deletion")
      ->group("HTTP");
  serve
      ->add_flag("--web.enable-remote-write-receiver,!--no-remote-write", flags->remote_write,
                 "Serve /api/v1/write (on by default)")
      ->group("HTTP");
  serve->add_option("--web.max-connections", flags->max_connections, "Connections open at once")
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str()
      ->group("HTTP");
  serve
      ->add_option("--web.header-timeout", flags->header_timeout, "Longest time for a request head")
      ->check(Duration(false))
      ->capture_default_str()
      ->group("HTTP");
  serve
      ->add_option("--web.body-timeout", flags->body_timeout,
                   "Longest time without progress in a request body")
      ->check(Duration(false))
      ->capture_default_str()
      ->group("HTTP");
  serve
      ->add_option("--web.idle-timeout,--web.read-timeout", flags->idle_timeout,
                   "Longest time between requests of a connection")
      ->check(Duration(false))
      ->capture_default_str()
      ->group("HTTP");
  serve->add_option("--web.max-body", flags->body_max, "Largest request body as sent")
      ->check(Size())
      ->capture_default_str()
      ->group("HTTP");
  serve
      ->add_option("--web.max-decoded-body", flags->decoded_max,
                   "Largest request body after decompression")
      ->check(Size())
      ->capture_default_str()
      ->group("HTTP");
  serve->add_option("--web.io-threads", flags->io_threads, "Threads that move bytes")
      ->check(CLI::Range(1, 64))
      ->capture_default_str()
      ->group("HTTP");
  serve
      ->add_option("--web.write-threads", flags->write_threads,
                   "Writes at once; more of them share a sync")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str()
      ->group("HTTP");

  serve
      ->add_option("--scrape-interval", flags->scrape_interval,
                   "How often the server stores its own metrics; 0 is never")
      ->check(Duration(true))
      ->capture_default_str();
  serve
      ->add_option("--shutdown-grace", flags->shutdown_grace,
                   "How long running requests may take after SIGTERM")
      ->check(Duration(true))
      ->capture_default_str();
}

void AddQueryOptions(CLI::App* query, QueryCommand* command, bool* json) {
  query->add_option("--lang", command->language, "promql, logql or traceql")
      ->check(CLI::IsMember({"promql", "logql", "traceql"}))
      ->capture_default_str();
  query->add_option("--limit", command->limit,
                    "Most lines of a log query (1000), traces of a search (20)");
  query->add_flag("--forward", command->forward, "Oldest lines first");
  query
      ->add_option(
          "--output", command->output,
          "table, csv, or the JSON of the language's HTTP API; log lines also as raw or jsonl")
      ->check(CLI::IsMember({"table", "csv", "json", "raw", "jsonl"}))
      ->capture_default_str();
  query->add_flag("--json", *json, "The same as --output json");
  auto* data = query->add_option("--data", command->data, "Directory of the store");
  query->add_option("--url", command->url, "Ask a server instead: http://HOST:PORT")
      ->excludes(data);
  query->add_option("expression", command->expression, "PromQL, LogQL or TraceQL")->required();
  query->add_option("--time", command->time,
                    "When: Unix seconds, RFC 3339, now, or -1h for an hour ago (default now)");
  query->add_option("--start", command->start, "First step of a range query (default -1h)");
  query->add_option("--end", command->end, "Last step of a range query (default now)");
  query->add_option("--step", command->step, "Distance of steps, for example 30s");
  query->add_flag("--explain", command->explain, "Print the plan instead of running it");
  query->add_flag("--analyze", command->analyze, "Also print what each operator did");
}

server::AppOptions AppOptionsOf(const ServeFlags& flags, const CLI::App& serve) {
  server::AppOptions out;
  const ListenAddress address = *ParseListenAddress(flags.http);
  out.http.address = address.host;
  out.http.port = address.port;
  out.http.insecure_listen = flags.insecure_listen;
  out.http.allowed_hosts = flags.allowed_hosts;
  out.http.connections_max = flags.max_connections;
  out.http.body_bytes_max = SizeOf(flags.body_max);
  out.http.header_timeout = DurationOf(flags.header_timeout);
  out.http.body_stall_timeout = DurationOf(flags.body_timeout);
  out.http.idle_timeout = DurationOf(flags.idle_timeout);
  out.http.io_threads = flags.io_threads;
  out.http.lane_threads = {2, flags.write_threads, flags.query_max_concurrency};
  out.database.dir = flags.data;
  out.database.durability =
      flags.durability == "durable" ? Durability::kDurable : Durability::kProcessCrash;
  out.database.out_of_order_window = DurationOf(flags.out_of_order_window);
  out.database.retention_time = DurationOf(flags.retention_time);
  out.database.retention_bytes = SizeOf(flags.retention_size);
  out.database.head_bytes_max = SizeOf(flags.head_max);
  out.database.wal_bytes_max = SizeOf(flags.wal_max);
  out.ingest.decoded_bytes_max = SizeOf(flags.decoded_max);
  out.enable_admin_api = flags.admin_api;
  out.enable_lifecycle = flags.lifecycle;
  out.enable_remote_write = flags.remote_write;
  out.scrape_interval = DurationOf(flags.scrape_interval);
  out.shutdown_grace = DurationOf(flags.shutdown_grace);
  out.version = VARVE_VERSION;
  for (const CLI::Option* option : serve.get_options()) {
    const std::string& name = option->get_lnames().front();
    if (name == "help") continue;
    std::string value =
        option->count() > 0 ? CLI::detail::join(option->results(), ",") : option->get_default_str();
    if (option->get_expected_max() == 0 && value.empty()) value = "false";
    if (name == "web.enable-remote-write-receiver") value = flags.remote_write ? "true" : "false";
    out.flags.emplace_back(name, value);
  }
  return out;
}

query::EngineOptions EngineOptionsOf(const ServeFlags& flags) {
  query::EngineOptions out;
  out.timeout = DurationOf(flags.query_timeout);
  out.lookback_delta = DurationOf(flags.lookback_delta);
  out.max_samples = flags.query_max_samples;
  out.memory_bytes_max = SizeOf(flags.query_memory);
  out.result_cache_bytes = SizeOf(flags.query_cache);
  out.threads = flags.query_threads;
  for (const std::string& feature : flags.features) {
    if (feature == "promql-delayed-name-removal") out.delayed_name_removal = true;
    if (feature == "use-start-timestamps") out.use_start_timestamps = true;
    if (feature == "type-and-unit-labels") out.type_and_unit_labels = true;
  }
  return out;
}

int Main(int argc, char** argv) {
  // Stores hold what people measure: nobody else on this machine reads them.
  umask(0077);
  // promqltest reads its own arguments.
  if (argc >= 2 && std::string_view(argv[1]) == "promqltest") {
    return promqltest::RunPromqlTest(argc - 1, argv + 1);
  }

  CLI::App app("Varve: an observability store in one directory.", "varve");
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("varve ") + VARVE_VERSION);
  app.footer("Exit codes: 0 done, 1 failed, 2 wrong usage, 3 damage found (verify).");

  ServeFlags serve_flags;
  CLI::App* serve = app.add_subcommand("serve", "Serve a store over HTTP");
  AddServeOptions(serve, &serve_flags);
  LokiFlags loki_flags;
  loki_flags.AddTo(serve);
  TraceFlags trace_flags;
  trace_flags.AddTo(serve);

  QueryCommand query_command;
  CLI::App* query = app.add_subcommand("query", "Evaluate a PromQL, LogQL or TraceQL expression");
  bool query_json = false;
  AddQueryOptions(query, &query_command, &query_json);

  ShellCommand shell_command;
  CLI::App* shell = app.add_subcommand("shell", "Ask interactively, or run a script from stdin");
  shell->add_option("target", shell_command.target, "Directory of a store, or http://HOST:PORT")
      ->required();

  ingest::ImportCommand import_command;
  CLI::App* import = app.add_subcommand("import", "Load data into a store");
  import->require_subcommand(1);
  const auto add_import = [&](const char* name, const char* help, ingest::ImportKind kind) {
    CLI::App* sub = import->add_subcommand(name, help);
    sub->add_option("--data", import_command.database.dir, "Directory of the store")->required();
    sub->add_option("path", import_command.path, "What to import")->required();
    sub->add_flag("--json", import_command.json, "Print a machine-readable summary");
    sub->callback([&import_command, kind] { import_command.kind = kind; });
  };
  add_import("series", "NDJSON, one series a line, plain or zstd", ingest::ImportKind::kSeries);
  add_import("prometheus", "A Prometheus data directory or block", ingest::ImportKind::kPrometheus);
  ImportLogsCommand import_logs;
  CLI::App* logs = import->add_subcommand("logs", "Files of log lines, plain, gzip or zstd");
  import_logs.AddTo(logs);

  TailCommand tail_command;
  CLI::App* tail = app.add_subcommand("tail", "Show log entries as they come");
  tail_command.AddTo(tail);

  ImportTracesCommand import_traces;
  CLI::App* import_traces_app = import->add_subcommand(
      "traces",
      "OTLP (JSON, JSON lines, protobuf), Jaeger's JSON, Zipkin's JSON; plain, gzip, zstd");
  import_traces_app->add_option("--data", import_traces.database.dir, "Directory of the store")
      ->required();
  import_traces_app->add_option("files", import_traces.files, "Files to import")->required();
  import_traces_app->add_flag("--json", import_traces.json, "Print a machine-readable summary");

  TraceCommand trace_command;
  CLI::App* trace = app.add_subcommand("trace", "Draw a trace as a waterfall");
  trace->add_option("id", trace_command.id, "Trace id, in hex")->required();
  CLI::Option* trace_data = trace->add_option("--data", trace_command.data, "Directory of a store");
  trace->add_option("--url", trace_command.url, "A server instead, http://HOST:PORT")
      ->excludes(trace_data);
  trace->add_flag("--json", trace_command.json, "Print OTLP JSON");
  trace->add_flag("--logs", trace_command.logs, "Print the trace's log entries, too");
  trace->add_option("--limit", trace_command.limit, "Spans drawn")->capture_default_str();

  StoreCommand store_command;
  std::string backup_to;
  const auto add_store = [&](const char* name, const char* help) {
    CLI::App* sub = app.add_subcommand(name, help);
    sub->add_option("--data", store_command.database.dir, "Directory of the store")->required();
    sub->add_flag("--json", store_command.json, "Print machine-readable results");
    return sub;
  };
  CLI::App* compact = add_store("compact", "Seal the head, merge blocks, drop deleted data");
  CLI::App* inspect = add_store("inspect", "Show what a store holds, by section and codec");
  CLI::App* verify = add_store("verify", "Read every byte and check what can be checked");
  CLI::App* backup = add_store("backup", "Write a consistent copy");
  backup->add_option("to", backup_to, "Directory to make")->required();

  BenchCommand bench_command;
  CLI::App* bench = app.add_subcommand("bench", "Measure appends, compaction and queries here");
  bench->add_option("--series", bench_command.series)
      ->check(CLI::Range(1, 10'000'000))
      ->capture_default_str();
  bench->add_option("--samples", bench_command.samples, "Of each series")
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str();
  bench->add_option("--batch", bench_command.batch_series, "Series in one append")
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str();
  bench->add_option("--threads", bench_command.threads)
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  bench->add_flag("!--process-crash", bench_command.durable,
                  "Do not wait for the disk before acknowledging");
  bench->add_option("--data", bench_command.dir, "Keep the store here (must be empty or new)");
  bench->add_flag("--json", bench_command.json, "Print machine-readable results");

  app.add_subcommand("promqltest", "Run scripts in Prometheus's test language");
  CLI::App* version = app.add_subcommand("version", "Print the version");

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // Asking for help is no mistake.
    return app.exit(error) == 0 ? kOk : kUsage;
  }

  if (*version) {
    std::cout << "varve " << VARVE_VERSION << "\n";
    return kOk;
  }
  if (*serve) {
    server::AppOptions options = AppOptionsOf(serve_flags, *serve);
    loki_flags.Apply(&options);
    trace_flags.Apply(&options);
    return server::Serve(options, query::Engine::Make(EngineOptionsOf(serve_flags)));
  }
  if (*shell) return RunShell(shell_command);
  if (*query) {
    if (query_command.data.empty() && query_command.url.empty()) {
      std::cerr << "varve: query needs --data or --url\n";
      return kUsage;
    }
    if (query_json) query_command.output = "json";
    const std::string& output = query_command.output;
    if ((output == "raw" || output == "jsonl") && query_command.language != "logql") {
      std::cerr << "varve: --output " << output << " is not for " << query_command.language << "\n";
      return kUsage;
    }
    return RunQuery(query_command);
  }
  if (*logs) return RunImportLogs(import_logs);
  if (*tail) return RunTail(tail_command);
  if (*import_traces_app) return RunImportTraces(import_traces);
  if (*trace) {
    if (trace_command.data.empty() && trace_command.url.empty()) {
      std::cerr << "varve: trace needs --data or --url\n";
      return kUsage;
    }
    return RunTrace(trace_command);
  }
  if (*import) {
    import_command.progress = !import_command.json && isatty(STDERR_FILENO) != 0;
    return ingest::RunImportCommand(import_command, std::cout, std::cerr);
  }
  if (*compact) return RunCompact(store_command);
  if (*inspect) return RunInspect(store_command);
  if (*verify) return RunVerify(store_command);
  if (*backup) return RunBackup(store_command, backup_to);
  if (*bench) return RunBench(bench_command);
  return kUsage;
}

}  // namespace
}  // namespace varve::cli

int main(int argc, char** argv) {
  // Debian builds abseil with the deadlock detector of debug builds, which follows every lock: an
  // eighth of the CPU time of ingest.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  try {
    return varve::cli::Main(argc, argv);
  } catch (const std::exception& error) {
    // Out of memory, in the main.
    std::cerr << "varve: " << error.what() << "\n";
    return varve::cli::kFailed;
  }
}
