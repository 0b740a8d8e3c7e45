#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "query/lang/promql/functions.h"
#include "query/lang/promql/types.h"
#include "varve/labels.h"
#include "varve/status.h"

/// The syntax tree of PromQL. The parser makes it, the printer and the evaluator read it. A tree is
/// plain data: no pointers into the query text, no parser objects; it may be shared between threads
/// once nobody changes it. Trees are at most kTreeDepthMax deep, so recursion over them is safe.
namespace varve::promql {

/// Bounds what the parser accepts; deeper input is refused before anything recurses over it.
inline constexpr size_t kNestingMax = 256;     // brackets, calls, unary and power chains
inline constexpr size_t kTreeDepthMax = 1024;  // nesting plus the longest chain of binary operators
inline constexpr size_t kQueryBytesMax = 64 << 10;

/// Locates a node in the query text: bytes [begin, end).
struct Span {
  uint32_t begin = 0;
  uint32_t end = 0;
  friend bool operator==(const Span&, const Span&) = default;
};

/// Converts a byte offset into line and column, both from 1, columns in bytes.
TextPlace PlaceOf(std::string_view query, uint32_t offset);
/// Prints `line:column` of the start of a span, as annotations and errors show it.
std::string PositionOf(std::string_view query, Span span);

// --- Durations ---

/// A duration as written in `[...]` or after `offset`: a literal or arithmetic over literals,
/// step() and range(). The unit is the second. Literals outside [-2^63 ns, 2^63 ns) are refused.
struct DurationExpr {
  enum class Kind : uint8_t {
    kLiteral,  // seconds
    kStep,     // step(): the resolution of the query
    kRange,    // range(): the end minus the start of the query
    kNegate,   // -left
    kParen,    // (left), kept so that printing gives back what was written
    kMin,      // min_of(left, right)
    kMax,      // max_of(left, right)
    kAdd,
    kSub,
    kMul,
    kDiv,
    kMod,
    kPow,
  };
  Kind kind = Kind::kLiteral;
  Span span;
  double seconds = 0;
  std::unique_ptr<DurationExpr> left;
  std::unique_ptr<DurationExpr> right;

  bool is_literal() const { return kind == Kind::kLiteral; }
};
using DurationPtr = std::unique_ptr<DurationExpr>;

/// What step() and range() stand for.
struct DurationScope {
  int64_t step_ms = 0;   // 0 for an instant query
  int64_t range_ms = 0;  // end minus start
};
/// Computes a duration in milliseconds, truncated towards zero. Errors: kInvalidArgument with the
/// place in `query`, in Prometheus's words, for a division or modulo by zero, a NaN or a value out
/// of range; with `must_be_positive` (ranges and subquery steps) for a value that is not above
/// zero.
Result<int64_t> EvalDuration(const DurationExpr& duration, DurationScope scope,
                             std::string_view query, bool must_be_positive);

// --- Expressions ---

enum class ExprKind : uint8_t {
  kNumber,
  kString,
  kVectorSelector,
  kMatrixSelector,
  kSubquery,
  kCall,
  kAggregate,
  kBinary,
  kUnary,
  kParen,
};

/// Is the base of every node. `kind` tells the type; use As<T> to get at it.
struct Expr {
  explicit Expr(ExprKind k) : kind(k) {}
  virtual ~Expr() = default;
  Expr(const Expr&) = delete;
  Expr& operator=(const Expr&) = delete;

  const ExprKind kind;
  Span span;
};
using ExprPtr = std::unique_ptr<Expr>;

/// Gives what an expression evaluates to. Cost: one pass over its operators.
ValueType TypeOf(const Expr& expr);

struct NumberLiteral : Expr {
  static constexpr ExprKind kKind = ExprKind::kNumber;
  NumberLiteral() : Expr(kKind) {}
  double value = 0;
  bool is_duration = false;  // written as a duration such as 1h30m; value is in seconds
};

struct StringLiteral : Expr {
  static constexpr ExprKind kKind = ExprKind::kString;
  StringLiteral() : Expr(kKind) {}
  std::string value;  // unquoted; any bytes
};

/// `@` with a number, start() or end(), and `offset`: where a selector or subquery looks.
struct TimeShift {
  enum class Edge : uint8_t { kNone, kStart, kEnd };
  DurationPtr offset;  // null if there is none
  std::optional<int64_t> at_ms;
  Edge at_edge = Edge::kNone;

  bool has_at() const { return at_ms.has_value() || at_edge != Edge::kNone; }
};

/// Selects series. `name` is the metric name written in front of the braces, if there is one;
/// `matchers` holds every matcher, the one for that name included, as the last.
struct VectorSelector : Expr {
  static constexpr ExprKind kKind = ExprKind::kVectorSelector;
  VectorSelector() : Expr(kKind) {}
  std::string name;
  std::vector<Matcher> matchers;
  TimeShift shift;
  bool anchored = false;
  bool smoothed = false;
};

/// A selector with a range: `m[5m] offset 1h @ 3`. Its offset, `@` and anchored/smoothed sit in
/// `selector`.
struct MatrixSelector : Expr {
  static constexpr ExprKind kKind = ExprKind::kMatrixSelector;
  MatrixSelector() : Expr(kKind) {}
  std::unique_ptr<VectorSelector> selector;
  DurationPtr range;
};

struct SubqueryExpr : Expr {
  static constexpr ExprKind kKind = ExprKind::kSubquery;
  SubqueryExpr() : Expr(kKind) {}
  ExprPtr expr;
  DurationPtr range;
  DurationPtr step;  // null: the engine's default
  TimeShift shift;
};

struct Call : Expr {
  static constexpr ExprKind kKind = ExprKind::kCall;
  Call() : Expr(kKind) {}
  const FunctionSpec* function = nullptr;  // points into the static table
  std::vector<ExprPtr> args;               // checked against the signature
};

struct AggregateExpr : Expr {
  static constexpr ExprKind kKind = ExprKind::kAggregate;
  AggregateExpr() : Expr(kKind) {}
  AggregateOp op = AggregateOp::kSum;
  ExprPtr expr;
  ExprPtr param;  // null unless HasParam(op)
  std::vector<std::string> grouping;
  bool without = false;
};

/// Says how the two sides of a vector operation are paired.
struct VectorMatching {
  enum class Cardinality : uint8_t { kOneToOne, kManyToOne, kOneToMany, kManyToMany };
  Cardinality cardinality = Cardinality::kOneToOne;  // group_left is many-to-one
  bool on = false;  // labels name what must match; else what must not
  std::vector<std::string> labels;
  std::vector<std::string> include;  // extra labels of group_left(...) / group_right(...)
  std::optional<double> fill_left;
  std::optional<double> fill_right;
};

struct BinaryExpr : Expr {
  static constexpr ExprKind kKind = ExprKind::kBinary;
  BinaryExpr() : Expr(kKind) {}
  BinaryOp op = BinaryOp::kAdd;
  ExprPtr left;
  ExprPtr right;
  bool return_bool = false;
  /// Set exactly if both sides are instant vectors; many-to-many for set operators.
  std::optional<VectorMatching> matching;
};

struct UnaryExpr : Expr {
  static constexpr ExprKind kKind = ExprKind::kUnary;
  UnaryExpr() : Expr(kKind) {}
  bool negative = false;  // else a plus sign
  ExprPtr expr;
};

struct ParenExpr : Expr {
  static constexpr ExprKind kKind = ExprKind::kParen;
  ParenExpr() : Expr(kKind) {}
  ExprPtr expr;
};

/// Casts to a node type, or gives null if `expr` is of another kind.
template <typename T>
const T* As(const Expr& expr) {
  return expr.kind == T::kKind ? static_cast<const T*>(&expr) : nullptr;
}
template <typename T>
T* As(Expr& expr) {
  return expr.kind == T::kKind ? static_cast<T*>(&expr) : nullptr;
}

/// Removes any parentheses around an expression.
const Expr& StripParens(const Expr& expr);

/// Copies a tree.
ExprPtr Clone(const Expr& expr);
DurationPtr Clone(const DurationExpr& duration);

/// Compares two trees; spans do not count, and NaN literals are equal.
bool Equal(const Expr& a, const Expr& b);
bool Equal(const DurationExpr& a, const DurationExpr& b);

/// Calls `visit` for the direct children of a node in the order of the text (an aggregation's
/// parameter first); a matrix selector's child is its vector selector.
template <typename F>
void ForEachChild(const Expr& expr, F&& visit) {
  switch (expr.kind) {
    case ExprKind::kNumber:
    case ExprKind::kString:
    case ExprKind::kVectorSelector:
      break;
    case ExprKind::kMatrixSelector:
      visit(static_cast<const Expr&>(*static_cast<const MatrixSelector&>(expr).selector));
      break;
    case ExprKind::kSubquery:
      visit(*static_cast<const SubqueryExpr&>(expr).expr);
      break;
    case ExprKind::kCall:
      for (const ExprPtr& arg : static_cast<const Call&>(expr).args) visit(*arg);
      break;
    case ExprKind::kAggregate: {
      const auto& aggregate = static_cast<const AggregateExpr&>(expr);
      if (aggregate.param) visit(*aggregate.param);
      visit(*aggregate.expr);
      break;
    }
    case ExprKind::kBinary:
      visit(*static_cast<const BinaryExpr&>(expr).left);
      visit(*static_cast<const BinaryExpr&>(expr).right);
      break;
    case ExprKind::kUnary:
      visit(*static_cast<const UnaryExpr&>(expr).expr);
      break;
    case ExprKind::kParen:
      visit(*static_cast<const ParenExpr&>(expr).expr);
      break;
  }
}

}  // namespace varve::promql
