#include <simdjson.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cmath>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "tools/otlp/traces.h"
#include "tools/server/http/client.h"
#include "tools/server/http/message.h"
#include "tools/server/http/url.h"
#include "tools/server/json/writer.h"
#include "tools/varve/shell/answers.h"
#include "tools/varve/shell/source.h"
#include "varve/histogram_buckets.h"

// A server as a source: Prometheus's, Loki's and Tempo's HTTP APIs.
namespace varve::cli::shell {
namespace {

Status Malformed(std::string_view what) {
  return MakeStatus(StatusCode::kInvalidArgument, Concat("the server's answer ", what));
}

// The place that Prometheus writes in front of a message: "1:7: parse error:
// ...".
Status FromServer(std::string_view type, std::string_view message) {
  constexpr std::string_view kPrefix = "invalid parameter \"query\": ";
  const std::string_view text =
      message.starts_with(kPrefix) ? message.substr(kPrefix.size()) : message;
  TextPlace place;
  const char* at = text.data();
  const char* const end = at + text.size();
  auto number = std::from_chars(at, end, place.line);
  if (number.ec == std::errc() && number.ptr != end && *number.ptr == ':') {
    number = std::from_chars(number.ptr + 1, end, place.column);
    if (number.ec == std::errc() && number.ptr != end && *number.ptr == ':') {
      return TextError(place, text);
    }
  }
  const StatusCode code = type == "timeout"     ? StatusCode::kDeadlineExceeded
                          : type == "canceled"  ? StatusCode::kCancelled
                          : type == "execution" ? StatusCode::kFailedPrecondition
                                                : StatusCode::kInvalidArgument;
  return MakeStatus(code, message);
}

Result<double> ReadFloat(std::string_view text) {
  if (text == "NaN") return std::nan("");
  if (text == "+Inf") return HUGE_VAL;
  if (text == "-Inf") return -HUGE_VAL;
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    return Malformed("has a malformed value");
  }
  return value;
}

Status ReadSample(simdjson::dom::element pair, int64_t* time_ms, double* value) {
  simdjson::dom::array array;
  double seconds = 0;
  std::string_view text;
  if (pair.get(array) != simdjson::SUCCESS || array.at(0).get(seconds) != simdjson::SUCCESS ||
      !(std::fabs(seconds) < 1e15) || array.at(1).get(text) != simdjson::SUCCESS) {
    return Malformed("has a malformed sample");
  }
  *time_ms = std::llround(seconds * 1000);
  VARVE_ASSIGN_OR_RETURN(*value, ReadFloat(text));
  return absl::OkStatus();
}

// Reads [seconds, {"count":"1","sum":"2","buckets":[[0,"1","2","1"]]}].
Status ReadHistogram(simdjson::dom::element pair, int64_t* time_ms, query::HistogramPtr* out) {
  double seconds = 0;
  simdjson::dom::element histogram;
  std::string_view count;
  std::string_view sum;
  if (pair.at(0).get(seconds) != simdjson::SUCCESS || !(std::fabs(seconds) < 1e15) ||
      pair.at(1).get(histogram) != simdjson::SUCCESS ||
      histogram["count"].get(count) != simdjson::SUCCESS ||
      histogram["sum"].get(sum) != simdjson::SUCCESS) {
    return Malformed("has a malformed histogram");
  }
  *time_ms = std::llround(seconds * 1000);
  std::vector<query::HistogramBucket> buckets;
  simdjson::dom::array list;
  if (histogram["buckets"].get(list) == simdjson::SUCCESS) {
    for (const simdjson::dom::element item : list) {
      uint64_t rule = 0;
      std::string_view texts[3];
      if (item.at(0).get(rule) != simdjson::SUCCESS || rule > 3 ||
          item.at(1).get(texts[0]) != simdjson::SUCCESS ||
          item.at(2).get(texts[1]) != simdjson::SUCCESS ||
          item.at(3).get(texts[2]) != simdjson::SUCCESS) {
        return Malformed("has a malformed bucket");
      }
      query::HistogramBucket& bucket = buckets.emplace_back();
      bucket.rule = static_cast<query::HistogramBucket::Rule>(rule);
      VARVE_ASSIGN_OR_RETURN(bucket.lower, ReadFloat(texts[0]));
      VARVE_ASSIGN_OR_RETURN(bucket.upper, ReadFloat(texts[1]));
      VARVE_ASSIGN_OR_RETURN(bucket.count, ReadFloat(texts[2]));
    }
  }
  VARVE_ASSIGN_OR_RETURN(const double of_count, ReadFloat(count));
  VARVE_ASSIGN_OR_RETURN(const double of_sum, ReadFloat(sum));
  VARVE_ASSIGN_OR_RETURN(query::FloatHistogram read,
                         query::HistogramOfBuckets(of_count, of_sum, buckets));
  *out = std::make_shared<const query::FloatHistogram>(std::move(read));
  return absl::OkStatus();
}

std::string_view TextOf(const simdjson::dom::element& object, std::string_view key) {
  std::string_view text;
  return object[key].get(text) == simdjson::SUCCESS ? text : std::string_view();
}

// A number, or one that is printed as text.
int64_t IntegerOf(const simdjson::dom::element& object, std::string_view key) {
  int64_t number = 0;
  if (object[key].get(number) == simdjson::SUCCESS) return number;
  const std::string_view text = TextOf(object, key);
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

// A list of {"key":"x","value":{"stringValue":"y"}}.
std::vector<query::NamedTraceValue> ReadValues(simdjson::dom::array list) {
  std::vector<query::NamedTraceValue> out;
  for (const simdjson::dom::element item : list) {
    query::NamedTraceValue& named = out.emplace_back();
    named.name = TextOf(item, "key");
    simdjson::dom::element value;
    if (item["value"].get(value) != simdjson::SUCCESS) continue;
    using Type = query::TraceValue::Type;
    if (value["stringValue"].error() == simdjson::SUCCESS) {
      named.value.type = Type::kString;
      named.value.text = TextOf(value, "stringValue");
    } else if (value["boolValue"].get(named.value.boolean) == simdjson::SUCCESS) {
      named.value.type = Type::kBool;
    } else if (value["doubleValue"].get(named.value.number) == simdjson::SUCCESS) {
      named.value.type = Type::kDouble;
    } else if (value["intValue"].error() == simdjson::SUCCESS) {
      named.value.type = Type::kInt;
      named.value.integer = IntegerOf(value, "intValue");
    }
  }
  return out;
}

Result<query::SearchResult> ReadSearch(const std::string& body) {
  simdjson::dom::parser parser;
  simdjson::dom::element root;
  simdjson::dom::array traces;
  if (parser.parse(body).get(root) != simdjson::SUCCESS ||
      root["traces"].get(traces) != simdjson::SUCCESS) {
    return Malformed("has no traces");
  }
  query::SearchResult out;
  out.next = TextOf(root, "nextCursor");
  for (const simdjson::dom::element item : traces) {
    query::TraceSummary& trace = out.traces.emplace_back();
    const std::optional<TraceId> id = ParseTraceId(TextOf(item, "traceID"));
    if (!id.has_value()) return Malformed("has a trace without an id");
    trace.id = *id;
    trace.root_service = TextOf(item, "rootServiceName");
    trace.root_name = TextOf(item, "rootTraceName");
    trace.start_ns = IntegerOf(item, "startTimeUnixNano");
    trace.duration_ns = IntegerOf(item, "durationNanos");
    trace.end_ns = trace.start_ns + trace.duration_ns;
    simdjson::dom::object services;
    if (item["serviceStats"].get(services) == simdjson::SUCCESS) {
      for (const auto& [name, stats] : services) {
        query::ServiceSummary& service = trace.services.emplace_back();
        service.service = name;
        service.spans = static_cast<uint64_t>(IntegerOf(stats, "spanCount"));
        service.errors = static_cast<uint64_t>(IntegerOf(stats, "errorCount"));
        trace.spans += service.spans;
        trace.errors += service.errors;
      }
    }
    simdjson::dom::array sets;
    if (item["spanSets"].get(sets) != simdjson::SUCCESS) continue;
    for (const simdjson::dom::element each : sets) {
      query::Spanset& set = trace.spansets.emplace_back();
      set.matched = static_cast<uint64_t>(IntegerOf(each, "matched"));
      simdjson::dom::array list;
      if (each["attributes"].get(list) == simdjson::SUCCESS) set.values = ReadValues(list);
      simdjson::dom::array spans;
      if (each["spans"].get(spans) != simdjson::SUCCESS) continue;
      for (const simdjson::dom::element one : spans) {
        query::MatchedSpan& span = set.spans.emplace_back();
        if (const auto span_id = ParseSpanId(TextOf(one, "spanID"))) span.id = *span_id;
        span.name = TextOf(one, "name");
        span.service = TextOf(one, "serviceName");
        span.start_ns = IntegerOf(one, "startTimeUnixNano");
        span.duration_ns = IntegerOf(one, "durationNanos");
        if (one["attributes"].get(list) == simdjson::SUCCESS) span.values = ReadValues(list);
      }
    }
  }
  return out;
}

// A value of Tempo's series: a number, or the text of one that JSON has not.
Result<double> ReadSeriesValue(const simdjson::dom::element& sample) {
  double value = 0;
  if (sample["value"].get(value) == simdjson::SUCCESS) return value;
  return ReadFloat(TextOf(sample, "value"));
}

// Reads the series of Tempo's metrics queries.
Result<query::QueryResult> ReadTraceMetrics(const std::string& body, bool instant,
                                            int64_t time_ms) {
  simdjson::dom::parser parser;
  simdjson::dom::element root;
  simdjson::dom::array list;
  if (parser.parse(body).get(root) != simdjson::SUCCESS ||
      root["series"].get(list) != simdjson::SUCCESS) {
    return Malformed("has no series");
  }
  query::Vector vector;
  query::Matrix matrix;
  for (const simdjson::dom::element item : list) {
    std::vector<LabelView> views;
    simdjson::dom::array pairs;
    if (item["labels"].get(pairs) == simdjson::SUCCESS) {
      for (const simdjson::dom::element pair : pairs) {
        simdjson::dom::element value;
        if (pair["value"].get(value) != simdjson::SUCCESS) continue;
        views.push_back({TextOf(pair, "key"), TextOf(value, "stringValue")});
      }
    }
    VARVE_ASSIGN_OR_RETURN(Labels labels, Labels::Make(std::move(views)));
    if (instant) {
      VARVE_ASSIGN_OR_RETURN(const double value, ReadSeriesValue(item));
      vector.push_back({std::move(labels), time_ms, value, nullptr});
      continue;
    }
    query::Series& series = matrix.emplace_back();
    series.labels = std::move(labels);
    simdjson::dom::array samples;
    if (item["samples"].get(samples) != simdjson::SUCCESS) continue;
    for (const simdjson::dom::element sample : samples) {
      VARVE_ASSIGN_OR_RETURN(const double value, ReadSeriesValue(sample));
      series.times_ms.push_back(IntegerOf(sample, "timestampMs"));
      series.values.push_back(value);
    }
  }
  query::QueryResult out;
  if (instant) {
    out.value = std::move(vector);
  } else {
    out.value = std::move(matrix);
  }
  return out;
}

class Server final : public Source {
 public:
  Server(std::string url, std::string host, uint16_t port)
      : url_(std::move(url)), host_(std::move(host)), port_(port) {}

  Result<query::QueryResult> Instant(
      std::string_view text, int64_t time_ms,
      const std::shared_ptr<const query::Cancellation>& cancellation) override {
    VARVE_ASSIGN_OR_RETURN(const http::ClientResponse response,
                           Ask(Post("/api/v1/query", Concat("query=", http::PercentEncode(text),
                                                            "&time=", Seconds(time_ms))),
                               cancellation));
    return ParseAnswer(response.body);
  }
  Result<query::QueryResult> Range(
      std::string_view text, const query::QueryRange& range,
      const std::shared_ptr<const query::Cancellation>& cancellation) override {
    VARVE_ASSIGN_OR_RETURN(
        const http::ClientResponse response,
        Ask(Post("/api/v1/query_range",
                 Concat("query=", http::PercentEncode(text), "&start=", Seconds(range.start_ms),
                        "&end=", Seconds(range.end_ms), "&step=", Seconds(range.step_ms))),
            cancellation));
    return ParseAnswer(response.body);
  }

  Result<query::LogQueryResult> LogQl(
      std::string_view text, const query::LogQueryRange& range, bool instant,
      const std::shared_ptr<const query::Cancellation>& cancellation) override {
    std::string form = Concat("query=", http::PercentEncode(text), "&limit=", range.limit);
    if (instant) {
      form += Concat("&time=", range.end_ns);
    } else {
      form += Concat("&start=", range.start_ns, "&end=", range.end_ns, "&direction=",
                     range.direction == query::LogDirection::kForward ? "forward" : "backward");
      if (range.step_ns > 0) form += Concat("&step=", range.step_ns / 1'000'000, "ms");
    }
    VARVE_ASSIGN_OR_RETURN(
        const http::ClientResponse response,
        Ask(Post(instant ? "/loki/api/v1/query" : "/loki/api/v1/query_range", std::move(form)),
            cancellation));
    VARVE_RETURN_IF_ERROR(CheckPlain(response));
    query::LogQueryResult out;
    simdjson::dom::parser parser;
    simdjson::dom::element root;
    simdjson::dom::array streams;
    if (parser.parse(response.body).get(root) != simdjson::SUCCESS) {
      return Malformed("is not JSON");
    }
    if (simdjson::dom::element data;
        root["data"].get(data) == simdjson::SUCCESS && TextOf(data, "resultType") == "streams") {
      if (data["result"].get(streams) != simdjson::SUCCESS) return Malformed("has no result");
      VARVE_ASSIGN_OR_RETURN(out.value, ReadStreams(streams));
      return out;
    }
    VARVE_ASSIGN_OR_RETURN(query::QueryResult metrics, ParseAnswer(response.body));
    out.warnings = std::move(metrics.annotations.warnings);
    if (auto* scalar = std::get_if<query::Scalar>(&metrics.value)) out.value = *scalar;
    if (auto* vector = std::get_if<query::Vector>(&metrics.value)) out.value = std::move(*vector);
    if (auto* matrix = std::get_if<query::Matrix>(&metrics.value)) out.value = std::move(*matrix);
    return out;
  }

  Result<TraceAnswer> TraceQl(
      std::string_view text, NsRange range, int64_t step_ms, uint32_t limit,
      const std::shared_ptr<const query::Cancellation>& cancellation) override {
    // What kind of query it is decides where to ask; and mistakes show before anybody is asked.
    VARVE_ASSIGN_OR_RETURN(const auto parsed, query::TraceEngine::Make({})->Parse(text));
    const int64_t end_ms = range.max_ns / 1'000'000;
    http::ClientRequest request;
    request.path =
        Concat(!parsed.metrics ? "/tempo/api/search"
               : step_ms == 0  ? "/tempo/api/metrics/query"
                               : "/tempo/api/metrics/query_range",
               "?q=", http::PercentEncode(text), "&start=", range.min_ns, "&end=", range.max_ns);
    if (!parsed.metrics) request.path += Concat("&details=true&limit=", limit);
    if (parsed.metrics && step_ms > 0) request.path += Concat("&step=", step_ms, "ms");
    VARVE_ASSIGN_OR_RETURN(const http::ClientResponse response, Ask(request, cancellation));
    VARVE_RETURN_IF_ERROR(CheckPlain(response));
    if (parsed.metrics) {
      VARVE_ASSIGN_OR_RETURN(query::QueryResult metrics,
                             ReadTraceMetrics(response.body, step_ms == 0, end_ms));
      return TraceAnswer(std::move(metrics));
    }
    VARVE_ASSIGN_OR_RETURN(query::SearchResult found, ReadSearch(response.body));
    return TraceAnswer(std::move(found));
  }

  Result<SpanBatch> Trace(const TraceId& id) override {
    http::ClientRequest request;
    request.path = Concat("/tempo/api/traces/", ToString(id));
    request.headers.Add("Accept", "application/protobuf");
    VARVE_ASSIGN_OR_RETURN(http::ClientResponse response, Ask(request, nullptr));
    SpanBatch out;
    if (response.status == 404) return out;
    VARVE_RETURN_IF_ERROR(CheckPlain(response));
    const auto wire = std::make_shared<const std::string>(std::move(response.body));
    out.Keep(wire);
    otlp::DecodeReport report;
    VARVE_RETURN_IF_ERROR(otlp::DecodeTraces(*wire, &out, &report));
    return out;
  }

  std::vector<std::string> LabelNames() override { return List("/api/v1/labels"); }
  std::vector<std::string> LabelValues(const std::string& name) override {
    return List(Concat("/api/v1/label/", http::PercentEncode(name), "/values"));
  }
  std::vector<std::string> StreamLabelNames() override {
    return List("/loki/api/v1/labels?start=0&since=87600h");
  }
  std::vector<std::string> StreamLabelValues(const std::string& name) override {
    return List(
        Concat("/loki/api/v1/label/", http::PercentEncode(name), "/values?start=0&since=87600h"));
  }
  std::vector<std::string> AttributeNames() override {
    std::vector<std::string> out;
    simdjson::dom::parser parser;
    simdjson::dom::array scopes;
    const auto body = Get("/tempo/api/v2/search/tags");
    if (!body.has_value() || parser.parse(*body)["scopes"].get(scopes) != simdjson::SUCCESS) {
      return out;
    }
    for (const simdjson::dom::element scope : scopes) {
      std::string_view name;
      simdjson::dom::array tags;
      if (scope["name"].get(name) != simdjson::SUCCESS || name == "intrinsic" ||
          scope["tags"].get(tags) != simdjson::SUCCESS) {
        continue;
      }
      std::string_view tag;
      for (const simdjson::dom::element item : tags) {
        if (item.get(tag) == simdjson::SUCCESS) out.push_back(Concat(name, ".", tag));
      }
    }
    return out;
  }
  std::vector<std::string> AttributeValues(const std::string& name) override {
    std::vector<std::string> out;
    simdjson::dom::parser parser;
    simdjson::dom::array values;
    const auto body =
        Get(Concat("/tempo/api/v2/search/tag/", http::PercentEncode(name), "/values"));
    if (!body.has_value() || parser.parse(*body)["tagValues"].get(values) != simdjson::SUCCESS) {
      return out;
    }
    for (const simdjson::dom::element item : values) {
      std::string_view type;
      std::string_view text;
      if (item["type"].get(type) == simdjson::SUCCESS && type == "string" &&
          item["value"].get(text) == simdjson::SUCCESS) {
        out.emplace_back(text);
      }
    }
    return out;
  }
  std::string Describe() override { return Concat("server at ", url_); }

 private:
  static std::string Seconds(int64_t ms) {
    std::string out;
    json::AppendTimeMs(ms, &out);
    return out;
  }

  static http::ClientRequest Post(std::string path, std::string form) {
    http::ClientRequest request;
    request.method = http::Method::kPost;
    request.path = std::move(path);
    request.headers.Add("Content-Type", "application/x-www-form-urlencoded");
    request.body = std::move(form);
    return request;
  }

  // Turns an answer of Loki's or Tempo's API, whose errors are plain text, into its error.
  static Status CheckPlain(const http::ClientResponse& response) {
    if (response.status == 200) return absl::OkStatus();
    const std::string_view message = http::Trim(response.body);
    return MakeStatus(
        response.status == 400                             ? StatusCode::kInvalidArgument
        : response.status == 499                           ? StatusCode::kCancelled
        : response.status == 504 || response.status == 503 ? StatusCode::kDeadlineExceeded
                                                           : StatusCode::kFailedPrecondition,
        message.empty() ? Concat("the server answered ", response.status) : std::string(message));
  }

  // A thread of its own waits for the answer, so that Ctrl-C need not; the
  // thread ends with its request.
  Result<http::ClientResponse> Ask(const http::ClientRequest& request,
                                   const std::shared_ptr<const query::Cancellation>& cancellation) {
    struct Shared {
      std::mutex mutex;
      std::condition_variable changed;
      bool done = false;
      Result<http::ClientResponse> response = MakeStatus(StatusCode::kInternal, "");
    };
    auto shared = std::make_shared<Shared>();
    std::thread([shared, request, host = host_, port = port_] {
      auto response = http::Fetch(host, port, request, std::chrono::seconds(150));
      const std::lock_guard<std::mutex> lock(shared->mutex);
      shared->response = std::move(response);
      shared->done = true;
      shared->changed.notify_all();
    }).detach();
    std::unique_lock<std::mutex> lock(shared->mutex);
    while (!shared->changed.wait_for(lock, std::chrono::milliseconds(50),
                                     [&] { return shared->done; })) {
      if (cancellation != nullptr && cancellation->cancelled()) {
        return MakeStatus(StatusCode::kCancelled, "query was cancelled");
      }
    }
    return std::move(shared->response);
  }

  // Asks for what completion offers; who types does not wait for long.
  std::optional<simdjson::padded_string> Get(const std::string& path) {
    http::ClientRequest request;
    request.path = path;
    const auto response = http::Fetch(host_, port_, request, std::chrono::seconds(2));
    if (!response.ok()) return std::nullopt;
    return simdjson::padded_string(response->body);
  }

  std::vector<std::string> List(const std::string& path) {
    std::vector<std::string> out;
    const auto body = Get(path);
    if (!body.has_value()) return out;
    simdjson::dom::parser parser;
    simdjson::dom::array array;
    if (parser.parse(*body)["data"].get(array) != simdjson::SUCCESS) return out;
    std::string_view text;
    for (const simdjson::dom::element item : array) {
      if (item.get(text) == simdjson::SUCCESS) out.emplace_back(text);
    }
    return out;
  }

  const std::string url_;
  const std::string host_;
  const uint16_t port_;
};

}  // namespace

Result<query::Streams> ReadStreams(simdjson::dom::array list) {
  query::Streams out;
  for (const simdjson::dom::element item : list) {
    query::LogStream& stream = out.emplace_back();
    simdjson::dom::object labels;
    std::string_view text;
    if (item["stream"].get(labels) == simdjson::SUCCESS) {
      for (const auto& [name, value] : labels) {
        if (value.get(text) == simdjson::SUCCESS) stream.stream.emplace_back(name, text);
      }
    }
    std::sort(stream.stream.begin(), stream.stream.end());
    simdjson::dom::array values;
    if (item["values"].get(values) != simdjson::SUCCESS) return Malformed("has no entries");
    for (const simdjson::dom::element value : values) {
      query::LogEntry& entry = stream.entries.emplace_back();
      std::string_view line;
      if (value.at(0).get(text) != simdjson::SUCCESS ||
          value.at(1).get(line) != simdjson::SUCCESS ||
          std::from_chars(text.data(), text.data() + text.size(), entry.time_ns).ec !=
              std::errc()) {
        return Malformed("has a malformed entry");
      }
      entry.line = line;
    }
  }
  return out;
}

Result<query::QueryResult> ParseAnswer(std::string_view body) {
  simdjson::dom::parser parser;
  simdjson::dom::element root;
  const simdjson::padded_string padded(body);
  if (parser.parse(padded).get(root) != simdjson::SUCCESS) return Malformed("is not JSON");
  std::string_view text;
  if (root["error"].get(text) == simdjson::SUCCESS) {
    std::string_view type;
    if (root["errorType"].get(type) != simdjson::SUCCESS) type = "";
    return FromServer(type, text);
  }
  query::QueryResult out;
  simdjson::dom::array notes;
  for (const bool warnings : {true, false}) {
    if (root[warnings ? "warnings" : "infos"].get(notes) != simdjson::SUCCESS) continue;
    for (const simdjson::dom::element note : notes) {
      if (note.get(text) != simdjson::SUCCESS) continue;
      (warnings ? out.annotations.warnings : out.annotations.infos).emplace_back(text);
    }
  }
  simdjson::dom::array result;
  if (root["data"]["resultType"].get(text) != simdjson::SUCCESS ||
      root["data"]["result"].get(result) != simdjson::SUCCESS) {
    return Malformed("has no result");
  }
  if (text == "string") {
    query::StringValue value;
    if (result.at(1).get(text) != simdjson::SUCCESS) return Malformed("has a malformed string");
    value.value = text;
    out.value = std::move(value);
    return out;
  }
  if (text == "scalar") {
    query::Scalar scalar;
    simdjson::dom::element pair;
    if (root["data"]["result"].get(pair) != simdjson::SUCCESS) return Malformed("has no result");
    VARVE_RETURN_IF_ERROR(ReadSample(pair, &scalar.time_ms, &scalar.value));
    out.value = scalar;
    return out;
  }
  const bool matrix = text == "matrix";
  query::Vector vector;
  query::Matrix rows;
  for (const simdjson::dom::element series : result) {
    simdjson::dom::object metric;
    std::vector<LabelView> views;
    if (series["metric"].get(metric) == simdjson::SUCCESS) {
      for (const auto& [name, value] : metric) {
        if (value.get(text) == simdjson::SUCCESS) views.push_back({name, text});
      }
    }
    VARVE_ASSIGN_OR_RETURN(Labels labels, Labels::Make(std::move(views)));
    if (!matrix) {
      query::VectorSample sample;
      sample.labels = std::move(labels);
      simdjson::dom::element pair;
      if (series["histogram"].get(pair) == simdjson::SUCCESS) {
        VARVE_RETURN_IF_ERROR(ReadHistogram(pair, &sample.time_ms, &sample.histogram));
      } else if (series["value"].get(pair) == simdjson::SUCCESS) {
        VARVE_RETURN_IF_ERROR(ReadSample(pair, &sample.time_ms, &sample.value));
      } else {
        return Malformed("has a series without a value");
      }
      vector.push_back(std::move(sample));
      continue;
    }
    query::Series row;
    row.labels = std::move(labels);
    simdjson::dom::array pairs;
    if (series["values"].get(pairs) == simdjson::SUCCESS) {
      for (const simdjson::dom::element pair : pairs) {
        int64_t time_ms = 0;
        double value = 0;
        VARVE_RETURN_IF_ERROR(ReadSample(pair, &time_ms, &value));
        row.times_ms.push_back(time_ms);
        row.values.push_back(value);
      }
    }
    if (series["histograms"].get(pairs) == simdjson::SUCCESS) {
      for (const simdjson::dom::element pair : pairs) {
        int64_t time_ms = 0;
        query::HistogramPtr histogram;
        VARVE_RETURN_IF_ERROR(ReadHistogram(pair, &time_ms, &histogram));
        row.histogram_times_ms.push_back(time_ms);
        row.histograms.push_back(std::move(histogram));
      }
    }
    rows.push_back(std::move(row));
  }
  if (matrix) {
    out.value = std::move(rows);
  } else {
    out.value = std::move(vector);
  }
  return out;
}

Result<std::unique_ptr<Source>> Source::Connect(const std::string& url) {
  const auto bad = [&] {
    return MakeStatus(StatusCode::kInvalidArgument,
                      Concat("not a URL such as http://127.0.0.1:9090: ", GoQuote(url)));
  };
  if (!url.starts_with("http://")) return bad();
  const Result<http::Target> target = http::ParseTarget(url, http::UrlLimits());
  if (!target.ok() || target->authority.empty()) return bad();
  const Result<http::HostPort> host = http::ParseHost(target->authority);
  if (!host.ok()) return bad();
  uint16_t port = 80;
  if (!host->port.empty()) {
    const char* const end = host->port.data() + host->port.size();
    const auto [stop, error] = std::from_chars(host->port.data(), end, port);
    if (error != std::errc() || stop != end) return bad();
  }
  std::unique_ptr<Source> out = std::make_unique<Server>(url, host->host, port);
  return out;
}

}  // namespace varve::cli::shell
