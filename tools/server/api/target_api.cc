#include <optional>

#include "engine/base/bounded_regex.h"
#include "engine/base/strings.h"
#include "query/lang/promql/literals.h"
#include "query/lang/promql/parse.h"
#include "tools/server/api/context.h"
#include "tools/server/api/envelope.h"
#include "tools/server/api/parameters.h"
#include "tools/server/json/writer.h"

/// Scrape targets: the server itself is the one that there is, if it scrapes itself.
namespace varve::api {
namespace {

constexpr std::string_view kPool = "varve";

bool HasPool(const Context& context, std::string_view name) {
  return context.scrape_interval.count() > 0 && name == kPool;
}

http::Response UnknownPool(std::string_view name) {
  return Error(400, "bad_data",
               Concat("error getting scrape config: scrape pool ", GoQuote(name), " not found"));
}

/// Tells whether our one target's labels fit a selector; the error of an expression that is none.
Result<bool> FitsTarget(const Context& context, const std::vector<Matcher>& matchers) {
  bool fits = true;
  for (const Matcher& matcher : matchers) {
    const std::string_view value = matcher.name == "instance" ? std::string_view(context.address)
                                   : matcher.name == "job"    ? kPool
                                                              : std::string_view();
    const bool negative =
        matcher.type == MatchType::kNotEqual || matcher.type == MatchType::kNotRegex;
    bool same = value == matcher.value;
    if (matcher.type == MatchType::kRegex || matcher.type == MatchType::kNotRegex) {
      const BoundedRegex regex(Concat("\\A(?s:", matcher.value, ")\\z"));
      if (!regex.ok()) return MakeStatus(StatusCode::kInvalidArgument, regex.error());
      same = regex.Find(value) == BoundedRegex::Answer::kYes;
    }
    fits &= same != negative;
  }
  return fits;
}

http::Response Targets(Context& context, http::Request& request) {
  const std::string_view state = request.params.Get("state");
  const std::string_view pool = request.params.Get("scrapePool");
  const bool active = state.empty() || http::EqualsIgnoreCase(state, "active") ||
                      http::EqualsIgnoreCase(state, "any");
  std::string data;
  json::Writer json(&data);
  json.BeginObject().Key("activeTargets").BeginArray();
  if (active && context.scrape_interval.count() > 0 && (pool.empty() || pool == "varve")) {
    const ScrapeState scrape = context.GetScrapeState();
    const std::string url = Concat("http://", context.address, "/metrics");
    const std::string interval = promql::FormatDurationMs(context.scrape_interval.count());
    json.BeginObject().Key("discoveredLabels").BeginObject();
    json.Field("__address__", context.address).Field("__metrics_path__", "/metrics");
    json.Field("__scheme__", "http").Field("__scrape_interval__", interval);
    json.Field("__scrape_timeout__", interval).Field("job", "varve").EndObject();
    json.Key("labels").BeginObject().Field("instance", context.address).Field("job", "varve");
    json.EndObject().Field("scrapePool", "varve").Field("scrapeUrl", url).Field("globalUrl", url);
    json.Field("lastError", scrape.error);
    json.Field("lastScrape",
               scrape.time_ms == 0 ? "0001-01-01T00:00:00Z" : FormatTime(scrape.time_ms));
    json.Key("lastScrapeDuration").Number(std::chrono::duration<double>(scrape.duration).count());
    json.Field("health", scrape.time_ms == 0 ? "unknown" : scrape.error.empty() ? "up" : "down");
    json.Field("scrapeInterval", interval).Field("scrapeTimeout", interval).EndObject();
  }
  json.EndArray().Key("droppedTargets").BeginArray().EndArray();
  json.Key("droppedTargetCounts").BeginObject();
  if (context.scrape_interval.count() > 0) json.Key("varve").Int(0);
  json.EndObject().EndObject();
  return Success(data);
}

http::Response TargetMetadata(Context& context, Database& database, http::Request& request) {
  const Result<size_t> limit = LimitParameter(request.params);
  if (!limit.ok()) return Error(limit.status());
  const std::string_view metric = request.params.Get("metric");
  bool fits = context.scrape_interval.count() > 0;
  if (const std::string_view target = request.params.Get("match_target"); !target.empty()) {
    const auto matchers = promql::ParseSelector(target);
    if (!matchers.ok()) return Error(InvalidParameter("match_target", matchers.status()));
    const Result<bool> chosen = FitsTarget(context, *matchers);
    if (!chosen.ok()) return Error(InvalidParameter("match_target", chosen.status()));
    fits &= *chosen;
  }
  const auto snapshot = database.TakeSnapshot();
  if (!snapshot.ok()) return Error(snapshot.status());
  std::string data;
  json::Writer json(&data);
  json.BeginArray();
  size_t count = 0;
  if (fits) {
    for (const auto& [family, entries] : (*snapshot)->FamilyMetadata()) {
      // Only what we say about ourselves belongs to our one target.
      if (!metric.empty() ? family != metric
                          : !family.starts_with("varve_") && !family.starts_with("process_")) {
        continue;
      }
      for (const Metadata& entry : entries) {
        if (*limit != 0 && count == *limit) break;
        ++count;
        json.BeginObject().Key("target").BeginObject();
        json.Field("instance", context.address).Field("job", "varve").EndObject();
        json.Field("metric", family).Field("type", ToString(entry.type));
        json.Field("help", entry.help).Field("unit", entry.unit).EndObject();
      }
    }
  }
  json.EndArray();
  return Success(data);
}

http::Response ScrapePools(Context& context) {
  return Success(context.scrape_interval.count() > 0 ? R"({"scrapePools":["varve"]})"
                                                     : R"({"scrapePools":[]})");
}

/// The configuration of one pool.
http::Response ScrapePoolConfig(Context& context, http::Request& request) {
  const std::string_view pool = request.params.Get("scrapePool");
  if (pool.empty()) return Error(400, "bad_data", "no scrapePool parameter provided");
  if (!HasPool(context, pool)) return UnknownPool(pool);
  std::string data;
  json::Writer json(&data);
  json.BeginObject().Field("yaml", ScrapeConfigYaml(context, "")).EndObject();
  return Success(data);
}

/// What relabelling makes of a target's labels, step by step. Our pool has no rules, so no step.
http::Response RelabelSteps(Context& context, http::Request& request) {
  const std::string_view pool = request.params.Get("scrapePool");
  if (pool.empty()) return Error(400, "bad_data", "no scrapePool parameter provided");
  if (request.params.Get("labels").empty()) {
    return Error(400, "bad_data", "no labels parameter provided");
  }
  if (!HasPool(context, pool)) return UnknownPool(pool);
  return Success(R"({"steps":[]})");
}

}  // namespace

std::string ScrapeConfigYaml(const Context& context, std::string_view indent) {
  return Concat("job_name: ", kPool, "\n", indent,
                "scrape_interval: ", context.scrape_interval.count(), "ms\n", indent,
                "static_configs:\n", indent, "- targets:\n", indent, "  - ", context.address, "\n");
}

void AddTargetRoutes(Context* context, http::Router* router) {
  constexpr http::RouteOptions kQuick{.lane = http::Lane::kQuick};
  const auto add = [&](std::string_view path, http::Response (*handler)(Context&, http::Request&)) {
    router->Add(
        http::kGetOnly, path,
        [context, handler](http::Request& request) { return handler(*context, request); }, kQuick);
  };
  add("/api/v1/targets", Targets);
  add("/api/v1/targets/relabel_steps", RelabelSteps);
  add("/api/v1/scrape_pools",
      [](Context& context_, http::Request&) { return ScrapePools(context_); });
  add("/api/v1/scrape_pools/config", ScrapePoolConfig);
  AddRoute(context, router, http::kGetOnly, "/api/v1/targets/metadata", kQuick, TargetMetadata);
}

}  // namespace varve::api
