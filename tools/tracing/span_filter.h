#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "varve/span_batch.h"
#include "varve/status.h"

namespace varve::tracing {

/// Jaeger's structured filter: a tree of predicates on one span (Jaeger RFC 0005; messages
/// jaeger.expression.v1). All of its operators, levels and fields are understood; what is not part
/// of it is an error and never passed over.
///
/// A constant without a type is compared with an attribute as whatever that was stored: text,
/// number or boolean. One with a type matches values of that type alone. Bytes, arrays and maps
/// equal no constant; they only exist. Words of `phrase` and `fulltext` are runs of ASCII letters
/// and digits and of bytes above 0x7f, compared without regard to ASCII case.
///
/// Immutable and thread-safe; cheap to copy.
class SpanFilter {
 public:
  /// Reads the filter as JSON, {"op":"eq","args":[...]}, or a Call message of protobuf. Errors:
  /// kInvalidArgument, with the operator in question, for what is no filter or compares what
  /// cannot be compared.
  static Result<SpanFilter> FromJson(std::string_view json);
  static Result<SpanFilter> FromProtobuf(std::string_view wire);

  bool Matches(const SpanBatch& batch, const SpanBatch::Span& span) const;
  /// Prints a TraceQL field expression that holds for every span that matches, and perhaps for
  /// more: what lets a store skip most of what does not. Empty if nothing narrower than "all" is
  /// known.
  std::string Superset() const;

  /// The vocabulary, as a server lists it among its capabilities.
  static std::span<const std::string_view> operators();
  static std::span<const std::string_view> levels();

  struct Node;
  explicit SpanFilter(std::shared_ptr<const Node> root) : root_(std::move(root)) {}

 private:
  std::shared_ptr<const Node> root_;
};

}  // namespace varve::tracing
