#include <algorithm>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/strings.h"
#include "tools/server/api/context.h"
#include "tools/server/api/envelope.h"

/// A description of the API for machines (OpenAPI 3.1), made of the routes themselves, so that it
/// names each that there is. Parameters come from the table below.
namespace varve::api {
namespace {

struct Described {
  std::string_view path;  // below /api/v1
  std::string_view summary;
  std::string_view parameters;  // by blanks; required ones end with '!'
};

constexpr Described kDescribed[] = {
    {"/query", "Evaluates an expression at one time.",
     "query! time timeout limit lookback_delta stats nocache"},
    {"/query_range", "Evaluates an expression over a range of time.",
     "query! start! end! step! timeout limit lookback_delta stats nocache"},
    {"/query_exemplars", "Lists exemplars of the series that an expression selects.",
     "query! start end"},
    {"/format_query", "Formats an expression.", "query!"},
    {"/parse_query", "Parses an expression to a tree.", "query!"},
    {"/series", "Lists series.", "match[]! start end limit"},
    {"/labels", "Lists label names.", "match[] start end limit"},
    {"/label/{name}/values", "Lists the values of a label.", "match[] start end limit"},
    {"/metadata", "Lists what is known of metric families.", "metric limit limit_per_metric"},
    {"/search/metric_names", "Searches metric names.",
     "match[] search fuzz_threshold fuzz_alg case_sensitive sort_by sort_dir start end limit "
     "batch_size include_cardinality include_metadata"},
    {"/search/label_names", "Searches label names.",
     "match[] search fuzz_threshold fuzz_alg case_sensitive sort_by sort_dir start end limit "
     "batch_size include_frequency include_cardinality"},
    {"/search/label_values", "Searches the values of a label.",
     "label! match[] search fuzz_threshold fuzz_alg case_sensitive sort_by sort_dir start end "
     "limit "
     "batch_size include_frequency"},
    {"/targets", "Lists scrape targets.", "state scrapePool"},
    {"/targets/metadata", "Lists metadata by target.", "match_target metric limit"},
    {"/targets/relabel_steps", "Shows what relabelling does to labels.", "scrapePool! labels!"},
    {"/scrape_pools", "Lists scrape pools.", ""},
    {"/scrape_pools/config", "Shows the configuration of a scrape pool.", "scrapePool!"},
    {"/status/tsdb", "Counts what is in the head and the index.", "limit"},
    {"/status/self_metrics", "Shows the server's own metrics.", "metric_name_pattern"},
    {"/admin/tsdb/snapshot", "Writes a snapshot of the store.", "skip_head"},
    {"/admin/tsdb/delete_series", "Deletes samples.", "match[]! start end"},
    {"/openapi.yaml", "This description.", "openapi_version"},
};

/// Turns "/label/:name/values" into "/label/{name}/values".
std::string TemplateOf(std::string_view route) {
  std::string out;
  bool inside = false;
  for (const char c : route) {
    if (c == ':') {
      out += '{';
      inside = true;
      continue;
    }
    if (c == '/' && inside) {
      out += '}';
      inside = false;
    }
    out += c;
  }
  return inside ? out + '}' : out;
}

void AppendParameter(std::string_view in, std::string_view name, bool required, std::string* out) {
  const bool list = name.ends_with("[]");
  *out += Concat("      - in: ", in, "\n        name: \"", name,
                 "\"\n        required: ", required ? "true" : "false", "\n        schema: ",
                 list ? "{type: array, items: {type: string}}" : "{type: string}", "\n");
}

void AppendOperation(std::string_view method, std::string_view path, const Described* described,
                     std::string* out) {
  std::string id(method);
  for (const char c : path) {
    const bool word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    if (word) {
      id += c;
    } else if (!id.ends_with('-')) {
      id += '-';
    }
  }
  if (id.ends_with('-')) id.pop_back();
  *out += Concat("    ", method, ":\n      operationId: ", id, "\n");
  if (described != nullptr) *out += Concat("      summary: ", described->summary, "\n");
  std::string parameters;
  for (size_t at = 0; (at = path.find('{', at)) != std::string_view::npos; ++at) {
    AppendParameter("path", path.substr(at + 1, path.find('}', at) - at - 1), true, &parameters);
  }
  std::string_view rest = described != nullptr ? described->parameters : "";
  while (!rest.empty()) {
    const size_t end = std::min(rest.find(' '), rest.size());
    std::string_view name = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    const bool required = name.ends_with('!');
    if (required) name.remove_suffix(1);
    // A form may carry what the query string does not.
    AppendParameter("query", name, required && method == "get", &parameters);
  }
  if (!parameters.empty()) *out += "      parameters:\n" + parameters;
  *out +=
      "      responses:\n"
      "        \"200\": {description: Success}\n"
      "        default: {description: \"An error: status, errorType, error\"}\n";
}

std::string Describe(const http::Router& router, std::string_view version) {
  std::map<std::string, http::MethodSet> paths;
  constexpr std::string_view kPrefix = "/api/v1";
  for (const http::Route& route : router.routes()) {
    if (!route.name.starts_with(kPrefix) || route.name.find('*') != std::string::npos) continue;
    paths[TemplateOf(std::string_view(route.name).substr(kPrefix.size()))] |= route.methods;
  }
  std::string out = Concat("openapi: ", version,
                           "\ninfo:\n  title: Prometheus API, as Varve answers it\n  version: \"",
                           kApiVersion, "\"\nservers:\n- url: ", kPrefix, "\npaths:\n");
  for (const auto& [path, methods] : paths) {
    const auto* const described = std::ranges::find(kDescribed, path, &Described::path);
    out += Concat("  \"", path, "\":\n");
    static constexpr std::pair<http::Method, std::string_view> kMethods[] = {
        {http::Method::kGet, "get"},
        {http::Method::kPut, "put"},
        {http::Method::kPost, "post"},
        {http::Method::kDelete, "delete"}};
    for (const auto& [method, word] : kMethods) {
      if ((methods & http::Only(method)) == 0) continue;
      AppendOperation(word, path, described != std::end(kDescribed) ? described : nullptr, &out);
    }
  }
  return out;
}

}  // namespace

void AddOpenApiRoute(http::Router* router) {
  router->Add(http::kGetOnly, "/api/v1/openapi.yaml", [router](http::Request& request) {
    const std::string_view wanted = request.params.Get("openapi_version");
    http::Response response =
        http::Response::Text(200, Describe(*router, wanted.starts_with("3.2") ? "3.2.0" : "3.1.0"));
    response.headers.Set("Content-Type", "application/yaml; charset=utf-8");
    return response;
  });
}

}  // namespace varve::api
