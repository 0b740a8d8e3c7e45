#pragma once

#include <memory>
#include <vector>

#include "engine/traces/source.h"
#include "varve/span_scan.h"

namespace varve::traces {

/// Makes a snapshot of sources in order of precedence: of spans with the same trace, span id and
/// kind, the one in the earliest source is seen. The snapshot shares the sources.
std::shared_ptr<const TraceSnapshot> MakeSnapshot(std::vector<SourcePtr> sources);

/// Reads all spans of a trace out of `sources`, repeats collapsed, by start, span id, kind. Adds
/// the resources and scopes they need, equal ones once.
class SpanGatherer {
 public:
  SpanGatherer(const std::vector<SourcePtr>& sources, SpanBatch* out);
  /// `spans_max` 0: all.
  Status AddTrace(const TraceId& id, size_t spans_max);

 private:
  uint32_t ScopeOf(size_t source, uint32_t scope);
  std::string ContentOf(AttributesView attributes, std::string_view rest, uint32_t dropped) const;

  const std::vector<SourcePtr>& sources_;
  SpanBatch* out_;
  SpanBatch raw_;
  std::vector<std::map<uint32_t, uint32_t>> scopes_;  // by source: its number to the batch's
  std::map<std::string, uint32_t> resource_contents_, scope_contents_;
};

}  // namespace varve::traces
