#pragma once

#include <chrono>
#include <cstdint>
#include <memory>

#include "query/exec/context.h"
#include "varve/traceql.h"

namespace varve::query {

/// What one trace query may use and what it has used. Its counters belong to the query's own
/// thread; Poll, Take and Give are for all that it is lent (threads()).
class QueryContext {
 public:
  /// `threads` are lent to scans; null: none.
  QueryContext(const TraceEngineOptions& options, const TraceQueryOptions& query,
               ScanThreads* threads)
      : options_(options),
        threads_(threads),
        budget_(UINT64_MAX / 2, options.memory_bytes_max),
        cancellation_(query.cancellation),
        begin_(std::chrono::steady_clock::now()) {
    const auto timeout = query.timeout.value_or(options.timeout);
    has_deadline_ = timeout.count() > 0;
    deadline_ = begin_ + timeout;
  }

  /// Polls for cancellation and the deadline; at least once a batch and a trace.
  Status Poll() const {
    if (cancellation_ != nullptr && cancellation_->cancelled()) {
      return MakeStatus(StatusCode::kCancelled, "the query was cancelled");
    }
    if (has_deadline_ && std::chrono::steady_clock::now() >= deadline_) {
      return MakeStatus(StatusCode::kDeadlineExceeded, "the query timed out");
    }
    return absl::OkStatus();
  }
  Status Take(uint64_t bytes) { return budget_.Take(0, bytes); }
  void Give(uint64_t bytes) { budget_.Give(0, bytes); }
  Budget& budget() { return budget_; }
  const TraceEngineOptions& options() const { return options_; }
  ScanThreads* threads() const { return threads_; }
  std::chrono::nanoseconds elapsed() const { return std::chrono::steady_clock::now() - begin_; }

  SpanScanStats scan;
  uint64_t traces_inspected = 0;
  uint64_t spans_inspected = 0;

 private:
  const TraceEngineOptions& options_;
  ScanThreads* const threads_;
  Budget budget_;
  std::shared_ptr<const Cancellation> cancellation_;
  std::chrono::steady_clock::time_point begin_;
  bool has_deadline_ = false;
  std::chrono::steady_clock::time_point deadline_;
};

/// Holds memory of a query's budget as long as it lives.
class Charge {
 public:
  explicit Charge(QueryContext& context) : context_(context) {}
  ~Charge() { context_.Give(bytes_); }
  Charge(const Charge&) = delete;
  Charge& operator=(const Charge&) = delete;
  Status Add(uint64_t bytes) {
    bytes_ += bytes;
    return context_.Take(bytes);
  }

 private:
  QueryContext& context_;
  uint64_t bytes_ = 0;
};

}  // namespace varve::query
