#include "varve/selector.h"

#include "query/lang/promql/parse.h"

namespace varve::query {

Result<std::vector<Matcher>> ParseSelector(std::string_view text) {
  return promql::ParseSelector(text);
}

std::string RenderError(std::string_view text, const Status& status) {
  return promql::RenderError(text, status);
}

}  // namespace varve::query
