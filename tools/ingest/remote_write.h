#pragma once

#include <cstdint>
#include <string_view>

#include "tools/ingest/context.h"

namespace varve::ingest {

enum class RemoteWriteVersion : uint8_t { kV1 = 1, kV2 = 2 };

/// One POST to a remote-write endpoint, before any decoding: `body` is what came over the wire.
struct RemoteWriteRequest {
  std::string_view content_type;      // header value; empty means version 1.0
  std::string_view content_encoding;  // header value; empty means snappy, as Prometheus takes it
  std::string_view body;
};

/// Reads the version off a Content-Type. Errors: kInvalidArgument; answer 415.
Result<RemoteWriteVersion> ParseRemoteWriteContentType(std::string_view content_type);

/// Decodes a Prometheus remote write request, 1.0 or 2.0, appends it, and says what to answer.
///
/// 204 on success. 415 for a content type or encoding that is not ours; 413 for a body that
/// decodes to more than the limit, before memory is taken for it; 400 for a body that is not the
/// message it claims to be (the text names field and byte offset; nothing is stored).
///
/// Version 1.0: a row that the store rejects (out of order, duplicate, too old), a repeated label
/// name or text that is not UTF-8 fails the whole request with 400 and stores nothing. Series
/// without a metric name are skipped and counted. Exemplars never fail a request.
/// Version 2.0: good rows are stored and the rest answered with 400 and one line each; on 5xx
/// nothing is stored. Both send X-Prometheus-Remote-Write-{Samples,Histograms,Exemplars}-Written.
///
/// 507 for a full disk or an exhausted limit and 503 for a store that is read-only or closed, both
/// with Retry-After; 500 for anything else.
///
/// Cost: about 60 ns a series and 10 ns a sample for series that the cache knows.
HttpOutcome HandleRemoteWrite(IngestContext& context, const RemoteWriteRequest& request);

}  // namespace varve::ingest
