#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "varve/status.h"

namespace varve::tracing {

/// A node of a structured filter as it came, before anything is made of it.
struct FilterTerm {
  enum class Kind { kNone, kAttribute, kField, kNested, kScalar, kList, kCall };
  Kind kind = Kind::kNone;
  std::string name;                 // of attribute or field, text of a scalar, operator of a call
  std::string level;                // of a reference
  std::string type;                 // declared, of a scalar or list
  std::vector<std::string> values;  // of a list
  std::vector<FilterTerm> args;     // of a call
};

/// Calls nest at most this deep, the filter itself included: Jaeger's own bound.
inline constexpr int kFilterDepthMax = 20;

/// Read a call. Errors: kInvalidArgument for what is not its form, members that do not belong there
/// included, or too large.
Result<FilterTerm> ReadFilterJson(std::string_view json);
Result<FilterTerm> ReadFilterProtobuf(std::string_view wire);

}  // namespace varve::tracing
