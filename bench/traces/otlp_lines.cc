#include "bench/traces/otlp_lines.h"

#include <simdjson.h>

#include <cstdlib>
#include <iostream>

#include "tests/support/shared_data.h"

namespace varve::bench {
namespace {

std::string_view Text(simdjson::dom::element from, const char* key) {
  std::string_view out;
  if (from[key].get(out) != simdjson::SUCCESS) return {};
  return out;
}

}  // namespace

std::vector<SpanBatch> LoadOtlpLines(const std::string& path) {
  const std::string text = testing::ReadFile(path);
  std::vector<SpanBatch> out;
  simdjson::dom::parser parser;
  std::vector<AttributeView> attributes;
  for (const std::string_view line : testing::SplitLines(text)) {
    const simdjson::dom::element root = parser.parse(line.data(), line.size());
    SpanBatch& batch = out.emplace_back();
    for (const simdjson::dom::element resource_spans : root["resourceSpans"]) {
      attributes.clear();
      for (const simdjson::dom::element attribute : resource_spans["resource"]["attributes"]) {
        attributes.push_back(
            {batch.Copy(Text(attribute, "key")),
             ValueView::String(batch.Copy(Text(attribute["value"], "stringValue")))});
      }
      const uint32_t resource = batch.AddResource(attributes);
      for (const simdjson::dom::element scope_spans : resource_spans["scopeSpans"]) {
        const uint32_t scope =
            batch.AddScope(resource, batch.Copy(Text(scope_spans["scope"], "name")), "");
        for (const simdjson::dom::element from : scope_spans["spans"]) {
          SpanBatch::Span span;
          span.scope = scope;
          span.trace_id = *ParseTraceId(Text(from, "traceId"));
          span.span_id = *ParseSpanId(Text(from, "spanId"));
          span.parent_id = ParseSpanId(Text(from, "parentSpanId")).value_or(SpanId());
          span.name = batch.Copy(Text(from, "name"));
          span.start_ns = std::strtoll(Text(from, "startTimeUnixNano").data(), nullptr, 10);
          span.end_ns = std::strtoll(Text(from, "endTimeUnixNano").data(), nullptr, 10);
          batch.AddSpan(span, {});
        }
      }
    }
  }
  return out;
}

}  // namespace varve::bench
