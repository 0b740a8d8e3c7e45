#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "varve/span_scan.h"
#include "varve/status.h"
#include "varve/traceql.h"

/// The syntax tree of TraceQL. The parser makes it, the printer and the evaluator read it. A tree
/// is plain data and may be shared between threads once nobody changes it. Trees are at most
/// kTreeDepthMax deep, so recursion over them is safe.
namespace varve::traceql {

using query::TraceValue;

/// Bounds what the parser accepts; deeper input is refused before anything recurses over it.
inline constexpr size_t kNestingMax = 256;     // brackets, prefixes and power chains
inline constexpr size_t kTreeDepthMax = 2048;  // nesting plus chains of binary operators
inline constexpr size_t kQueryBytesMax = 128 << 10;

/// Locates a node in the query text: bytes [begin, end).
struct TextSpan {
  uint32_t begin = 0;
  uint32_t end = 0;
};

// --- Fields of a span ---

/// What a word means where a value may stand. The first group is of the span itself, the rest needs
/// its trace.
enum class FieldKind : uint8_t {
  kAttribute,
  kDuration,
  kName,
  kStatus,
  kStatusMessage,
  kSpanKind,
  kSpanId,
  kParentId,
  kTraceId,
  kScopeName,
  kScopeVersion,
  kEventName,
  kEventTime,
  kLinkTraceId,
  kLinkSpanId,
  kStart,        // no word: time comparisons of filters
  kServiceName,  // no word: as SpanPredicate has it
  kChildCount,
  kNestedSetLeft,
  kNestedSetRight,
  kNestedSetParent,
  kRootName,
  kRootServiceName,
  kTraceDuration,
};

struct Field {
  FieldKind kind = FieldKind::kAttribute;
  AttributeScope scope = AttributeScope::kAny;  // kAttribute
  std::string key;                              // kAttribute
  bool of_parent = false;                       // read from the parent span
  friend bool operator==(const Field&, const Field&) = default;
};
/// Needs more than the span itself: its trace or its parent.
bool NeedsTrace(const Field& field);
/// May have several values: events, links, and what may be found there.
bool IsMultiple(const Field& field);
/// Names the column of a field that does not need its trace.
SpanField ToSpanField(const Field& field);
/// Converts back.
Field FromSpanField(const SpanField& field);
/// Reads an intrinsic ("duration", "span:status"); false if there is no such word.
bool ParseIntrinsic(std::string_view word, Field* out);
/// Reads an attribute token: [parent.][scope].name with quoted parts. Errors: kInvalidArgument.
Result<Field> ParseAttribute(std::string_view token);
/// Prints the field as TraceQL reads it.
std::string ToString(const Field& field);

enum class Op : uint8_t {
  kAdd,
  kSub,
  kMul,
  kDiv,
  kMod,
  kPow,
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kRegex,
  kNotRegex,
  kTextEqual,  // printed values are equal; filters only, no text gives it
  kAnd,
  kOr,
  kNot,     // prefix
  kNegate,  // prefix
  // Between spansets
  kChild,  // the right side's spans that are children of the left side's, and so on
  kParent,
  kDescendant,
  kAncestor,
  kSibling,
  kNotChild,
  kNotParent,
  kNotDescendant,
  kNotAncestor,
  kNotSibling,
  kUnionChild,
  kUnionParent,
  kUnionDescendant,
  kUnionAncestor,
  kUnionSibling,
  kPipe,
};
std::string_view ToString(Op op);
bool IsArithmetic(Op op);
/// =, !=, <, <=, >, >=, =~, !~ and kTextEqual.
bool IsComparison(Op op);
bool IsStructural(Op op);

struct FieldExpr;
using FieldExprPtr = std::unique_ptr<FieldExpr>;

/// What stands inside { } and as argument of functions.
struct FieldExpr {
  enum class Kind : uint8_t { kLiteral, kArray, kField, kUnary, kBinary };
  Kind kind = Kind::kLiteral;
  TextSpan span;
  TraceValue literal;             // kLiteral
  std::vector<TraceValue> array;  // kArray
  Field field;                    // kField
  Op op = Op::kAdd;               // kUnary, kBinary
  FieldExprPtr left;              // kUnary, kBinary
  FieldExprPtr right;             // kBinary
};
FieldExprPtr MakeLiteral(TraceValue value);
FieldExprPtr MakeField(Field field);
FieldExprPtr MakeBinary(Op op, FieldExprPtr left, FieldExprPtr right);
FieldExprPtr Clone(const FieldExpr& expr);

// --- Spansets, scalars, metrics ---

enum class Function : uint8_t {
  kCount,
  kAvg,
  kMin,
  kMax,
  kSum,
  kCoalesce,
  kSelect,
  kRate,
  kCountOverTime,
  kMinOverTime,
  kMaxOverTime,
  kAvgOverTime,
  kSumOverTime,
  kQuantileOverTime,
  kHistogramOverTime,
  kCompare,
  kTopk,
  kBottomk,
};
std::string_view ToString(Function function);
bool IsAggregate(Function function);  // count, avg, min, max, sum
bool IsMetrics(Function function);    // rate ... compare

enum class Type : uint8_t {
  kSpanset,  // filters, operations on them, pipelines of them
  kStage,    // by, coalesce, select: only inside a pipeline
  kScalar,   // aggregates, pipelines that end in one, arithmetic on them
  kNumber,   // a literal
  kMetric,   // a pipeline that ends in a metrics function, arithmetic on those
  kSecond,   // topk, bottomk: only after a metrics function
};

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct Expr {
  enum class Kind : uint8_t {
    kFilter,    // { filter }; null: every span
    kGroup,     // by(fields[0])
    kCall,      // aggregates, metrics, coalesce, select, topk
    kNumber,    // number
    kNegate,    // -left
    kBinary,    // left op right, not kPipe
    kPipeline,  // stages; also what stands in parentheses is not kept apart
  };
  Kind kind = Kind::kFilter;
  Type type = Type::kSpanset;  // set by the check
  TextSpan span;
  bool parenthesized = false;

  FieldExprPtr filter;                   // kFilter; kCall compare: the selection
  Function function = Function::kCount;  // kCall
  std::vector<FieldExprPtr> fields;      // kGroup, kCall: arguments that are fields
  std::vector<double> numbers;           // kCall: quantiles; topk's count; compare's integers
  std::vector<int64_t> integers;         // kCall: topk's count; compare's count, start, end
  std::vector<FieldExprPtr> by;          // kCall
  TraceValue number;                     // kNumber: int, double or duration
  Op op = Op::kAnd;                      // kBinary
  ExprPtr left;                          // kBinary, kNegate
  ExprPtr right;                         // kBinary
  std::vector<ExprPtr> stages;           // kPipeline
};

struct Hint {
  std::string name;
  std::string value;  // as written, strings quoted
};

struct Query {
  ExprPtr expr;
  std::vector<Hint> hints;
  bool is_metrics() const { return expr->type == Type::kMetric; }
  /// Returns the value of a hint, or an empty text.
  std::string_view hint(std::string_view name) const;
};

/// Prints what Parse reads back to the same tree, in one form: blanks around operators, parentheses
/// only where they are needed.
std::string ToString(const FieldExpr& expr);
std::string ToString(const Expr& expr);
std::string ToString(const Query& query);
/// Prints a literal as TraceQL reads it: strings quoted.
std::string LiteralToString(const TraceValue& value);

}  // namespace varve::traceql
