#include "query/lang/promql/types.h"

namespace varve::promql {

std::string_view ToString(ValueType type) {
  static constexpr std::string_view kNames[] = {"none", "scalar", "vector", "matrix", "string"};
  return kNames[static_cast<size_t>(type)];
}

std::string_view DocumentedType(ValueType type) {
  static constexpr std::string_view kNames[] = {"none", "scalar", "instant vector", "range vector",
                                                "string"};
  return kNames[static_cast<size_t>(type)];
}

std::string_view ToString(BinaryOp op) {
  static constexpr std::string_view kNames[] = {"+",     "-",  "*",  "/",   "%",  "^",
                                                "atan2", "==", "!=", ">",   "<",  ">=",
                                                "<=",    "</", ">/", "and", "or", "unless"};
  return kNames[static_cast<size_t>(op)];
}

std::string_view ToString(AggregateOp op) {
  static constexpr std::string_view kNames[] = {
      "sum",    "avg",  "count",   "min",          "max",      "group",  "stddev",
      "stdvar", "topk", "bottomk", "count_values", "quantile", "limitk", "limit_ratio"};
  return kNames[static_cast<size_t>(op)];
}

}  // namespace varve::promql
