#include "query/traces/tags.h"

#include <algorithm>
#include <memory>
#include <set>
#include <utility>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "query/lang/traceql/literals.h"
#include "query/lang/traceql/parse.h"
#include "query/traces/program.h"
#include "query/traces/pushdown.h"
#include "query/traces/search.h"

namespace varve::query {
namespace {

using traceql::Expr;
using traceql::Field;
using traceql::FieldKind;
using TagValue = TraceSnapshot::TagValue;

constexpr size_t kValuesMax = 10'000;
// Columns of one scan.
constexpr size_t kColumnsMax = 64;

/// Finds the filter that a query starts with; null for none.
const Expr* FirstFilter(const Expr& expr) {
  switch (expr.kind) {
    case Expr::Kind::kFilter:
      return &expr;
    case Expr::Kind::kPipeline:
      return FirstFilter(*expr.stages[0]);
    case Expr::Kind::kBinary:
      return FirstFilter(*expr.left);
    default:
      return nullptr;
  }
}

/// Spans that a filter matches, with chosen columns.
class FilteredScan {
 public:
  FilteredScan(const TraceSnapshot& snapshot, NsRange range, QueryContext& context)
      : snapshot_(snapshot), range_(range), context_(context) {}

  Status Parse(std::string_view filter) {
    if (filter.empty()) {
      drive_.scans.emplace_back();
      return absl::OkStatus();
    }
    VARVE_ASSIGN_OR_RETURN(query_, traceql::Parse(filter, context_.options().query_bytes_max));
    const Expr* first = FirstFilter(*query_->expr);
    if (first == nullptr) {
      drive_.scans.emplace_back();
    } else {
      drive_ = PlanDrive(*first);
    }
    return AddResiduals(drive_, &residuals_);
  }
  void AddPredicate(SpanPredicate predicate) {
    for (DriveScan& scan : drive_.scans) scan.predicates.push_back(predicate);
  }
  bool everything() const {
    return drive_.scans.size() == 1 && drive_.scans[0].predicates.empty() &&
           drive_.scans[0].residual == nullptr;
  }

  /// Calls `visit(column, value)` for every value of a matching span.
  template <typename Visit>
  Status ForEach(const std::vector<SpanField>& columns, Visit&& visit) {
    for (const DriveScan& plan : drive_.scans) {
      SpanScanSpec spec;
      spec.range = range_;
      spec.predicates = plan.predicates;
      spec.threads = context_.threads();
      if (plan.residual != nullptr) {
        for (const Field& field : residuals_.fields()) {
          spec.columns.push_back(traceql::ToSpanField(field));
        }
      }
      const size_t first = spec.columns.size();
      spec.columns.insert(spec.columns.end(), columns.begin(), columns.end());
      VARVE_ASSIGN_OR_RETURN(const auto cursor, snapshot_.Scan(spec));
      SpanColumns batch;
      ColumnRows rows(residuals_, 0);
      for (;;) {
        VARVE_RETURN_IF_ERROR(context_.Poll());
        VARVE_ASSIGN_OR_RETURN(const bool more, cursor->Next(&batch));
        if (!more) break;
        rows.Bind(&batch);
        for (uint32_t r = 0; r < batch.size(); ++r) {
          if (plan.residual != nullptr && !residuals_.Test(*plan.residual, rows, r)) continue;
          for (size_t c = 0; c < columns.size(); ++c) {
            const ValueView& value = batch.columns[first + c][r];
            if (value.type != ValueType::kEmpty) visit(c, value);
          }
        }
      }
      context_.scan.Add(cursor->stats());
    }
    return absl::OkStatus();
  }

 private:
  const TraceSnapshot& snapshot_;
  NsRange range_;
  QueryContext& context_;
  std::shared_ptr<const traceql::Query> query_;
  Drive drive_;
  Program residuals_;
};

/// Words of statuses and kinds stand for their numbers.
std::string PrintTyped(FieldKind kind, const ValueView& value) {
  return PrintVal(Val::Of(kind, value));
}

}  // namespace

Result<std::vector<TagName>> FindTagNames(const TraceSnapshot& snapshot,
                                          std::optional<AttributeScope> scope, NsRange range,
                                          std::string_view filter, QueryContext& context) {
  FilteredScan scan(snapshot, range, context);
  VARVE_RETURN_IF_ERROR(scan.Parse(filter));
  std::vector<TagName> names;
  for (const AttributeScope at :
       {AttributeScope::kSpan, AttributeScope::kResource, AttributeScope::kInstrumentation,
        AttributeScope::kEvent, AttributeScope::kLink}) {
    if (scope && *scope != AttributeScope::kAny && *scope != at) continue;
    VARVE_ASSIGN_OR_RETURN(std::vector<TagName> found, snapshot.TagNames(at, range));
    names.insert(names.end(), std::make_move_iterator(found.begin()),
                 std::make_move_iterator(found.end()));
  }
  if (scan.everything()) return names;
  std::vector<TagName> out;
  for (size_t begin = 0; begin < names.size(); begin += kColumnsMax) {
    const size_t end = std::min(names.size(), begin + kColumnsMax);
    std::vector<SpanField> columns;
    std::vector<uint32_t> types(end - begin, 0);
    for (size_t i = begin; i < end; ++i) {
      columns.push_back({Intrinsic::kNone, names[i].scope, names[i].key});
    }
    VARVE_RETURN_IF_ERROR(scan.ForEach(columns, [&](size_t c, const ValueView& value) {
      types[c] |= 1u << static_cast<uint32_t>(value.type);
    }));
    for (size_t i = begin; i < end; ++i) {
      if (types[i - begin] == 0) continue;
      out.push_back(std::move(names[i]));
      out.back().types = types[i - begin];
    }
  }
  return out;
}

Result<std::vector<TagValue>> FindTagValues(const TraceSnapshot& snapshot, std::string_view tag,
                                            NsRange range, std::string_view filter, size_t limit,
                                            QueryContext& context) {
  if (limit == 0 || limit > kValuesMax) limit = kValuesMax;
  if (tag.empty()) return MakeStatus(StatusCode::kInvalidArgument, "a tag needs a name");
  Field field;
  if (auto parsed = traceql::ParseField(tag); parsed.ok()) {
    field = *std::move(parsed);
  } else {
    field.key = tag;  // "http.method", as older clients ask
  }
  FilteredScan scan(snapshot, range, context);
  VARVE_RETURN_IF_ERROR(scan.Parse(filter));
  if (field.of_parent) {
    return MakeStatus(StatusCode::kInvalidArgument, "values of a parent's tags are not listed");
  }
  const FieldKind kind = field.kind;
  switch (kind) {
    case FieldKind::kAttribute:
    case FieldKind::kName:
    case FieldKind::kStatus:
    case FieldKind::kStatusMessage:
    case FieldKind::kSpanKind:
    case FieldKind::kScopeName:
    case FieldKind::kScopeVersion:
    case FieldKind::kEventName:
      break;
    case FieldKind::kRootName:
    case FieldKind::kRootServiceName: {
      SpanPredicate root;
      root.field.intrinsic = Intrinsic::kParentId;
      root.op = SpanPredicate::Op::kEqual;
      root.value = std::string();
      scan.AddPredicate(std::move(root));
      field.kind = kind == FieldKind::kRootName ? FieldKind::kName : FieldKind::kServiceName;
      break;
    }
    default:
      return std::vector<TagValue>();  // numbers and identifiers: no list would help
  }
  std::set<TagValue> found;
  const auto add = [&](TagValue value) {
    if (value.text.empty()) return;
    found.insert(std::move(value));
    if (found.size() > limit) found.erase(std::prev(found.end()));
  };
  if (scan.everything() && kind != FieldKind::kStatus && kind != FieldKind::kSpanKind) {
    VARVE_ASSIGN_OR_RETURN(std::vector<TagValue> values,
                           snapshot.TagValues(traceql::ToSpanField(field), range, 0));
    for (TagValue& value : values) add(std::move(value));
  } else {
    VARVE_RETURN_IF_ERROR(
        scan.ForEach({traceql::ToSpanField(field)}, [&](size_t, const ValueView& value) {
          const bool word = kind == FieldKind::kStatus || kind == FieldKind::kSpanKind;
          add({word ? ValueType::kString : value.type, PrintTyped(field.kind, value)});
        }));
  }
  return std::vector<TagValue>(found.begin(), found.end());
}

}  // namespace varve::query
