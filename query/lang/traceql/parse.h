#pragma once

#include <memory>
#include <string_view>

#include "query/lang/traceql/ast.h"
#include "varve/status.h"

namespace varve::traceql {

/// Parses and type-checks a query. The tree keeps no reference to `text`. Errors: kInvalidArgument
/// with the place as payload (TextPlaceOf) and Tempo's form of the message: "invalid TraceQL query:
/// parse error at line 1, col 3: what". Thread-safe.
Result<std::shared_ptr<const Query>> Parse(std::string_view text,
                                           size_t query_bytes_max = kQueryBytesMax);

/// Parses what may stand inside { }: `span.a > 1 || name = "x"`. It must be a boolean.
Result<FieldExprPtr> ParseFilter(std::string_view text, size_t query_bytes_max = kQueryBytesMax);

/// Parses the name of one field: an attribute with or without scope, or an intrinsic.
Result<Field> ParseField(std::string_view text);

}  // namespace varve::traceql
