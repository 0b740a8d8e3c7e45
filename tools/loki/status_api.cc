#include "engine/base/strings.h"
#include "tools/loki/api.h"

namespace varve::loki {
namespace {

using http::Request;
using http::Response;

Response Ready(Context* context) {
  if (context->database.load(std::memory_order_acquire) != nullptr) {
    return Response::Text(200, "ready\n");
  }
  return TextError(503, "Ingester not ready: the store is being opened");
}

Response BuildInfo(Context* context) {
  std::string body;
  json::Writer json(&body);
  json.BeginObject().Field("version", kApiVersion).Field("revision", context->version);
  json.Field("branch", "varve").Field("buildUser", "").Field("buildDate", "");
  json.Field("goVersion", "").EndObject();
  return Response::Json(200, std::move(body));
}

void WriteLimits(const Context& context, json::Writer* json) {
  const Limits& limits = context.limits;
  const auto duration = [](std::chrono::milliseconds time) {
    return Concat(time.count() / 1000, "s");
  };
  json->BeginObject();
  json->Key("discover_log_levels").Bool(limits.discover_log_levels);
  json->Key("discover_service_name").BeginArray();
  if (limits.discover_service_name) {
    for (const std::string_view name :
         {"service", "app", "application", "app_name", "name", "app_kubernetes_io_name",
          "container", "container_name", "k8s_container_name", "component", "workload", "job",
          "k8s_job_name"}) {
      json->String(name);
    }
  }
  json->EndArray();
  if (context.engine != nullptr) {
    const query::LogEngineOptions& engine = context.engine->options();
    json->Key("max_entries_limit_per_query").Uint(engine.max_entries_limit_per_query);
    json->Field(
        "max_query_length",
        duration(std::chrono::duration_cast<std::chrono::milliseconds>(engine.max_query_length)));
    json->Key("max_query_series").Uint(engine.max_query_series);
    json->Field("query_timeout", duration(engine.timeout));
  }
  json->Field("max_query_lookback", "0s").Field("max_query_range", "0s");
  json->Key("max_line_size").Uint(limits.max_line_size);
  json->Field("retention_period", "0s");
  json->Key("volume_enabled").Bool(true);
  json->Key("volume_max_series").Uint(limits.volume_max_series);
  json->EndObject();
}

Response DrilldownLimits(Context* context) {
  std::string body;
  json::Writer json(&body);
  json.BeginObject().Key("limits");
  WriteLimits(*context, &json);
  // Patterns are mined when asked for, so they are always there.
  json.Key("pattern_ingester_enabled").Bool(true).Field("version", kApiVersion).EndObject();
  return Response::Json(200, std::move(body));
}

Response Config(Context* context) {
  const Limits& limits = context->limits;
  const auto seconds = [](std::chrono::milliseconds time) {
    return Concat(time.count() / 1000, "s");
  };
  std::string body = "auth_enabled: false\nlimits_config:\n";
  const auto line = [&](std::string_view name, std::string_view value) {
    body += Concat("  ", name, ": ", value, "\n");
  };
  const auto flag = [&](std::string_view name, bool value) {
    line(name, value ? "true" : "false");
  };
  line("ingestion_rate_mb", std::to_string(limits.ingestion_rate_mb));
  line("ingestion_burst_size_mb", std::to_string(limits.ingestion_burst_size_mb));
  line("max_label_name_length", std::to_string(limits.max_label_name_length));
  line("max_label_value_length", std::to_string(limits.max_label_value_length));
  line("max_label_names_per_series", std::to_string(limits.max_label_names_per_series));
  flag("reject_old_samples", limits.reject_old_samples);
  line("reject_old_samples_max_age", seconds(limits.reject_old_samples_max_age));
  line("creation_grace_period", seconds(limits.creation_grace_period));
  line("max_line_size", std::to_string(limits.max_line_size));
  flag("max_line_size_truncate", limits.max_line_size_truncate);
  flag("allow_structured_metadata", limits.allow_structured_metadata);
  line("max_structured_metadata_size", std::to_string(limits.max_structured_metadata_size));
  line("max_structured_metadata_entries_count",
       std::to_string(limits.max_structured_metadata_entries_count));
  flag("discover_log_levels", limits.discover_log_levels);
  line("max_concurrent_tail_requests", std::to_string(limits.max_concurrent_tail_requests));
  line("volume_max_series", std::to_string(limits.volume_max_series));
  return Response::Text(200, std::move(body));
}

}  // namespace

http::Response TextError(int status, std::string_view text) {
  return http::Response::Text(status, Concat(text, "\n"));
}

http::Response ErrorResponse(const Status& status) {
  int code = 500;
  switch (status.code()) {
    case StatusCode::kInvalidArgument:
    case StatusCode::kFailedPrecondition:
    case StatusCode::kResourceExhausted:
      code = 400;
      break;
    case StatusCode::kDeadlineExceeded:
      code = 504;
      break;
    case StatusCode::kCancelled:
      code = 499;
      break;
    case StatusCode::kUnimplemented:
      code = 501;
      break;
    default:
      break;
  }
  return TextError(code, ToStd(status.message()));
}

void AddStatusRoutes(Context* context, http::Router* router) {
  router->Add(http::kGetOnly, "/loki/api/v1/status/buildinfo",
              [context](Request&) { return BuildInfo(context); });
  router->Add(http::kGetOnly, "/loki/api/v1/drilldown-limits",
              [context](Request&) { return DrilldownLimits(context); });
  // There is no ruler: no rules to list, and none are taken.
  for (const std::string_view prefix : {"/loki/api/v1/rules", "/api/prom/rules"}) {
    const auto none = [](Request&) { return TextError(404, "no rule groups found"); };
    const auto refuse = [](Request&) {
      return TextError(501, "rules of logs are not evaluated by this server");
    };
    const http::MethodSet change = http::kPostOnly | http::Only(http::Method::kDelete);
    for (const std::string_view rest : {"", "/:namespace", "/:namespace/:group"}) {
      router->Add(http::kGetOnly, Concat(prefix, rest), none);
      router->Add(change, Concat(prefix, rest), refuse);
    }
  }
  router->Add(http::kGetOnly, "/prometheus/api/v1/rules", [](Request&) {
    return Response::Json(200, R"({"status":"success","data":{"groups":[]}})");
  });
  router->Add(http::kGetOnly, "/prometheus/api/v1/alerts", [](Request&) {
    return Response::Json(200, R"({"status":"success","data":{"alerts":[]}})");
  });
  router->Add(http::kGetOnly, "/ready", [context](Request&) { return Ready(context); });
}

void AddPortRoutes(Context* context, http::Router* router,
                   std::function<Response(Request&)> metrics) {
  router->Add(http::kGetOnly, "/config", [context](Request&) { return Config(context); });
  router->Add(http::kGetOnly, "/services", [context](Request&) {
    const bool ready = context->database.load(std::memory_order_acquire) != nullptr;
    return Response::Text(200, ready ? "store => Running\n" : "store => Starting\n");
  });
  router->Add(http::kGetOnly, "/log_level", [](Request&) {
    return Response::Json(200, R"({"message":"Current log level is info"})");
  });
  router->Add(http::kGetOnly, "/ring",
              [](Request&) { return Response::Text(200, "one instance, no ring\n"); });
  AddRoute(context, router, http::kPostOnly, "/flush",
           {.lane = http::Lane::kWrite, .ignore_disconnect = true},
           [](Context&, Database& database, Request&) {
             const Status status = database.Flush();
             if (!status.ok()) return ErrorResponse(status);
             Response response;
             response.status = 204;
             return response;
           });
  if (metrics) router->Add(http::kGetOnly, "/metrics", std::move(metrics));
}

}  // namespace varve::loki
