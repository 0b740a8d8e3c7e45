#include <re2/re2.h>
#include <unistd.h>

#include <charconv>
#include <thread>

#include "engine/base/bounded_regex.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "tools/server/api/context.h"
#include "tools/server/api/envelope.h"
#include "tools/server/api/parameters.h"
#include "tools/server/json/writer.h"

namespace varve::api {
namespace {

http::Response Config(Context& context) {
  std::string yaml = "global:\n  evaluation_interval: 1m\n";
  if (context.scrape_interval.count() > 0) {
    yaml += "scrape_configs:\n- " + ScrapeConfigYaml(context, "  ");
  }
  std::string data;
  json::Writer json(&data);
  json.BeginObject().Field("yaml", yaml).EndObject();
  return Success(data);
}

http::Response Flags(Context& context) {
  std::string data;
  json::Writer json(&data);
  json.BeginObject();
  for (const auto& [name, value] : context.flags) json.Field(name, value);
  json.EndObject();
  return Success(data);
}

http::Response RuntimeInfo(Context& context, Database& database, http::Request&) {
  char host[256] = "";
  gethostname(host, sizeof(host) - 1);
  std::string data;
  json::Writer json(&data);
  json.BeginObject().Field("startTime", FormatTime(context.start_time_ms)).Field("CWD", "");
  json.Field("hostname", host).Field("serverTime", FormatTime(context.clock->NowMs()));
  json.Key("reloadConfigSuccess").Bool(true);
  json.Field("lastConfigTime", FormatTime(context.start_time_ms));
  json.Key("corruptionCount").Uint(database.recovery().damage.size());
  json.Key("goroutineCount").Int(0).Key("GOMAXPROCS");
  json.Uint(std::thread::hardware_concurrency()).Key("GOMEMLIMIT").Int(0);
  json.Field("GOGC", "").Field("GODEBUG", "");
  json.Field("storageRetention", context.retention_text).EndObject();
  return Success(data);
}

// Without "features": Grafana takes that for a sign of Mimir.
http::Response BuildInfo(Context& context) {
  std::string data;
  json::Writer json(&data);
  json.BeginObject().Field("version", kApiVersion);
  json.Field("revision", Concat("varve-", context.version)).Field("branch", "main");
  json.Field("buildUser", "").Field("buildDate", "").Field("goVersion", "").EndObject();
  return Success(data);
}

void WriteEntries(std::string_view key, const std::vector<CardinalityEntry>& entries,
                  json::Writer* json) {
  json->Key(key).BeginArray();
  for (const CardinalityEntry& entry : entries) {
    json->BeginObject().Field("name", entry.name).Key("value").Uint(entry.value).EndObject();
  }
  json->EndArray();
}

/// Our own metrics as JSON, as protobuf maps them: those whose names match a pattern, or all.
http::Response SelfMetrics(Context& context, http::Request& request) {
  telemetry::Exposition exposition(telemetry::Format::kJson);
  const std::string pattern(request.params.Get("metric_name_pattern"));
  if (BoundedRegex::HasTooManyParts(pattern)) {
    return Error(InvalidParameter("metric_name_pattern", "expression too large"));
  }
  RE2::Options options;
  options.set_log_errors(false);
  const RE2 names(pattern, options);
  if (!names.ok()) {
    return Error(InvalidParameter("metric_name_pattern", names.error()));
  }
  if (!pattern.empty()) {
    exposition.Only([&names](std::string_view name) { return RE2::FullMatch(name, names); });
  }
  if (context.write_metrics) context.write_metrics(&exposition);
  return Success(exposition.Finish());
}

http::Response TsdbStatus(Context&, Database& database, http::Request& request) {
  size_t limit = 10;
  if (const std::string_view text = request.params.Get("limit"); !text.empty()) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), limit);
    if (error != std::errc() || end != text.data() + text.size() || limit < 1) {
      return Error(400, "bad_data", "limit must be a positive number");
    }
    if (limit > 10'000) return Error(400, "bad_data", "limit must not exceed 10000");
  }
  const auto snapshot = database.TakeSnapshot();
  if (!snapshot.ok()) return Error(snapshot.status());
  const Result<Cardinality> found = (*snapshot)->CardinalityStats(limit);
  if (!found.ok()) return Error(found.status());
  const DatabaseStats stats = database.Stats();
  std::string data;
  json::Writer json(&data);
  json.BeginObject().Key("headStats").BeginObject();
  json.Key("numSeries").Uint(stats.head_series);
  json.Key("numLabelPairs").Uint(found->label_pairs);
  json.Key("chunkCount").Uint(stats.head_chunks);
  json.Key("minTime").Int(stats.head_range.min_ms).Key("maxTime").Int(stats.head_range.max_ms);
  json.EndObject();
  json.Key("totalSeries").Uint(found->series).Key("blocks").Uint(stats.blocks.size());
  WriteEntries("seriesCountByMetricName", found->series_by_metric, &json);
  WriteEntries("labelValueCountByLabelName", found->values_by_label, &json);
  WriteEntries("memoryInBytesByLabelName", found->bytes_by_label, &json);
  WriteEntries("seriesCountByLabelValuePair", found->series_by_label_pair, &json);
  json.EndObject();
  return Success(data);
}

http::Response TsdbBlocks(Context&, Database& database, http::Request&) {
  std::string data;
  json::Writer json(&data);
  json.BeginObject().Key("blocks").BeginArray();
  for (const BlockStats& block : database.Stats().blocks) {
    json.BeginObject().Field("ulid", Concat(block.id));
    json.Key("minTime").Int(block.range.min_ms).Key("maxTime").Int(block.range.max_ms);
    json.Key("stats").BeginObject().Key("numSamples").Uint(block.samples);
    json.Key("numSeries").Uint(block.series).Key("numBytes").Uint(block.bytes).EndObject();
    json.Key("compaction").BeginObject().Key("level").Uint(block.level).EndObject();
    json.EndObject();
  }
  json.EndArray().EndObject();
  return Success(data);
}

// Replay has no stages here that one could count: it is under way, or it is over.
http::Response WalReplay(Context& context) {
  const bool ready = context.database.load(std::memory_order_acquire) != nullptr;
  std::string data;
  json::Writer json(&data);
  json.BeginObject().Key("min").Int(0).Key("max").Int(1).Key("current").Int(ready ? 1 : 0);
  json.EndObject();
  return Success(data);
}

http::Response Features(Context& context) {
  std::string data;
  json::Writer json(&data);
  const query::EngineOptions& engine = context.engine->options();
  json.BeginObject();
  json.Key("api").BeginObject();
  json.Key("admin").Bool(context.enable_admin_api);
  json.Key("exclude_alerts").Bool(true).Key("label_values_match").Bool(true);
  json.Key("query_stats").Bool(true).Key("query_warnings").Bool(true);
  json.Key("remote_write_receiver").Bool(context.enable_remote_write).EndObject();
  json.Key("promql").BeginObject();
  json.Key("anchored").Bool(engine.extended_range_selectors);
  json.Key("at_modifier").Bool(true).Key("bool").Bool(true);
  json.Key("delayed_name_removal").Bool(engine.delayed_name_removal);
  json.Key("duration_expr").Bool(engine.experimental_durations);
  json.Key("fill").Bool(engine.binop_fill_modifiers);
  json.Key("negative_offset").Bool(true).Key("offset").Bool(true).Key("on").Bool(true);
  json.Key("per_query_lookback_delta").Bool(true).Key("per_step_stats").Bool(true);
  json.Key("smoothed").Bool(engine.extended_range_selectors);
  json.Key("subqueries").Bool(true);
  json.Key("type_and_unit_labels").Bool(engine.type_and_unit_labels).EndObject();
  json.Key("tsdb").BeginObject().Key("delayed_compaction").Bool(false);
  json.Key("exemplar_storage").Bool(true).Key("isolation").Bool(true);
  json.Key("native_histograms").Bool(true).Key("out_of_order").Bool(true).EndObject();
  json.EndObject();
  return Success(data);
}

/// Checks what Prometheus checks before it looks for rules; there are none here.
Status CheckRulesParameters(const http::Params& params) {
  const std::string_view type = params.Get("type");
  if (!type.empty() && !http::EqualsIgnoreCase(type, "alert") &&
      !http::EqualsIgnoreCase(type, "record")) {
    return InvalidParameter("type", Concat("not supported value ", GoQuote(type)));
  }
  VARVE_RETURN_IF_ERROR(SelectorParameters(params).status());
  const std::string_view exclude = params.Get("exclude_alerts");
  if (!exclude.empty() && !ParseGoBool(exclude).has_value()) {
    return InvalidParameter("exclude_alerts",
                            Concat("error converting exclude_alerts: strconv.ParseBool: parsing ",
                                   GoQuote(exclude), ": invalid syntax"));
  }
  const std::string_view limit = params.Get("group_limit");
  const std::string_view token = params.Get("group_next_token");
  if (limit.empty()) {
    if (token.empty()) return absl::OkStatus();
    return InvalidParameter("group_next_token",
                            "group_limit needs to be present in order to paginate over the groups");
  }
  int32_t groups = 0;
  const auto [end, error] = std::from_chars(limit.data(), limit.data() + limit.size(), groups);
  if (error != std::errc() || end != limit.data() + limit.size()) {
    return InvalidParameter("group_limit",
                            Concat("group_limit needs to be a valid number: strconv.ParseInt: "
                                   "parsing ",
                                   GoQuote(limit), ": invalid syntax"));
  }
  if (groups <= 0) {
    return InvalidParameter("group_limit", "group_limit needs to be greater than 0");
  }
  if (!token.empty()) {
    return InvalidParameter("group_next_token", Concat("invalid group_next_token '", token,
                                                       "'. were rule groups changed?"));
  }
  return absl::OkStatus();
}

}  // namespace

void AddLifecycleRoutes(Context* context, http::Router* router) {
  const auto add = [&](std::string_view path, std::function<http::Response()> handler) {
    router->Add(http::kPostPut, path,
                [context, handler = std::move(handler)](http::Request&) {
                  return context->quit != nullptr
                             ? handler()
                             : http::Response::Text(403, "Lifecycle API is not enabled.");
                },
                {.lane = http::Lane::kQuick});
  };
  // What could be read again are flags, which stay for the life of the process.
  add("/-/reload", [] { return http::Response::Text(200, ""); });
  add("/-/quit", [context] {
    context->quit();
    return http::Response::Text(200, "Requesting termination... Goodbye!");
  });
}

void AddStatusRoutes(Context* context, http::Router* router) {
  constexpr http::RouteOptions kQuick{.lane = http::Lane::kQuick};
  constexpr http::RouteOptions kQuery{.lane = http::Lane::kQuery};
  const auto add = [&](std::string_view path, auto handler) {
    router->Add(
        http::kGetOnly, path,
        [context, handler](http::Request& request) {
          if constexpr (std::is_invocable_v<decltype(handler), Context&, http::Request&>) {
            return handler(*context, request);
          } else {
            return handler(*context);
          }
        },
        kQuick);
  };
  add("/api/v1/status/config", Config);
  add("/api/v1/status/flags", Flags);
  add("/api/v1/status/buildinfo", BuildInfo);
  add("/api/v1/status/walreplay", WalReplay);
  add("/api/v1/status/self_metrics", SelfMetrics);
  add("/api/v1/features", Features);
  add("/api/v1/rules", [](Context&, http::Request& request) {
    const Status status = CheckRulesParameters(request.params);
    return status.ok() ? Success(R"({"groups":[]})") : Error(status);
  });
  add("/api/v1/alerts", [](Context&) { return Success(R"({"alerts":[]})"); });
  add("/api/v1/alertmanagers",
      [](Context&) { return Success(R"({"activeAlertmanagers":[],"droppedAlertmanagers":[]})"); });
  add("/api/v1/notifications", [](Context&) { return Success("[]"); });
  // There never is a notification, so there is nothing to keep a connection for: an event source
  // takes 204 for "do not come back", as from a Prometheus that has subscribers enough.
  add("/api/v1/notifications/live", [](Context&) {
    http::Response response;
    response.status = 204;
    return response;
  });
  add("/version", [](Context& context_) {
    std::string body;
    json::Writer json(&body);
    json.BeginObject().Field("application", "varve").Field("version", context_.version);
    json.Field("api", kApiVersion).EndObject();
    return http::Response::Json(200, std::move(body));
  });
  add("/-/healthy", [](Context&) { return http::Response::Text(200, "Varve is Healthy.\n"); });
  add("/-/ready", [](Context& context_) {
    return context_.database.load(std::memory_order_acquire) != nullptr
               ? http::Response::Text(200, "Varve is Ready.\n")
               : NotReady();
  });
  add("/metrics", [](Context& context_, http::Request& request) {
    const telemetry::Format format = telemetry::NegotiateFormat(request.headers.Joined("Accept"));
    telemetry::Exposition exposition(format);
    if (context_.write_metrics) context_.write_metrics(&exposition);
    http::Response response = http::Response::Text(200, exposition.Finish());
    response.headers.Set("Content-Type", telemetry::ContentTypeOf(format));
    return response;
  });
  AddRoute(context, router, http::kGetOnly, "/api/v1/status/runtimeinfo", kQuick, RuntimeInfo);
  AddRoute(context, router, http::kGetOnly, "/api/v1/status/tsdb", kQuery, TsdbStatus);
  AddRoute(context, router, http::kGetOnly, "/api/v1/status/tsdb/blocks", kQuick, TsdbBlocks);
}

}  // namespace varve::api
