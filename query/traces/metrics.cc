#include "query/traces/metrics.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <set>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "engine/base/hash.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "query/exec/aggregate.h"
#include "query/exec/binary.h"
#include "query/exec/elementwise.h"
#include "query/traces/pipeline.h"
#include "query/traces/pushdown.h"
#include "query/traces/search.h"
#include "query/traces/span_series.h"
#include "query/traces/trace_crew.h"

namespace varve::query {
namespace {

using traceql::Expr;
using traceql::Field;
using traceql::FieldExpr;
using traceql::FieldKind;
using traceql::Function;
using traceql::Op;

using StageList = std::vector<const Expr*>;

/// Keeps the spans with the smallest hashes: a fair sample that does not depend on their order.
class ExemplarSample {
 public:
  struct Entry {
    uint64_t hash = 0;
    TraceExemplar exemplar;
    bool operator<(const Entry& other) const { return hash < other.hash; }
  };
  explicit ExemplarSample(size_t size_max) : size_max_(size_max) {}
  bool Wants(const TraceId& trace, const SpanId& span, uint64_t* hash) const {
    if (size_max_ == 0) return false;
    char bytes[24];
    std::copy(trace.bytes.begin(), trace.bytes.end(), bytes);
    std::copy(span.bytes.begin(), span.bytes.end(), bytes + 16);
    *hash = Hash64(std::string_view(bytes, sizeof bytes));
    return heap_.size() < size_max_ || *hash < heap_.front().hash;
  }
  void Add(uint64_t hash, TraceExemplar exemplar) {
    heap_.push_back({hash, std::move(exemplar)});
    std::push_heap(heap_.begin(), heap_.end());
    if (heap_.size() > size_max_) {
      std::pop_heap(heap_.begin(), heap_.end());
      heap_.pop_back();
    }
  }
  std::vector<TraceExemplar> Take() {
    std::vector<TraceExemplar> out;
    for (Entry& entry : heap_) out.push_back(std::move(entry.exemplar));
    std::sort(out.begin(), out.end(), [](const TraceExemplar& a, const TraceExemplar& b) {
      if (const auto order = CompareLabels(a.labels, b.labels); order != 0) return order < 0;
      return std::tie(a.time_ns, a.trace_id, a.span_id) <
             std::tie(b.time_ns, b.trace_id, b.span_id);
    });
    return out;
  }

 private:
  size_t size_max_;
  std::vector<Entry> heap_;
};

/// What the operators of one query share beside the ExecContext.
struct MetricsScope {
  const TraceSnapshot* snapshot = nullptr;  // null when only explained
  QueryContext* context = nullptr;
  StepGrid grid;
  int64_t step_ms = 0;
  ExemplarSample* exemplars = nullptr;
  std::string_view text;
};

/// The spans of the steps: (start - step, end].
NsRange RangeOf(const MetricsScope& scope) {
  const auto to_ns = [](int64_t ms) {
    return static_cast<int64_t>(
        std::clamp<__int128>(static_cast<__int128>(ms) * 1'000'000, kMinTime / 2, kMaxTime / 2));
  };
  return {to_ns(scope.grid.start_ms - scope.step_ms) + 1, to_ns(scope.grid.last())};
}

/// Finds the step that a span belongs to. Precondition: it lies in the range.
uint32_t StepOf(const MetricsScope& scope, int64_t start_ns) {
  // Times and steps are bounded to a quarter of what 64 bits hold.
  const int64_t first = scope.grid.start_ms * 1'000'000;
  if (start_ns <= first) return 0;
  const int64_t step = scope.grid.step_ms * 1'000'000;
  const auto index = static_cast<uint64_t>((start_ns - first + step - 1) / step);
  return static_cast<uint32_t>(std::min<uint64_t>(index, scope.grid.count - 1));
}

/// A way to read the spans of a spanset query.
class SpanSource {
 public:
  /// `expressions` are evaluated on every span.
  SpanSource(const MetricsScope& scope, const StageList& stages,
             std::vector<const FieldExpr*> expressions)
      : scope_(scope), stages_(stages), expressions_(std::move(expressions)) {}

  /// Decides whether single rows of a scan suffice, or whole traces are needed.
  Status Plan() {
    for (const FieldExpr* expr : expressions_) VARVE_RETURN_IF_ERROR(program_.Add(*expr));
    by_rows_ = !program_.needs_trace();
    for (const Expr* stage : stages_) by_rows_ = by_rows_ && PlanStage(*stage);
    if (by_rows_) {
      if (!conjuncts_.empty()) {
        for (const FieldExpr* conjunct : conjuncts_) {
          VARVE_RETURN_IF_ERROR(program_.Add(*conjunct));
        }
      }
      return absl::OkStatus();
    }
    for (const Expr* stage : stages_) VARVE_RETURN_IF_ERROR(AddExpressions(*stage, &program_));
    // All spans of the answer must be seen, so that none at an edge of the range is lost.
    const Expr* driver = nullptr;
    for (const Expr* stage : stages_) {
      if (stage->type == traceql::Type::kSpanset) {
        driver = stage;
        break;
      }
    }
    if (driver == nullptr) {
      drive_.scans.emplace_back();
      drive_.text = "{ }";
    } else {
      drive_ = PlanResultDrive(*driver);
    }
    return AddResiduals(drive_, &residuals_);
  }

  std::string Describe() const {
    std::string out;
    if (by_rows_) {
      out = nothing_ ? "nothing" : "rows";
      for (size_t i = 0; i < predicates_.size(); ++i) {
        out.append(Concat(i == 0 ? " where " : " and ", ToString(predicates_[i])));
      }
      for (const FieldExpr* conjunct : conjuncts_) {
        out.append(Concat(", then ", traceql::ToString(*conjunct)));
      }
      return out;
    }
    return Concat("whole traces, driven by ", drive_.text);
  }

  const Program& program() const { return program_; }

  /// Calls `visit` for every span of the answer that starts in the range.
  using Visit = std::function<Status(const TraceId& trace, const SpanId& span, int64_t start_ns,
                                     int64_t duration_ns, const Rows& rows, uint32_t row)>;
  Status ForEach(const Visit& visit) {
    if (by_rows_) return nothing_ ? absl::OkStatus() : ForEachRow(visit);
    return ForEachTrace(visit);
  }

 private:
  /// Turns a filter stage into predicates and what is left; false if the stage needs traces.
  bool PlanStage(const Expr& stage) {
    if (stage.kind == Expr::Kind::kCall && stage.function == Function::kSelect) return true;
    if (stage.kind == Expr::Kind::kPipeline) {
      return std::all_of(stage.stages.begin(), stage.stages.end(),
                         [&](const auto& inner) { return PlanStage(*inner); });
    }
    if (stage.kind != Expr::Kind::kFilter) return false;
    return stage.filter == nullptr || PlanConjunct(*stage.filter);
  }

  bool PlanConjunct(const FieldExpr& expr) {
    if (expr.kind == FieldExpr::Kind::kBinary && expr.op == Op::kAnd) {
      return PlanConjunct(*expr.left) && PlanConjunct(*expr.right);
    }
    Pushdown pushed = PushDown(expr);
    if (pushed.exact && pushed.alternatives.empty()) {
      nothing_ = true;
      return true;
    }
    const bool single = pushed.alternatives.size() == 1;
    if (single) {
      for (SpanPredicate& predicate : pushed.alternatives[0]) {
        predicates_.push_back(std::move(predicate));
      }
      if (pushed.exact) return true;
    }
    if (!SuitsColumns(expr)) return false;
    conjuncts_.push_back(&expr);
    return true;
  }

  static bool SuitsColumns(const FieldExpr& expr) {
    if (expr.kind == FieldExpr::Kind::kField) {
      return !traceql::NeedsTrace(expr.field) && !traceql::IsMultiple(expr.field);
    }
    return (expr.left == nullptr || SuitsColumns(*expr.left)) &&
           (expr.right == nullptr || SuitsColumns(*expr.right));
  }

  Status ForEachRow(const Visit& visit) {
    SpanScanSpec spec;
    spec.range = RangeOf(scope_);
    spec.predicates = predicates_;
    spec.threads = scope_.context->threads();
    for (const Field& field : program_.fields()) {
      spec.columns.push_back(traceql::ToSpanField(field));
    }
    VARVE_ASSIGN_OR_RETURN(const auto cursor, scope_.snapshot->Scan(spec));
    SpanColumns columns;
    ColumnRows rows(program_, 0);
    Status status;
    for (;;) {
      VARVE_RETURN_IF_ERROR(scope_.context->Poll());
      VARVE_ASSIGN_OR_RETURN(const bool more, cursor->Next(&columns));
      if (!more) break;
      rows.Bind(&columns);
      for (uint32_t r = 0; r < columns.size(); ++r) {
        if (!std::all_of(conjuncts_.begin(), conjuncts_.end(), [&](const FieldExpr* conjunct) {
              return program_.Test(*conjunct, rows, r);
            })) {
          continue;
        }
        VARVE_RETURN_IF_ERROR(visit(columns.trace_ids[r], columns.span_ids[r], columns.starts_ns[r],
                                    columns.durations_ns[r], rows, r));
      }
    }
    scope_.context->scan.Add(cursor->stats());
    return absl::OkStatus();
  }

  Status ForEachTrace(const Visit& visit) {
    const NsRange range = RangeOf(scope_);
    DriveReader reader(drive_, residuals_, *scope_.context);
    VARVE_RETURN_IF_ERROR(reader.Open(*scope_.snapshot, range));
    TraceCrew crew(*scope_.snapshot, program_, *scope_.context);
    std::vector<std::vector<uint8_t>> hits(crew.slots());
    Charge charge(*scope_.context);
    std::set<TraceId> seen;
    std::vector<TraceId> fresh;
    for (bool more = true; more;) {
      fresh.clear();
      VARVE_ASSIGN_OR_RETURN(more, reader.Next([&](const TraceId& id, const SpanId&, int64_t) {
        if (seen.insert(id).second) fresh.push_back(id);
      }));
      VARVE_RETURN_IF_ERROR(charge.Add(fresh.size() * 64));
      VARVE_RETURN_IF_ERROR(crew.Run(
          fresh, [&](size_t slot, const TraceTable& table) { hits[slot] = Hits(table); },
          [&](size_t, size_t slot, const TraceTable& table) -> Result<bool> {
            for (uint32_t row = 0; row < table.size(); ++row) {
              const TraceTable::Row& span = table.row(row);
              if (!hits[slot][row] || !range.Contains(span.start_ns)) continue;
              VARVE_RETURN_IF_ERROR(
                  visit(table.id(), span.id, span.start_ns, span.duration_ns, table, row));
            }
            return true;
          }));
    }
    return absl::OkStatus();
  }

  /// Finds the rows of a trace that are in the answer. Thread-safe.
  std::vector<uint8_t> Hits(const TraceTable& table) const {
    RowSets sets;
    sets.push_back(AllRows(table));
    for (const Expr* stage : stages_) {
      RowSets next;
      for (const RowSet& set : sets) {
        for (RowSet& made : EvaluateStage(*stage, table, set)) next.push_back(std::move(made));
      }
      sets = std::move(next);
    }
    // A span counts once, however many groups hold it.
    std::vector<uint8_t> hit(table.size(), 0);
    for (const RowSet& set : sets) {
      for (const uint32_t row : set.rows) hit[row] = 1;
    }
    return hit;
  }

  const MetricsScope& scope_;
  StageList stages_;
  std::vector<const FieldExpr*> expressions_;
  Program program_;
  Program residuals_;
  bool by_rows_ = false;
  bool nothing_ = false;
  std::vector<SpanPredicate> predicates_;
  std::vector<const FieldExpr*> conjuncts_;
  Drive drive_;
};

/// Reads spans and makes series of them: the leaf of every plan.
class SpanMetricsOperator final : public StoredOperator {
 public:
  SpanMetricsOperator(ExecContext& context, const MetricsScope& scope, const Expr& call,
                      const StageList& stages)
      : StoredOperator(context, scope.grid), scope_(scope), call_(call) {
    std::vector<const FieldExpr*> expressions;
    for (const auto& field : call.by) expressions.push_back(field.get());
    for (const auto& field : call.fields) expressions.push_back(field.get());
    source_ = std::make_unique<SpanSource>(scope, stages, std::move(expressions));
  }
  Status Plan() { return source_->Plan(); }

  std::string Describe() const override {
    return Concat(traceql::ToString(call_), " over ", source_->Describe());
  }

 protected:
  Status OpenImpl() override {
    std::vector<std::string> by;
    for (const auto& field : call_.by) by.push_back(traceql::ToString(*field));
    SpanSeries series(call_.function, by, grid_.count, *scope_.context);
    std::vector<Val> values(call_.by.size());
    const Program& program = source_->program();
    VARVE_RETURN_IF_ERROR(
        source_->ForEach([&](const TraceId& trace, const SpanId& span, int64_t start_ns,
                             int64_t duration_ns, const Rows& rows, uint32_t row) -> Status {
          for (size_t i = 0; i < values.size(); ++i) {
            values[i] = program.Evaluate(*call_.by[i], rows, row);
          }
          Val argument;
          if (!call_.fields.empty()) argument = program.Evaluate(*call_.fields[0], rows, row);
          VARVE_RETURN_IF_ERROR(series.Add(values, argument, StepOf(scope_, start_ns)));
          uint64_t hash = 0;
          if (scope_.exemplars->Wants(trace, span, &hash)) {
            if (call_.fields.empty()) argument = Val::Int(duration_ns, Val::Type::kDuration);
            if (argument.is_number()) {
              AddExemplar(hash, by, values, argument, trace, span, start_ns);
            }
          }
          return absl::OkStatus();
        }));
    const double step_seconds = static_cast<double>(scope_.step_ms) / 1000;
    stats().samples = series.spans();
    context_.total_samples += series.spans();
    context_.samples_read += series.spans();
    std::vector<SpanSeries::Row> rows = series.Finish(step_seconds, call_.numbers);
    return Fill(std::move(rows));
  }

 private:
  void AddExemplar(uint64_t hash, const std::vector<std::string>& by,
                   const std::vector<Val>& values, const Val& argument, const TraceId& trace,
                   const SpanId& span, int64_t start_ns) {
    TraceExemplar exemplar;
    std::vector<std::string> texts;
    for (const Val& value : values) texts.push_back(LabelText(value));
    std::vector<LabelView> views;
    for (size_t i = 0; i < by.size(); ++i) views.push_back({by[i], texts[i]});
    const std::string_view name = traceql::ToString(call_.function);
    if (by.empty() && call_.function != Function::kQuantileOverTime &&
        call_.function != Function::kHistogramOverTime) {
      views.push_back({kMetricName, name});
    }
    std::sort(views.begin(), views.end());
    views.erase(
        std::unique(views.begin(), views.end(),
                    [](const LabelView& a, const LabelView& b) { return a.name == b.name; }),
        views.end());
    exemplar.labels = Labels(LabelsView(views));
    exemplar.time_ns = start_ns;
    exemplar.value = argument.type == Val::Type::kDuration
                         ? static_cast<double>(argument.integer) / 1e9
                         : argument.as_double();
    exemplar.trace_id = trace;
    exemplar.span_id = span;
    scope_.exemplars->Add(hash, std::move(exemplar));
  }

 protected:
  Status Fill(std::vector<SpanSeries::Row> rows) {
    // Canonical labels, rows in their order.
    struct Entry {
      LabelsView labels;
      size_t row;
    };
    std::vector<Entry> entries;
    for (size_t i = 0; i < rows.size(); ++i) {
      std::vector<LabelView> views;
      for (const auto& [name, value] : rows[i].labels) {
        views.push_back({context_.KeepBytes(name), context_.KeepBytes(value)});
      }
      std::sort(views.begin(), views.end());
      // by(a, a) gives one label.
      views.erase(
          std::unique(views.begin(), views.end(),
                      [](const LabelView& a, const LabelView& b) { return a.name == b.name; }),
          views.end());
      entries.push_back({context_.KeepLabels(views), i});
    }
    std::sort(entries.begin(), entries.end(),
              [](const Entry& a, const Entry& b) { return CompareLabels(a.labels, b.labels) < 0; });
    VARVE_RETURN_IF_ERROR(rows_.AppendBlank(entries.size()));
    context_.series_selected += entries.size();
    for (size_t i = 0; i < entries.size(); ++i) {
      SpanSeries::Row& from = rows[entries[i].row];
      RowStore::Row& to = rows_[i];
      to.valid.assign(BitWords(grid_.count), 0);
      for (uint32_t step = 0; step < grid_.count; ++step) {
        if (from.present[step]) SetBit(to.valid.data(), step);
      }
      to.values = std::move(from.values);
      series_.push_back({entries[i].labels, false});
    }
    return absl::OkStatus();
  }

  const MetricsScope& scope_;
  const Expr& call_;
  std::unique_ptr<SpanSource> source_;
};

/// compare(): counts the values of every attribute, apart for the spans of a selection and the
/// rest.
class CompareOperator final : public StoredOperator {
 public:
  CompareOperator(ExecContext& context, const MetricsScope& scope, const Expr& call,
                  const StageList& stages)
      : StoredOperator(context, scope.grid), scope_(scope), call_(call), stages_(stages) {}

  /// Finds the attributes that occur; nothing is known of them while explaining.
  Status Plan() {
    std::vector<const FieldExpr*> expressions;
    const auto add = [&](Field field) {
      names_.push_back(traceql::ToString(field));
      fields_.push_back(traceql::MakeField(std::move(field)));
    };
    for (const FieldKind kind :
         {FieldKind::kName, FieldKind::kSpanKind, FieldKind::kStatus, FieldKind::kStatusMessage}) {
      Field field;
      field.kind = kind;
      add(std::move(field));
    }
    if (scope_.snapshot != nullptr) {
      for (const AttributeScope at : {AttributeScope::kResource, AttributeScope::kSpan}) {
        VARVE_ASSIGN_OR_RETURN(const std::vector<TagName> tags,
                               scope_.snapshot->TagNames(at, RangeOf(scope_)));
        for (const TagName& tag : tags) {
          if (fields_.size() >= kFieldsMax) break;
          Field field;
          field.scope = at;
          field.key = tag.key;
          if (!field.key.empty()) add(std::move(field));
        }
      }
    }
    for (const auto& field : fields_) expressions.push_back(field.get());
    if (call_.filter != nullptr) expressions.push_back(call_.filter.get());
    source_ = std::make_unique<SpanSource>(scope_, stages_, std::move(expressions));
    return source_->Plan();
  }
  std::string Describe() const override {
    return Concat(traceql::ToString(call_), " over ", source_->Describe());
  }

 protected:
  Status OpenImpl() override {
    struct Counts {
      std::vector<uint64_t> steps;
      uint64_t all = 0;
    };
    // Per side (baseline, selection) and field: the values.
    std::vector<std::map<std::string, Counts>> values[2];
    std::vector<Counts> totals[2];
    for (int side = 0; side < 2; ++side) {
      values[side].resize(fields_.size());
      totals[side].resize(fields_.size());
    }
    Charge charge(*scope_.context);
    const Program& program = source_->program();
    const bool timed = call_.integers.size() == 3;
    const auto count = [&](Counts& counts, uint32_t step) {
      if (counts.steps.empty()) counts.steps.resize(grid_.count);
      ++counts.steps[step];
      ++counts.all;
    };
    VARVE_RETURN_IF_ERROR(source_->ForEach([&](const TraceId&, const SpanId&, int64_t start_ns,
                                               int64_t, const Rows& rows, uint32_t row) -> Status {
      const bool in_time =
          !timed || (start_ns >= call_.integers[1] && start_ns < call_.integers[2]);
      const bool selected =
          in_time && (call_.filter == nullptr || program.Test(*call_.filter, rows, row));
      const uint32_t step = StepOf(scope_, start_ns);
      for (size_t f = 0; f < fields_.size(); ++f) {
        const Val value = program.Evaluate(*fields_[f], rows, row);
        if (value.is_nil()) continue;
        const auto [found, fresh] = values[selected][f].try_emplace(LabelText(value));
        if (fresh) {
          VARVE_RETURN_IF_ERROR(charge.Add(128 + found->first.size() + grid_.count * 8));
        }
        count(found->second, step);
        count(totals[selected][f], step);
      }
      return absl::OkStatus();
    }));
    const size_t top = call_.integers.empty() ? 10 : static_cast<size_t>(call_.integers[0]);
    struct Entry {
      std::vector<LabelView> labels;
      const Counts* counts;
    };
    std::vector<Entry> entries;
    constexpr std::string_view kType = "__meta_type";
    constexpr std::string_view kSides[2] = {"baseline", "selection"};
    constexpr std::string_view kTotals[2] = {"baseline_total", "selection_total"};
    for (int side = 0; side < 2; ++side) {
      for (size_t f = 0; f < fields_.size(); ++f) {
        std::vector<std::pair<std::string_view, const Counts*>> sorted;
        for (const auto& [text, counts] : values[side][f]) sorted.emplace_back(text, &counts);
        std::stable_sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) {
          return a.second->all > b.second->all;
        });
        if (sorted.size() > top) sorted.resize(top);
        for (const auto& [text, counts] : sorted) {
          entries.push_back(
              {{{kType, kSides[side]}, {names_[f], context_.KeepBytes(text)}}, counts});
        }
        if (totals[side][f].all > 0) {
          entries.push_back({{{kType, kTotals[side]}, {names_[f], "nil"}}, &totals[side][f]});
        }
      }
    }
    for (Entry& entry : entries) std::sort(entry.labels.begin(), entry.labels.end());
    std::sort(entries.begin(), entries.end(),
              [](const Entry& a, const Entry& b) { return CompareLabels(a.labels, b.labels) < 0; });
    VARVE_RETURN_IF_ERROR(rows_.AppendBlank(entries.size()));
    for (size_t i = 0; i < entries.size(); ++i) {
      RowStore::Row& to = rows_[i];
      to.values.assign(entries[i].counts->steps.begin(), entries[i].counts->steps.end());
      to.valid.assign(BitWords(grid_.count), 0);
      for (uint32_t step = 0; step < grid_.count; ++step) SetBit(to.valid.data(), step);
      series_.push_back({context_.KeepLabels(entries[i].labels), false});
    }
    return absl::OkStatus();
  }

 private:
  static constexpr size_t kFieldsMax = 512;
  const MetricsScope& scope_;
  const Expr& call_;
  StageList stages_;
  std::vector<traceql::FieldExprPtr> fields_;
  std::vector<std::string> names_;
  std::unique_ptr<SpanSource> source_;
};

BinaryFunction FunctionOf(Op op) {
  switch (op) {
    case Op::kAdd:
      return BinaryFunction::kAdd;
    case Op::kSub:
      return BinaryFunction::kSubtract;
    case Op::kMul:
      return BinaryFunction::kMultiply;
    case Op::kDiv:
      return BinaryFunction::kDivide;
    case Op::kMod:
      return BinaryFunction::kModulo;
    case Op::kPow:
      return BinaryFunction::kPower;
    case Op::kEqual:
      return BinaryFunction::kEqual;
    case Op::kNotEqual:
      return BinaryFunction::kNotEqual;
    case Op::kLess:
      return BinaryFunction::kLess;
    case Op::kLessEqual:
      return BinaryFunction::kLessEqual;
    case Op::kGreater:
      return BinaryFunction::kGreater;
    default:
      return BinaryFunction::kGreaterEqual;
  }
}

/// Makes operators of a metrics query.
class MetricsBuilder {
 public:
  MetricsBuilder(ExecContext& context, const MetricsScope& scope)
      : context_(context), scope_(scope) {}

  Result<OperatorPtr> Build(const Expr& expr, const StageList& input) {
    switch (expr.kind) {
      case Expr::Kind::kPipeline:
        return BuildPipeline(expr);
      case Expr::Kind::kCall:
        return BuildCall(expr, input);
      case Expr::Kind::kBinary:
        return BuildBinary(expr, input);
      default:
        return MakeStatus(StatusCode::kInternal, "not a metric");
    }
  }

 private:
  Result<OperatorPtr> BuildPipeline(const Expr& expr) {
    StageList input;
    OperatorPtr out;
    for (const auto& stage : expr.stages) {
      if (out != nullptr) {
        VARVE_ASSIGN_OR_RETURN(out, BuildSecond(*stage, std::move(out)));
      } else if (IsSpansetStage(*stage)) {
        input.push_back(stage.get());
      } else {
        VARVE_ASSIGN_OR_RETURN(out, Build(*stage, input));
      }
    }
    return out;
  }

  Result<OperatorPtr> BuildCall(const Expr& expr, const StageList& input) {
    if (expr.function == Function::kCompare) {
      auto out = std::make_unique<CompareOperator>(context_, scope_, expr, input);
      VARVE_RETURN_IF_ERROR(out->Plan());
      return out;
    }
    auto out = std::make_unique<SpanMetricsOperator>(context_, scope_, expr, input);
    VARVE_RETURN_IF_ERROR(out->Plan());
    return out;
  }

  Result<OperatorPtr> BuildBinary(const Expr& expr, const StageList& input) {
    const auto is_number = [](const Expr& side) { return side.type == traceql::Type::kNumber; };
    if (is_number(*expr.left) || is_number(*expr.right)) {
      const bool scalar_left = is_number(*expr.left);
      VARVE_ASSIGN_OR_RETURN(OperatorPtr metric,
                             scalar_left ? Build(*expr.right, {}) : Build(*expr.left, input));
      return WithNumber(expr.op, scalar_left, std::move(metric),
                        Number(scalar_left ? *expr.left : *expr.right));
    }
    VARVE_ASSIGN_OR_RETURN(OperatorPtr left, Build(*expr.left, input));
    VARVE_ASSIGN_OR_RETURN(OperatorPtr right, Build(*expr.right, {}));
    return VectorPair(context_, FunctionOf(expr.op), false, Matching(), std::move(left),
                      std::move(right), "1:1");
  }

  OperatorPtr WithNumber(Op op, bool scalar_left, OperatorPtr metric, double number) {
    VectorScalarSpec spec;
    spec.function = FunctionOf(op);
    spec.scalar_left = scalar_left;
    spec.place = "1:1";
    return VectorScalar(context_, std::move(spec), std::move(metric),
                        ConstantScalar(context_, scope_.grid, number));
  }

  Result<OperatorPtr> BuildSecond(const Expr& expr, OperatorPtr input) {
    if (expr.kind == Expr::Kind::kBinary) {
      VARVE_ASSIGN_OR_RETURN(OperatorPtr inner, BuildSecond(*expr.left, std::move(input)));
      return WithNumber(expr.op, false, std::move(inner), Number(*expr.right));
    }
    const Selecting selecting =
        expr.function == Function::kTopk ? Selecting::kTopk : Selecting::kBottomk;
    return SelectSeries(
        context_, selecting, Grouping(), std::move(input),
        ConstantScalar(context_, scope_.grid, static_cast<double>(expr.integers[0])), "1:1", "1:1");
  }

  /// Computes a constant; durations count in seconds, as metrics give them.
  static double Number(const Expr& expr) {
    switch (expr.kind) {
      case Expr::Kind::kNumber:
        if (expr.number.type == TraceValue::Type::kDuration) {
          return static_cast<double>(expr.number.integer) / 1e9;
        }
        return Val::Of(expr.number).as_double();
      case Expr::Kind::kNegate:
        return -Number(*expr.left);
      default:
        return Calculate(FunctionOf(expr.op), Number(*expr.left), Number(*expr.right));
    }
  }

  ExecContext& context_;
  const MetricsScope& scope_;
};

/// Runs the operators and keeps the rows that hold something.
Status Collect(ExecContext& context, Operator& root, Matrix* out) {
  VARVE_RETURN_IF_ERROR(root.Open());
  Tile tile;
  size_t at = 0;
  const StepGrid& grid = root.grid();
  for (;;) {
    VARVE_RETURN_IF_ERROR(root.Next(tile));
    if (tile.rows() == 0) return absl::OkStatus();
    for (uint32_t r = 0; r < tile.rows(); ++r, ++at) {
      Series series;
      ForEachBit(tile.valid(r), tile.words(), [&](uint32_t step) {
        series.times_ms.push_back(grid.At(step));
        series.values.push_back(tile.values(r)[step]);
      });
      if (series.values.empty()) continue;
      series.labels = Labels(root.series()[at].labels);
      VARVE_RETURN_IF_ERROR(context.budget.Take(series.values.size(), series.values.size() * 16));
      out->push_back(std::move(series));
    }
  }
}

void PrintTree(Operator& op, uint32_t depth, std::string* out) {
  out->append(Concat(std::string(depth * 2, ' '), op.Describe(), "\n"));
  for (Operator* child : op.children()) PrintTree(*child, depth + 1, out);
}

void CollectStats(Operator& op, uint32_t depth, std::vector<OperatorStats>* out) {
  OperatorStats stats = op.stats();
  stats.name = op.Describe();
  stats.depth = depth;
  out->push_back(std::move(stats));
  for (Operator* child : op.children()) CollectStats(*child, depth + 1, out);
}

size_t ExemplarsOf(const traceql::Query& query, size_t most) {
  const std::string_view hint = query.hint("exemplars");
  if (hint.empty() || hint == "true") return most;
  size_t wanted = 0;
  const auto [end, error] = std::from_chars(hint.data(), hint.data() + hint.size(), wanted);
  return error == std::errc() && end == hint.data() + hint.size() ? std::min(wanted, most) : 0;
}

}  // namespace

Result<TraceMetricsResult> RunMetrics(const TraceSnapshot& snapshot, const traceql::Query& query,
                                      std::string_view text, const StepGrid& grid, int64_t step_ms,
                                      bool instant, ThreadPool* pool,
                                      const TraceQueryOptions& query_options,
                                      QueryContext& context) {
  EngineOptions options;
  options.memory_bytes_max = context.options().memory_bytes_max;
  ExecContext exec(options, UINT64_MAX / 2, pool);
  exec.text = text;
  exec.query_grid = grid;
  exec.cancellation = query_options.cancellation;
  const auto timeout = query_options.timeout.value_or(context.options().timeout);
  exec.has_deadline = timeout.count() > 0;
  exec.deadline = std::chrono::steady_clock::now() + timeout;
  ExemplarSample exemplars(ExemplarsOf(query, context.options().exemplars_max));
  MetricsScope scope{&snapshot, &context, grid, step_ms, &exemplars, text};
  VARVE_ASSIGN_OR_RETURN(const OperatorPtr root,
                         MetricsBuilder(exec, scope).Build(*query.expr, {}));
  Matrix matrix;
  VARVE_RETURN_IF_ERROR(Collect(exec, *root, &matrix));
  std::stable_sort(matrix.begin(), matrix.end(), [](const Series& a, const Series& b) {
    return CompareLabels(a.labels, b.labels) < 0;
  });
  TraceMetricsResult out;
  if (instant) {
    Vector vector;
    for (Series& series : matrix) {
      VectorSample sample;
      sample.labels = std::move(series.labels);
      sample.time_ms = series.times_ms[0];
      sample.value = series.values[0];
      vector.push_back(std::move(sample));
    }
    out.value = std::move(vector);
  } else {
    out.value = std::move(matrix);
  }
  out.exemplars = exemplars.Take();
  out.scan = context.scan;
  Statistics& stats = out.statistics;
  stats.total_samples = exec.total_samples;
  stats.samples_read = exec.samples_read;
  stats.series = exec.series_selected;
  stats.peak_bytes = context.budget().peak_bytes() + exec.budget.peak_bytes();
  stats.total_time = context.elapsed();
  CollectStats(*root, 0, &stats.operators);
  return out;
}

std::string ExplainMetrics(const traceql::Query& query, ThreadPool* pool) {
  EngineOptions options;
  ExecContext exec(options, UINT64_MAX / 2, pool);
  const StepGrid grid{0, 1000, 1};
  exec.query_grid = grid;
  MetricsScope scope;
  scope.grid = grid;
  const auto root = MetricsBuilder(exec, scope).Build(*query.expr, {});
  if (!root.ok()) return {};
  std::string out;
  PrintTree(**root, 0, &out);
  return out;
}

}  // namespace varve::query
