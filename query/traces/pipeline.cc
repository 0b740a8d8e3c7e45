#include "query/traces/pipeline.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "engine/base/macros.h"
#include "engine/base/strings.h"

namespace varve::query {
namespace {

using traceql::Expr;
using traceql::Function;
using traceql::Op;
using traceql::Type;

using Bits = std::vector<uint8_t>;

Bits BitsOf(const std::vector<uint32_t>& rows, uint32_t size) {
  Bits out(size, 0);
  for (const uint32_t row : rows) out[row] = 1;
  return out;
}

std::vector<uint32_t> RowsOf(const RowSets& sets, uint32_t size) {
  if (sets.size() == 1) return sets[0].rows;
  Bits bits(size, 0);
  for (const RowSet& set : sets) {
    for (const uint32_t row : set.rows) bits[row] = 1;
  }
  std::vector<uint32_t> out;
  for (uint32_t i = 0; i < size; ++i) {
    if (bits[i]) out.push_back(i);
  }
  return out;
}

enum class Relation : uint8_t { kChild, kParent, kDescendant, kAncestor, kSibling };

/// Marks the rows that stand in a relation to one of `of`: its children, parents, and so on.
Bits Related(const TraceTable& table, Relation relation, const Bits& of) {
  const uint32_t n = table.size();
  Bits out(n, 0);
  switch (relation) {
    case Relation::kChild:
      for (uint32_t i = 0; i < n; ++i) out[i] = table.parent(i) >= 0 && of[table.parent(i)];
      break;
    case Relation::kParent:
      for (uint32_t i = 0; i < n; ++i) {
        if (of[i] && table.parent(i) >= 0) out[table.parent(i)] = 1;
      }
      break;
    case Relation::kDescendant:
      for (const uint32_t i : table.preorder()) {
        const int32_t parent = table.parent(i);
        out[i] = parent >= 0 && (of[parent] || out[parent]);
      }
      break;
    case Relation::kAncestor:
      for (auto it = table.preorder().rbegin(); it != table.preorder().rend(); ++it) {
        const int32_t parent = table.parent(*it);
        if (parent >= 0 && (of[*it] || out[*it])) out[parent] = 1;
      }
      break;
    case Relation::kSibling: {
      // Per parent, how many of its children are marked: a row needs one beside itself.
      std::map<SpanId, uint32_t> marked;
      for (uint32_t i = 0; i < n; ++i) {
        if (of[i] && !table.row(i).parent_id.empty()) ++marked[table.row(i).parent_id];
      }
      for (uint32_t i = 0; i < n; ++i) {
        if (table.row(i).parent_id.empty()) continue;
        const auto found = marked.find(table.row(i).parent_id);
        out[i] = found != marked.end() && found->second > static_cast<uint32_t>(of[i] != 0);
      }
      break;
    }
  }
  return out;
}

struct Structure {
  Relation forward;   // from the left side to the result
  Relation backward;  // and back
  enum class Kind : uint8_t { kPlain, kNot, kUnion } kind;
};
Structure StructureOf(Op op) {
  using Kind = Structure::Kind;
  switch (op) {
    case Op::kChild:
      return {Relation::kChild, Relation::kParent, Kind::kPlain};
    case Op::kParent:
      return {Relation::kParent, Relation::kChild, Kind::kPlain};
    case Op::kDescendant:
      return {Relation::kDescendant, Relation::kAncestor, Kind::kPlain};
    case Op::kAncestor:
      return {Relation::kAncestor, Relation::kDescendant, Kind::kPlain};
    case Op::kSibling:
      return {Relation::kSibling, Relation::kSibling, Kind::kPlain};
    case Op::kNotChild:
      return {Relation::kChild, Relation::kParent, Kind::kNot};
    case Op::kNotParent:
      return {Relation::kParent, Relation::kChild, Kind::kNot};
    case Op::kNotDescendant:
      return {Relation::kDescendant, Relation::kAncestor, Kind::kNot};
    case Op::kNotAncestor:
      return {Relation::kAncestor, Relation::kDescendant, Kind::kNot};
    case Op::kNotSibling:
      return {Relation::kSibling, Relation::kSibling, Kind::kNot};
    case Op::kUnionChild:
      return {Relation::kChild, Relation::kParent, Kind::kUnion};
    case Op::kUnionParent:
      return {Relation::kParent, Relation::kChild, Kind::kUnion};
    case Op::kUnionDescendant:
      return {Relation::kDescendant, Relation::kAncestor, Kind::kUnion};
    case Op::kUnionAncestor:
      return {Relation::kAncestor, Relation::kDescendant, Kind::kUnion};
    default:
      return {Relation::kSibling, Relation::kSibling, Kind::kUnion};
  }
}

std::vector<uint32_t> Combine(const TraceTable& table, Op op, const std::vector<uint32_t>& left,
                              const std::vector<uint32_t>& right) {
  std::vector<uint32_t> out;
  if (op == Op::kAnd || op == Op::kOr) {
    if (op == Op::kAnd && (left.empty() || right.empty())) return out;
    std::set_union(left.begin(), left.end(), right.begin(), right.end(), std::back_inserter(out));
    return out;
  }
  const Structure structure = StructureOf(op);
  const uint32_t n = table.size();
  const Bits left_bits = BitsOf(left, n);
  const Bits related = Related(table, structure.forward, left_bits);
  if (structure.kind == Structure::Kind::kUnion) {
    const Bits right_bits = BitsOf(right, n);
    const Bits back = Related(table, structure.backward, right_bits);
    for (uint32_t i = 0; i < n; ++i) {
      if ((right_bits[i] && related[i]) || (left_bits[i] && back[i])) out.push_back(i);
    }
    return out;
  }
  const bool wanted = structure.kind == Structure::Kind::kPlain;
  for (const uint32_t row : right) {
    if ((related[row] != 0) == wanted) out.push_back(row);
  }
  return out;
}

Val Aggregate(const Expr& call, const TraceTable& table, const std::vector<uint32_t>& rows) {
  if (call.function == Function::kCount) return Val::Int(static_cast<int64_t>(rows.size()));
  Val out;
  uint64_t count = 0;
  for (const uint32_t row : rows) {
    const Val value = table.program().Evaluate(*call.fields[0], table, row);
    if (!value.is_number()) continue;
    ++count;
    if (out.is_nil()) {
      out = value;
      continue;
    }
    switch (call.function) {
      case Function::kMin:
        if (CompareVals(Op::kLess, value, out)) out = value;
        break;
      case Function::kMax:
        if (CompareVals(Op::kGreater, value, out)) out = value;
        break;
      default:
        out = ComputeVals(Op::kAdd, out, value);
    }
  }
  if (call.function == Function::kAvg && count > 0) {
    const double average = out.as_double() / static_cast<double>(count);
    return out.type == Val::Type::kDuration
               ? Val::Int(static_cast<int64_t>(average), Val::Type::kDuration)
               : Val::Double(average);
  }
  return out;
}

/// What the numbers of a comparison were computed from.
struct Origin {
  bool open = false;           // the input itself
  std::vector<uint32_t> rows;  // of pipelines of their own
  std::vector<NamedTraceValue> values;
};

Val EvaluateScalar(const Expr& expr, const TraceTable& table, const RowSet& input,
                   const RowSet& universe, Origin* origin) {
  switch (expr.kind) {
    case Expr::Kind::kNumber:
      return Val::Of(expr.number);
    case Expr::Kind::kNegate:
      return NegateVal(EvaluateScalar(*expr.left, table, input, universe, origin));
    case Expr::Kind::kBinary: {
      const Val left = EvaluateScalar(*expr.left, table, input, universe, origin);
      const Val right = EvaluateScalar(*expr.right, table, input, universe, origin);
      return ComputeVals(expr.op, left, right);
    }
    case Expr::Kind::kCall: {
      origin->open = true;
      const Val out = Aggregate(expr, table, input.rows);
      origin->values.push_back({traceql::ToString(expr), ToTraceValue(out)});
      return out;
    }
    case Expr::Kind::kPipeline: {
      const RowSets sets = EvaluateStages(expr.stages, table, input);
      const std::vector<uint32_t> rows = RowsOf(sets, table.size());
      std::vector<uint32_t> joined;
      std::set_union(rows.begin(), rows.end(), origin->rows.begin(), origin->rows.end(),
                     std::back_inserter(joined));
      origin->rows = std::move(joined);
      Origin inner;
      return EvaluateScalar(*expr.stages.back(), table, RowSet{rows, {}}, universe, &inner);
    }
    default:
      return Val();
  }
}

RowSets Compare(const Expr& expr, const TraceTable& table, const RowSet& input) {
  Origin origin;
  const Val left = EvaluateScalar(*expr.left, table, input, input, &origin);
  const Val right = EvaluateScalar(*expr.right, table, input, input, &origin);
  if (!CompareVals(expr.op, left, right)) return {};
  RowSet out;
  out.rows = origin.open ? input.rows : std::move(origin.rows);
  if (out.rows.empty()) return {};
  out.values = input.values;
  for (NamedTraceValue& value : origin.values) out.values.push_back(std::move(value));
  RowSets sets;
  sets.push_back(std::move(out));
  return sets;
}

RowSets Group(const Expr& expr, const TraceTable& table, const RowSet& input) {
  // Groups in the order of their first span.
  std::map<std::string, size_t> numbers;
  RowSets out;
  const std::string name = Concat("by(", traceql::ToString(*expr.fields[0]), ")");
  for (const uint32_t row : input.rows) {
    const Val value = table.program().Evaluate(*expr.fields[0], table, row);
    const std::string key = Concat(static_cast<char>(value.type), PrintVal(value));
    const auto [found, added] = numbers.emplace(key, out.size());
    if (added) {
      RowSet set;
      set.values = input.values;
      set.values.push_back({name, ToTraceValue(value)});
      out.push_back(std::move(set));
    }
    out[found->second].rows.push_back(row);
  }
  return out;
}

}  // namespace

Status AddExpressions(const Expr& expr, Program* program) {
  if (expr.filter != nullptr) VARVE_RETURN_IF_ERROR(program->Add(*expr.filter));
  for (const auto& field : expr.fields) VARVE_RETURN_IF_ERROR(program->Add(*field));
  for (const auto& field : expr.by) VARVE_RETURN_IF_ERROR(program->Add(*field));
  if (expr.left != nullptr) VARVE_RETURN_IF_ERROR(AddExpressions(*expr.left, program));
  if (expr.right != nullptr) VARVE_RETURN_IF_ERROR(AddExpressions(*expr.right, program));
  for (const auto& stage : expr.stages) VARVE_RETURN_IF_ERROR(AddExpressions(*stage, program));
  return absl::OkStatus();
}

RowSet AllRows(const TraceTable& table) {
  RowSet out;
  out.rows.resize(table.size());
  std::iota(out.rows.begin(), out.rows.end(), 0);
  return out;
}

bool IsSpansetStage(const Expr& stage) {
  return stage.type == Type::kSpanset || stage.type == Type::kStage;
}

RowSets EvaluateSpansets(const Expr& expr, const TraceTable& table, const RowSet& input) {
  RowSet out;
  switch (expr.kind) {
    case Expr::Kind::kFilter:
      if (expr.filter == nullptr) {
        out.rows = input.rows;
      } else {
        for (const uint32_t row : input.rows) {
          if (table.program().Test(*expr.filter, table, row)) out.rows.push_back(row);
        }
      }
      break;
    case Expr::Kind::kBinary: {
      if (traceql::IsComparison(expr.op)) return Compare(expr, table, input);
      const auto left = RowsOf(EvaluateSpansets(*expr.left, table, input), table.size());
      const auto right = RowsOf(EvaluateSpansets(*expr.right, table, input), table.size());
      out.rows = Combine(table, expr.op, left, right);
      break;
    }
    case Expr::Kind::kPipeline:
      return EvaluateStages(expr.stages, table, input);
    default:
      return {};
  }
  if (out.rows.empty()) return {};
  out.values = input.values;
  RowSets sets;
  sets.push_back(std::move(out));
  return sets;
}

RowSets EvaluateStage(const Expr& stage, const TraceTable& table, const RowSet& input) {
  if (stage.kind == Expr::Kind::kGroup) return Group(stage, table, input);
  // select() changes what is shown, not what flows; coalesce() joins, and needs all spansets.
  if (stage.kind == Expr::Kind::kCall) return {input};
  return EvaluateSpansets(stage, table, input);
}

RowSets EvaluateStages(const std::vector<traceql::ExprPtr>& stages, const TraceTable& table,
                       const RowSet& input) {
  RowSets sets;
  if (!input.rows.empty()) sets.push_back(input);
  for (const auto& stage : stages) {
    if (!IsSpansetStage(*stage)) break;
    RowSets next;
    if (stage->kind == Expr::Kind::kCall && stage->function == Function::kCoalesce) {
      RowSet all;
      all.rows = RowsOf(sets, table.size());
      if (!all.rows.empty()) next.push_back(std::move(all));
    } else {
      for (const RowSet& set : sets) {
        for (RowSet& made : EvaluateStage(*stage, table, set)) next.push_back(std::move(made));
      }
    }
    sets = std::move(next);
  }
  return sets;
}

}  // namespace varve::query
