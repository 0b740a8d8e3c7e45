#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tools/ingest/context.h"
#include "tools/loki/loki_server.h"
#include "tools/server/http/server.h"
#include "tools/server/traces/trace_server.h"
#include "varve/database.h"
#include "varve/query.h"

namespace varve::server {

struct AppOptions {
  http::ServerOptions http;
  /// More addresses that answer as `http` does: the conventional ports of protocols.
  struct Alias {
    std::string name;
    std::string address = "127.0.0.1";
    uint16_t port = 0;
  };
  std::vector<Alias> aliases;
  Options database;
  api::TraceOptions traces;
  ingest::IngestOptions ingest;
  loki::LokiOptions loki;
  bool enable_admin_api = false;
  bool enable_remote_write = true;
  /// Lets a request ask the program to end; see App::quit_asked.
  bool enable_lifecycle = false;
  /// How often the server stores its own metrics. 0: never.
  std::chrono::milliseconds scrape_interval{15'000};
  /// How long running requests may take once asked to stop; see http::Server::Shutdown.
  std::chrono::milliseconds shutdown_grace{20'000};
  std::string version;
  /// What /api/v1/status/flags shows.
  std::vector<std::pair<std::string, std::string>> flags;
};

/// What the app has to say, as a message and key-value pairs, for a log.
enum class LogLevel : uint8_t { kInfo, kWarning, kError };
using LogFields = std::vector<std::pair<std::string, std::string>>;
using LogSink = std::function<void(LogLevel, std::string_view message, const LogFields& fields)>;

/// The whole server in one object: listens at once, opens the database in the background, answers
/// 503 until that is done, scrapes itself.
class App {
 public:
  using OpenDatabase = std::function<Result<std::unique_ptr<Database>>(const Options&)>;

  /// Starts listening. `log` is called from many threads. Errors: those of http::Server::Start.
  static Result<std::unique_ptr<App>> Start(const AppOptions& options,
                                            std::unique_ptr<query::Engine> engine, LogSink log,
                                            OpenDatabase open = Database::Open);
  /// Stops if that has not happened.
  virtual ~App() = default;

  /// Waits until the database is open. Returns why it could not be.
  virtual Status WaitUntilReady() = 0;
  /// Returns what opening the database came to, or nothing while it is under way.
  virtual std::optional<Status> OpenResult() const = 0;
  /// Tells that a client asked for the end (/-/quit); Stop is the owner's to call.
  virtual bool quit_asked() const = 0;
  /// Where it listens, or did before Stop.
  virtual uint16_t port() const = 0;
  virtual std::string address() const = 0;
  /// Names what else is listened on, as name and "host:port".
  virtual std::vector<std::pair<std::string, std::string>> other_addresses() const = 0;

  /// Finishes running requests, ends the self-scrape, closes the database. Everything that was
  /// acknowledged is stored when it returns. Errors: of Database::Close.
  virtual Status Stop() = 0;
};

/// Runs an App until SIGTERM or SIGINT; logs to stderr in logfmt. A second signal ends
/// the process at once, which costs nothing that was acknowledged. Returns the exit code of the
/// program: 0 after a clean stop, 1 when it could not listen, open or close.
int Serve(const AppOptions& options, std::unique_ptr<query::Engine> engine);

}  // namespace varve::server
