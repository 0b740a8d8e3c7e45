#include <algorithm>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/strings.h"
#include "tools/server/api/context.h"
#include "tools/server/api/envelope.h"
#include "tools/server/api/openapi_schemas.h"

/// A description of the API for machines (OpenAPI 3.1), made of the routes themselves, so that it
/// names each that there is. Parameters come from the table below.
namespace varve::api {
namespace {

struct Described {
  std::string_view path;  // below /api/v1
  std::string_view summary;
  std::string_view parameters;  // by blanks; required ones end with '!'
  /// What the answer is: the schema of `data` in the usual envelope, a status without a body, or a
  /// media type, with the schema of each of its parts if that is JSON.
  std::string_view answer;
};

constexpr Described kDescribed[] = {
    {"/query", "Evaluates an expression at one time.",
     "query! time timeout limit lookback_delta stats nocache", "QueryResult"},
    {"/query_range", "Evaluates an expression over a range of time.",
     "query! start! end! step! timeout limit lookback_delta stats nocache", "QueryResult"},
    {"/query_exemplars", "Lists exemplars of the series that an expression selects.",
     "query! start end", "ExemplarSeries"},
    {"/format_query", "Formats an expression.", "query!", "Text"},
    {"/parse_query", "Parses an expression to a tree.", "query!", "SyntaxTree"},
    {"/series", "Lists series.", "match[]! start end limit", "LabelSets"},
    {"/labels", "Lists label names.", "match[] start end limit", "Texts"},
    {"/label/{name}/values", "Lists the values of a label.", "match[] start end limit", "Texts"},
    {"/metadata", "Lists what is known of metric families.", "metric limit limit_per_metric",
     "Metadata"},
    {"/search/metric_names", "Searches metric names.",
     "match[] search fuzz_threshold fuzz_alg case_sensitive sort_by sort_dir start end limit "
     "batch_size include_cardinality include_metadata",
     "application/x-ndjson SearchLine"},
    {"/search/label_names", "Searches label names.",
     "match[] search fuzz_threshold fuzz_alg case_sensitive sort_by sort_dir start end limit "
     "batch_size include_frequency include_cardinality",
     "application/x-ndjson SearchLine"},
    {"/search/label_values", "Searches the values of a label.",
     "label! match[] search fuzz_threshold fuzz_alg case_sensitive sort_by sort_dir start end "
     "limit batch_size include_frequency",
     "application/x-ndjson SearchLine"},
    {"/export", "Streams the samples of the series that a selector finds, a series a line.",
     "match[]! start end", "application/x-ndjson"},
    {"/export/logs", "Streams log entries, a stream a line.", "query! start end",
     "application/x-ndjson"},
    {"/export/traces", "Streams spans, a trace a line.", "service start end",
     "application/x-ndjson"},
    {"/read", "Remote read: samples, or streamed chunks.", "", "application/x-protobuf"},
    {"/write", "Remote write, 1.0 and 2.0.", "", "204"},
    {"/otlp/v1/metrics", "Takes OTLP metrics.", "", "application/x-protobuf"},
    {"/import", "Takes series of any age, a series a line: all of them or none.", "", "204"},
    {"/import/prometheus", "Takes an exposition.", "timestamp extra_label", "204"},
    {"/spans", "Takes Zipkin spans, version 1.", "", "202"},
    {"/targets", "Lists scrape targets.", "state scrapePool", "Targets"},
    {"/targets/metadata", "Lists metadata by target.", "match_target metric limit",
     "TargetMetadata"},
    {"/targets/relabel_steps", "Shows what relabelling does to labels.", "scrapePool! labels!",
     "RelabelSteps"},
    {"/scrape_pools", "Lists scrape pools.", "", "ScrapePools"},
    {"/scrape_pools/config", "Shows the configuration of a scrape pool.", "scrapePool!", "Yaml"},
    {"/rules", "Lists rules: there are none.", "type", "Rules"},
    {"/alerts", "Lists alerts: there are none.", "", "Alerts"},
    {"/alertmanagers", "Lists Alertmanagers: there are none.", "", "Alertmanagers"},
    {"/notifications", "Lists notifications: there are none.", "", "Notifications"},
    {"/notifications/live", "Says that there is nothing to wait for.", "", "204"},
    {"/status/config", "Shows the configuration.", "", "Yaml"},
    {"/status/flags", "Shows the command line's flags.", "", "Flags"},
    {"/status/runtimeinfo", "Shows the state of the program.", "", "RuntimeInfo"},
    {"/status/buildinfo", "Shows the version.", "", "BuildInfo"},
    {"/status/tsdb", "Counts what is in the head and the index.", "limit", "TsdbStatus"},
    {"/status/tsdb/blocks", "Lists blocks.", "", "TsdbBlocks"},
    {"/status/walreplay", "Says whether the log has been read.", "", "WalReplay"},
    {"/status/self_metrics", "Shows the server's own metrics.", "metric_name_pattern",
     "MetricFamilies"},
    {"/features", "Lists what this server can do.", "", "Features"},
    {"/correlate/traces/{id}/logs", "Lists log entries of a trace.", "start end", "TraceLogs"},
    {"/correlate/traces/{id}/spans/{span}/metrics", "Shows metrics around a span.", "",
     "SpanMetrics"},
    {"/correlate/exemplars", "Lists exemplars with their traces.", "query! start end",
     "TracesOfExemplars"},
    {"/admin/tsdb/snapshot", "Writes a snapshot of the store.", "skip_head", "Snapshot"},
    {"/admin/tsdb/delete_series", "Deletes samples.", "match[]! start end", "204"},
    {"/admin/tsdb/clean_tombstones", "Reclaims what is deleted.", "", "204"},
    {"/openapi.yaml", "This description.", "openapi_version", "application/yaml"},
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

std::string Reference(std::string_view schema) {
  return Concat("{$ref: \"#/components/schemas/", schema, "\"}");
}

void AppendAnswer(std::string_view answer, std::string* out) {
  if (answer.starts_with('2')) {
    *out += Concat("        \"", answer, "\": {description: Success}\n");
    return;
  }
  *out += "        \"200\":\n          description: Success\n";
  if (answer.empty()) return;
  const size_t blank = std::min(answer.find(' '), answer.size());
  const bool envelope = answer.find('/') == std::string_view::npos;
  *out += Concat("          content:\n            ",
                 envelope ? "application/json" : answer.substr(0, blank), ":");
  if (envelope) {
    *out += Concat("\n              schema:\n                allOf:\n                - ",
                   Reference("Success"),
                   "\n                - properties: {data: ", Reference(answer), "}\n");
  } else if (blank < answer.size()) {
    *out += Concat("\n              schema: ", Reference(answer.substr(blank + 1)), "\n");
  } else {
    *out += " {}\n";
  }
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
  if (described != nullptr) *out += Concat("      summary: \"", described->summary, "\"\n");
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
  *out += "      responses:\n";
  AppendAnswer(described != nullptr ? described->answer : "", out);
  *out += "        default: {$ref: \"#/components/responses/Error\"}\n";
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
  out += OpenApiComponents();
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
