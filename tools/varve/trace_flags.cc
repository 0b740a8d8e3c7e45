#include "tools/varve/trace_flags.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <string>
#include <vector>

#include "engine/base/strings.h"
#include "tools/server/api/parameters.h"
#include "tools/varve/commands.h"

namespace varve::cli {
namespace {

constexpr char kGroup[] = "Traces and OTLP";
constexpr char kPortGroup[] = "Conventional ports";

std::string CheckDuration(std::string& text) {
  const auto value = api::ParseDuration(text);
  if (!value.ok()) return std::string(ToStd(value.status().message()));
  return value->count() < 0 ? std::string("must not be negative") : std::string();
}
std::string CheckAddress(std::string& text) {
  const Result<ListenAddress> value = ParseListenAddress(text);
  return value.ok() ? std::string() : std::string(ToStd(value.status().message()));
}

std::string CheckSize(std::string& text) {
  const Result<uint64_t> value = ParseSize(text);
  return value.ok() ? std::string() : std::string(ToStd(value.status().message()));
}

// A port that speaks HTTP: an alias of the main listener.
struct HttpPort {
  const char* flag;
  const char* name;
  const char* help;
  uint16_t port;
};
constexpr HttpPort kHttpPorts[] = {
    {"--otlp-http", "otlp-http", "OTLP over HTTP (4318)", 4318},
    {"--zipkin", "zipkin", "Zipkin (9411)", 9411},
    {"--jaeger-thrift-http", "jaeger-thrift-http", "Jaeger Thrift over HTTP (14268)", 14268},
    {"--jaeger-query", "jaeger-query", "Jaeger's query API (16686)", 16686},
};

// A port that does not.
struct OtherPort {
  const char* flag;
  const char* name;
  const char* help;
  uint16_t port;
  std::vector<api::TraceOptions::Port> api::TraceOptions::* member;
};
constexpr OtherPort kOtherPorts[] = {
    {"--otlp-grpc", "otlp-grpc", "OTLP over gRPC (4317)", 4317, &api::TraceOptions::grpc_ports},
    {"--jaeger-grpc", "jaeger-grpc", "Jaeger's collector over gRPC (14250)", 14250,
     &api::TraceOptions::grpc_ports},
    {"--jaeger-query-grpc", "jaeger-query-grpc", "Jaeger's query API over gRPC (16685)", 16685,
     &api::TraceOptions::grpc_ports},
    {"--jaeger-storage-grpc", "jaeger-storage-grpc",
     "Jaeger's remote storage: what a stock Jaeger reads from (17271)", 17271,
     &api::TraceOptions::grpc_ports},
    {"--jaeger-sampling", "jaeger-sampling", "Jaeger's remote sampling (5778)", 5778,
     &api::TraceOptions::sampling_ports},
    {"--jaeger-sampling-grpc", "jaeger-sampling-grpc", "The same over gRPC (5779)", 5779,
     &api::TraceOptions::grpc_ports},
    {"--jaeger-compact", "jaeger-compact", "Jaeger's agent, compact Thrift over UDP (6831)", 6831,
     &api::TraceOptions::compact_ports},
    {"--jaeger-binary", "jaeger-binary", "Jaeger's agent, binary Thrift over UDP (6832)", 6832,
     &api::TraceOptions::binary_ports},
};

}  // namespace

struct TraceFlags::Values {
  bool aliases = false;
  std::vector<std::string> other_ports = std::vector<std::string>(std::size(kOtherPorts));
  std::string grpc_message_max = "4MB";
  std::string sampling_file;
  std::vector<std::string> http_ports = std::vector<std::string>(std::size(kHttpPorts));
  std::vector<std::string> cors_origins;
  std::string translation = "UnderscoreEscapingWithSuffixes";
  std::vector<std::string> promote;
  bool promote_all = false;
  bool promote_scope = false;
  bool explicit_as_native = false;
  bool span_metrics = true;
  bool service_graph = true;
  bool dependencies = true;
  bool jaeger_names = false;
  std::string span_metrics_interval = "15s";
};

TraceFlags::TraceFlags() : values_(std::make_unique<Values>()) {}
TraceFlags::~TraceFlags() = default;

void TraceFlags::AddTo(CLI::App* serve) {
  Values& values = *values_;
  serve
      ->add_flag("--aliases", values.aliases,
                 "Also listen on the conventional ports of all protocols, on the host of --http")
      ->group(kPortGroup);
  for (size_t i = 0; i < std::size(kHttpPorts); ++i) {
    serve->add_option(kHttpPorts[i].flag, values.http_ports[i], kHttpPorts[i].help)
        ->check(CLI::Validator(CheckAddress, "HOST:PORT"))
        ->group(kPortGroup);
  }
  for (size_t i = 0; i < std::size(kOtherPorts); ++i) {
    serve->add_option(kOtherPorts[i].flag, values.other_ports[i], kOtherPorts[i].help)
        ->check(CLI::Validator(CheckAddress, "HOST:PORT"))
        ->group(kPortGroup);
  }
  serve
      ->add_option("--grpc.max-message", values.grpc_message_max,
                   "Largest gRPC message after decompression")
      ->check(CLI::Validator(CheckSize, "SIZE"))
      ->capture_default_str()
      ->group(kGroup);
  serve
      ->add_option("--sampling-file", values.sampling_file,
                   "Jaeger's sampling strategies, read again when the file changes")
      ->group(kGroup);
  serve
      ->add_option("--web.cors-origin", values.cors_origins,
                   "Origin whose pages may send and read (CORS); repeatable; * is any")
      ->group("HTTP");
  serve
      ->add_option("--otlp.translation-strategy", values.translation,
                   "How names of OTLP metrics become those of Prometheus")
      ->check(CLI::IsMember({"UnderscoreEscapingWithSuffixes", "NoUTF8EscapingWithSuffixes",
                             "UnderscoreEscapingWithoutSuffixes", "NoTranslation"}))
      ->capture_default_str()
      ->group(kGroup);
  serve
      ->add_option("--otlp.promote-resource-attribute", values.promote,
                   "Resource attribute that becomes a label of every series; repeatable")
      ->group(kGroup);
  serve
      ->add_flag("--otlp.promote-all-resource-attributes", values.promote_all,
                 "All resource attributes become labels of every series")
      ->group(kGroup);
  serve
      ->add_flag("--otlp.promote-scope-metadata", values.promote_scope,
                 "Name, version and attributes of the scope become labels")
      ->group(kGroup);
  serve
      ->add_flag("--otlp.convert-histograms-to-nhcb", values.explicit_as_native,
                 "Store explicit-bucket histograms as native histograms with custom buckets")
      ->group(kGroup);
  serve
      ->add_flag("--traces.span-metrics,!--no-span-metrics", values.span_metrics,
                 "Compute rate, errors and duration of operations (on by default)")
      ->group(kGroup);
  serve
      ->add_flag("--traces.service-graph,!--no-service-graph", values.service_graph,
                 "Compute the graph of services (on by default)")
      ->group(kGroup);
  serve
      ->add_flag("--traces.dependencies,!--no-dependencies", values.dependencies,
                 "Count calls between services for Jaeger's dependencies (on by default)")
      ->group(kGroup);
  serve
      ->add_flag("--traces.jaeger-metric-names", values.jaeger_names,
                 "Name the metrics of spans as Jaeger's monitor tab asks for them")
      ->group(kGroup);
  serve
      ->add_option("--traces.metrics-interval", values.span_metrics_interval,
                   "How often the metrics of spans are stored; 0 is never")
      ->check(CLI::Validator(CheckDuration, "DURATION"))
      ->capture_default_str()
      ->group(kGroup);
}

void TraceFlags::Apply(server::AppOptions* options) const {
  const Values& values = *values_;
  for (size_t i = 0; i < std::size(kHttpPorts); ++i) {
    server::AppOptions::Alias alias;
    alias.name = kHttpPorts[i].name;
    if (!values.http_ports[i].empty()) {
      const ListenAddress address = *ParseListenAddress(values.http_ports[i]);
      alias.address = address.host;
      alias.port = address.port;
    } else if (values.aliases) {
      alias.address = options->http.address;
      alias.port = kHttpPorts[i].port;
    } else {
      continue;
    }
    options->aliases.push_back(std::move(alias));
  }
  for (size_t i = 0; i < std::size(kOtherPorts); ++i) {
    api::TraceOptions::Port port;
    port.name = kOtherPorts[i].name;
    if (!values.other_ports[i].empty()) {
      const ListenAddress address = *ParseListenAddress(values.other_ports[i]);
      port.address = address.host;
      port.port = address.port;
    } else if (values.aliases) {
      port.address = options->http.address;
      port.port = kOtherPorts[i].port;
    } else {
      continue;
    }
    (options->traces.*kOtherPorts[i].member).push_back(std::move(port));
  }
  options->traces.insecure_listen = options->http.insecure_listen;
  options->traces.grpc_message_bytes_max =
      static_cast<size_t>(std::min<uint64_t>(*ParseSize(values.grpc_message_max), INT32_MAX));
  options->traces.sampling_file = values.sampling_file;
  options->http.allowed_origins = values.cors_origins;
  otlp::MetricOptions& metrics = options->traces.otlp_metrics;
  metrics.translation = *otlp::ParseTranslation(values.translation);
  metrics.promote_attributes = values.promote;
  metrics.promote_all_attributes = values.promote_all;
  metrics.promote_scope = values.promote_scope;
  metrics.explicit_as_native = values.explicit_as_native;
  options->traces.span_metrics.span_metrics = values.span_metrics;
  options->traces.span_metrics.service_graph = values.service_graph;
  options->traces.span_metrics.dependencies = values.dependencies;
  options->traces.span_metrics.jaeger_names = values.jaeger_names;
  options->traces.span_metrics_interval = *api::ParseDuration(values.span_metrics_interval);
}

}  // namespace varve::cli
