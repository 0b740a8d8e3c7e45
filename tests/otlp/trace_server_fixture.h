#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/base/clock.h"
#include "engine/base/strings.h"
#include "engine/io/memory_file_system.h"
#include "tools/ingest/context.h"
#include "tools/server/api/context.h"
#include "tools/server/http/message.h"
#include "tools/server/http/router.h"
#include "tools/server/http/url.h"
#include "tools/server/traces/trace_common.h"
#include "tools/server/traces/trace_server.h"
#include "varve/database.h"
#include "varve/query.h"

/// What the tests of the trace APIs share.
namespace varve::api {

inline Options StoreOptions(std::shared_ptr<io::FileSystem> fs) {
  Options options;
  options.dir = "db";
  options.file_system = std::move(fs);
  options.background_threads = 0;
  return options;
}

/// A server without sockets: requests go straight to the handlers.
class Server {
 public:
  explicit Server(TraceOptions options = Defaults()) : options_(options) { Open(); }
  ~Server() { Close(); }
  static TraceOptions Defaults() {
    TraceOptions options;
    options.span_metrics_interval = std::chrono::milliseconds(0);
    return options;
  }

  void Open() {
    Options store = StoreOptions(fs_);
    store.clock = clock_;
    store.trace_retention_time = retention_;
    auto opened = Database::Open(store);
    ASSERT_TRUE(opened.ok()) << opened.status();
    database_ = *std::move(opened);
    ingest_ = std::make_unique<ingest::IngestContext>(*database_, ingest::IngestOptions());
    context_ = std::make_unique<Context>();
    context_->engine = engine_.get();
    context_->clock = clock_;
    router_ = std::make_unique<http::Router>();
    TraceOptions options = options_;
    options.open_archive = [this](bool create) {
      Options archive = StoreOptions(fs_);
      archive.dir = "db/archive";
      archive.create_if_missing = create;
      return Database::Open(archive);
    };
    traces_ = std::make_unique<TraceServer>(options, context_.get(), router_.get());
    context_->ingest = ingest_.get();
    context_->database = database_.get();
    traces_->Open(*database_);
  }
  void Close() {
    if (traces_ == nullptr) return;
    traces_->Close();
    traces_.reset();
    router_.reset();
    context_.reset();
    ingest_.reset();
    database_->Close().IgnoreError();  // a test may have closed it
    database_.reset();
  }
  void Restart() {
    Close();
    Open();
  }

  http::Response Call(http::Method method, std::string_view target, std::string body = {},
                      std::vector<std::pair<std::string, std::string>> headers = {}) {
    http::Request request;
    request.method = method;
    request.target = target;
    auto parsed = http::ParseTarget(request.target, {});
    EXPECT_TRUE(parsed.ok()) << target;
    EXPECT_TRUE(http::ParseForm(parsed->query, {}, &request.params).ok());
    request.segments = parsed->segments;
    request.body = std::move(body);
    for (const auto& [name, value] : headers) request.headers.Add(name, value);
    http::Router::Match match = router_->Find(method, request.segments);
    if (match.route == nullptr) {
      return http::Response::Text(match.allowed == 0 ? 404 : 405, "no route");
    }
    request.path_params = std::move(match.path_params);
    http::Response response = match.route->handler(request);
    // Small pieces, so that every border of the writers is crossed somewhere.
    while (response.source != nullptr) {
      const Result<bool> more = response.source->Next(257, &response.body);
      EXPECT_TRUE(more.ok()) << more.status();
      if (!more.ok() || !*more) response.source.reset();
    }
    return response;
  }
  http::Response Get(std::string_view target,
                     std::vector<std::pair<std::string, std::string>> headers = {}) {
    return Call(http::Method::kGet, target, {}, std::move(headers));
  }
  http::Response Post(std::string_view target, std::string body, std::string type,
                      std::vector<std::pair<std::string, std::string>> headers = {}) {
    headers.emplace_back("Content-Type", std::move(type));
    return Call(http::Method::kPost, target, std::move(body), std::move(headers));
  }

  Database& database() { return *database_; }
  TraceContext& context() { return traces_->context(); }
  /// For tests that put sockets in front.
  TraceServer& traces() { return *traces_; }
  const http::Router& router() const { return *router_; }
  /// Holds from the next restart on.
  void SetRetention(std::chrono::milliseconds retention) { retention_ = retention; }
  /// Stands still unless it is set.
  ManualClock& clock() { return *clock_; }

 private:
  const TraceOptions options_;
  const std::shared_ptr<ManualClock> clock_ = std::make_shared<ManualClock>(Clock::Real()->NowMs());
  const std::unique_ptr<query::Engine> engine_ = query::Engine::Make({});
  std::chrono::milliseconds retention_{0};
  std::shared_ptr<io::FileSystem> fs_ = std::make_shared<io::MemoryFileSystem>();
  std::unique_ptr<Database> database_;
  std::unique_ptr<ingest::IngestContext> ingest_;
  std::unique_ptr<Context> context_;
  std::unique_ptr<http::Router> router_;
  std::unique_ptr<TraceServer> traces_;
};

inline constexpr char kJson[] = "application/json";
inline constexpr char kProtobuf[] = "application/x-protobuf";

inline std::string OneSpan(std::string_view trace, std::string_view span,
                           std::string_view service = "shop", std::string_view parent = "") {
  return Concat(
      R"({"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":")",
      service, R"("}}]},"scopeSpans":[{"scope":{},"spans":[{"traceId":")", trace, R"(","spanId":")",
      span, "\",", parent.empty() ? "" : Concat("\"parentSpanId\":\"", parent, "\","),
      R"("name":"op","kind":2,"startTimeUnixNano":"1700000000000000000","endTimeUnixNano":"1700000000250000000","status":{}}]}]}]})");
}
inline constexpr std::string_view kTrace = "5b8efff798038103d269b633813fc60c";

}  // namespace varve::api
