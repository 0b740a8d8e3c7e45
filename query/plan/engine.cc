#include <algorithm>
#include <chrono>
#include <thread>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "query/exec/context.h"
#include "query/lang/promql/parse.h"
#include "query/plan/plan.h"
#include "query/plan/result_cache.h"
#include "varve/query.h"

namespace varve::query {
namespace {

using Clock = std::chrono::steady_clock;

/// Prints durations the way people read them.
std::string FormatTime(std::chrono::nanoseconds time) {
  char buffer[64];
  std::snprintf(buffer, sizeof buffer, "%.3f ms", static_cast<double>(time.count()) / 1e6);
  return buffer;
}

void CollectStats(Operator& op, uint32_t depth, std::vector<OperatorStats>* out) {
  OperatorStats stats = op.stats();
  stats.name = op.Describe();
  stats.depth = depth;
  out->push_back(std::move(stats));
  for (Operator* child : op.children()) CollectStats(*child, depth + 1, out);
}

void PrintTree(Operator& op, uint32_t depth, std::string* out) {
  *out += Concat(std::string(depth * 2, ' '), op.Describe(), "\n");
  for (Operator* child : op.children()) PrintTree(*child, depth + 1, out);
}

/// Names what no operator gives: the answers of instant queries that are strings, stored samples or
/// the points of a subquery. Empty for all others.
std::string DescribeAnswer(const plan::Node& plan) {
  if (plan.type == promql::ValueType::kString) return Concat("text ", GoQuote(plan.text));
  if (plan.type != promql::ValueType::kMatrix) return "";
  if (plan.kind == plan::NodeKind::kMatrix) {
    return Concat("samples over ", plan.range_ms, "ms of ", DescribeSelection(plan.selection));
  }
  return Concat("points over ", plan.range_ms, "ms of subquery");
}

class EngineImpl final : public Engine {
 public:
  explicit EngineImpl(const EngineOptions& options) : options_(options), pool_(Threads(options)) {
    if (options.result_cache_bytes > 0) {
      cache_ = std::make_unique<ResultCache>(options.result_cache_bytes);
    }
  }

  Result<QueryResult> Instant(std::shared_ptr<const Snapshot> snapshot, std::string_view text,
                              int64_t time_ms, const QueryOptions& options) override {
    const QueryRange range{time_ms, time_ms, 0};
    if (!MayCache(options)) return Run(std::move(snapshot), text, range, true, options);
    return RunInstantCached(std::move(snapshot), text, range, options);
  }

  Result<QueryResult> Range(std::shared_ptr<const Snapshot> snapshot, std::string_view text,
                            const QueryRange& range, const QueryOptions& options) override {
    VARVE_RETURN_IF_ERROR(CheckRange(range));
    if (!MayCache(options)) return Run(std::move(snapshot), text, range, false, options);
    return RunCached(std::move(snapshot), text, range, options);
  }

  Result<std::string> Explain(std::string_view text, const QueryRange& range) override {
    const bool instant = range.step_ms == 0 && range.start_ms == range.end_ms;
    if (!instant) VARVE_RETURN_IF_ERROR(CheckRange(range));
    QueryOptions query_options;
    ExecContext context(options_, options_.max_samples, &pool_);
    VARVE_ASSIGN_OR_RETURN(Prepared prepared,
                           Prepare(text, range, instant, query_options, context));
    VARVE_RETURN_IF_ERROR(MakeOperators(context, &prepared));
    const std::string above = DescribeAnswer(*prepared.plan);
    std::string out = above.empty() ? "" : above + "\n";
    if (prepared.root != nullptr) PrintTree(*prepared.root, above.empty() ? 0 : 1, &out);
    return out;
  }

  const EngineOptions& options() const override { return options_; }
  ResultCacheStats result_cache_stats() const override {
    return cache_ != nullptr ? cache_->stats() : ResultCacheStats();
  }

 private:
  /// A query ready to run: the plan stays for what is not an operator.
  struct Prepared {
    plan::NodePtr plan;
    OperatorPtr root;  // null for strings and range vectors
    std::chrono::nanoseconds parse_time{0};
  };

  bool MayCache(const QueryOptions& options) const {
    return cache_ != nullptr && !options.no_cache && !options.analyze && !options.per_step_stats &&
           !options_.delayed_name_removal;
  }

  static uint32_t Threads(const EngineOptions& options) {
    if (options.threads != 0) return options.threads;
    return std::max(1u, std::thread::hardware_concurrency());
  }

  Status CheckRange(const QueryRange& range) const {
    if (range.step_ms <= 0) {
      return MakeStatus(StatusCode::kInvalidArgument,
                        "zero or negative query resolution step widths are not accepted. Try a "
                        "positive integer");
    }
    if (range.end_ms < range.start_ms) {
      return MakeStatus(StatusCode::kInvalidArgument,
                        "end timestamp must not be before start time");
    }
    const auto steps =
        static_cast<uint64_t>(range.end_ms - range.start_ms) / static_cast<uint64_t>(range.step_ms);
    if ((options_.max_points != 0 && steps > options_.max_points) || steps >= UINT32_MAX / 2) {
      return MakeStatus(StatusCode::kInvalidArgument,
                        "exceeded maximum resolution of 11,000 points per timeseries. Try "
                        "decreasing the query resolution (?step=XX)");
    }
    return absl::OkStatus();
  }

  Result<Prepared> Prepare(std::string_view text, const QueryRange& range, bool instant,
                           const QueryOptions& query_options, ExecContext& context) {
    const auto begin = Clock::now();
    promql::ParseOptions parse;
    parse.experimental_functions = options_.experimental_functions;
    parse.experimental_durations = options_.experimental_durations;
    parse.extended_range_selectors = options_.extended_range_selectors;
    parse.binop_fill_modifiers = options_.binop_fill_modifiers;
    VARVE_ASSIGN_OR_RETURN(const std::shared_ptr<const promql::Expr> expr,
                           promql::ParseCached(text, parse));
    Prepared out;
    out.parse_time = Clock::now() - begin;
    const promql::ValueType type = promql::TypeOf(*expr);
    if (!instant && type != promql::ValueType::kVector && type != promql::ValueType::kScalar) {
      return MakeStatus(StatusCode::kInvalidArgument,
                        Concat("invalid expression type ", GoQuote(promql::DocumentedType(type)),
                               " for range query, must be Scalar or instant Vector"));
    }
    context.text = text;
    context.lookback_ms = query_options.lookback_delta.value_or(options_.lookback_delta).count();
    context.delayed_names = options_.delayed_name_removal;
    context.query_grid = {range.start_ms, instant ? 1 : range.step_ms, 1};
    if (!instant) {
      context.query_grid.count =
          static_cast<uint32_t>((range.end_ms - range.start_ms) / range.step_ms) + 1;
    }
    plan::QueryScope scope;
    scope.text = text;
    scope.start_ms = range.start_ms;
    scope.end_ms = range.end_ms;
    scope.step_ms = instant ? 0 : range.step_ms;
    scope.default_subquery_step_ms = options_.default_subquery_step.count();
    VARVE_ASSIGN_OR_RETURN(out.plan, plan::Bind(*expr, scope));
    plan::FoldConstants(out.plan);
    plan::PropagateMatchers(out.plan);
    plan::TrackResets(out.plan);
    plan::EvaluateOnce(out.plan);
    plan::ShareCommon(out.plan);
    plan::FoldInScan(out.plan);
    return out;
  }

  /// Makes the operators of a plan over the steps of the context.
  static Status MakeOperators(ExecContext& context, Prepared* prepared) {
    const plan::Node& plan = *prepared->plan;
    if (plan.type == promql::ValueType::kString || plan.type == promql::ValueType::kMatrix) {
      if (plan.kind == plan::NodeKind::kSubquery) {
        VARVE_ASSIGN_OR_RETURN(const StepGrid grid, plan::SubqueryGrid(plan, context.query_grid));
        if (grid.count > 0) {
          context.account.kind =
              SampleAccount::Kind::kEveryStep;  // the points are one step's answer
          VARVE_ASSIGN_OR_RETURN(prepared->root,
                                 plan::BuildOperators(context, *plan.children[0], grid));
        }
      }
    } else {
      VARVE_ASSIGN_OR_RETURN(prepared->root,
                             plan::BuildOperators(context, plan, context.query_grid));
    }
    if (prepared->root != nullptr && context.delayed_names &&
        plan.type != promql::ValueType::kScalar) {
      prepared->root = CleanNames(context, std::move(prepared->root));
    }
    return absl::OkStatus();
  }

  /// Sets up what the operators of a query share.
  void Start(ExecContext& context, std::shared_ptr<const Snapshot> snapshot,
             const QueryOptions& query_options, Clock::time_point begin) const {
    context.snapshot = std::move(snapshot);
    context.cancellation = query_options.cancellation;
    const auto timeout = query_options.timeout.value_or(options_.timeout);
    if (timeout.count() != 0) {
      context.has_deadline = true;
      context.deadline = begin + timeout;
      context.timeout = timeout;
    }
    context.per_step_stats = query_options.per_step_stats;
  }

  Result<QueryResult> Run(std::shared_ptr<const Snapshot> snapshot, std::string_view text,
                          const QueryRange& range, bool instant,
                          const QueryOptions& query_options) {
    const auto begin = Clock::now();
    ExecContext context(options_, query_options.max_samples.value_or(options_.max_samples), &pool_);
    Start(context, std::move(snapshot), query_options, begin);
    VARVE_ASSIGN_OR_RETURN(Prepared prepared,
                           Prepare(text, range, instant, query_options, context));
    VARVE_RETURN_IF_ERROR(context.Poll());
    return Execute(context, &prepared, range, instant, query_options, begin);
  }

  static std::shared_ptr<const Value> Shared(const Value& value) {
    return std::make_shared<const Value>(value);
  }

  /// Gives the whole of a kept answer.
  static void Give(const CachedResult& kept, const QueryOptions& query_options,
                   QueryResult* result) {
    result->text = kept.text;
    if (query_options.prefer_text && kept.text->Get() != nullptr) return;
    result->value = *kept.value;
  }

  /// Answers an instant query from what is kept of it, if no sample under it has changed since.
  /// Kept at once is what is settled: no sample that it can look at may come any more. Other
  /// answers mostly are for now, and nobody asks for the same moment again, so they are kept when
  /// they are asked for a second time. Answers with notes are not kept, as those of ranges are not.
  Result<QueryResult> RunInstantCached(std::shared_ptr<const Snapshot> snapshot,
                                       std::string_view text, const QueryRange& range,
                                       const QueryOptions& query_options) {
    const auto begin = Clock::now();
    ExecContext context(options_, query_options.max_samples.value_or(options_.max_samples), &pool_);
    Start(context, std::move(snapshot), query_options, begin);
    VARVE_ASSIGN_OR_RETURN(Prepared prepared, Prepare(text, range, true, query_options, context));
    VARVE_RETURN_IF_ERROR(context.Poll());
    const auto* stable = dynamic_cast<const StableSnapshot*>(context.snapshot.get());
    const Stability state = stable != nullptr ? stable->stability() : Stability();
    const plan::Node& plan = *prepared.plan;
    // Says whether the answer only depends on what is older than a time.
    const auto only_before = [&](int64_t time_ms) {
      return plan::StepsBefore(plan, context.lookback_ms, time_ms).value_or(kMinTime) >=
             range.start_ms;
    };
    if (plan.type != promql::ValueType::kVector || state.epoch == 0 || !only_before(kMaxTime)) {
      return Execute(context, &prepared, range, true, query_options, begin);
    }
    const ResultKey key{plan::KeyOf(plan), context.lookback_ms, 0, range.start_ms};
    QueryResult result;
    const std::shared_ptr<const CachedResult> kept = cache_->Find(key, state.epoch);
    if (kept != nullptr && only_before(stable->UnchangedBefore(kept->state))) {
      Give(*kept, query_options, &result);
      result.statistics.parse_time = prepared.parse_time;
      result.statistics.cached_steps = 1;
      result.statistics.total_time = Clock::now() - begin;
      return result;
    }
    VARVE_ASSIGN_OR_RETURN(result, Execute(context, &prepared, range, true, query_options, begin));
    const bool noted = !result.annotations.warnings.empty() || !result.annotations.infos.empty();
    // An older snapshot must not replace the answer of a newer one.
    const bool newer = kept == nullptr || kept->state.appends < state.appends;
    if (!noted && newer && (only_before(state.settled_before_ms) || cache_->AskedAgain(key))) {
      cache_->Put(key, {state, range.start_ms, range.start_ms, Shared(result.value)});
    }
    return result;
  }

  /// Answers a range query from what is kept of it, as far as no sample under it has changed since,
  /// and by evaluating the steps after that; keeps the answer. Answers with notes are not kept:
  /// notes belong to the whole range.
  Result<QueryResult> RunCached(std::shared_ptr<const Snapshot> snapshot, std::string_view text,
                                const QueryRange& range, const QueryOptions& query_options) {
    const auto begin = Clock::now();
    ExecContext context(options_, query_options.max_samples.value_or(options_.max_samples), &pool_);
    Start(context, std::move(snapshot), query_options, begin);
    VARVE_ASSIGN_OR_RETURN(Prepared prepared, Prepare(text, range, false, query_options, context));
    VARVE_RETURN_IF_ERROR(context.Poll());
    const auto* stable = dynamic_cast<const StableSnapshot*>(context.snapshot.get());
    const Stability state = stable != nullptr ? stable->stability() : Stability();
    if (state.epoch == 0 ||
        !plan::StepsBefore(*prepared.plan, context.lookback_ms, kMaxTime).has_value()) {
      return Execute(context, &prepared, range, false, query_options, begin);
    }
    const int64_t step = range.step_ms;
    const int64_t last_step = context.query_grid.last();
    const ResultKey key{plan::KeyOf(*prepared.plan), context.lookback_ms, step,
                        (range.start_ms % step + step) % step};
    const std::shared_ptr<const CachedResult> kept = cache_->Find(key, state.epoch);
    // Usable from the first step of the range on, as far as it holds.
    int64_t usable_to = kMinTime;
    if (kept != nullptr && kept->first_ms <= range.start_ms) {
      const int64_t unchanged_ms = stable->UnchangedBefore(kept->state);
      usable_to = std::min({kept->last_ms, last_step,
                            *plan::StepsBefore(*prepared.plan, context.lookback_ms, unchanged_ms)});
    }
    if (usable_to == last_step && kept->first_ms == range.start_ms && kept->last_ms == last_step) {
      QueryResult result;
      Give(*kept, query_options, &result);
      result.statistics.parse_time = prepared.parse_time;
      result.statistics.cached_steps = context.query_grid.count;
      if (kept->state.appends < state.appends) {
        CachedResult same = *kept;
        same.state = state;
        cache_->Put(key, std::move(same));
      }
      result.statistics.total_time = Clock::now() - begin;
      return result;
    }
    if (usable_to >= range.start_ms && usable_to < last_step) {
      VARVE_ASSIGN_OR_RETURN(const bool apart,
                             plan::WindowsStayApart(*context.snapshot, *prepared.plan));
      if (!apart) usable_to = kMinTime;
    }
    QueryResult result;
    Matrix head;
    QueryRange rest = range;
    if (usable_to >= range.start_ms) {
      const int64_t steps = (usable_to - range.start_ms) / step;
      usable_to = range.start_ms + steps * step;
      head = SliceTimes(kept->series(), range.start_ms, usable_to);
      rest.start_ms = usable_to + step;
    }
    if (rest.start_ms <= last_step) {
      context.query_grid.start_ms = rest.start_ms;
      context.query_grid.count = static_cast<uint32_t>((last_step - rest.start_ms) / step) + 1;
      VARVE_ASSIGN_OR_RETURN(result,
                             Execute(context, &prepared, rest, false, query_options, begin));
    } else {
      result.value = Matrix();
      result.statistics.parse_time = prepared.parse_time;
    }
    result.statistics.cached_steps = static_cast<uint64_t>((rest.start_ms - range.start_ms) / step);
    const bool noted = !result.annotations.warnings.empty() || !result.annotations.infos.empty();
    if (rest.start_ms > range.start_ms) {
      result.value = JoinTimes(std::move(head), std::get<Matrix>(std::move(result.value)));
    }
    // An older snapshot must not replace the answer of a newer one.
    const bool newer = kept == nullptr || kept->state.appends < state.appends ||
                       kept->first_ms > range.start_ms || kept->last_ms < last_step;
    if (!noted && newer) {
      cache_->Put(key, {state, range.start_ms, last_step, Shared(result.value)});
    }
    result.statistics.total_time = Clock::now() - begin;
    return result;
  }

  Result<QueryResult> Execute(ExecContext& context, Prepared* prepared_plan,
                              const QueryRange& range, bool instant,
                              const QueryOptions& query_options, Clock::time_point begin) const {
    if (context.per_step_stats) context.samples_per_step.resize(context.query_grid.count);
    VARVE_RETURN_IF_ERROR(MakeOperators(context, prepared_plan));
    const Prepared& prepared = *prepared_plan;
    const auto planned = Clock::now();

    QueryResult result;
    const plan::Node& plan = *prepared.plan;
    switch (plan.type) {
      case promql::ValueType::kString:
        result.value = StringValue{range.start_ms, plan.text};
        break;
      case promql::ValueType::kMatrix: {
        Matrix matrix;
        if (plan.kind == plan::NodeKind::kMatrix) {
          VARVE_RETURN_IF_ERROR(
              ReadMatrix(context, plan.selection, range.start_ms, plan.range_ms, &matrix));
        } else if (prepared.root != nullptr) {
          VARVE_RETURN_IF_ERROR(Collect(context, *prepared.root, &matrix));
        }
        SortByLabels(matrix);
        result.value = std::move(matrix);
        break;
      }
      default: {
        Matrix matrix;
        VARVE_RETURN_IF_ERROR(Collect(context, *prepared.root, &matrix));
        if (!instant) {
          const auto sorting = Clock::now();
          SortByLabels(matrix);
          result.statistics.sort_time = Clock::now() - sorting;
          result.value = std::move(matrix);
        } else if (plan.type == promql::ValueType::kScalar) {
          VARVE_CHECK(matrix.size() == 1 && matrix[0].values.size() == 1);
          result.value = Scalar{range.start_ms, matrix[0].values[0]};
        } else {
          if (!prepared.root->ordered()) SortByLabels(matrix);
          result.value = ToVector(std::move(matrix), range.start_ms);
        }
        break;
      }
    }
    const auto done = Clock::now();
    result.annotations = context.annotations.Take();
    Statistics& stats = result.statistics;
    stats.total_samples = context.total_samples;
    stats.peak_samples = context.budget.peak_samples();
    stats.peak_bytes = context.budget.peak_bytes();
    for (uint32_t i = 0; i < context.samples_per_step.size(); ++i) {
      stats.samples_per_step.emplace_back(context.query_grid.At(i), context.samples_per_step[i]);
    }
    stats.series = context.series_selected;
    stats.samples_read = context.samples_read;
    stats.parse_time = prepared.parse_time;
    stats.plan_time = planned - begin - prepared.parse_time;
    stats.exec_time = done - planned - stats.sort_time;
    stats.total_time = done - begin;
    if (query_options.analyze) {
      const std::string above = DescribeAnswer(plan);
      if (!above.empty()) {
        OperatorStats answer;
        answer.name = above;
        if (const auto* matrix = std::get_if<Matrix>(&result.value)) {
          answer.series = matrix->size();
          for (const Series& series : *matrix) {
            answer.points += series.values.size() + series.histograms.size();
          }
        }
        answer.elapsed = stats.exec_time;
        stats.operators.push_back(std::move(answer));
      }
      if (prepared.root != nullptr) {
        CollectStats(*prepared.root, above.empty() ? 0 : 1, &stats.operators);
      }
    }
    return result;
  }

  /// Runs the operators and keeps the rows that hold something.
  static Status Collect(ExecContext& context, Operator& root, Matrix* out) {
    VARVE_RETURN_IF_ERROR(root.Open());
    Tile tile;
    size_t at = 0;
    const StepGrid& grid = root.grid();
    std::vector<int64_t> times(grid.count);
    for (uint32_t i = 0; i < grid.count; ++i) times[i] = grid.At(i);
    for (;;) {
      VARVE_RETURN_IF_ERROR(root.Next(tile));
      if (tile.rows() == 0) return absl::OkStatus();
      uint64_t points = 0;
      for (uint32_t r = 0; r < tile.rows(); ++r, ++at) {
        uint64_t floats = 0;
        for (uint32_t w = 0; w < tile.words(); ++w) floats += std::popcount(tile.valid(r)[w]);
        const HistogramPtr* column = tile.has_histograms(r) ? tile.histograms(r) : nullptr;
        uint64_t histograms = 0;
        for (uint32_t s = 0; column != nullptr && s < grid.count; ++s) {
          histograms += column[s] != nullptr;
        }
        if (floats + histograms == 0) continue;
        points += floats + histograms;
        Series series;
        series.labels = Labels(root.series()[at].labels);
        const double* values = tile.values(r);
        if (floats == grid.count) {
          series.times_ms = times;
          series.values.assign(values, values + grid.count);
        } else {
          series.times_ms.resize(floats);
          series.values.resize(floats);
          int64_t* time = series.times_ms.data();
          double* value = series.values.data();
          ForEachBit(tile.valid(r), tile.words(), [&](uint32_t s) {
            *time++ = times[s];
            *value++ = values[s];
          });
        }
        for (uint32_t s = 0; histograms > 0 && s < grid.count; ++s) {
          if (column[s] == nullptr) continue;
          series.histogram_times_ms.push_back(grid.At(s));
          series.histograms.push_back(column[s]);
        }
        out->push_back(std::move(series));
      }
      VARVE_RETURN_IF_ERROR(context.budget.Take(points, points * 16));
    }
  }

  static void SortByLabels(Matrix& matrix) {
    const auto less = [](const Series& a, const Series& b) {
      return CompareLabels(a.labels, b.labels) < 0;
    };
    if (std::is_sorted(matrix.begin(), matrix.end(), less)) return;
    std::stable_sort(matrix.begin(), matrix.end(), less);
  }

  static Vector ToVector(Matrix matrix, int64_t time_ms) {
    Vector out;
    out.reserve(matrix.size());
    for (Series& series : matrix) {
      VectorSample sample;
      sample.labels = std::move(series.labels);
      sample.time_ms = time_ms;
      if (!series.values.empty()) {
        sample.value = series.values[0];
      } else {
        sample.histogram = std::move(series.histograms[0]);
      }
      out.push_back(std::move(sample));
    }
    return out;
  }

  const EngineOptions options_;
  ThreadPool pool_;
  std::unique_ptr<ResultCache> cache_;
};

}  // namespace

std::unique_ptr<Engine> Engine::Make(const EngineOptions& options) {
  return std::make_unique<EngineImpl>(options);
}

std::string Engine::FormatAnalysis(const Statistics& statistics) {
  std::string out = Concat(
      "total ", FormatTime(statistics.total_time), ", parse ", FormatTime(statistics.parse_time),
      ", plan ", FormatTime(statistics.plan_time), ", run ", FormatTime(statistics.exec_time),
      ", sort ", FormatTime(statistics.sort_time), "\nseries ", statistics.series,
      ", samples read ", statistics.samples_read, ", samples in windows ", statistics.total_samples,
      ", peak points ", statistics.peak_samples, ", peak bytes ", statistics.peak_bytes, "\n");
  for (const OperatorStats& op : statistics.operators) {
    out += Concat(std::string(op.depth * 2, ' '), op.name, "  [", FormatTime(op.elapsed),
                  ", series ", op.series, ", points ", op.points);
    if (op.samples > 0) {
      out += Concat(", samples ", op.samples, ", chunks ", op.chunks, ", edge-only chunks ",
                    op.chunks_edge_only);
    }
    out += "]\n";
  }
  return out;
}

}  // namespace varve::query
