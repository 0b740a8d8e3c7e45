#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/any_value.h"
#include "engine/index/matchers.h"
#include "varve/span_scan.h"

namespace varve::traces {

/// A SpanPredicate ready to run.
struct CompiledPredicate {
  SpanPredicate predicate;
  std::optional<index::CompiledMatcher> regex;

  /// Tests one value that is there. Arrays hold if one of their elements does; under kTextEqual the
  /// printed array itself counts, too.
  bool TestValue(const ValueView& value) const;
  /// Returns the only string that can satisfy the predicate, or nullptr: for dictionaries.
  const std::string* only_string() const;

 private:
  bool TestScalar(const ValueView& value) const;
};

/// A SpanScanSpec ready to run. Immutable; thread-safe.
struct CompiledScan {
  SpanScanSpec spec;
  std::vector<CompiledPredicate> predicates;

  /// Errors: kInvalidArgument for a bad regular expression, or one without a text.
  static Result<std::shared_ptr<const CompiledScan>> Make(const SpanScanSpec& spec);
};

/// Bytes of an id as a value, and as the key of tables.
inline std::string_view BytesOf(const TraceId& id) {
  return {reinterpret_cast<const char*>(id.bytes.data()), id.bytes.size()};
}
inline std::string_view BytesOf(const SpanId& id) {
  return {reinterpret_cast<const char*>(id.bytes.data()), id.bytes.size()};
}
inline constexpr std::string_view kServiceNameKey = "service.name";

/// The duration that a span shows: never negative, never past int64.
inline int64_t DurationOf(int64_t start_ns, int64_t end_ns) {
  int64_t duration = 0;
  if (end_ns <= start_ns) return 0;
  return __builtin_sub_overflow(end_ns, start_ns, &duration) ? INT64_MAX : duration;
}

/// Says which bit of a mask of levels an attribute scope is.
inline uint32_t LevelBit(AttributeScope scope) { return 1u << static_cast<uint32_t>(scope); }

/// Calls `f(ValueView)` for each value of `field` in a span until it returns true; returns whether
/// it did. `row` gives access to one span:
///
///   key: what names an attribute key there, from the field
///   bool SpanAttribute(key, ValueView*), ResourceAttribute, ScopeAttribute
///   size_t events(), links(); EventAttribute(i, key, ValueView*), LinkAttribute
///   ValueView Fact(Intrinsic)                 for those with one value
///   ValueView EventFact(i, Intrinsic), LinkFact(i, Intrinsic)
template <typename Row, typename Key, typename F>
bool AnyValue(const Row& row, const SpanField& field, const Key& key, F&& f) {
  switch (field.intrinsic) {
    case Intrinsic::kNone:
      break;
    case Intrinsic::kEventName:
    case Intrinsic::kEventTime:
      for (size_t i = 0; i < row.events(); ++i) {
        if (f(row.EventFact(i, field.intrinsic))) return true;
      }
      return false;
    case Intrinsic::kLinkTraceId:
    case Intrinsic::kLinkSpanId:
      for (size_t i = 0; i < row.links(); ++i) {
        if (f(row.LinkFact(i, field.intrinsic))) return true;
      }
      return false;
    default:
      return f(row.Fact(field.intrinsic));
  }
  const bool any = field.scope == AttributeScope::kAny;
  ValueView value;
  if (any || field.scope == AttributeScope::kSpan) {
    if (row.SpanAttribute(key, &value)) return f(value);
  }
  if (any || field.scope == AttributeScope::kResource) {
    if (row.ResourceAttribute(key, &value)) return f(value);
  }
  if (any || field.scope == AttributeScope::kInstrumentation) {
    if (row.ScopeAttribute(key, &value)) return f(value);
  }
  bool found = false;
  if (any || field.scope == AttributeScope::kEvent) {
    for (size_t i = 0; i < row.events(); ++i) {
      if (!row.EventAttribute(i, key, &value)) continue;
      found = true;
      if (f(value)) return true;
    }
  }
  if (any && found) return false;
  if (any || field.scope == AttributeScope::kLink) {
    for (size_t i = 0; i < row.links(); ++i) {
      if (row.LinkAttribute(i, key, &value) && f(value)) return true;
    }
  }
  return false;
}

/// A root's parent id is there as a value, empty, and yet does not exist.
inline bool CountsAsAbsent(const SpanField& field, const ValueView& value) {
  return field.intrinsic == Intrinsic::kParentId && value.text.empty();
}

/// Applies a predicate to one span.
template <typename Row, typename Key>
bool TestRow(const Row& row, const CompiledPredicate& compiled, const Key& key) {
  const SpanPredicate& predicate = compiled.predicate;
  const auto exists = [&](const ValueView& value) {
    return !CountsAsAbsent(predicate.field, value);
  };
  switch (predicate.op) {
    case SpanPredicate::Op::kExists:
      return AnyValue(row, predicate.field, key, exists);
    case SpanPredicate::Op::kNotExists:
      return !AnyValue(row, predicate.field, key, exists);
    default:
      return AnyValue(row, predicate.field, key,
                      [&](const ValueView& value) { return compiled.TestValue(value); });
  }
}

/// Returns the first value of `field`, kEmpty if there is none.
template <typename Row, typename Key>
ValueView FirstValue(const Row& row, const SpanField& field, const Key& key) {
  ValueView out;
  AnyValue(row, field, key, [&](const ValueView& value) {
    out = value;
    return true;
  });
  return out;
}

}  // namespace varve::traces
