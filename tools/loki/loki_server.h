#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tools/loki/api.h"
#include "tools/loki/context.h"
#include "tools/loki/syslog_server.h"
#include "tools/server/http/router.h"
#include "tools/server/http/server.h"
#include "tools/server/telemetry/registry.h"
#include "varve/logql.h"

namespace varve::loki {

struct LokiOptions {
  Limits limits;
  query::LogEngineOptions engine;
  SyslogOptions syslog;
  bool enable_delete = false;
  /// Where the list of deletions is kept; empty: it ends with the process.
  std::string delete_log_path;
  /// Serves the same on an address of its own; by convention the port is 3100.
  bool listen = false;
  http::ServerOptions http;
};

/// Everything of Loki that one server has: routes, tails, syslog. The owner calls Open once the
/// database is there, and Close when no request runs any more.
class LokiServer {
 public:
  /// Adds the routes to `router`, which must not outlive this.
  LokiServer(const LokiOptions& options, std::shared_ptr<Clock> clock, std::string version,
             http::Router* router);
  ~LokiServer();

  /// Begins to listen for syslog and on Loki's own port, where asked for. `observer` may be null
  /// and must outlive this. Errors: of SyslogServer::Start and http::Server::Start.
  Status Listen(http::ServerObserver* observer = nullptr);
  /// Errors: of reading the list of deletions, which is then empty.
  Status Open(Database& database);
  /// Ends what Listen began; see http::Server::Shutdown.
  void Shutdown(std::chrono::milliseconds grace);
  /// Stops receiving; what was received is appended.
  void Close();
  /// Names what is listened on besides HTTP, as name and "host:port".
  std::vector<std::pair<std::string, std::string>> addresses() const;
  void WriteMetrics(telemetry::Exposition* out) const;

  Context& context() { return context_; }
  /// The routes of Loki's own port, for what others add there.
  http::Router* own_router() { return &own_router_; }

 private:
  const LokiOptions options_;
  const std::unique_ptr<query::LogEngine> engine_;
  std::unique_ptr<TailHub> tails_;
  Context context_;
  http::Router own_router_;
  std::unique_ptr<http::Server> http_;
  std::unique_ptr<SyslogServer> syslog_;
};

}  // namespace varve::loki
