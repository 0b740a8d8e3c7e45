#include "tools/varve/shell/source.h"

#include <simdjson.h>

#include <atomic>
#include <charconv>
#include <cmath>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "tools/server/http/client.h"
#include "tools/server/http/url.h"
#include "tools/server/json/writer.h"
#include "tools/varve/commands.h"
#include "varve/database.h"

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

Status ReadSample(simdjson::dom::element pair, int64_t* time_ms, double* value) {
  simdjson::dom::array array;
  double seconds = 0;
  std::string_view text;
  if (pair.get(array) != simdjson::SUCCESS || array.at(0).get(seconds) != simdjson::SUCCESS ||
      !(std::fabs(seconds) < 1e15) || array.at(1).get(text) != simdjson::SUCCESS) {
    return Malformed("has a malformed sample");
  }
  *time_ms = std::llround(seconds * 1000);
  if (text == "NaN") {
    *value = std::nan("");
  } else if (text == "+Inf" || text == "-Inf") {
    *value = text == "+Inf" ? HUGE_VAL : -HUGE_VAL;
  } else {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
    if (error != std::errc() || end != text.data() + text.size()) {
      return Malformed("has a malformed value");
    }
  }
  return absl::OkStatus();
}

Status NotFromServer() {
  return MakeStatus(StatusCode::kUnimplemented,
                    "the shell asks servers in promql only; open the directory");
}

class Directory final : public Source {
 public:
  Directory(std::string dir, std::unique_ptr<Database> database,
            std::unique_ptr<query::Engine> engine)
      : dir_(std::move(dir)), database_(std::move(database)), engine_(std::move(engine)) {}
  ~Directory() override { database_->Close().IgnoreError(); }

  Result<query::QueryResult> Instant(
      std::string_view text, int64_t time_ms,
      const std::shared_ptr<const query::Cancellation>& cancellation) override {
    VARVE_ASSIGN_OR_RETURN(auto snapshot, database_->TakeSnapshot());
    return engine_->Instant(std::move(snapshot), text, time_ms, Options(cancellation));
  }
  Result<query::QueryResult> Range(
      std::string_view text, const query::QueryRange& range,
      const std::shared_ptr<const query::Cancellation>& cancellation) override {
    VARVE_ASSIGN_OR_RETURN(auto snapshot, database_->TakeSnapshot());
    return engine_->Range(std::move(snapshot), text, range, Options(cancellation));
  }
  Result<std::string> Explain(std::string_view text, const query::QueryRange& range) override {
    return engine_->Explain(text, range);
  }
  std::vector<std::string> LabelNames() override {
    const auto snapshot = database_->TakeSnapshot();
    if (!snapshot.ok()) return {};
    auto found = (*snapshot)->LabelNames({}, TimeRange(), LookupLimit());
    return found.ok() ? std::move(found->values) : std::vector<std::string>();
  }
  std::vector<std::string> LabelValues(const std::string& name) override {
    const auto snapshot = database_->TakeSnapshot();
    if (!snapshot.ok()) return {};
    auto found = (*snapshot)->LabelValues(name, {}, TimeRange(), LookupLimit());
    return found.ok() ? std::move(found->values) : std::vector<std::string>();
  }
  std::vector<std::string> StreamLabelNames() override {
    const auto snapshot = database_->TakeLogSnapshot();
    if (!snapshot.ok()) return {};
    auto found = (*snapshot)->LabelNames({}, NsRange(), LookupLimit());
    return found.ok() ? std::move(found->values) : std::vector<std::string>();
  }
  std::vector<std::string> StreamLabelValues(const std::string& name) override {
    const auto snapshot = database_->TakeLogSnapshot();
    if (!snapshot.ok()) return {};
    auto found = (*snapshot)->LabelValues(name, {}, NsRange(), LookupLimit());
    return found.ok() ? std::move(found->values) : std::vector<std::string>();
  }

  Result<query::LogQueryResult> LogQl(
      std::string_view text, const query::LogQueryRange& range, bool instant,
      const std::shared_ptr<const query::Cancellation>& cancellation) override {
    VARVE_ASSIGN_OR_RETURN(auto snapshot, database_->TakeLogSnapshot());
    if (log_engine_ == nullptr) log_engine_ = query::LogEngine::Make({});
    query::LogQueryOptions options;
    options.cancellation = cancellation;
    options.analyze = true;
    if (instant) {
      return log_engine_->Instant(std::move(snapshot), text, range.end_ns, options);
    }
    return log_engine_->Range(std::move(snapshot), text, range, options);
  }

  Result<TraceAnswer> TraceQl(
      std::string_view text, NsRange range, int64_t step_ms, uint32_t limit,
      const std::shared_ptr<const query::Cancellation>& cancellation) override {
    VARVE_ASSIGN_OR_RETURN(const auto snapshot, database_->TakeTraceSnapshot());
    if (trace_engine_ == nullptr) trace_engine_ = query::TraceEngine::Make({});
    VARVE_ASSIGN_OR_RETURN(const auto parsed, trace_engine_->Parse(text));
    query::TraceQueryOptions options;
    options.cancellation = cancellation;
    if (!parsed.metrics) {
      query::TraceSearch search;
      search.range = range;
      search.limit = limit;
      VARVE_ASSIGN_OR_RETURN(query::SearchResult found,
                             trace_engine_->Search(*snapshot, text, search, options));
      return TraceAnswer(std::move(found));
    }
    const int64_t start_ms = range.min_ns / 1'000'000;
    const int64_t end_ms = range.max_ns / 1'000'000;
    Result<query::TraceMetricsResult> metrics =
        step_ms == 0
            ? trace_engine_->MetricsInstant(*snapshot, text, start_ms, end_ms, options)
            : trace_engine_->MetricsRange(*snapshot, text, {start_ms, end_ms, step_ms}, options);
    if (!metrics.ok()) return metrics.status();
    query::QueryResult out;
    out.value = std::move(metrics->value);
    out.statistics = std::move(metrics->statistics);
    return TraceAnswer(std::move(out));
  }

  Result<SpanBatch> Trace(const TraceId& id) override {
    VARVE_ASSIGN_OR_RETURN(const auto snapshot, database_->TakeTraceSnapshot());
    SpanBatch out;
    VARVE_RETURN_IF_ERROR(snapshot->GetTrace(id, &out));
    return out;
  }

  std::string Describe() override {
    const DatabaseStats stats = database_->Stats();
    uint64_t samples = stats.head_samples;
    for (const BlockStats& block : stats.blocks) samples += block.samples;
    return Concat(dir_, ": ", FormatCount(samples), " samples, ", stats.blocks.size(), " blocks, ",
                  FormatSize(static_cast<double>(stats.disk_bytes)), " on disk");
  }

 private:
  static query::QueryOptions Options(
      const std::shared_ptr<const query::Cancellation>& cancellation) {
    query::QueryOptions out;
    out.cancellation = cancellation;
    out.analyze = true;
    return out;
  }

  const std::string dir_;
  const std::unique_ptr<Database> database_;
  const std::unique_ptr<query::Engine> engine_;
  std::unique_ptr<query::LogEngine> log_engine_;      // made when first asked
  std::unique_ptr<query::TraceEngine> trace_engine_;  // made when first asked
};

class Server final : public Source {
 public:
  Server(std::string url, std::string host, uint16_t port)
      : url_(std::move(url)), host_(std::move(host)), port_(port) {}

  Result<query::QueryResult> Instant(
      std::string_view text, int64_t time_ms,
      const std::shared_ptr<const query::Cancellation>& cancellation) override {
    VARVE_ASSIGN_OR_RETURN(
        const std::string body,
        Ask("/api/v1/query",
            Concat("query=", http::PercentEncode(text), "&time=", Seconds(time_ms)), cancellation));
    return ParseAnswer(body);
  }
  Result<query::QueryResult> Range(
      std::string_view text, const query::QueryRange& range,
      const std::shared_ptr<const query::Cancellation>& cancellation) override {
    VARVE_ASSIGN_OR_RETURN(
        const std::string body,
        Ask("/api/v1/query_range",
            Concat("query=", http::PercentEncode(text), "&start=", Seconds(range.start_ms),
                   "&end=", Seconds(range.end_ms), "&step=", Seconds(range.step_ms)),
            cancellation));
    return ParseAnswer(body);
  }
  Result<std::string> Explain(std::string_view, const query::QueryRange&) override {
    return MakeStatus(StatusCode::kUnimplemented,
                      "a server does not show plans; open the directory to see them");
  }
  std::vector<std::string> LabelNames() override { return List("/api/v1/labels"); }
  std::vector<std::string> LabelValues(const std::string& name) override {
    return List(Concat("/api/v1/label/", http::PercentEncode(name), "/values"));
  }
  std::string Describe() override { return Concat("server at ", url_); }

 private:
  static std::string Seconds(int64_t ms) {
    std::string out;
    json::AppendTimeMs(ms, &out);
    return out;
  }

  // A thread of its own waits for the answer, so that Ctrl-C need not; the
  // thread ends with its request.
  Result<std::string> Ask(const std::string& path, std::string form,
                          const std::shared_ptr<const query::Cancellation>& cancellation) {
    struct Shared {
      std::mutex mutex;
      std::condition_variable changed;
      bool done = false;
      Result<http::ClientResponse> response = MakeStatus(StatusCode::kInternal, "");
    };
    http::ClientRequest request;
    request.method = http::Method::kPost;
    request.path = path;
    request.headers.Add("Content-Type", "application/x-www-form-urlencoded");
    request.body = std::move(form);
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
    if (!shared->response.ok()) return shared->response.status();
    return shared->response->body;
  }

  std::vector<std::string> List(const std::string& path) {
    http::ClientRequest request;
    request.path = path;
    const auto response = http::Fetch(host_, port_, request, std::chrono::seconds(2));
    std::vector<std::string> out;
    if (!response.ok()) return out;
    simdjson::dom::parser parser;
    simdjson::dom::array array;
    const simdjson::padded_string body(response->body);
    if (parser.parse(body)["data"].get(array) != simdjson::SUCCESS) return out;
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

Result<query::LogQueryResult> Source::LogQl(std::string_view, const query::LogQueryRange&, bool,
                                            const std::shared_ptr<const query::Cancellation>&) {
  return NotFromServer();
}
Result<Source::TraceAnswer> Source::TraceQl(std::string_view, NsRange, int64_t, uint32_t,
                                            const std::shared_ptr<const query::Cancellation>&) {
  return NotFromServer();
}
Result<SpanBatch> Source::Trace(const TraceId&) { return NotFromServer(); }

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
      if (series["value"].get(pair) != simdjson::SUCCESS) {
        return MakeStatus(StatusCode::kUnimplemented,
                          "native histograms are not read from servers");
      }
      VARVE_RETURN_IF_ERROR(ReadSample(pair, &sample.time_ms, &sample.value));
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
    rows.push_back(std::move(row));
  }
  if (matrix) {
    out.value = std::move(rows);
  } else {
    out.value = std::move(vector);
  }
  return out;
}

Result<std::unique_ptr<Source>> Source::OpenDirectory(const std::string& dir,
                                                      const query::EngineOptions& engine) {
  varve::Options options;
  options.dir = dir;
  options.create_if_missing = false;
  options.read_only = true;
  VARVE_ASSIGN_OR_RETURN(std::unique_ptr<Database> database, Database::Open(options));
  std::unique_ptr<Source> out =
      std::make_unique<Directory>(dir, std::move(database), query::Engine::Make(engine));
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
