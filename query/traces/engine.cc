#include <re2/re2.h>

#include <algorithm>
#include <limits>
#include <thread>
#include <utility>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "query/exec/thread_pool.h"
#include "query/lang/promql/parse.h"
#include "query/lang/traceql/parse.h"
#include "query/traces/context.h"
#include "query/traces/filter.h"
#include "query/traces/metrics.h"
#include "query/traces/search.h"
#include "query/traces/tags.h"
#include "varve/traceql.h"

namespace varve::query {
namespace {

using traceql::FieldExpr;
using traceql::Op;

/// Writes comparisons of printed values as the nearest thing that can be read back.
void ReplaceTextEqual(FieldExpr* expr) {
  if (expr->kind == FieldExpr::Kind::kBinary && expr->op == Op::kTextEqual) {
    expr->op = Op::kRegex;
    expr->right->literal.text = re2::RE2::QuoteMeta(expr->right->literal.text);
  }
  if (expr->left != nullptr) ReplaceTextEqual(expr->left.get());
  if (expr->right != nullptr) ReplaceTextEqual(expr->right.get());
}

/// Lends a pool to scans.
class PoolThreads final : public ScanThreads {
 public:
  explicit PoolThreads(ThreadPool* pool) : pool_(*pool) {}
  uint32_t count() const override { return pool_.threads(); }
  void Run(uint32_t tasks, const std::function<void(uint32_t)>& body) override {
    pool_.For(tasks, 1, [&body](uint32_t begin, uint32_t end, uint32_t) {
      for (uint32_t i = begin; i < end; ++i) body(i);
    });
  }

 private:
  ThreadPool& pool_;
};

class TraceEngineImpl final : public TraceEngine {
 public:
  explicit TraceEngineImpl(const TraceEngineOptions& options)
      : options_(options), pool_(Threads(options)) {}

  Result<SearchResult> Search(const TraceSnapshot& snapshot, std::string_view text,
                              const TraceSearch& search,
                              const TraceQueryOptions& options) override {
    QueryContext context(options_, options, &threads_);
    VARVE_RETURN_IF_ERROR(context.Poll());
    VARVE_ASSIGN_OR_RETURN(const auto query, traceql::Parse(text, options_.query_bytes_max));
    if (query->is_metrics()) {
      return MakeStatus(StatusCode::kInvalidArgument,
                        "this is a metrics query: it belongs to the metrics endpoints");
    }
    return RunSearch(snapshot, *query->expr, search, context);
  }

  Result<SearchResult> FindTraces(const TraceSnapshot& snapshot, const TraceFilter& filter,
                                  const TraceSearch& search,
                                  const TraceQueryOptions& options) override {
    QueryContext context(options_, options, &threads_);
    VARVE_RETURN_IF_ERROR(context.Poll());
    VARVE_ASSIGN_OR_RETURN(const traceql::ExprPtr expr, ToExpr(filter));
    return RunSearch(snapshot, *expr, search, context);
  }

  Result<std::string> ToTraceQL(const TraceFilter& filter) override {
    VARVE_ASSIGN_OR_RETURN(const traceql::ExprPtr expr, ToExpr(filter));
    if (expr->filter != nullptr) ReplaceTextEqual(expr->filter.get());
    return traceql::ToString(*expr);
  }

  Result<std::vector<TraceSummary>> Summaries(const TraceSnapshot& snapshot,
                                              std::span<const TraceId> ids,
                                              const TraceQueryOptions& options) override {
    QueryContext context(options_, options, &threads_);
    if (ids.size() > options_.traces_max) {
      return MakeStatus(StatusCode::kInvalidArgument,
                        Concat("at most ", options_.traces_max, " traces at once"));
    }
    Program program;
    TraceLoader loader(snapshot, program, context);
    Charge kept(context);
    std::vector<TraceSummary> out;
    for (const TraceId& id : ids) {
      VARVE_RETURN_IF_ERROR(context.Poll());
      VARVE_RETURN_IF_ERROR(loader.Load(id));
      if (loader.table().size() == 0) continue;
      out.push_back(Summarize(loader.table()));
      VARVE_RETURN_IF_ERROR(
          kept.Add(sizeof(TraceSummary) + out.back().services.size() * sizeof(ServiceSummary)));
    }
    return out;
  }

  Result<TraceMetricsResult> MetricsRange(const TraceSnapshot& snapshot, std::string_view text,
                                          const QueryRange& range,
                                          const TraceQueryOptions& options) override {
    QueryContext context(options_, options, &threads_);
    VARVE_RETURN_IF_ERROR(context.Poll());
    if (range.step_ms <= 0) {
      return MakeStatus(StatusCode::kInvalidArgument, "the step must be positive");
    }
    if (range.step_ms > kTimeMsMost) {
      return MakeStatus(StatusCode::kInvalidArgument, "the step is out of range");
    }
    VARVE_RETURN_IF_ERROR(CheckTimes(range.start_ms, range.end_ms));
    const uint64_t steps =
        static_cast<uint64_t>(range.end_ms - range.start_ms) / static_cast<uint64_t>(range.step_ms);
    if (steps >= options_.points_max) {
      return MakeStatus(StatusCode::kInvalidArgument,
                        Concat("the query has ", steps + 1, " steps, more than the limit of ",
                               options_.points_max, "; use a larger step"));
    }
    VARVE_ASSIGN_OR_RETURN(const auto query, ParseMetrics(text));
    const StepGrid grid{range.start_ms, range.step_ms, static_cast<uint32_t>(steps) + 1};
    return RunMetrics(snapshot, *query, text, grid, range.step_ms, false, &pool_, options, context);
  }

  Result<TraceMetricsResult> MetricsInstant(const TraceSnapshot& snapshot, std::string_view text,
                                            int64_t start_ms, int64_t end_ms,
                                            const TraceQueryOptions& options) override {
    QueryContext context(options_, options, &threads_);
    VARVE_RETURN_IF_ERROR(context.Poll());
    VARVE_RETURN_IF_ERROR(CheckTimes(start_ms, end_ms));
    if (start_ms == end_ms) {
      return MakeStatus(StatusCode::kInvalidArgument, "the start must be before the end");
    }
    VARVE_ASSIGN_OR_RETURN(const auto query, ParseMetrics(text));
    const StepGrid grid{end_ms, end_ms - start_ms, 1};
    return RunMetrics(snapshot, *query, text, grid, end_ms - start_ms, true, &pool_, options,
                      context);
  }

  Result<std::vector<TagName>> TagNames(const TraceSnapshot& snapshot,
                                        std::optional<AttributeScope> scope, NsRange range,
                                        std::string_view filter,
                                        const TraceQueryOptions& options) override {
    QueryContext context(options_, options, &threads_);
    return FindTagNames(snapshot, scope, range, filter, context);
  }
  Result<std::vector<TraceSnapshot::TagValue>> TagValues(
      const TraceSnapshot& snapshot, std::string_view tag, NsRange range, std::string_view filter,
      size_t limit, const TraceQueryOptions& options) override {
    QueryContext context(options_, options, &threads_);
    return FindTagValues(snapshot, tag, range, filter, limit, context);
  }

  Result<Parsed> Parse(std::string_view text) const override {
    VARVE_ASSIGN_OR_RETURN(const auto query, traceql::Parse(text, options_.query_bytes_max));
    return Parsed{traceql::ToString(*query), query->is_metrics()};
  }

  Result<std::string> Explain(std::string_view text) const override {
    VARVE_ASSIGN_OR_RETURN(const auto query, traceql::Parse(text, options_.query_bytes_max));
    return query->is_metrics() ? ExplainMetrics(*query, &pool_) : ExplainSearch(*query->expr);
  }

  const TraceEngineOptions& options() const override { return options_; }

 private:
  static uint32_t Threads(const TraceEngineOptions& options) {
    if (options.threads != 0) return options.threads;
    return std::max(1u, std::thread::hardware_concurrency());
  }

  /// Bounds times so that nothing overflows in nanoseconds.
  static constexpr int64_t kTimeMsMost = std::numeric_limits<int64_t>::max() / 4'000'000;
  static Status CheckTimes(int64_t start_ms, int64_t end_ms) {
    if (start_ms < -kTimeMsMost || end_ms > kTimeMsMost) {
      return MakeStatus(StatusCode::kInvalidArgument, "time out of range");
    }
    if (end_ms < start_ms) {
      return MakeStatus(StatusCode::kInvalidArgument, "the end must not be before the start");
    }
    return absl::OkStatus();
  }

  Result<std::shared_ptr<const traceql::Query>> ParseMetrics(std::string_view text) const {
    VARVE_ASSIGN_OR_RETURN(auto query, traceql::Parse(text, options_.query_bytes_max));
    if (!query->is_metrics()) {
      return MakeStatus(StatusCode::kInvalidArgument,
                        "not a metrics query: add a function, for example | rate()");
    }
    return query;
  }

  const TraceEngineOptions options_;
  mutable ThreadPool pool_;
  PoolThreads threads_{&pool_};
};

}  // namespace

std::unique_ptr<TraceEngine> TraceEngine::Make(const TraceEngineOptions& options) {
  return std::make_unique<TraceEngineImpl>(options);
}

std::string TraceEngine::RenderError(std::string_view text, const Status& status) {
  return promql::RenderError(text, status);
}

}  // namespace varve::query
