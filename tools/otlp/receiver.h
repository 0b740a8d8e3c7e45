#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "tools/otlp/logs.h"
#include "tools/otlp/metrics.h"
#include "varve/database.h"

namespace varve {
class Clock;
}

namespace varve::otlp {

enum class Signal : uint8_t { kTraces, kMetrics, kLogs };
enum class BodyFormat : uint8_t { kProtobuf, kJson };

/// What became of an export.
struct ExportResult {
  Status status;           // not OK: nothing was stored
  bool retryable = false;  // of a status that is not OK: the same request may succeed later
  uint64_t rejected = 0;   // items that were not stored
  std::string message;     // why, or a warning
};

/// Counts of one signal. Monotone.
struct SignalCounters {
  std::atomic<uint64_t> requests{0};
  std::atomic<uint64_t> requests_failed{0};
  std::atomic<uint64_t> accepted{0};  // spans, data points, log records
  std::atomic<uint64_t> rejected{0};
  std::atomic<uint64_t> bytes{0};  // decoded
};

/// What became of a batch of log entries.
struct LogOutcome {
  uint64_t accepted = 0;
  uint64_t rejected = 0;
  std::string message;  // why some were
};

struct ReceiverOptions {
  MetricOptions metrics;
  /// How far ahead of the clock a data point may be.
  int64_t future_ms_max = 10 * 60 * 1000;
  /// See LogOptions.
  std::function<std::string_view(LabelsView, LabelsView, std::string_view)> detect_level;
  /// Stores spans; null: Database::AppendSpans.
  std::function<Result<SpanAppendResult>(const SpanBatch&)> append_spans;
  /// Stores log entries, or refuses some by rules of its own; null: Database::AppendLogs.
  std::function<Result<LogOutcome>(const LogBatch&)> append_logs;
};

/// Takes OTLP exports of all three signals, whatever transport brought them. Thread-safe.
/// What cannot be stored for its own fault (ids, labels, times) is rejected and reported, the rest
/// stored; a request is durable when its result is OK.
class Receiver {
 public:
  /// `database` must outlive it; `clock` null: the real one.
  Receiver(Database& database, ReceiverOptions options, std::shared_ptr<Clock> clock = nullptr);

  /// `body` is decompressed already.
  ExportResult Export(Signal signal, BodyFormat format, std::string_view body);

  const SignalCounters& counters(Signal signal) const {
    return counters_[static_cast<size_t>(signal)];
  }

 private:
  ExportResult ExportTraces(std::string_view wire);
  ExportResult ExportMetrics(std::string_view wire);
  ExportResult ExportLogs(std::string_view wire);
  Result<LogOutcome> AppendLogs(const LogBatch& batch);

  Database& database_;
  const ReceiverOptions options_;
  const std::shared_ptr<Clock> clock_;
  DeltaStreams deltas_;
  SignalCounters counters_[3];
};

/// Tells whether the sender should try again after an error of the store: a full disk, a store
/// that cannot write now.
bool IsRetryable(const Status& status);

// --- Bodies of answers ---

/// Export*ServiceResponse: with a partial success if something was rejected or there is a warning.
/// JSON names the count by the signal: rejectedSpans, rejectedDataPoints, rejectedLogRecords.
std::string ResponseBody(Signal signal, BodyFormat format, uint64_t rejected,
                         std::string_view message);
/// google.rpc.Status. `retry_after_s` > 0 adds a google.rpc.RetryInfo detail (protobuf only).
std::string StatusBody(BodyFormat format, int code, std::string_view message,
                       int retry_after_s = 0);

}  // namespace varve::otlp
