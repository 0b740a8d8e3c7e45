#include "tools/varve/shell/render_json.h"

#include <utility>

#include "tools/loki/api.h"
#include "tools/server/api/result_json.h"
#include "tools/server/traces/tempo_json.h"

namespace varve::cli::shell {
namespace {

Result<std::string> WholeBody(http::Response response) {
  std::string out = std::move(response.body);
  for (bool more = response.source != nullptr; more;) {
    const Result<bool> next = response.source->Next(1 << 16, &out);
    if (!next.ok()) return next.status();
    more = *next;
  }
  out += '\n';
  return out;
}

}  // namespace

Result<std::string> RenderJson(query::QueryResult result) {
  return WholeBody(api::ResultResponse(std::move(result), {}));
}

Result<std::string> RenderLogsJson(query::LogQueryResult result, bool backward) {
  return WholeBody(loki::ResultResponse(std::move(result), /*categorize=*/false, backward));
}

std::string RenderTracesJson(const query::SearchResult& result) {
  std::string out;
  api::WriteTempoSearch(result, /*details=*/true, &out);
  out += '\n';
  return out;
}

query::QueryResult MetricsOf(query::LogQueryResult result) {
  query::QueryResult out;
  out.annotations.warnings = std::move(result.warnings);
  if (auto* scalar = std::get_if<query::Scalar>(&result.value)) out.value = *scalar;
  if (auto* vector = std::get_if<query::Vector>(&result.value)) out.value = std::move(*vector);
  if (auto* matrix = std::get_if<query::Matrix>(&result.value)) out.value = std::move(*matrix);
  return out;
}

}  // namespace varve::cli::shell
