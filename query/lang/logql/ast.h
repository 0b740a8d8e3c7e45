#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "varve/labels.h"
#include "varve/status.h"

/// The syntax tree of LogQL. The parser makes it, the printer and the planner read it. A tree is
/// plain data: no pointers into the query text, no parser objects; it may be shared between threads
/// once nobody changes it. Trees are at most kTreeDepthMax deep, so recursion over them is safe.
namespace varve::logql {

/// Bounds what the parser accepts; deeper input is refused before anything recurses over it.
inline constexpr size_t kNestingMax = 256;
inline constexpr size_t kTreeDepthMax = 1024;
inline constexpr size_t kQueryBytesMax = 128 << 10;

/// Locates a node in the query text: bytes [begin, end).
struct Span {
  uint32_t begin = 0;
  uint32_t end = 0;
};

// --- Stages ---

enum class LineOp : uint8_t {
  kContains,
  kNotContains,
  kMatches,
  kNotMatches,
  kPattern,
  kNotPattern
};
/// Tells whether a filter keeps lines for which no text holds.
constexpr bool IsNegative(LineOp op) {
  return op == LineOp::kNotContains || op == LineOp::kNotMatches || op == LineOp::kNotPattern;
}
struct LineText {
  bool ip = false;  // ip("...")
  std::string text;
};

enum class CompareOp : uint8_t { kEqual, kNotEqual, kGreater, kGreaterEqual, kLess, kLessEqual };

/// A test of labels, or a combination of two.
struct LabelFilter {
  enum class Kind : uint8_t {
    kString,    // matcher
    kNumber,    // name compare number
    kDuration,  // name compare number, in nanoseconds
    kBytes,     // name compare number, in bytes
    kIp,        // name = ip(text), or not
    kAnd,
    kOr,
  };
  Kind kind = Kind::kString;
  Span span;
  Matcher matcher;
  std::string name;
  CompareOp compare = CompareOp::kEqual;
  double number = 0;
  std::string text;  // of ip(); of numbers: as it was written, for printing
  std::unique_ptr<LabelFilter> left;
  std::unique_ptr<LabelFilter> right;
};
using LabelFilterPtr = std::unique_ptr<LabelFilter>;

/// `name` or `name="expression"` of json and logfmt.
struct Extraction {
  std::string name;
  std::string expression;
  bool bare = false;  // written without an expression; equal to name then
};
/// `name=source` or `name="template"`.
struct LabelFormat {
  std::string name;
  std::string value;
  bool rename = false;
};
/// `name` or `name="value"` of drop and keep.
struct LabelChoice {
  std::string name;
  std::optional<Matcher> matcher;
};
enum class Conversion : uint8_t { kNone, kBytes, kDuration, kDurationSeconds };

enum class StageKind : uint8_t {
  kLineFilter,
  kJson,
  kLogfmt,
  kRegexp,
  kPattern,
  kUnpack,
  kLabelFilter,
  kLineFormat,
  kLabelFormat,
  kDecolorize,
  kDrop,
  kKeep,
  kUnwrap,
};
struct Stage {
  StageKind kind = StageKind::kLineFilter;
  Span span;
  LineOp line_op = LineOp::kContains;
  std::vector<LineText> line_texts;
  std::vector<Extraction> extractions;  // empty: all fields
  bool strict = false;                  // logfmt
  bool keep_empty = false;              // logfmt
  std::string text;                     // regexp, pattern, line_format; the label of unwrap
  LabelFilterPtr filter;
  std::vector<LabelFormat> formats;
  std::vector<LabelChoice> choices;
  Conversion conversion = Conversion::kNone;
};

// --- Expressions ---

enum class RangeOp : uint8_t {
  kCount,
  kRate,
  kRateCounter,
  kBytes,
  kBytesRate,
  kAvg,
  kSum,
  kMin,
  kMax,
  kStddev,
  kStdvar,
  kQuantile,
  kFirst,
  kLast,
  kAbsent,
};
std::string_view ToString(RangeOp op);

enum class VectorOp : uint8_t {
  kSum,
  kAvg,
  kMax,
  kMin,
  kCount,
  kStddev,
  kStdvar,
  kTopk,
  kBottomk,
  kApproxTopk,
  kSort,
  kSortDesc,
  kGroup,
  kQuantile,
  kCountValues,
};
std::string_view ToString(VectorOp op);
/// Tells whether an aggregation takes a number first.
constexpr bool TakesNumber(VectorOp op) {
  return op == VectorOp::kTopk || op == VectorOp::kBottomk || op == VectorOp::kApproxTopk ||
         op == VectorOp::kQuantile;
}

enum class BinaryOp : uint8_t {
  kAdd,
  kSub,
  kMul,
  kDiv,
  kMod,
  kPow,
  kEqual,
  kNotEqual,
  kGreater,
  kGreaterEqual,
  kLess,
  kLessEqual,
  kAnd,
  kOr,
  kUnless,
};
std::string_view ToString(BinaryOp op);
constexpr bool IsComparison(BinaryOp op) {
  return op >= BinaryOp::kEqual && op <= BinaryOp::kLessEqual;
}
constexpr bool IsSet(BinaryOp op) { return op >= BinaryOp::kAnd; }
/// From loose (1) to tight (6).
int PrecedenceOf(BinaryOp op);

struct Grouping {
  bool without = false;
  std::vector<std::string> labels;  // as written
};
struct Matching {
  enum class Cardinality : uint8_t { kOneToOne, kManyToOne, kOneToMany };
  Cardinality cardinality = Cardinality::kOneToOne;
  bool given = false;  // on or ignoring was written
  bool on = false;
  std::vector<std::string> labels;
  std::vector<std::string> include;
};

enum class ExprKind : uint8_t {
  kLog,               // selector and stages
  kRangeAggregation,  // over children[0]: kLog with range_ns, or a metric query (subquery)
  kVectorAggregation,
  kBinary,
  kNumber,
  kLabelReplace,
  kVector,  // vector(number)
};

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;
struct Expr {
  explicit Expr(ExprKind k) : kind(k) {}
  ExprKind kind;
  Span span;
  std::vector<ExprPtr> children;

  // kLog
  std::vector<Matcher> matchers;
  std::vector<Stage> stages;  // unwrap and the filters after it included

  // kRangeAggregation
  RangeOp range_op = RangeOp::kCount;
  int64_t range_ns = 0;
  int64_t offset_ns = 0;
  std::optional<int64_t> subquery_step_ns;  // of [range:step]; 0: the default step
  std::optional<int64_t> at_ns;             // @ time

  // kVectorAggregation, kRangeAggregation
  VectorOp vector_op = VectorOp::kSum;
  std::optional<double> parameter;
  std::optional<Grouping> grouping;
  std::string label;  // count_values

  // kBinary
  BinaryOp binary_op = BinaryOp::kAdd;
  bool return_bool = false;
  Matching matching;

  double number = 0;                   // kNumber, kVector
  std::array<std::string, 4> strings;  // kLabelReplace: target, replacement, source, expression
};

/// Tells whether an expression is a number at each step rather than a set of series.
bool IsScalar(const Expr& expr);
/// Finds the unwrap stage; null if there is none.
const Stage* FindUnwrap(const Expr& log);

/// Converts a byte offset into line and column, both from 1, columns in bytes.
TextPlace PlaceOf(std::string_view query, uint32_t offset);
/// Makes Loki's error for a fault at a place: `parse error at line 1, col 5: what`.
Status PlacedError(std::string_view query, uint32_t offset, std::string_view what);
/// Makes Loki's error for a query that parses but makes no sense: `parse error : what`, with the
/// place as payload.
Status SenseError(std::string_view query, Span span, std::string_view what);

}  // namespace varve::logql
