#include "tools/promqltest/runner.h"

#include <re2/re2.h>

#include <algorithm>
#include <utility>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "query/lang/promql/ast.h"
#include "query/lang/promql/print.h"
#include "tools/promqltest/compare.h"
#include "tools/promqltest/script.h"

namespace varve::promqltest {
namespace {

constexpr int64_t kMinuteMs = 60'000;

/// Tells whether the value of a function depends on the time of the evaluation even if all its
/// arguments are pinned with `@`.
bool DependsOnTime(promql::FunctionId id) {
  using enum promql::FunctionId;
  switch (id) {
    case kDaysInMonth:
    case kDayOfMonth:
    case kDayOfWeek:
    case kDayOfYear:
    case kHour:
    case kMinute:
    case kMonth:
    case kYear:
    case kPredictLinear:
    case kTime:
    case kTimestamp:
    case kStart:
    case kEnd:
    case kStep:
    case kRange:
      return true;
    default:
      return false;
  }
}

/// Pins every selector and outermost subquery that has no `@` yet to `time_ms`. Returns false if a
/// function makes the result depend on the time nonetheless.
bool PinTimes(promql::Expr& expr, int64_t time_ms, bool pinned_above) {
  const auto pin = [&](promql::TimeShift& shift) {
    if (pinned_above || shift.at_ms) return;
    shift.at_ms = time_ms;
    shift.at_edge = promql::TimeShift::Edge::kNone;
  };
  if (auto* selector = promql::As<promql::VectorSelector>(expr)) pin(selector->shift);
  if (auto* subquery = promql::As<promql::SubqueryExpr>(expr)) {
    pin(subquery->shift);
    pinned_above = true;
  }
  const auto* call = promql::As<promql::Call>(expr);
  bool pinned = call == nullptr || pinned_above || !DependsOnTime(call->function->id);
  promql::ForEachChild(expr, [&](const promql::Expr& child) {
    // The tree is the caller's own copy.
    pinned &= PinTimes(const_cast<promql::Expr&>(child), time_ms, pinned_above);
  });
  return pinned;
}

class Runner {
 public:
  Runner(query::Engine& engine, const StorageFactory& factory, const RunOptions& options)
      : engine_(engine), factory_(factory), options_(options) {}

  Result<RunResult> Run(const std::vector<Command>& commands) {
    VARVE_RETURN_IF_ERROR(Clear());
    for (const Command& command : commands) {
      const Status status =
          std::visit([&](const auto& what) { return Do(what, command.line); }, command.what);
      if (!status.ok()) {
        return MakeStatus(status.code(),
                          Concat("line ", command.line, ": ", ToStd(status.message())));
      }
    }
    return std::move(result_);
  }

 private:
  Status Clear() {
    snapshot_.reset();
    storage_.reset();
    VARVE_ASSIGN_OR_RETURN(storage_, factory_());
    return absl::OkStatus();
  }

  Status Do(const ClearCommand&, uint32_t) { return Clear(); }
  Status Do(const FlushCommand&, uint32_t) {
    snapshot_.reset();
    return storage_->Flush();
  }
  Status Do(const CompactCommand&, uint32_t) {
    snapshot_.reset();
    return storage_->Compact();
  }
  Status Do(const RestartCommand& restart, uint32_t) {
    snapshot_.reset();
    return storage_->Restart(restart.crash);
  }
  Status Do(const DeleteCommand& command, uint32_t) {
    snapshot_.reset();
    return storage_->Delete(command.matchers);
  }

  Status Do(const LoadCommand& load, uint32_t) {
    snapshot_.reset();
    changed_ = true;
    WriteBatch batch;
    for (const LoadedSeries& series : load.series) {
      const uint32_t index = batch.AddSeries(series.labels);
      for (const LoadedSample& sample : series.samples) {
        if (sample.histogram) {
          batch.AddHistogram(index, sample.time_ms, StoredHistogram(*sample.histogram),
                             sample.start_ms);
        } else {
          batch.AddSample(index, sample.time_ms, sample.value, sample.start_ms);
        }
      }
    }
    return storage_->Append(batch);
  }

  Status Do(const EvalCommand& eval, uint32_t line) {
    VARVE_RETURN_IF_ERROR(PrepareSnapshot());
    ++result_.evals;
    const size_t before = result_.failures.size();
    line_ = line;
    if (eval.is_range) {
      RunRange(eval);
    } else {
      RunInstant(eval);
    }
    if (result_.failures.size() == before) ++result_.passed;
    return absl::OkStatus();
  }

  Status PrepareSnapshot() {
    if (snapshot_ && !changed_) return absl::OkStatus();
    if (changed_) {
      snapshot_.reset();
      switch (options_.before_evals) {
        case Before::kNothing:
          break;
        case Before::kFlush:
          VARVE_RETURN_IF_ERROR(storage_->Flush());
          break;
        case Before::kCompact:
          VARVE_RETURN_IF_ERROR(storage_->Compact());
          break;
        case Before::kRestart:
          VARVE_RETURN_IF_ERROR(storage_->Restart(false));
          break;
        case Before::kCrash:
          VARVE_RETURN_IF_ERROR(storage_->Restart(true));
          break;
      }
      changed_ = false;
    }
    VARVE_ASSIGN_OR_RETURN(snapshot_, storage_->TakeSnapshot());
    return absl::OkStatus();
  }

  /// Notes a failure; false, so that callers can stop with it.
  bool Fail(std::string_view query, std::string_view message) {
    result_.failures.push_back({line_, std::string(query), std::string(message)});
    return false;
  }

  /// Checks a result against all that a script says; `value` is compared in place of the result's
  /// own if given.
  bool Check(const EvalCommand& eval, std::string_view query,
             const Result<query::QueryResult>& result) {
    ++result_.queries;
    if (!result.ok()) {
      if (!eval.fail) return Fail(query, Concat("error: ", ToStd(result.status().message())));
      if (auto difference = CompareFailure(eval, result.status())) return Fail(query, *difference);
      return true;
    }
    if (eval.fail) return Fail(query, "expected error but got none");
    if (auto difference = CompareAnnotations(eval, result->annotations)) {
      return Fail(query, *difference);
    }
    if (auto difference = CompareValue(eval, result->value)) return Fail(query, *difference);
    return true;
  }

  void RunRange(const EvalCommand& eval) {
    Check(eval, eval.text,
          engine_.Range(snapshot_, eval.text, {eval.start_ms, eval.end_ms, eval.step_ms}));
  }

  void RunInstant(const EvalCommand& eval) {
    if (!RunAt(eval, eval.text, eval.time_ms) || !options_.hidden_reruns) return;
    promql::ExprPtr pinned = promql::Clone(*eval.expr);
    if (!PinTimes(*pinned, eval.time_ms, false)) return;
    const std::string text = promql::Print(*pinned);
    const int64_t at = eval.time_ms;
    const std::vector<int64_t> times = at == 0
                                           ? std::vector<int64_t>{-1000, 0, 1000}
                                           : std::vector<int64_t>{-10 * at, 0, at / 5, at, 10 * at};
    for (const int64_t time_ms : times) {
      if (!RunAt(eval, text, time_ms)) return;
    }
  }

  bool RunAt(const EvalCommand& eval, const std::string& text, int64_t time_ms) {
    const auto result = engine_.Instant(snapshot_, text, time_ms);
    if (!Check(eval, text, result)) return false;
    if (!result.ok() || eval.instant_only || !options_.hidden_reruns) return true;
    static const RE2 kQueryContext("(start|end|range|step)\\(\\)");
    if (RE2::PartialMatch(text, kQueryContext)) return true;
    const auto range =
        engine_.Range(snapshot_, text, {time_ms - kMinuteMs, time_ms + kMinuteMs, kMinuteMs});
    ++result_.queries;
    if (!range.ok()) {
      return Fail(text, Concat("in range mode: ", ToStd(range.status().message())));
    }
    // A range query orders by labels, whatever the instant query orders by.
    if (eval.ordered) return true;
    const auto& matrix = std::get<query::Matrix>(range->value);
    if (!std::is_sorted(matrix.begin(), matrix.end(),
                        [](const auto& a, const auto& b) { return a.labels < b.labels; })) {
      return Fail(text, "in range mode: matrix is not sorted by labels");
    }
    query::Vector vector = AtTime(matrix, time_ms);
    query::Value value;
    if (std::holds_alternative<query::Scalar>(result->value)) {
      if (vector.empty()) return Fail(text, "in range mode: no value for a scalar");
      value = query::Scalar{time_ms, vector[0].value};
    } else {
      value = std::move(vector);
    }
    if (auto difference = CompareValue(eval, value)) {
      return Fail(text, Concat("in range mode: ", *difference));
    }
    return true;
  }

  query::Engine& engine_;
  const StorageFactory& factory_;
  const RunOptions options_;
  std::unique_ptr<ScriptStorage> storage_;
  std::shared_ptr<const Snapshot> snapshot_;  // of storage_; goes first
  bool changed_ = true;
  uint32_t line_ = 0;
  RunResult result_;
};

}  // namespace

query::EngineOptions ScriptEngineOptions() {
  query::EngineOptions options;
  options.max_samples = 10'000;
  options.timeout = std::chrono::seconds(100);
  options.max_points = 0;
  options.delayed_name_removal = true;
  options.use_start_timestamps = true;
  options.threads = 1;
  return options;
}

Result<RunResult> RunScript(std::string_view script, query::Engine& engine,
                            const StorageFactory& storage, const RunOptions& options) {
  VARVE_ASSIGN_OR_RETURN(const std::vector<Command> commands, ParseScript(script));
  return Runner(engine, storage, options).Run(commands);
}

}  // namespace varve::promqltest
