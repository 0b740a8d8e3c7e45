#include "tools/server/traces/trace_common.h"

#include <algorithm>

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
    VARVE_ASSIGN_OR_RETURN(std::vector<uint32_t> spans, lookup_.Get(id, &batch_));
    if (spans.empty()) {
      missing_.push_back(id);
      continue;
    }
    if (!first_) out->push_back(',');
    first_ = false;
    pieces_ = make_pieces_(batch_, std::move(spans));
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
