#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bindings/core/arrow.h"
#include "varve/span_scan.h"
#include "varve/status.h"

namespace varve::bindings {

/// Name kinds and states of spans: "server", "error"; and read those names.
const char* NameOf(SpanKind kind);
const char* NameOf(SpanStatus status);
std::optional<SpanKind> SpanKindOf(std::string_view name);
std::optional<SpanStatus> SpanStatusOf(std::string_view name);

/// The columns of a stream of spans: ids as hex, `service`, `name`, `kind`, `status`, `start` (ns),
/// `duration_ns`, and attributes of span and resource as maps of printed values.
std::vector<arrow::Field> SpanFields();
/// Adds these columns of the spans that start in `range`; returns their number.
int64_t AppendSpanColumns(const SpanBatch& batch, NsRange range,
                          std::vector<arrow::ArrayPtr>* columns);

/// Streams whole spans that start in `range`, newest traces first. With `service`, only of traces
/// in which that service has a span in the range. Holds the snapshot, the ids of the traces seen,
/// and one batch.
Result<std::unique_ptr<arrow::Source>> SpanSource(std::shared_ptr<const TraceSnapshot> snapshot,
                                                  const std::string& service, NsRange range);

/// The columns of SpanSource, of spans that are at hand.
std::unique_ptr<arrow::Source> SpanBatchSource(std::shared_ptr<const SpanBatch> spans);

}  // namespace varve::bindings
