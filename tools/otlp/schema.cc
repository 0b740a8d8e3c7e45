#include "tools/otlp/json_wire.h"

/// The messages of opentelemetry-proto 1.11 as far as Varve reads them.
namespace varve::otlp {
namespace {

using enum FieldKind;

extern const MessageSchema kAnyValue;

extern const MessageSchema kKeyValue;
constexpr FieldSchema kArrayFields[] = {{"values", 1, kMessage, true, &kAnyValue}};
const MessageSchema kArrayValue{kArrayFields};
constexpr FieldSchema kMapFields[] = {{"values", 1, kMessage, true, &kKeyValue}};
const MessageSchema kMapValue{kMapFields};
constexpr FieldSchema kAnyFields[] = {
    {"stringValue", 1, kString},
    {"boolValue", 2, kBool},
    {"intValue", 3, kVarint},
    {"doubleValue", 4, kDouble},
    {"arrayValue", 5, kMessage, false, &kArrayValue},
    {"kvlistValue", 6, kMessage, false, &kMapValue},
    {"bytesValue", 7, kBase64},
};
const MessageSchema kAnyValue{kAnyFields};
constexpr FieldSchema kKeyValueFields[] = {{"key", 1, kString},
                                           {"value", 2, kMessage, false, &kAnyValue}};
const MessageSchema kKeyValue{kKeyValueFields};

constexpr FieldSchema kResourceFields[] = {
    {"attributes", 1, kMessage, true, &kKeyValue},
    {"droppedAttributesCount", 2, kVarint},
};
const MessageSchema kResource{kResourceFields};
constexpr FieldSchema kScopeFields[] = {
    {"name", 1, kString},
    {"version", 2, kString},
    {"attributes", 3, kMessage, true, &kKeyValue},
    {"droppedAttributesCount", 4, kVarint},
};
const MessageSchema kScope{kScopeFields};

// --- Traces ---

constexpr FieldSchema kEventFields[] = {
    {"timeUnixNano", 1, kFixed64},
    {"name", 2, kString},
    {"attributes", 3, kMessage, true, &kKeyValue},
    {"droppedAttributesCount", 4, kVarint},
};
const MessageSchema kEvent{kEventFields};
constexpr FieldSchema kLinkFields[] = {
    {"traceId", 1, kHexId},
    {"spanId", 2, kHexId},
    {"traceState", 3, kString},
    {"attributes", 4, kMessage, true, &kKeyValue},
    {"droppedAttributesCount", 5, kVarint},
    {"flags", 6, kFixed32},
};
const MessageSchema kLink{kLinkFields};
constexpr FieldSchema kStatusFields[] = {{"message", 2, kString}, {"code", 3, kVarint}};
const MessageSchema kStatus{kStatusFields};
constexpr FieldSchema kSpanFields[] = {
    {"traceId", 1, kHexId},
    {"spanId", 2, kHexId},
    {"traceState", 3, kString},
    {"parentSpanId", 4, kHexId},
    {"name", 5, kString},
    {"kind", 6, kVarint},
    {"startTimeUnixNano", 7, kFixed64},
    {"endTimeUnixNano", 8, kFixed64},
    {"attributes", 9, kMessage, true, &kKeyValue},
    {"droppedAttributesCount", 10, kVarint},
    {"events", 11, kMessage, true, &kEvent},
    {"droppedEventsCount", 12, kVarint},
    {"links", 13, kMessage, true, &kLink},
    {"droppedLinksCount", 14, kVarint},
    {"status", 15, kMessage, false, &kStatus},
    {"flags", 16, kFixed32},
};
const MessageSchema kSpan{kSpanFields};
constexpr FieldSchema kScopeSpansFields[] = {
    {"scope", 1, kMessage, false, &kScope},
    {"spans", 2, kMessage, true, &kSpan},
    {"schemaUrl", 3, kString},
};
const MessageSchema kScopeSpans{kScopeSpansFields};
constexpr FieldSchema kResourceSpansFields[] = {
    {"resource", 1, kMessage, false, &kResource},
    {"scopeSpans", 2, kMessage, true, &kScopeSpans},
    {"schemaUrl", 3, kString},
};
const MessageSchema kResourceSpans{kResourceSpansFields};
constexpr FieldSchema kTraceRequestFields[] = {
    {"resourceSpans", 1, kMessage, true, &kResourceSpans}};

// --- Logs ---

constexpr FieldSchema kLogRecordFields[] = {
    {"timeUnixNano", 1, kFixed64},
    {"severityNumber", 2, kVarint},
    {"severityText", 3, kString},
    {"body", 5, kMessage, false, &kAnyValue},
    {"attributes", 6, kMessage, true, &kKeyValue},
    {"droppedAttributesCount", 7, kVarint},
    {"flags", 8, kFixed32},
    {"traceId", 9, kHexId},
    {"spanId", 10, kHexId},
    {"observedTimeUnixNano", 11, kFixed64},
    {"eventName", 12, kString},
};
const MessageSchema kLogRecord{kLogRecordFields};
constexpr FieldSchema kScopeLogsFields[] = {
    {"scope", 1, kMessage, false, &kScope},
    {"logRecords", 2, kMessage, true, &kLogRecord},
    {"schemaUrl", 3, kString},
};
const MessageSchema kScopeLogs{kScopeLogsFields};
constexpr FieldSchema kResourceLogsFields[] = {
    {"resource", 1, kMessage, false, &kResource},
    {"scopeLogs", 2, kMessage, true, &kScopeLogs},
    {"schemaUrl", 3, kString},
};
const MessageSchema kResourceLogs{kResourceLogsFields};
constexpr FieldSchema kLogRequestFields[] = {{"resourceLogs", 1, kMessage, true, &kResourceLogs}};

// --- Metrics ---

constexpr FieldSchema kExemplarFields[] = {
    {"timeUnixNano", 2, kFixed64}, {"asDouble", 3, kDouble},
    {"spanId", 4, kHexId},         {"traceId", 5, kHexId},
    {"asInt", 6, kSfixed64},       {"filteredAttributes", 7, kMessage, true, &kKeyValue},
};
const MessageSchema kExemplar{kExemplarFields};
constexpr FieldSchema kNumberPointFields[] = {
    {"startTimeUnixNano", 2, kFixed64},
    {"timeUnixNano", 3, kFixed64},
    {"asDouble", 4, kDouble},
    {"exemplars", 5, kMessage, true, &kExemplar},
    {"asInt", 6, kSfixed64},
    {"attributes", 7, kMessage, true, &kKeyValue},
    {"flags", 8, kVarint},
};
const MessageSchema kNumberPoint{kNumberPointFields};
constexpr FieldSchema kHistogramPointFields[] = {
    {"startTimeUnixNano", 2, kFixed64},
    {"timeUnixNano", 3, kFixed64},
    {"count", 4, kFixed64},
    {"sum", 5, kDouble},
    {"bucketCounts", 6, kFixed64, true},
    {"explicitBounds", 7, kDouble, true},
    {"exemplars", 8, kMessage, true, &kExemplar},
    {"attributes", 9, kMessage, true, &kKeyValue},
    {"flags", 10, kVarint},
    {"min", 11, kDouble},
    {"max", 12, kDouble},
};
const MessageSchema kHistogramPoint{kHistogramPointFields};
constexpr FieldSchema kBucketsFields[] = {
    {"offset", 1, kSint32},
    {"bucketCounts", 2, kVarint, true},
};
const MessageSchema kBuckets{kBucketsFields};
constexpr FieldSchema kExponentialPointFields[] = {
    {"attributes", 1, kMessage, true, &kKeyValue},
    {"startTimeUnixNano", 2, kFixed64},
    {"timeUnixNano", 3, kFixed64},
    {"count", 4, kFixed64},
    {"sum", 5, kDouble},
    {"scale", 6, kSint32},
    {"zeroCount", 7, kFixed64},
    {"positive", 8, kMessage, false, &kBuckets},
    {"negative", 9, kMessage, false, &kBuckets},
    {"flags", 10, kVarint},
    {"exemplars", 11, kMessage, true, &kExemplar},
    {"min", 12, kDouble},
    {"max", 13, kDouble},
    {"zeroThreshold", 14, kDouble},
};
const MessageSchema kExponentialPoint{kExponentialPointFields};
constexpr FieldSchema kQuantileFields[] = {{"quantile", 1, kDouble}, {"value", 2, kDouble}};
const MessageSchema kQuantile{kQuantileFields};
constexpr FieldSchema kSummaryPointFields[] = {
    {"startTimeUnixNano", 2, kFixed64},
    {"timeUnixNano", 3, kFixed64},
    {"count", 4, kFixed64},
    {"sum", 5, kDouble},
    {"quantileValues", 6, kMessage, true, &kQuantile},
    {"attributes", 7, kMessage, true, &kKeyValue},
    {"flags", 8, kVarint},
};
const MessageSchema kSummaryPoint{kSummaryPointFields};
constexpr FieldSchema kGaugeFields[] = {{"dataPoints", 1, kMessage, true, &kNumberPoint}};
const MessageSchema kGauge{kGaugeFields};
constexpr FieldSchema kSumFields[] = {
    {"dataPoints", 1, kMessage, true, &kNumberPoint},
    {"aggregationTemporality", 2, kVarint},
    {"isMonotonic", 3, kBool},
};
const MessageSchema kSum{kSumFields};
constexpr FieldSchema kHistogramFields[] = {
    {"dataPoints", 1, kMessage, true, &kHistogramPoint},
    {"aggregationTemporality", 2, kVarint},
};
const MessageSchema kHistogram{kHistogramFields};
constexpr FieldSchema kExponentialFields[] = {
    {"dataPoints", 1, kMessage, true, &kExponentialPoint},
    {"aggregationTemporality", 2, kVarint},
};
const MessageSchema kExponential{kExponentialFields};
constexpr FieldSchema kSummaryFields[] = {{"dataPoints", 1, kMessage, true, &kSummaryPoint}};
const MessageSchema kSummary{kSummaryFields};
constexpr FieldSchema kMetricFields[] = {
    {"name", 1, kString},
    {"description", 2, kString},
    {"unit", 3, kString},
    {"gauge", 5, kMessage, false, &kGauge},
    {"sum", 7, kMessage, false, &kSum},
    {"histogram", 9, kMessage, false, &kHistogram},
    {"exponentialHistogram", 10, kMessage, false, &kExponential},
    {"summary", 11, kMessage, false, &kSummary},
    {"metadata", 12, kMessage, true, &kKeyValue},
};
const MessageSchema kMetric{kMetricFields};
constexpr FieldSchema kScopeMetricsFields[] = {
    {"scope", 1, kMessage, false, &kScope},
    {"metrics", 2, kMessage, true, &kMetric},
    {"schemaUrl", 3, kString},
};
const MessageSchema kScopeMetrics{kScopeMetricsFields};
constexpr FieldSchema kResourceMetricsFields[] = {
    {"resource", 1, kMessage, false, &kResource},
    {"scopeMetrics", 2, kMessage, true, &kScopeMetrics},
    {"schemaUrl", 3, kString},
};
const MessageSchema kResourceMetrics{kResourceMetricsFields};
constexpr FieldSchema kMetricRequestFields[] = {
    {"resourceMetrics", 1, kMessage, true, &kResourceMetrics}};

}  // namespace

const MessageSchema kTraceRequest{kTraceRequestFields};
const MessageSchema kLogRequest{kLogRequestFields};
const MessageSchema kMetricRequest{kMetricRequestFields};

}  // namespace varve::otlp
