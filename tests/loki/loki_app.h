#pragma once

#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/clock.h"
#include "engine/base/strings.h"
#include "gtest/gtest.h"
#include "tools/loki/loki_server.h"
#include "tools/server/http/client.h"
#include "tools/server/http/server.h"
#include "tools/server/http/url.h"
#include "tools/server/json/writer.h"

namespace varve::loki {

/// All of Loki's side on a store of its own, its clock standing still, behind real sockets.
class LokiAppTest : public ::testing::Test {
 protected:
  static constexpr int64_t kNowMs = 1'795'800'000'000;  // 2026-11-27T17:20:00Z
  static constexpr int64_t kNowNs = kNowMs * 1'000'000;

  void SetUp() override {
    const auto* const info = ::testing::UnitTest::GetInstance()->current_test_info();
    dir_ = Concat(::testing::TempDir(), "varve_loki_", info->name(), "_", getpid());
    std::filesystem::remove_all(dir_);
    http_options_.port = 0;
    database_options_.dir = dir_;
    database_options_.background_threads = 0;
    options_.enable_delete = true;
    options_.delete_log_path = dir_ + "/loki_deletions";
  }
  void TearDown() override {
    Stop();
    std::filesystem::remove_all(dir_);
  }
  void Start() {
    router_ = std::make_unique<http::Router>();
    loki_ = std::make_unique<LokiServer>(options_, clock_, "test", router_.get());
    auto http = http::Server::Start(http_options_, router_.get(), nullptr);
    ASSERT_TRUE(http.ok()) << http.status();
    http_ = *std::move(http);
    auto database = Database::Open(database_options_);
    ASSERT_TRUE(database.ok()) << database.status();
    database_ = *std::move(database);
    EXPECT_TRUE(loki_->Open(*database_).ok());
  }
  void Stop() {
    if (http_ == nullptr) return;
    http_->Shutdown(std::chrono::milliseconds(500));
    http_.reset();
    loki_->Close();
    loki_.reset();
    EXPECT_TRUE(database_->Close().ok());
    database_.reset();
  }

  http::ClientResponse Send(http::Method method, std::string path, std::string body,
                            const std::vector<std::pair<std::string, std::string>>& headers = {}) {
    http::ClientRequest request;
    request.method = method;
    request.path = std::move(path);
    request.body = std::move(body);
    for (const auto& [name, value] : headers) request.headers.Add(name, value);
    auto response = http::Fetch("127.0.0.1", http_->port(), request, std::chrono::seconds(120));
    EXPECT_TRUE(response.ok()) << response.status();
    return response.ok() ? *std::move(response) : http::ClientResponse();
  }
  http::ClientResponse Get(std::string path,
                           const std::vector<std::pair<std::string, std::string>>& headers = {}) {
    return Send(http::Method::kGet, std::move(path), "", headers);
  }
  http::ClientResponse Push(std::string json) {
    return Send(http::Method::kPost, "/loki/api/v1/push", std::move(json),
                {{"Content-Type", "application/json"}});
  }
  static std::string Query(std::string_view text) {
    return Concat("query=", http::PercentEncode(text));
  }
  /// One JSON body of one stream: lines a second apart, the last one now.
  static std::string Body(std::string_view labels, const std::vector<std::string>& lines) {
    std::string out = Concat("{\"streams\":[{\"stream\":", labels, ",\"values\":[");
    for (size_t i = 0; i < lines.size(); ++i) {
      const int64_t time = kNowNs - static_cast<int64_t>(lines.size() - 1 - i) * 1'000'000'000;
      out += Concat(i > 0 ? "," : "", "[\"", time, "\",");
      json::AppendString(lines[i], &out);
      out += "]";
    }
    return out + "]}]}";
  }
  /// Everything stored, one entry a line: labels, seconds from now, line, metadata.
  std::string Stored() {
    std::string out;
    const auto snapshot = database_->TakeLogSnapshot();
    EXPECT_TRUE(snapshot.ok()) << snapshot.status();
    const auto scan = CompileLogScan({});
    const auto streams = (*snapshot)->Select({}, {});
    EXPECT_TRUE(streams.ok()) << streams.status();
    std::vector<LogChunk> chunks;
    std::vector<LabelView> labels;
    LogRows rows;
    LogScanStats stats;
    for (size_t i = 0; i < (*streams)->size(); ++i) {
      (*streams)->GetLabels(i, &labels);
      EXPECT_TRUE((*streams)->GetChunks(i, {}, &chunks).ok());
      for (const LogChunk& chunk : chunks) {
        EXPECT_TRUE(chunk.Read(**scan, &rows, &stats).ok());
        for (size_t r = 0; r < rows.size(); ++r) {
          out +=
              Concat(ToString(LabelsView(labels)), " ", (rows.times_ns[r] - kNowNs) / 1'000'000'000,
                     " ", rows.lines[r], " ", ToString(rows.metadata_of(r)), "\n");
        }
      }
    }
    return out;
  }

  std::string dir_;
  std::shared_ptr<Clock> clock_ = std::make_shared<ManualClock>(kNowMs);
  LokiOptions options_;
  http::ServerOptions http_options_;
  Options database_options_;
  std::unique_ptr<http::Router> router_;
  std::unique_ptr<LokiServer> loki_;
  std::unique_ptr<http::Server> http_;
  std::unique_ptr<Database> database_;
};

}  // namespace varve::loki
