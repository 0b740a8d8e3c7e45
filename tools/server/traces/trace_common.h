#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/server/http/message.h"
#include "tools/server/traces/trace_archive.h"
#include "tools/server/traces/trace_server.h"
#include "tools/tracing/go_text.h"
#include "tools/tracing/jaeger_json.h"
#include "varve/span_scan.h"
#include "varve/traceql.h"

/// What the query APIs of traces share.
namespace varve::api {

using tracing::FormatRfc3339Ns;
using tracing::ParseGoDuration;
using tracing::ParseInt;
using tracing::ParseRfc3339Ns;

/// The HTTP status of an error of the trace engine or store.
int HttpStatusOf(const Status& status);

/// Writes one trace as JSON or protobuf, piece by piece; what is left open by a format is the
/// caller's business.
class TracePieces {
 public:
  virtual ~TracePieces() = default;
  /// Appends a piece; false at the end.
  virtual bool Next(size_t bytes_hint, std::string* out) = 0;
};

/// Streams an answer of several traces: loads each only when its turn comes, so that a list of any
/// length costs the memory of its largest trace.
class TraceListBody final : public http::BodySource {
 public:
  using MakePieces =
      std::function<std::unique_ptr<TracePieces>(const SpanBatch&, std::vector<uint32_t>)>;
  /// Called once after the last trace, with the ids that were not found.
  using MakeTail = std::function<std::string(const std::vector<TraceId>& missing)>;

  TraceListBody(TraceLookup lookup, std::vector<TraceId> ids, std::string head, MakePieces pieces,
                MakeTail tail)
      : lookup_(std::move(lookup)),
        ids_(std::move(ids)),
        head_(std::move(head)),
        make_pieces_(std::move(pieces)),
        make_tail_(std::move(tail)) {}

  Result<bool> Next(size_t bytes_hint, std::string* out) override;

 private:
  const TraceLookup lookup_;
  const std::vector<TraceId> ids_;
  std::string head_;
  const MakePieces make_pieces_;
  const MakeTail make_tail_;
  size_t next_ = 0;
  bool first_ = true;
  std::vector<TraceId> missing_;
  SpanBatch batch_;
  std::unique_ptr<TracePieces> pieces_;
};

/// Puts the spans of a batch into the order in which traces are shown: by start, then id.
std::vector<uint32_t> SpansByStart(const SpanBatch& batch, std::vector<uint32_t> spans);

/// Pieces of Jaeger's legacy JSON, and of what stands between the brackets of OTLP's
/// {"resourceSpans":[...]}.
std::unique_ptr<TracePieces> JaegerPieces(const SpanBatch& batch, std::vector<uint32_t> spans,
                                          bool raw);
std::unique_ptr<TracePieces> OtlpJsonPieces(const SpanBatch& batch, std::vector<uint32_t> spans);
std::unique_ptr<TracePieces> TempoJsonPieces(const SpanBatch& batch, std::vector<uint32_t> spans);

/// Options of a query that ends when the client has gone.
query::TraceQueryOptions TraceOptionsOf(http::Request& request);

}  // namespace varve::api
