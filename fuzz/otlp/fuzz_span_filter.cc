// Feeds Jaeger's structured filters to their readers; the first byte chooses the form. A filter
// that reads must say in TraceQL that parses what it lets through at the most, and judge a span.

#include <cstdlib>

#include "tools/tracing/span_filter.h"
#include "varve/traceql.h"

namespace varve::tracing {
namespace {

SpanBatch OneSpan() {
  const AttributeView attributes[] = {{"code", ValueView::Int(500)},
                                      {"text", ValueView::String("Could not Connect")},
                                      {"ratio", ValueView::Double(2.5)},
                                      {"flag", ValueView::Bool(true)}};
  SpanBatch batch;
  SpanBatch::Span span;
  span.scope = batch.AddScope(batch.AddResource(attributes, ""), "lib", "1.0", {});
  span.trace_id.bytes[15] = 1;
  span.span_id.bytes[7] = 2;
  span.name = "GET /cart";
  span.start_ns = 1'700'000'000'000'000'000;
  span.end_ns = span.start_ns + 3'000'000'000;
  batch.AddSpan(span, attributes);
  batch.AddEvent(span.start_ns + 1'000'000, "exception", attributes);
  return batch;
}

}  // namespace
}  // namespace varve::tracing

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace varve;
  using tracing::SpanFilter;
  static const SpanBatch batch = tracing::OneSpan();
  static const auto engine = query::TraceEngine::Make({.threads = 1});
  if (size == 0) return 0;
  const std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  const Result<SpanFilter> filter =
      data[0] % 2 == 0 ? SpanFilter::FromJson(body) : SpanFilter::FromProtobuf(body);
  if (!filter.ok()) return 0;
  filter->Matches(batch, batch.spans()[0]);
  const std::string superset = filter->Superset();
  if (!superset.empty() && !engine->Parse("{ " + superset + " }").ok()) std::abort();
  return 0;
}
