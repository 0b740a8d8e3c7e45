#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "engine/base/clock.h"
#include "tools/loki/limits.h"
#include "tools/loki/log_intake.h"
#include "tools/loki/stream_rates.h"
#include "tools/server/http/router.h"
#include "varve/database.h"

namespace varve::query {
class LogEngine;
}

namespace varve::loki {

class DeleteLog;
class TailHub;

/// What has come in, by any protocol. Monotone.
struct PushCounters {
  std::atomic<uint64_t> requests{0};
  std::atomic<uint64_t> requests_failed{0};  // answered with status >= 400
  std::atomic<uint64_t> bytes_received{0};   // as they came over the wire
  std::atomic<uint64_t> bytes_decoded{0};
  std::atomic<uint64_t> entries{0};
  std::atomic<uint64_t> line_bytes{0};
  std::atomic<uint64_t> entries_discarded{0};
};

/// Buffers that one request needs and the next can use again.
struct PushScratch {
  explicit PushScratch(const Limits* limits) : intake(limits) {}
  std::string decoded;
  LogBatch batch;
  LogIntake intake;
};

/// What the handlers share. Thread-safe once the routes are in use, members as they say.
struct Context {
  // --- Set before the first request, then constant ---

  Limits limits;
  std::shared_ptr<Clock> clock = Clock::Real();
  std::string version;  // Varve's own
  /// Unset: what the database was opened with.
  std::optional<Durability> durability;
  query::LogEngine* engine = nullptr;  // null: no queries
  TailHub* tails = nullptr;            // null: no tails
  bool enable_delete = false;
  std::shared_ptr<DeleteLog> delete_log;      // shared by all routers; made with the first
  std::unique_ptr<StreamRates> stream_rates;  // null: unbounded
  /// Hears of what was acknowledged, on the thread that appended it.
  std::function<void(const LogBatch&, const LogAppendResult&)> on_append;
  /// Tells whether that has use for each rejection just now. Null: it has not.
  std::function<bool()> watched;

  // --- Appears when the database is open ---

  std::atomic<Database*> database{nullptr};

  PushCounters counters;

  /// Makes a scratch ready for another batch.
  void Reset(PushScratch* scratch) const;

  int64_t NowNs() const { return clock->NowMs() * 1'000'000; }

  /// Lends a scratch for one request, for as long as the loan lives.
  class Loan {
   public:
    explicit Loan(Context& context);
    ~Loan();
    Loan(const Loan&) = delete;
    Loan& operator=(const Loan&) = delete;
    PushScratch* operator->() const { return scratch_.get(); }
    PushScratch& operator*() const { return *scratch_; }

   private:
    Context& context_;
    std::unique_ptr<PushScratch> scratch_;
  };

  /// Takes `bytes` from the budget of ingestion_rate_mb; false: over it, nothing taken.
  bool TakeRate(uint64_t bytes);

  absl::Mutex mutex;
  std::vector<std::unique_ptr<PushScratch>> pool ABSL_GUARDED_BY(mutex);
  double rate_tokens ABSL_GUARDED_BY(mutex) = -1;  // bytes; -1: full
  std::chrono::nanoseconds rate_time ABSL_GUARDED_BY(mutex){0};
};

/// What became of a batch.
struct AppendOutcome {
  int status = 204;
  std::string error;      // of status >= 400, without a newline
  bool retry = false;     // the same batch may be taken later
  uint64_t accepted = 0;  // entries
  uint64_t rejected = 0;
};

/// Appends what `scratch` holds and says so in Loki's words: 204; 400 if some entries were not
/// acceptable (the others are stored); 429 over a rate or stream limit; 5xx if nothing could be
/// stored. Tails hear of it. Every protocol for logs ends here.
AppendOutcome AppendIntake(Context& context, Database& database, PushScratch& scratch);

/// Does the same with a batch that another protocol has decoded: its entries pass the same rules.
AppendOutcome AppendDecoded(Context& context, Database& database, const LogBatch& decoded);

/// Makes the answer of an outcome: plain text with a newline.
http::Response ToResponse(const AppendOutcome& outcome);

/// Answers POST /loki/api/v1/push. The body is changed.
http::Response HandlePush(Context& context, Database& database, http::Request& request);

using DatabaseHandler = std::function<http::Response(Context&, Database&, http::Request&)>;
/// Adds a route whose handler needs the database; until that is open it answers 503.
void AddRoute(Context* context, http::Router* router, http::MethodSet methods,
              std::string_view pattern, const http::RouteOptions& options, DatabaseHandler handler);

/// Adds /loki/api/v1/push and /api/prom/push. `context` must outlive the router.
void AddPushRoutes(Context* context, http::Router* router);

}  // namespace varve::loki
