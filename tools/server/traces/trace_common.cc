#include "tools/server/traces/trace_common.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <limits>
#include <numeric>

#include "absl/time/time.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "tools/otlp/traces.h"

namespace varve::api {
namespace {

class JaegerTracePieces final : public TracePieces {
 public:
  JaegerTracePieces(const SpanBatch& batch, std::vector<uint32_t> spans, bool raw)
      : writer_(batch, std::move(spans), raw) {}
  bool Next(size_t bytes_hint, std::string* out) override { return writer_.Next(bytes_hint, out); }

 private:
  tracing::JaegerTraceWriter writer_;
};

class OtlpTracePieces final : public TracePieces {
 public:
  OtlpTracePieces(otlp::TraceWriter::Format format, const SpanBatch& batch,
                  std::vector<uint32_t> spans)
      : writer_(format, batch, std::move(spans)) {}
  bool Next(size_t bytes_hint, std::string* out) override {
    constexpr std::string_view kHead = "{\"resourceSpans\":[";
    const size_t begin = out->size();
    const bool more = writer_.Next(bytes_hint + kHead.size(), out);
    if (first_) out->erase(begin, kHead.size());
    first_ = false;
    if (!more) out->resize(out->size() - 2);  // "]}"
    return more;
  }

 private:
  otlp::TraceWriter writer_;
  bool first_ = true;
};

}  // namespace

std::optional<int64_t> ParseInt(std::string_view text) {
  int64_t value = 0;
  const auto [at, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || at != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<int64_t> ParseGoDuration(std::string_view text) {
  bool negative = false;
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) {
    negative = text[0] == '-';
    text.remove_prefix(1);
  }
  if (text == "0") return 0;
  if (text.empty()) return std::nullopt;
  long double total = 0;
  while (!text.empty()) {
    double number = 0;
    const char* const end = text.data() + text.size();
    const auto [at, error] = std::from_chars(text.data(), end, number, std::chars_format::fixed);
    if (error != std::errc() || number < 0 || !std::isfinite(number)) return std::nullopt;
    text.remove_prefix(static_cast<size_t>(at - text.data()));
    constexpr std::pair<std::string_view, double> kUnits[] = {
        {"ns", 1},   {"us", 1e3}, {"\xc2\xb5s", 1e3}, {"\xce\xbcs", 1e3},
        {"ms", 1e6}, {"s", 1e9},  {"m", 60e9},        {"h", 3600e9}};
    bool found = false;
    for (const auto& [unit, ns] : kUnits) {
      if (!text.starts_with(unit)) continue;
      total += static_cast<long double>(number) * static_cast<long double>(ns);
      text.remove_prefix(unit.size());
      found = true;
      break;
    }
    if (!found) return std::nullopt;
  }
  if (total >= 0x1p63L) return std::nullopt;
  const auto value = static_cast<int64_t>(total + 0.5L);
  return negative ? -value : value;
}

std::optional<int64_t> ParseRfc3339Ns(std::string_view text) {
  absl::Time time;
  std::string error;
  if (!absl::ParseTime(absl::RFC3339_full, ToAbsl(text), &time, &error)) return std::nullopt;
  if (time == absl::InfiniteFuture() || time == absl::InfinitePast()) return std::nullopt;
  const int64_t seconds = absl::ToUnixSeconds(time);
  if (seconds >= 9'223'372'036 || seconds <= -9'223'372'036) return std::nullopt;
  return absl::ToUnixNanos(time);
}

std::string FormatRfc3339Ns(int64_t time_ns) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E*SZ", absl::FromUnixNanos(time_ns),
                          absl::UTCTimeZone());
}

int HttpStatusOf(const Status& status) {
  switch (status.code()) {
    case StatusCode::kInvalidArgument:
      return 400;
    case StatusCode::kNotFound:
      return 404;
    case StatusCode::kResourceExhausted:
      return 422;
    case StatusCode::kDeadlineExceeded:
    case StatusCode::kUnavailable:
    case StatusCode::kFailedPrecondition:
      return 503;
    case StatusCode::kCancelled:
      return 499;
    case StatusCode::kUnimplemented:
      return 501;
    default:
      return 500;
  }
}

std::vector<uint32_t> SpansByStart(const SpanBatch& batch, std::vector<uint32_t> spans) {
  std::ranges::stable_sort(spans, [&](uint32_t a, uint32_t b) {
    const SpanBatch::Span& x = batch.spans()[a];
    const SpanBatch::Span& y = batch.spans()[b];
    return x.start_ns != y.start_ns ? x.start_ns < y.start_ns : x.span_id < y.span_id;
  });
  return spans;
}

Result<bool> TraceListBody::Next(size_t bytes_hint, std::string* out) {
  const size_t begin = out->size();
  if (!head_.empty()) {
    out->append(head_);
    head_.clear();
  }
  while (out->size() - begin < bytes_hint) {
    if (pieces_ != nullptr) {
      if (!pieces_->Next(bytes_hint, out)) {
        pieces_.reset();
        batch_.Clear();
      }
      continue;
    }
    if (next_ == ids_.size()) {
      out->append(make_tail_(missing_));
      return false;
    }
    const TraceId id = ids_[next_++];
    VARVE_RETURN_IF_ERROR(snapshot_->GetTrace(id, &batch_));
    if (batch_.empty()) {
      missing_.push_back(id);
      continue;
    }
    std::vector<uint32_t> spans(batch_.spans().size());
    std::iota(spans.begin(), spans.end(), 0);
    if (!first_) out->push_back(',');
    first_ = false;
    pieces_ = make_pieces_(batch_, SpansByStart(batch_, std::move(spans)));
  }
  return true;
}

std::unique_ptr<TracePieces> JaegerPieces(const SpanBatch& batch, std::vector<uint32_t> spans,
                                          bool raw) {
  return std::make_unique<JaegerTracePieces>(batch, std::move(spans), raw);
}
std::unique_ptr<TracePieces> OtlpJsonPieces(const SpanBatch& batch, std::vector<uint32_t> spans) {
  return std::make_unique<OtlpTracePieces>(otlp::TraceWriter::Format::kJson, batch,
                                           std::move(spans));
}
std::unique_ptr<TracePieces> TempoJsonPieces(const SpanBatch& batch, std::vector<uint32_t> spans) {
  return std::make_unique<OtlpTracePieces>(otlp::TraceWriter::Format::kTempo, batch,
                                           std::move(spans));
}

query::TraceQueryOptions TraceOptionsOf(http::Request& request) {
  auto cancellation = std::make_shared<query::Cancellation>();
  request.cancel->OnCancel([cancellation] { cancellation->Cancel(); });
  query::TraceQueryOptions options;
  options.cancellation = std::move(cancellation);
  return options;
}

}  // namespace varve::api
