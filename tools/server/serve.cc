#include <signal.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <time.h>

#include <thread>

#include "engine/base/strings.h"
#include "tools/server/app.h"

namespace varve::server {
namespace {

// logfmt: bare where nothing needs quotes.
std::string LogValue(std::string_view value) {
  const bool bare = !value.empty() &&
                    value.find_first_of(" \"=\\\t\n\r") == std::string_view::npos &&
                    IsValidUtf8(value);
  return bare ? std::string(value) : GoQuote(value);
}

}  // namespace

int Serve(const AppOptions& options, std::unique_ptr<query::Engine> engine) {
  // Threads made from here on inherit the mask, so that only sigtimedwait below sees these.
  sigset_t stop_signals;
  sigemptyset(&stop_signals);
  sigaddset(&stop_signals, SIGTERM);
  sigaddset(&stop_signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &stop_signals, nullptr);
  signal(SIGPIPE, SIG_IGN);

  const auto logger = spdlog::stderr_logger_mt("varve");
  logger->set_pattern("ts=%Y-%m-%dT%H:%M:%S.%eZ level=%l %v", spdlog::pattern_time_type::utc);
  logger->flush_on(spdlog::level::info);
  const LogSink log = [&](LogLevel level, std::string_view message, const LogFields& fields) {
    std::string line = Concat("msg=", LogValue(message));
    for (const auto& [name, value] : fields) line += Concat(" ", name, "=", LogValue(value));
    logger->log(level == LogLevel::kInfo      ? spdlog::level::info
                : level == LogLevel::kWarning ? spdlog::level::warn
                                              : spdlog::level::err,
                "{}", line);
  };

  auto started = App::Start(options, std::move(engine), log);
  if (!started.ok()) {
    log(LogLevel::kError, "cannot start",
        {{"error", std::string(ToStd(started.status().message()))}});
    return 1;
  }
  const std::unique_ptr<App> app = *std::move(started);
  log(LogLevel::kInfo, "listening",
      {{"address", app->address()}, {"data", options.database.dir}, {"version", options.version}});
  for (const auto& [name, address] : app->other_addresses()) {
    log(LogLevel::kInfo, "listening", {{"protocol", name}, {"address", address}});
  }

  int exit_code = 0;
  while (true) {
    const timespec tick{0, 200'000'000};
    const int caught = sigtimedwait(&stop_signals, nullptr, &tick);
    if (caught > 0) {
      log(LogLevel::kInfo, "stopping", {{"signal", caught == SIGTERM ? "SIGTERM" : "SIGINT"}});
      break;
    }
    if (app->quit_asked()) {
      log(LogLevel::kInfo, "stopping", {{"asked", "by /-/quit"}});
      break;
    }
    if (const auto opened = app->OpenResult(); opened.has_value() && !opened->ok()) {
      log(LogLevel::kError, "cannot open the database",
          {{"error", std::string(ToStd(opened->message()))}});
      exit_code = 1;
      break;
    }
  }
  // From here on a second signal ends the process: everything acknowledged is durable already.
  pthread_sigmask(SIG_UNBLOCK, &stop_signals, nullptr);
  if (const Status status = app->Stop(); !status.ok()) {
    log(LogLevel::kError, "closing failed", {{"error", std::string(ToStd(status.message()))}});
    exit_code = 1;
  }
  log(LogLevel::kInfo, "stopped", {});
  spdlog::drop("varve");
  return exit_code;
}

}  // namespace varve::server
