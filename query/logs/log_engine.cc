#include <algorithm>
#include <chrono>
#include <thread>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "query/exec/context.h"
#include "query/functions/log_values.h"
#include "query/lang/logql/parse.h"
#include "query/lang/logql/print.h"
#include "query/logs/log_entries.h"
#include "query/logs/log_plan.h"
#include "varve/logql.h"

namespace varve::query {
namespace {

using Clock = std::chrono::steady_clock;
using logql::Expr;
using logql::ExprKind;

std::string FormatTime(std::chrono::nanoseconds time) {
  char buffer[64];
  std::snprintf(buffer, sizeof buffer, "%.3f ms", static_cast<double>(time.count()) / 1e6);
  return buffer;
}

void PrintTree(Operator& op, uint32_t depth, std::string* out) {
  *out += Concat(std::string(depth * 2, ' '), op.Describe(), "\n");
  for (Operator* child : op.children()) PrintTree(*child, depth + 1, out);
}

void CollectStats(Operator& op, uint32_t depth, LogContext& context,
                  std::vector<LogStageStats>* out) {
  LogStageStats stats;
  stats.name = op.Describe();
  stats.depth = depth;
  stats.rows_in = op.stats().samples;
  stats.rows_out = op.stats().points;
  stats.elapsed = op.stats().elapsed;
  out->push_back(std::move(stats));
  for (auto& [of, stages] : context.operator_stages) {
    if (of != &op) continue;
    for (LogStageStats& stage : stages) {
      stage.depth += depth + 1;
      out->push_back(std::move(stage));
    }
    stages.clear();
  }
  for (Operator* child : op.children()) CollectStats(*child, depth + 1, context, out);
}

Status Invalid(std::string_view what) { return MakeStatus(StatusCode::kInvalidArgument, what); }

EngineOptions ExecOptions(const LogEngineOptions& options) {
  EngineOptions out;
  out.max_samples = options.max_samples;
  out.memory_bytes_max = options.memory_bytes_max;
  out.max_points = options.max_points;
  return out;
}

class LogEngineImpl final : public LogEngine {
 public:
  explicit LogEngineImpl(const LogEngineOptions& options)
      : options_(options), exec_options_(ExecOptions(options)), pool_(Threads(options)) {}

  Result<LogQueryResult> Instant(std::shared_ptr<const LogSnapshot> snapshot, std::string_view text,
                                 int64_t time_ns, const LogQueryOptions& options) override {
    Run run(*this, text, options);
    VARVE_ASSIGN_OR_RETURN(const auto expr, run.Parse());
    if (expr->kind == ExprKind::kLog) {
      return Invalid(
          "log queries are not supported as an instant query type, please change your query to a "
          "range "
          "query type");
    }
    return run.Metric(std::move(snapshot), *expr, {time_ns, 1'000'000, 1}, true);
  }

  Result<LogQueryResult> Range(std::shared_ptr<const LogSnapshot> snapshot, std::string_view text,
                               const LogQueryRange& range,
                               const LogQueryOptions& options) override {
    if (range.end_ns < range.start_ns) {
      return Invalid("end timestamp must not be before or equal to start time");
    }
    if (range.step_ns < 0) {
      return Invalid(
          "zero or negative query resolution step widths are not accepted. Try a positive integer");
    }
    if (range.interval_ns < 0) return Invalid("interval must be >= 0");
    const auto length = static_cast<uint64_t>(range.end_ns) - static_cast<uint64_t>(range.start_ns);
    const auto longest = static_cast<uint64_t>(options_.max_query_length.count());
    if (longest != 0 && length > longest) {
      return Invalid(
          Concat("the query time range exceeds the limit (query length: ",
                 FormatGoDuration(static_cast<int64_t>(std::min<uint64_t>(length, INT64_MAX))),
                 ", limit: ", FormatGoDuration(options_.max_query_length.count()), ")"));
    }
    Run run(*this, text, options);
    VARVE_ASSIGN_OR_RETURN(const auto expr, run.Parse());
    if (expr->kind == ExprKind::kLog) return run.Log(std::move(snapshot), *expr, range);
    LogSteps steps{range.start_ns, range.step_ns, 1};
    if (steps.step_ns == 0) {
      steps.step_ns =
          static_cast<int64_t>(std::max<uint64_t>(length / 1'000'000'000 / 250, 1)) * 1'000'000'000;
    }
    const uint64_t count = length / static_cast<uint64_t>(steps.step_ns);
    if ((options_.max_points != 0 && count > options_.max_points) || count >= UINT32_MAX / 2) {
      return Invalid(
          Concat("exceeded maximum resolution of ",
                 options_.max_points == 11'000 ? "11,000" : std::to_string(options_.max_points),
                 " points per time series. Try increasing the value of the step parameter"));
    }
    steps.count = static_cast<uint32_t>(count) + 1;
    return run.Metric(std::move(snapshot), *expr, steps, false);
  }

  Result<std::string> Explain(std::string_view text) override {
    VARVE_ASSIGN_OR_RETURN(const auto expr, logql::ParseCached(text));
    LogQueryOptions query_options;
    Run run(*this, text, query_options);
    std::string out;
    if (expr->kind == ExprKind::kLog) {
      VARVE_ASSIGN_OR_RETURN(const auto pipeline,
                             Pipeline::Compile(text, *expr, {}, run.context().template_limits));
      out = Concat("log query ", logql::Print(expr->matchers), "\n");
      for (const std::string& stage : pipeline->Describe()) out += Concat("  ", stage, "\n");
      return out;
    }
    VARVE_ASSIGN_OR_RETURN(OperatorPtr root, BuildLogOperators(run.context(), *expr, {0, 1000, 2},
                                                               {0, 1'000'000'000, 2}));
    PrintTree(*root, 0, &out);
    return out;
  }

  const LogEngineOptions& options() const override { return options_; }

 private:
  static uint32_t Threads(const LogEngineOptions& options) {
    if (options.threads != 0) return options.threads;
    return std::max(1u, std::thread::hardware_concurrency());
  }

  /// One query on its way.
  class Run {
   public:
    Run(LogEngineImpl& engine, std::string_view text, const LogQueryOptions& options)
        : engine_(engine),
          options_(options),
          begin_(Clock::now()),
          exec_(engine.exec_options_, engine.options_.max_samples, &engine.pool_),
          context_(exec_, engine.options_) {
      exec_.text = text;
      exec_.cancellation = options.cancellation;
      const auto timeout = options.timeout.value_or(engine.options_.timeout);
      if (timeout.count() > 0) {
        exec_.has_deadline = true;
        exec_.deadline = begin_ + timeout;
      }
      context_.text = text;
      context_.analyze = options.analyze;
      context_.bytes_read_max =
          options.max_query_bytes_read.value_or(engine.options_.max_query_bytes_read);
      context_.template_limits = {engine.options_.template_steps_max,
                                  engine.options_.template_bytes_max};
    }
    LogContext& context() { return context_; }

    Result<std::shared_ptr<const Expr>> Parse() {
      VARVE_RETURN_IF_ERROR(exec_.Poll());
      auto expr = logql::ParseCached(context_.text);
      parsed_ = Clock::now();
      return expr;
    }

    Result<LogQueryResult> Log(std::shared_ptr<const LogSnapshot> snapshot, const Expr& expr,
                               const LogQueryRange& range) {
      const LogEngineOptions& limits = engine_.options_;
      if (limits.max_entries_limit_per_query != 0 &&
          range.limit > limits.max_entries_limit_per_query) {
        return Invalid(
            Concat("max entries limit per query exceeded, limit > max_entries_limit_per_query (",
                   range.limit, " > ", limits.max_entries_limit_per_query, ")"));
      }
      context_.snapshot = std::move(snapshot);
      VARVE_ASSIGN_OR_RETURN(const auto pipeline,
                             Pipeline::Compile(context_.text, expr, {}, context_.template_limits));
      const auto planned = Clock::now();
      VARVE_ASSIGN_OR_RETURN(Streams streams, RunLogQuery(context_, expr, *pipeline, range));
      LogQueryResult out;
      for (const LogStream& stream : streams)
        out.statistics.entries_returned += stream.entries.size();
      if (options_.analyze) {
        LogStageStats root;
        root.name = Concat("log query ", logql::Print(expr.matchers));
        root.rows_in = context_.rows;
        root.rows_out = out.statistics.entries_returned;
        root.elapsed = Clock::now() - planned;
        root.counted = true;
        out.statistics.stages = std::move(context_.stages);
        out.statistics.stages.insert(out.statistics.stages.begin(), std::move(root));
      }
      out.value = std::move(streams);
      Finish(planned, out.statistics);
      return out;
    }

    Result<LogQueryResult> Metric(std::shared_ptr<const LogSnapshot> snapshot, const Expr& expr,
                                  const LogSteps& steps, bool instant) {
      context_.snapshot = std::move(snapshot);
      const StepGrid grid{FloorMilliseconds(steps.start_ns),
                          std::max<int64_t>(steps.step_ns / 1'000'000, 1), steps.count};
      exec_.query_grid = grid;
      VARVE_ASSIGN_OR_RETURN(OperatorPtr root, BuildLogOperators(context_, expr, grid, steps));
      const auto planned = Clock::now();
      LogQueryResult out;
      VARVE_RETURN_IF_ERROR(root->Open());
      std::vector<int64_t> times(steps.count);
      for (uint32_t i = 0; i < steps.count; ++i) times[i] = FloorMilliseconds(steps.At(i));
      Matrix matrix;
      Tile tile;
      size_t at = 0;
      const uint32_t series_max =
          options_.max_query_series.value_or(engine_.options_.max_query_series);
      bool truncated = false;
      while (!truncated) {
        VARVE_RETURN_IF_ERROR(root->Next(tile));
        if (tile.rows() == 0) break;
        for (uint32_t r = 0; r < tile.rows(); ++r, ++at) {
          Series series;
          ForEachBit(tile.valid(r), tile.words(), [&](uint32_t step) {
            series.times_ms.push_back(times[step]);
            series.values.push_back(tile.values(r)[step]);
          });
          if (series.values.empty()) continue;
          if (series_max != 0 && matrix.size() >= series_max) {
            if (!options_.partial_series) {
              return MakeStatus(StatusCode::kResourceExhausted,
                                Concat("maximum number of series (", series_max,
                                       ") reached for a single query; consider reducing query "
                                       "cardinality by adding more "
                                       "specific stream selectors, reducing the time range, or "
                                       "aggregating results with "
                                       "functions like sum(), count() or topk()"));
            }
            out.warnings.push_back(
                Concat("maximum number of series (", series_max,
                       ") reached for a single query; returning partial results"));
            truncated = true;
            break;
          }
          series.labels = Labels(root->series()[at].labels);
          VARVE_RETURN_IF_ERROR(exec_.budget.Take(series.values.size(), series.values.size() * 16));
          matrix.push_back(std::move(series));
        }
      }
      const bool ordered = instant && root->ordered();
      if (!ordered) {
        std::stable_sort(matrix.begin(), matrix.end(), [](const Series& a, const Series& b) {
          return CompareLabels(a.labels, b.labels) < 0;
        });
      }
      if (!instant) {
        out.value = std::move(matrix);
      } else if (IsScalar(expr)) {
        out.value = Scalar{grid.start_ms, matrix.empty() ? 0 : matrix[0].values[0]};
      } else {
        Vector vector;
        for (Series& series : matrix) {
          vector.push_back({std::move(series.labels), grid.start_ms, series.values[0], nullptr});
        }
        out.value = std::move(vector);
      }
      if (options_.analyze) CollectStats(*root, 0, context_, &out.statistics.stages);
      Finish(planned, out.statistics);
      return out;
    }

   private:
    static int64_t FloorMilliseconds(int64_t ns) {
      return ns / 1'000'000 - (ns % 1'000'000 < 0 ? 1 : 0);
    }
    void Finish(Clock::time_point planned, LogStatistics& out) {
      const auto done = Clock::now();
      out.scan = context_.scan_stats();
      out.streams = context_.streams;
      out.chunks = context_.chunks;
      out.samples = context_.samples;
      out.peak_bytes = exec_.budget.peak_bytes();
      out.parse_time = parsed_ - begin_;
      out.plan_time = planned - parsed_;
      out.exec_time = done - planned;
      out.total_time = done - begin_;
    }

    LogEngineImpl& engine_;
    const LogQueryOptions& options_;
    const Clock::time_point begin_;
    Clock::time_point parsed_;
    ExecContext exec_;
    LogContext context_;
  };

  const LogEngineOptions options_;
  const EngineOptions exec_options_;
  ThreadPool pool_;
};

}  // namespace

std::unique_ptr<LogEngine> LogEngine::Make(const LogEngineOptions& options) {
  return std::make_unique<LogEngineImpl>(options);
}

std::string LogEngine::FormatAnalysis(const LogStatistics& s) {
  std::string out = Concat(
      "total ", FormatTime(s.total_time), ", parse ", FormatTime(s.parse_time), ", plan ",
      FormatTime(s.plan_time), ", run ", FormatTime(s.exec_time), "\nstreams ", s.streams,
      ", chunks ", s.chunks, ", row groups read ", s.scan.groups_read, " of ", s.scan.groups,
      "\nentries tested ", s.scan.entries, ", matched ", s.scan.entries_matched, ", line bytes ",
      s.scan.line_bytes, ", returned ", s.entries_returned, ", samples ", s.samples,
      "\nbytes inflated ", s.scan.bytes_decompressed, " from ", s.scan.bytes_compressed,
      "; skipped by time ", s.scan.skipped_time.bytes, ", word filter ", s.scan.skipped_words.bytes,
      ", id filter ", s.scan.skipped_ids.bytes, ", metadata filter ", s.scan.skipped_metadata.bytes,
      ", statistics ", s.scan.skipped_statistics.bytes, "; peak memory ", s.peak_bytes, "\n");
  for (const LogStageStats& stage : s.stages) {
    out += Concat(std::string(stage.depth * 2, ' '), stage.name);
    if (stage.counted) {
      out += Concat("  [entries in ", stage.rows_in, ", out ", stage.rows_out);
      if (stage.elapsed.count() > 0) out += Concat(", ", FormatTime(stage.elapsed));
      out += "]";
    } else if (stage.groups_skipped > 0) {
      out += Concat("  [row groups ", stage.groups_skipped, ", bytes ", stage.bytes_skipped, "]");
    } else if (stage.bytes_skipped > 0) {
      out += Concat("  [bytes ", stage.bytes_skipped, "]");
    } else if (stage.elapsed.count() > 0 || stage.rows_out > 0) {
      out += Concat("  [", FormatTime(stage.elapsed), ", points ", stage.rows_out, "]");
    }
    out += "\n";
  }
  return out;
}

}  // namespace varve::query
