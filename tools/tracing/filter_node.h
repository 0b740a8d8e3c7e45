#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tools/tracing/span_filter.h"

namespace re2 {
class RE2;
}

/// A structured filter made ready to run.
namespace varve::tracing {

/// Where a value stands. kAny is the span or its resource.
enum class FilterLevel : uint8_t { kAny, kSpan, kResource, kScope, kEvent, kLink };

/// What a field holds, and how a constant beside it is written.
enum class FieldType : uint8_t {
  kNone,  // an attribute, which holds anything
  kText,
  kDuration,  // Go's form
  kInstant,   // RFC 3339
  kKind,      // one of six words
  kStatus,    // one of three
};

/// Values that the data model defines by name.
enum class FilterField : uint8_t {
  kTraceId,
  kSpanId,
  kParentSpanId,
  kTraceState,
  kName,
  kKind,
  kStartTime,
  kEndTime,
  kStatus,
  kStatusMessage,
  kDuration,
  kService,
  kResourceSchemaUrl,
  kScopeName,
  kScopeVersion,
  kScopeSchemaUrl,
  kEventName,
  kEventTime,
  kEventTimeSinceStart,
  kLinkTraceId,
  kLinkSpanId,
  kLinkTraceState,
};

/// One value while a filter runs, or one way to read a constant.
struct FilterScalar {
  enum class Domain : uint8_t { kText, kInt, kDouble, kBool, kDuration, kInstant };
  Domain domain = Domain::kText;
  /// A constant of declared type: equals values of that very type only.
  bool declared = false;
  int64_t integer = 0;  // a boolean, a duration and an instant in ns, too
  double number = 0;
  std::string text;
};
using FilterScalars = std::vector<FilterScalar>;

struct FilterOperand {
  enum class Kind : uint8_t { kConstant, kAttribute, kField };
  Kind kind = Kind::kConstant;
  FilterLevel level = FilterLevel::kAny;
  std::string key;
  FilterField field = FilterField::kName;
  FieldType type = FieldType::kNone;
  FilterScalars readings;  // of a constant
};

struct SpanFilter::Node {
  enum class Op : uint8_t { kAnd, kOr, kNot, kCompare, kIn, kRegex, kExists, kSome, kWords };
  enum class Compare : uint8_t { kEqual, kLess, kLessEqual, kGreater, kGreaterEqual };
  Op op = Op::kAnd;
  Compare compare = Compare::kEqual;
  bool negated = false;   // ne, not_in: holds if there is a value and none satisfies
  bool in_order = false;  // kWords: next to one another
  std::vector<Node> children;
  FilterOperand left;
  FilterOperand right;              // of kCompare
  std::vector<FilterScalars> list;  // of kIn
  std::vector<std::string> words;   // of kWords, in lower case
  std::string pattern;              // of kRegex
  std::shared_ptr<const re2::RE2> regex;
};

}  // namespace varve::tracing
