#include "tools/otlp/receiver.h"

#include "engine/base/clock.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "tools/otlp/json_wire.h"
#include "tools/otlp/traces.h"
#include "tools/otlp/wire_writer.h"
#include "tools/server/json/writer.h"

namespace varve::otlp {
namespace {

const MessageSchema& SchemaOf(Signal signal) {
  switch (signal) {
    case Signal::kTraces:
      return kTraceRequest;
    case Signal::kMetrics:
      return kMetricRequest;
    case Signal::kLogs:
      return kLogRequest;
  }
  return kTraceRequest;
}

ExportResult Failed(const Status& status, bool from_store) {
  ExportResult result;
  result.status = status;
  result.retryable = from_store && IsRetryable(status);
  return result;
}

// The first fault that was found stands for all.
void Merge(uint64_t rejected, std::string_view message, ExportResult* result) {
  result->rejected += rejected;
  if (rejected != 0 && result->message.empty()) result->message = message;
}

template <typename Rejections>
std::string FirstOf(const Rejections& rejections) {
  if (rejections.empty()) return "refused by the store";
  const auto& first = rejections.front();
  return first.detail.empty() ? std::string(ToString(first.reason))
                              : Concat(ToString(first.reason), ": ", first.detail);
}

}  // namespace

bool IsRetryable(const Status& status) {
  return status.code() != StatusCode::kInvalidArgument &&
         status.code() != StatusCode::kUnimplemented && status.code() != StatusCode::kOutOfRange;
}

Receiver::Receiver(Database& database, ReceiverOptions options, std::shared_ptr<Clock> clock)
    : database_(database),
      options_(std::move(options)),
      clock_(clock != nullptr ? std::move(clock) : Clock::Real()) {}

ExportResult Receiver::Export(Signal signal, BodyFormat format, std::string_view body) {
  SignalCounters& counters = counters_[static_cast<size_t>(signal)];
  counters.requests.fetch_add(1, std::memory_order_relaxed);
  counters.bytes.fetch_add(body.size(), std::memory_order_relaxed);
  std::string wire;
  ExportResult result;
  if (format == BodyFormat::kJson) {
    result.status = JsonToWire(body, SchemaOf(signal), &wire);
    body = wire;
  }
  if (result.status.ok()) {
    switch (signal) {
      case Signal::kTraces:
        result = ExportTraces(body);
        break;
      case Signal::kMetrics:
        result = ExportMetrics(body);
        break;
      case Signal::kLogs:
        result = ExportLogs(body);
        break;
    }
  }
  if (!result.status.ok()) counters.requests_failed.fetch_add(1, std::memory_order_relaxed);
  counters.rejected.fetch_add(result.rejected, std::memory_order_relaxed);
  return result;
}

ExportResult Receiver::ExportTraces(std::string_view wire) {
  ExportResult result;
  SpanBatch batch;
  DecodeReport report;
  if (const Status status = DecodeTraces(wire, &batch, &report); !status.ok()) {
    return Failed(status, false);
  }
  Merge(report.rejected, report.message, &result);
  if (batch.empty()) return result;
  WriteOptions write;
  write.partial = true;
  const Result<SpanAppendResult> appended =
      options_.append_spans ? options_.append_spans(batch) : database_.AppendSpans(batch, write);
  if (!appended.ok()) return Failed(appended.status(), true);
  counters_[0].accepted.fetch_add(appended->spans, std::memory_order_relaxed);
  Merge(appended->rejected, FirstOf(appended->rejections), &result);
  return result;
}

ExportResult Receiver::ExportMetrics(std::string_view wire) {
  ExportResult result;
  WriteBatch batch;
  MetricReport report;
  DeltaStreams::Transaction deltas(&deltas_);
  const int64_t newest_ms = clock_->NowMs() + options_.future_ms_max;
  if (const Status status =
          DecodeMetrics(wire, options_.metrics, newest_ms, &deltas, &batch, &report);
      !status.ok()) {
    return Failed(status, false);
  }
  Merge(report.rejected, report.message, &result);
  if (batch.empty()) return result;
  WriteOptions write;
  write.partial = true;
  const Result<AppendResult> appended = database_.Append(batch, write);
  if (!appended.ok()) return Failed(appended.status(), true);
  deltas.Commit();
  counters_[1].accepted.fetch_add(report.points - report.rejected, std::memory_order_relaxed);
  Merge(appended->rejected, FirstOf(appended->rejections), &result);
  return result;
}

ExportResult Receiver::ExportLogs(std::string_view wire) {
  ExportResult result;
  LogBatch batch;
  LogOptions options;
  options.now_ns = clock_->NowMs() * 1'000'000;
  options.detect_level = options_.detect_level;
  if (const Status status = DecodeLogs(wire, options, &batch); !status.ok()) {
    return Failed(status, false);
  }
  if (batch.empty()) return result;
  const Result<LogOutcome> outcome =
      options_.append_logs ? options_.append_logs(batch) : AppendLogs(batch);
  if (!outcome.ok()) return Failed(outcome.status(), true);
  counters_[2].accepted.fetch_add(outcome->accepted, std::memory_order_relaxed);
  Merge(outcome->rejected, outcome->message, &result);
  return result;
}

Result<LogOutcome> Receiver::AppendLogs(const LogBatch& batch) {
  WriteOptions write;
  write.partial = true;
  VARVE_ASSIGN_OR_RETURN(const LogAppendResult appended, database_.AppendLogs(batch, write));
  return LogOutcome{appended.entries, appended.rejected, FirstOf(appended.rejections)};
}

std::string ResponseBody(Signal signal, BodyFormat format, uint64_t rejected,
                         std::string_view message) {
  std::string body;
  if (format == BodyFormat::kJson) {
    body = R"({"partialSuccess":{)";
    if (rejected != 0) {
      constexpr std::string_view kNames[] = {"rejectedSpans", "rejectedDataPoints",
                                             "rejectedLogRecords"};
      body += Concat("\"", kNames[static_cast<size_t>(signal)], "\":\"", rejected, "\"");
    }
    if (!message.empty()) {
      body += rejected != 0 ? R"(,"errorMessage":)" : R"("errorMessage":)";
      json::AppendString(message, &body);
    }
    body += "}}";
    return body;
  }
  if (rejected == 0 && message.empty()) return body;
  {
    const Submessage partial(1, &body);
    AppendVarintUnlessZero(1, rejected, &body);
    AppendTextUnlessEmpty(2, message, &body);
  }
  return body;
}

std::string StatusBody(BodyFormat format, int code, std::string_view message, int retry_after_s) {
  std::string body;
  if (format == BodyFormat::kJson) {
    json::Writer(&body).BeginObject().Key("code").Int(code).Field("message", message).EndObject();
    return body;
  }
  AppendVarintUnlessZero(1, static_cast<uint64_t>(code), &body);
  AppendTextUnlessEmpty(2, message, &body);
  if (retry_after_s > 0) {
    const Submessage any(3, &body);
    AppendBytesField(1, "type.googleapis.com/google.rpc.RetryInfo", &body);
    const Submessage info(2, &body);
    const Submessage delay(1, &body);
    AppendVarintField(1, static_cast<uint64_t>(retry_after_s), &body);
  }
  return body;
}

}  // namespace varve::otlp
