#include "tools/tracing/span_metrics.h"

#include <algorithm>
#include <array>
#include <deque>

#include "absl/container/flat_hash_set.h"
#include "tools/tracing/dependencies.h"

namespace varve::tracing {
namespace {

constexpr std::string_view kOther = "other";
constexpr size_t kTextMax = 1024;  // of names in labels
constexpr std::string_view kUnknownService = "unknown_service";

constexpr std::array<double, SpanMetrics::kBuckets> kBounds = [] {
  std::array<double, SpanMetrics::kBuckets> bounds{};
  double bound = 0.002;
  for (double& value : bounds) {
    value = bound;
    bound *= 2;
  }
  return bounds;
}();
// The text of each bound, exact in decimal: "0.002", ..., "16.384"; in milliseconds for Jaeger.
constexpr std::array<std::string_view, SpanMetrics::kBuckets> kSecondTexts = {
    "0.002", "0.004", "0.008", "0.016", "0.032", "0.064", "0.128",
    "0.256", "0.512", "1.024", "2.048", "4.096", "8.192", "16.384"};
constexpr std::array<std::string_view, SpanMetrics::kBuckets> kMillisecondTexts = {
    "2", "4", "8", "16", "32", "64", "128", "256", "512", "1024", "2048", "4096", "8192", "16384"};

struct Durations {
  std::array<uint64_t, SpanMetrics::kBuckets + 1> buckets{};
  uint64_t count = 0;
  double sum = 0;  // seconds

  void Observe(double seconds) {
    const auto at = std::ranges::lower_bound(kBounds, seconds) - kBounds.begin();
    ++buckets[static_cast<size_t>(at)];
    ++count;
    sum += seconds;
  }
};

std::string_view KindText(SpanKind kind) {
  switch (kind) {
    case SpanKind::kInternal:
      return "SPAN_KIND_INTERNAL";
    case SpanKind::kServer:
      return "SPAN_KIND_SERVER";
    case SpanKind::kClient:
      return "SPAN_KIND_CLIENT";
    case SpanKind::kProducer:
      return "SPAN_KIND_PRODUCER";
    case SpanKind::kConsumer:
      return "SPAN_KIND_CONSUMER";
    default:
      return "SPAN_KIND_UNSPECIFIED";
  }
}

std::string_view StatusText(SpanStatus status) {
  return status == SpanStatus::kError ? "STATUS_CODE_ERROR"
         : status == SpanStatus::kOk  ? "STATUS_CODE_OK"
                                      : "STATUS_CODE_UNSET";
}

struct OperationKey {
  std::string service;
  std::string name;
  SpanKind kind;
  SpanStatus status;
};
struct OperationView {
  std::string_view service;
  std::string_view name;
  SpanKind kind;
  SpanStatus status;
};
struct OperationHash {
  using is_transparent = void;
  template <typename Key>
  size_t operator()(const Key& key) const {
    const StringHash hash;
    return hash(key.service) * 31 + hash(key.name) * 7 +
           (static_cast<size_t>(key.kind) << 2 | static_cast<size_t>(key.status));
  }
};
struct OperationEqual {
  using is_transparent = void;
  template <typename A, typename B>
  bool operator()(const A& a, const B& b) const {
    return a.kind == b.kind && a.status == b.status &&
           std::string_view(a.service) == std::string_view(b.service) &&
           std::string_view(a.name) == std::string_view(b.name);
  }
};
struct OperationCounts {
  Durations durations;
  uint64_t bytes = 0;
};

// What pairs a client's span with the server's: the trace and the client's span id.
struct PairKey {
  TraceId trace;
  SpanId client;
  friend bool operator==(const PairKey&, const PairKey&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const PairKey& key) {
    return H::combine(std::move(h), key.trace.bytes, key.client.bytes);
  }
};
struct Half {
  std::string service;
  std::string peer;  // what the span says about the other side
  std::string connection;
  double seconds = 0;
  bool failed = false;
  bool is_client = false;
  int64_t until_ms = 0;
};

struct EdgeCounts {
  uint64_t calls = 0;
  uint64_t failed = 0;
  Durations client;
  Durations server;
};
using EdgeKey = std::array<std::string, 3>;  // client, server, connection

std::string TextOf(AttributesView attributes, std::string_view key) {
  const ValueView* const value = FindAttribute(attributes, key);
  if (value == nullptr) return {};
  std::string text = ToString(*value);
  if (text.size() > kTextMax) text.resize(kTextMax);
  return text;
}

// Sizes of spans as OTLP would write them, near enough to chart traffic.
uint64_t SizeOf(const SpanBatch& batch, const SpanBatch::Span& span) {
  const auto attributes = [&](SpanBatch::Range range) {
    uint64_t bytes = 0;
    for (const AttributeView& attribute : batch.attributes(range)) {
      bytes +=
          8 + attribute.key.size() +
          (attribute.value.type >= ValueType::kBytes || attribute.value.type == ValueType::kString
               ? attribute.value.text.size()
               : 8);
    }
    return bytes;
  };
  uint64_t bytes = 60 + span.name.size() + span.status_message.size() + span.trace_state.size() +
                   attributes(span.attributes);
  for (const SpanBatch::Event& event : batch.events(span)) {
    bytes += 14 + event.name.size() + attributes(event.attributes);
  }
  for (const SpanBatch::Link& link : batch.links(span)) bytes += 32 + attributes(link.attributes);
  return bytes;
}

}  // namespace

struct SpanMetrics::State {
  absl::flat_hash_map<OperationKey, OperationCounts, OperationHash, OperationEqual> operations;
  std::map<EdgeKey, EdgeCounts> edges;
  absl::flat_hash_map<PairKey, Half> halves;
  std::deque<std::pair<int64_t, PairKey>> waiting;  // by time
  uint64_t dropped = 0;
  DependencyCounter dependencies;

  OperationCounts& Operation(OperationView view, size_t series_max) {
    view.name = view.name.substr(0, kTextMax);
    view.service = view.service.substr(0, kTextMax);
    if (const auto found = operations.find(view); found != operations.end()) return found->second;
    OperationKey key{std::string(view.service), std::string(view.name), view.kind, view.status};
    if (operations.size() >= series_max) {
      key.name = kOther;
      if (operations.size() >= 2 * series_max) key.service = kOther;
    }
    return operations[std::move(key)];
  }

  EdgeCounts& Edge(std::string client, std::string server, std::string connection,
                   size_t series_max) {
    EdgeKey key{std::move(client), std::move(server), std::move(connection)};
    if (edges.size() >= series_max && !edges.contains(key)) {
      key[0] = key[1] = kOther;
    }
    return edges[key];
  }

  void Complete(const Half& client, const Half& server, size_t series_max) {
    EdgeCounts& edge =
        Edge(client.service, server.service,
             client.connection == "messaging_system" || server.connection == "messaging_system"
                 ? "messaging_system"
                 : "",
             series_max);
    ++edge.calls;
    if (client.failed || server.failed) ++edge.failed;
    edge.client.Observe(client.seconds);
    edge.server.Observe(server.seconds);
  }

  void GiveUp(const Half& half, size_t series_max) {
    if (half.is_client) {
      // The other side is not instrumented; a client that names it shows it all the same.
      if (half.peer.empty()) return;
      EdgeCounts& edge =
          Edge(half.service, half.peer, half.connection.empty() ? "virtual_node" : half.connection,
               series_max);
      ++edge.calls;
      if (half.failed) ++edge.failed;
      edge.client.Observe(half.seconds);
      return;
    }
    if (half.peer.empty()) return;
    EdgeCounts& edge = Edge(half.peer, half.service, "virtual_node", series_max);
    ++edge.calls;
    if (half.failed) ++edge.failed;
    edge.server.Observe(half.seconds);
  }

  void Expire(int64_t now_ms, size_t series_max) {
    while (!waiting.empty() && waiting.front().first <= now_ms) {
      const auto found = halves.find(waiting.front().second);
      if (found != halves.end() && found->second.until_ms <= now_ms) {
        GiveUp(found->second, series_max);
        halves.erase(found);
      }
      waiting.pop_front();
    }
  }
};

SpanMetrics::SpanMetrics(const SpanMetricsOptions& options)
    : options_(options), state_(std::make_unique<State>()) {}
SpanMetrics::~SpanMetrics() = default;

void SpanMetrics::Add(const SpanBatch& batch, const std::vector<SpanRejection>& rejections,
                      int64_t now_ms) {
  if (!options_.span_metrics && !options_.service_graph && !options_.dependencies) return;
  absl::flat_hash_set<uint32_t> rejected;
  for (const SpanRejection& rejection : rejections) rejected.insert(rejection.span);
  std::vector<std::string_view> services(batch.resources().size(), kUnknownService);
  for (size_t i = 0; i < services.size(); ++i) {
    const ValueView* const name =
        FindAttribute(batch.attributes(batch.resources()[i].attributes), "service.name");
    if (name != nullptr && name->type == ValueType::kString && !name->text.empty()) {
      services[i] = name->text;
    }
  }

  const absl::MutexLock lock(&mutex_);
  constexpr uint32_t kUnasked = UINT32_MAX;
  std::vector<uint32_t> service_ids(services.size(), kUnasked);
  constexpr size_t kPrefetchSpans = 12;
  for (uint32_t i = 0; i < batch.spans().size(); ++i) {
    if (options_.dependencies && i + kPrefetchSpans < batch.spans().size()) {
      state_->dependencies.Prefetch(batch.spans()[i + kPrefetchSpans]);
    }
    if (!rejected.empty() && rejected.contains(i)) continue;
    const SpanBatch::Span& span = batch.spans()[i];
    const uint32_t resource = batch.scopes()[span.scope].resource;
    const std::string_view service = services[resource];
    const double seconds = span.end_ns > span.start_ns
                               ? static_cast<double>(static_cast<uint64_t>(span.end_ns) -
                                                     static_cast<uint64_t>(span.start_ns)) /
                                     1e9
                               : 0;
    const bool failed = span.status == SpanStatus::kError;
    if (options_.span_metrics) {
      OperationCounts& counts =
          state_->Operation({service, span.name, span.kind, span.status}, options_.series_max);
      counts.durations.Observe(seconds);
      counts.bytes += SizeOf(batch, span);
    }
    if (options_.dependencies) {
      uint32_t& id = service_ids[resource];
      if (id == kUnasked) id = state_->dependencies.ServiceOf(service);
      state_->dependencies.Add(span, id);
    }
    if (!options_.service_graph) continue;
    const bool client = span.kind == SpanKind::kClient || span.kind == SpanKind::kProducer;
    const bool server = span.kind == SpanKind::kServer || span.kind == SpanKind::kConsumer;
    if (!client && !server) continue;
    const AttributesView attributes = batch.attributes(span.attributes);
    Half half;
    half.service = service.substr(0, kTextMax);
    half.seconds = seconds;
    half.failed = failed;
    half.is_client = client;
    half.until_ms = now_ms + options_.pair_wait_ms;
    half.peer = TextOf(attributes, "peer.service");
    if (span.kind == SpanKind::kProducer || span.kind == SpanKind::kConsumer) {
      half.connection = "messaging_system";
    } else if (client) {
      for (const std::string_view key :
           {"db.name", "db.namespace", "db.system", "db.system.name"}) {
        const std::string name = TextOf(attributes, key);
        if (name.empty()) continue;
        half.connection = "database";
        if (half.peer.empty()) half.peer = name;
        break;
      }
    }
    if (server && span.parent_id.empty()) {
      // A root: whoever called is not traced.
      if (!half.peer.empty()) state_->GiveUp(half, options_.series_max);
      continue;
    }
    const PairKey key{span.trace_id, client ? span.span_id : span.parent_id};
    const auto found = state_->halves.find(key);
    if (found != state_->halves.end() && found->second.is_client != client) {
      if (client) {
        state_->Complete(half, found->second, options_.series_max);
      } else {
        state_->Complete(found->second, half, options_.series_max);
      }
      state_->halves.erase(found);
      continue;
    }
    if (state_->halves.size() >= options_.pairs_max) {
      state_->Expire(now_ms, options_.series_max);
      if (state_->halves.size() >= options_.pairs_max) {
        ++state_->dropped;
        continue;
      }
    }
    state_->waiting.emplace_back(half.until_ms, key);
    state_->halves[key] = std::move(half);
    if (state_->waiting.size() > 4 * options_.pairs_max)
      state_->Expire(now_ms, options_.series_max);
  }
}

void SpanMetrics::Expire(int64_t now_ms) {
  const absl::MutexLock lock(&mutex_);
  state_->Expire(now_ms, options_.series_max);
}

namespace {

class Dumper {
 public:
  Dumper(int64_t now_ms, WriteBatch* batch) : now_ms_(now_ms), batch_(*batch) {}

  using Base = std::vector<LabelView>;

  void Sample(std::string_view name, const Base& base, double value, LabelView extra = {}) {
    std::vector<LabelView> labels = base;
    labels.push_back({kMetricName, name});
    if (!extra.name.empty()) labels.push_back(extra);
    std::erase_if(labels, [](const LabelView& label) { return label.value.empty(); });
    std::ranges::sort(labels);
    batch_.AddSample(batch_.AddSeries(labels), now_ms_, value);
  }

  void Histogram(std::string_view name, const Base& base, const Durations& durations,
                 bool milliseconds) {
    uint64_t below = 0;
    const auto& texts = milliseconds ? kMillisecondTexts : kSecondTexts;
    for (size_t i = 0; i < SpanMetrics::kBuckets; ++i) {
      below += durations.buckets[i];
      Sample(Concat(name, "_bucket"), base, static_cast<double>(below), {"le", texts[i]});
    }
    const auto count = static_cast<double>(durations.count);
    Sample(Concat(name, "_bucket"), base, count, {"le", "+Inf"});
    Sample(Concat(name, "_count"), base, count);
    Sample(Concat(name, "_sum"), base, durations.sum * (milliseconds ? 1000 : 1));
  }

 private:
  const int64_t now_ms_;
  WriteBatch& batch_;
};

}  // namespace

void SpanMetrics::Dump(int64_t now_ms, WriteBatch* batch) const {
  Dumper dumper(now_ms, batch);
  const absl::MutexLock lock(&mutex_);
  const bool jaeger = options_.jaeger_names;
  for (const auto& [key, counts] : state_->operations) {
    const Dumper::Base base = {
        {jaeger ? "service_name" : "service", key.service},
        {"span_name", key.name},
        {"span_kind", KindText(key.kind)},
        {"status_code", StatusText(key.status)},
    };
    const auto calls = static_cast<double>(counts.durations.count);
    if (jaeger) {
      dumper.Sample("traces_span_metrics_calls_total", base, calls);
      dumper.Histogram("traces_span_metrics_duration_milliseconds", base, counts.durations, true);
    } else {
      dumper.Sample("traces_spanmetrics_calls_total", base, calls);
      dumper.Histogram("traces_spanmetrics_latency", base, counts.durations, false);
      dumper.Sample("traces_spanmetrics_size_total", base, static_cast<double>(counts.bytes));
    }
  }
  for (const auto& [pair, calls] : state_->dependencies.Calls()) {
    dumper.Sample(kDependenciesMetric, {{"parent", pair.first}, {"child", pair.second}},
                  static_cast<double>(calls));
  }
  for (const auto& [key, counts] : state_->edges) {
    const Dumper::Base base = {{"client", key[0]}, {"server", key[1]}, {"connection_type", key[2]}};
    dumper.Sample("traces_service_graph_request_total", base, static_cast<double>(counts.calls));
    dumper.Sample("traces_service_graph_request_failed_total", base,
                  static_cast<double>(counts.failed));
    if (counts.client.count > 0) {
      dumper.Histogram("traces_service_graph_request_client_seconds", base, counts.client, false);
    }
    if (counts.server.count > 0) {
      dumper.Histogram("traces_service_graph_request_server_seconds", base, counts.server, false);
    }
  }
}

std::vector<ServiceEdge> SpanMetrics::Edges() const {
  std::vector<ServiceEdge> edges;
  const absl::MutexLock lock(&mutex_);
  for (const auto& [key, counts] : state_->edges) {
    edges.push_back({key[0], key[1], key[2], counts.calls, counts.failed});
  }
  return edges;
}

std::vector<SpanMetrics::Dependency> SpanMetrics::Dependencies() const {
  std::vector<Dependency> dependencies;
  const absl::MutexLock lock(&mutex_);
  for (const auto& [pair, calls] : state_->dependencies.Calls()) {
    dependencies.push_back({std::string(pair.first), std::string(pair.second), calls});
  }
  return dependencies;
}

uint64_t SpanMetrics::pairs_dropped() const {
  const absl::MutexLock lock(&mutex_);
  return state_->dropped;
}

}  // namespace varve::tracing
