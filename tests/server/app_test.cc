// The whole server in one process: a real store, a fake engine, real sockets.

#include "tools/server/app.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/synchronization/notification.h"
#include "engine/base/strings.h"
#include "gtest/gtest.h"
#include "tests/server/fakes.h"
#include "tools/server/http/client.h"

namespace varve::server {
namespace {

using std::chrono::milliseconds;
using SteadyClock = std::chrono::steady_clock;

class AppTest : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = Concat(::testing::TempDir(), "varve_app_test_", getpid());
    std::filesystem::remove_all(dir_);
    options_.http.port = 0;
    options_.database.dir = dir_;
    options_.scrape_interval = milliseconds(50);
    options_.shutdown_grace = milliseconds(500);
    options_.version = "test";
  }
  void TearDown() override {
    app_.reset();
    std::filesystem::remove_all(dir_);
  }
  void Start(App::OpenDatabase open = Database::Open) {
    auto engine = std::make_unique<testing::FakeEngine>();
    engine_ = engine.get();
    auto app = App::Start(
        options_, std::move(engine), [](LogLevel, std::string_view, const LogFields&) {},
        std::move(open));
    ASSERT_TRUE(app.ok()) << app.status();
    app_ = *std::move(app);
  }
  http::ClientResponse Get(std::string path) {
    http::ClientRequest request;
    request.path = std::move(path);
    auto response = http::Fetch("127.0.0.1", app_->port(), request);
    EXPECT_TRUE(response.ok()) << response.status();
    return response.ok() ? *std::move(response) : http::ClientResponse();
  }
  http::ClientResponse Push(std::string body) {
    http::ClientRequest request;
    request.method = http::Method::kPost;
    request.path = "/api/v1/import/prometheus";
    request.body = std::move(body);
    auto response = http::Fetch("127.0.0.1", app_->port(), request);
    EXPECT_TRUE(response.ok()) << response.status();
    return response.ok() ? *std::move(response) : http::ClientResponse();
  }
  bool Eventually(const std::function<bool()>& condition, milliseconds most) {
    const auto begin = SteadyClock::now();
    while (!condition()) {
      if (SteadyClock::now() - begin > most) return false;
      std::this_thread::sleep_for(milliseconds(5));
    }
    return true;
  }

  std::string dir_;
  AppOptions options_;
  testing::FakeEngine* engine_ = nullptr;
  std::unique_ptr<App> app_;
};

TEST_F(AppTest, ListensBeforeTheStoreIsOpen) {
  absl::Notification go;
  Start([&](const Options& options) {
    go.WaitForNotification();
    return Database::Open(options);
  });
  EXPECT_EQ(Get("/-/healthy").status, 200);
  EXPECT_EQ(Get("/-/ready").status, 503);
  EXPECT_EQ(Get("/api/v1/query?query=scalar").status, 503);
  EXPECT_EQ(Push("a 1\n").status, 503);
  EXPECT_EQ(app_->OpenResult(), std::nullopt);
  go.Notify();
  ASSERT_TRUE(app_->WaitUntilReady().ok());
  EXPECT_EQ(Get("/-/ready").status, 200);
  EXPECT_EQ(Get("/api/v1/query?query=scalar").status, 200);
}

TEST_F(AppTest, SaysWhyTheStoreDoesNotOpen) {
  Start([](const Options&) -> Result<std::unique_ptr<Database>> {
    return absl::FailedPreconditionError("somebody else has it");
  });
  EXPECT_EQ(app_->WaitUntilReady().message(), "somebody else has it");
  EXPECT_EQ(Get("/-/ready").status, 503);
  EXPECT_TRUE(app_->Stop().ok());
}

TEST_F(AppTest, ScrapesItselfAndEndsItsSeries) {
  Start();
  ASSERT_TRUE(app_->WaitUntilReady().ok());
  const auto federated = [&] { return Get("/federate?match[]={job=\"varve\"}").body; };
  ASSERT_TRUE(Eventually(
      [&] { return federated().find("\nvarve_http_requests_total{") != std::string::npos; },
      milliseconds(5000)))
      << federated();
  const std::string text = federated();
  const std::string instance = Concat("instance=\"", app_->address(), "\"");
  for (const std::string_view metric : {"up", "scrape_duration_seconds", "scrape_samples_scraped",
                                        "varve_head_series", "process_resident_memory_bytes"}) {
    EXPECT_NE(text.find(Concat("\n", metric, "{", instance, ",job=\"varve\"} ")), std::string::npos)
        << metric << "\n"
        << text;
  }
  // Both are told after the fact: a scrape when it is stored, a request when it is answered.
  const auto tells = [&](const std::string& path, std::string_view text) {
    return Eventually([&] { return Get(path).body.find(text) != std::string::npos; },
                      milliseconds(5000));
  };
  EXPECT_TRUE(tells("/api/v1/targets", R"("health":"up")"));
  EXPECT_TRUE(tells("/metrics",
                    R"(varve_http_requests_total{handler="/federate",method="GET",code="200"})"));
  // Its metadata, if a selector fits the target.
  for (const auto& [selector, fits] : std::vector<std::pair<std::string_view, bool>>{
           {"", true},
           {"{job=%22varve%22}", true},
           {"{job=~%22v.*%22,instance!~%22x|y%22}", true},
           {"{job=%22other%22}", false},
           {"{job!=%22varve%22}", false},
           {"{instance=~%22127.0.0.1%22}", false},
           {"{job=%22varve%22,zone=%22a%22}", false}}) {
    const std::string body =
        Get(Concat("/api/v1/targets/metadata?metric=varve_ready&match_target=", selector)).body;
    EXPECT_EQ(body.find(R"("metric":"varve_ready","type":"gauge")") != std::string::npos, fits)
        << selector << body;
  }
  EXPECT_EQ(Get("/api/v1/targets/metadata?match_target={").status, 400);
  EXPECT_FALSE(app_->quit_asked());
  ASSERT_TRUE(app_->Stop().ok());
  // What was scraped is stored, and ends in stale markers.
  app_.reset();
  options_.scrape_interval = milliseconds(0);
  Start();
  ASSERT_TRUE(app_->WaitUntilReady().ok());
  EXPECT_NE(Get("/api/v1/series?match[]=up").body.find(R"("job":"varve")"), std::string::npos);
  EXPECT_EQ(Get("/federate?match[]=up").body, "");
}

TEST_F(AppTest, ClientsMayAskForTheEndIfThatIsEnabled) {
  options_.enable_lifecycle = true;
  Start();
  http::ClientRequest request;
  request.method = http::Method::kPost;
  request.path = "/-/quit";
  const auto response = http::Fetch("127.0.0.1", app_->port(), request);
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->body, "Requesting termination... Goodbye!");
  EXPECT_TRUE(app_->quit_asked());
}

TEST_F(AppTest, WhatWasAcknowledgedIsThereAfterAStop) {
  options_.scrape_interval = milliseconds(0);
  Start();
  ASSERT_TRUE(app_->WaitUntilReady().ok());
  std::atomic<bool> stop{false};
  std::atomic<int> acknowledged{0};
  std::thread writer([&] {
    for (int i = 0; !stop; ++i) {
      http::ClientRequest request;
      request.method = http::Method::kPost;
      request.path = "/api/v1/import/prometheus";
      request.body = Concat("ledger{i=\"", i, "\"} 1\n");
      const auto response = http::Fetch("127.0.0.1", app_->port(), request);
      if (!response.ok() || response->status != 204) break;
      acknowledged = i + 1;
    }
  });
  ASSERT_TRUE(Eventually([&] { return acknowledged.load() > 20; }, milliseconds(10'000)));
  const Status closed = app_->Stop();
  stop = true;
  writer.join();
  ASSERT_TRUE(closed.ok()) << closed;
  app_.reset();
  Start();
  ASSERT_TRUE(app_->WaitUntilReady().ok());
  const std::string values = Get("/api/v1/label/i/values").body;
  for (int i = 0; i < acknowledged; ++i) {
    ASSERT_NE(values.find(Concat("\"", i, "\"")), std::string::npos) << i << " of " << acknowledged;
  }
}

TEST_F(AppTest, DisconnectCancelsTheQuery) {
  Start();
  ASSERT_TRUE(app_->WaitUntilReady().ok());
  // The best of some tries: on a busy machine any single one may wait for the processor.
  auto fastest = SteadyClock::duration::max();
  for (int i = 0; i < 10 && fastest >= milliseconds(200); ++i) {
    const int cancelled = engine_->cancelled.load();
    {
      auto connection = http::RawConnection::Connect("127.0.0.1", app_->port(), milliseconds(5000));
      ASSERT_TRUE(connection.ok());
      ASSERT_TRUE(
          connection->Send("GET /api/v1/query?query=slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
              .ok());
      ASSERT_TRUE(Eventually([&] { return engine_->running.load() == cancelled + 1; },
                             milliseconds(10'000)));
    }
    const auto gone = SteadyClock::now();
    ASSERT_TRUE(Eventually([&] { return engine_->cancelled.load() == cancelled + 1; },
                           milliseconds(10'000)));
    fastest = std::min(fastest, SteadyClock::now() - gone);
  }
  EXPECT_LT(fastest, milliseconds(200));
}

TEST_F(AppTest, StopCancelsQueriesAfterTheGrace) {
  Start();
  ASSERT_TRUE(app_->WaitUntilReady().ok());
  auto connection = http::RawConnection::Connect("127.0.0.1", app_->port(), milliseconds(5000));
  ASSERT_TRUE(connection.ok());
  ASSERT_TRUE(
      connection->Send("GET /api/v1/query?query=slow HTTP/1.1\r\nHost: localhost\r\n\r\n").ok());
  ASSERT_TRUE(Eventually([&] { return engine_->running.load() == 1; }, milliseconds(10'000)));
  std::thread stopper([&] { EXPECT_TRUE(app_->Stop().ok()); });
  const auto response = connection->ReadResponse();
  stopper.join();
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->status, 499);
}

}  // namespace
}  // namespace varve::server
