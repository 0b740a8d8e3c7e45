#pragma once

#include <atomic>
#include <chrono>
#include <cmath>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "tests/support/memory_snapshot.h"
#include "varve/database.h"
#include "varve/query.h"

namespace varve::testing {

/// Is a Database on plain maps: what handlers need and nothing on disk.
class FakeDatabase final : public Database {
 public:
  Result<AppendResult> Append(const WriteBatch& batch, const WriteOptions&) override {
    const absl::MutexLock lock(&mutex_);
    if (Status status = store_.Append(batch); !status.ok()) return status;
    AppendResult result;
    result.samples = batch.samples().size();
    result.histograms = batch.histograms().size();
    result.refs.assign(batch.series().size(), 0);
    return result;
  }
  Status Sync() override { return absl::OkStatus(); }
  Result<std::shared_ptr<const Snapshot>> TakeSnapshot() const override {
    const absl::MutexLock lock(&mutex_);
    return store_.TakeSnapshot();
  }
  Result<std::unique_ptr<BulkLoader>> StartBulkLoad() override {
    return absl::UnimplementedError("bulk load");
  }
  Status DeleteSeries(std::span<const Matcher> matchers, TimeRange) override {
    const absl::MutexLock lock(&mutex_);
    store_.Delete(matchers);
    return absl::OkStatus();
  }
  Status Flush() override { return absl::OkStatus(); }
  Status Compact() override {
    ++compactions;
    return absl::OkStatus();
  }
  Status Maintain() override { return absl::OkStatus(); }
  Status Backup(const std::string& dir, const BackupOptions& options) override {
    backup_dir = dir;
    backup_options = options;
    return absl::OkStatus();
  }
  Result<std::vector<Status>> Verify() override { return std::vector<Status>(); }
  DatabaseStats Stats() const override {
    DatabaseStats stats;
    stats.head_series = 7;
    stats.head_chunks = 9;
    stats.head_range = {1000, 2000};
    return stats;
  }
  const RecoveryReport& recovery() const override { return recovery_; }
  Status Close() override { return absl::OkStatus(); }

  int compactions = 0;
  std::string backup_dir;
  BackupOptions backup_options;

 private:
  mutable absl::Mutex mutex_;
  MemoryStore store_ ABSL_GUARDED_BY(mutex_);
  RecoveryReport recovery_;
};

/// Answers queries by their name: "scalar", "string", "vector", "matrix", "histogram", "warn",
/// "fail", "full", "late", "parse" (an error with a place), "slow" (until cancelled).
class FakeEngine final : public query::Engine {
 public:
  Result<query::QueryResult> Instant(std::shared_ptr<const Snapshot>, std::string_view text,
                                     int64_t time_ms, const query::QueryOptions& options) override {
    last_time_ms = time_ms;
    last_options = options;
    return Answer(text, time_ms, options);
  }
  Result<query::QueryResult> Range(std::shared_ptr<const Snapshot>, std::string_view text,
                                   const query::QueryRange& range,
                                   const query::QueryOptions& options) override {
    last_range = range;
    last_options = options;
    return Answer(text, range.start_ms, options);
  }
  Result<std::string> Explain(std::string_view, const query::QueryRange&) override {
    return std::string("plan");
  }
  const query::EngineOptions& options() const override { return options_; }

  int64_t last_time_ms = 0;
  query::QueryRange last_range;
  query::QueryOptions last_options;
  std::atomic<int> running{0};
  std::atomic<int> cancelled{0};

 private:
  Result<query::QueryResult> Answer(std::string_view text, int64_t time_ms,
                                    const query::QueryOptions& options) {
    query::QueryResult result;
    result.statistics.total_samples = 5;
    result.statistics.samples_per_step = {{time_ms, 5}};
    if (text == "scalar") {
      result.value = query::Scalar{time_ms, 1e-7};
    } else if (text == "string") {
      result.value = query::StringValue{time_ms, "a\"b"};
    } else if (text == "vector" || text == "warn") {
      query::Vector vector;
      vector.push_back({Labels{{"__name__", "up"}, {"job", "a"}}, time_ms, 1, nullptr});
      vector.push_back({Labels{{"job", "b<c"}}, time_ms, std::nan(""), nullptr});
      result.value = std::move(vector);
      if (text == "warn") {
        for (int i = 0; i < 12; ++i) result.annotations.warnings.push_back("w" + std::to_string(i));
        result.annotations.infos.push_back("an info");
      }
    } else if (text == "matrix" || text == "big") {
      query::Matrix matrix;
      const int series = text == "big" ? 20'000 : 2;
      for (int i = 0; i < series; ++i) {
        query::Series one;
        one.labels = Labels{{"i", std::to_string(i)}};
        one.times_ms = {time_ms, time_ms + 1500};
        one.values = {0.5, 2};
        matrix.push_back(std::move(one));
      }
      result.value = std::move(matrix);
    } else if (text == "histogram") {
      auto histogram = std::make_shared<query::FloatHistogram>();
      histogram->count = 4;
      histogram->sum = 5.5;
      histogram->zero_count = 1;
      histogram->zero_threshold = 0.001;
      histogram->positive_spans = {{0, 2}};
      histogram->positive_counts = {1, 2};
      query::Vector vector;
      vector.push_back({Labels{{"h", "1"}}, time_ms, 0, std::move(histogram)});
      result.value = std::move(vector);
    } else if (text == "fail") {
      return absl::FailedPreconditionError("found duplicate series");
    } else if (text == "full") {
      return absl::ResourceExhaustedError("too many samples");
    } else if (text == "late") {
      return absl::DeadlineExceededError("query timed out in query execution");
    } else if (text == "parse") {
      return TextError({1, 3}, "1:3: parse error: unexpected end of input");
    } else if (text == "slow") {
      running.fetch_add(1);
      while (!options.cancellation->cancelled()) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
      cancelled.fetch_add(1);
      return absl::CancelledError("query was canceled in query execution");
    } else {
      return absl::InternalError("no such fake");
    }
    return result;
  }

  query::EngineOptions options_;
};

}  // namespace varve::testing
