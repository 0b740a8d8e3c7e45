#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "varve/span.h"
#include "varve/write_batch.h"

namespace varve {

/// Holds spans as OTLP describes them: resource -> scope -> span, with events and links. It is what
/// AppendSpans takes and what reading a trace gives. Not thread-safe. Reuse it with Clear.
///
/// Everything is a column of plain structs; ranges index `attributes()`, `events()`, `links()`.
/// Texts are borrowed unless Copy made them: they must live as long as the batch is used.
class SpanBatch {
 public:
  struct Range {
    uint32_t begin = 0;
    uint32_t count = 0;
  };
  struct Resource {
    Range attributes;
    std::string_view schema_url;
    uint32_t dropped_attributes = 0;
  };
  struct Scope {
    uint32_t resource = 0;  // index
    std::string_view name;
    std::string_view version;
    Range attributes;
    std::string_view schema_url;
    uint32_t dropped_attributes = 0;
  };
  struct Event {
    int64_t time_ns = 0;
    std::string_view name;
    Range attributes;
    uint32_t dropped_attributes = 0;
  };
  struct Link {
    TraceId trace_id;
    SpanId span_id;
    std::string_view trace_state;
    Range attributes;
    uint32_t dropped_attributes = 0;
    uint32_t flags = 0;
  };
  struct Span {
    uint32_t scope = 0;  // index
    TraceId trace_id;
    SpanId span_id;
    SpanId parent_id;  // empty: a root
    std::string_view trace_state;
    uint32_t flags = 0;  // W3C flags; bits 8 and 9 say whether the parent is remote
    std::string_view name;
    SpanKind kind = SpanKind::kUnspecified;
    int64_t start_ns = 0;
    int64_t end_ns = 0;  // the duration is end - start, 0 if that is negative
    SpanStatus status = SpanStatus::kUnset;
    std::string_view status_message;
    Range attributes;
    Range events;
    Range links;
    uint32_t dropped_attributes = 0;
    uint32_t dropped_events = 0;
    uint32_t dropped_links = 0;
  };

  SpanBatch();
  ~SpanBatch();
  SpanBatch(SpanBatch&&) noexcept;
  SpanBatch& operator=(SpanBatch&&) noexcept;

  // --- Filling, in this order: resource, its scopes, their spans ---

  uint32_t AddResource(AttributesView attributes, std::string_view schema_url = {},
                       uint32_t dropped_attributes = 0);
  uint32_t AddScope(uint32_t resource, std::string_view name, std::string_view version,
                    AttributesView attributes = {}, std::string_view schema_url = {},
                    uint32_t dropped_attributes = 0);
  /// Adds a span; its ranges are ignored and taken from `attributes`. Add its events and links
  /// before the next span.
  uint32_t AddSpan(const Span& span, AttributesView attributes);
  void AddEvent(int64_t time_ns, std::string_view name, AttributesView attributes,
                uint32_t dropped_attributes = 0);
  void AddLink(const Link& link, AttributesView attributes);
  /// Copies bytes into the batch; they live until Clear.
  std::string_view Copy(std::string_view bytes);
  /// Keeps `owner` alive until Clear: for batches that point into blocks or bodies.
  void Keep(std::shared_ptr<const void> owner);
  void Clear();

  bool empty() const { return spans_.empty(); }
  const std::vector<Resource>& resources() const { return resources_; }
  const std::vector<Scope>& scopes() const { return scopes_; }
  const std::vector<Span>& spans() const { return spans_; }
  const Resource& resource_of(const Span& span) const {
    return resources_[scopes_[span.scope].resource];
  }
  AttributesView attributes(Range range) const {
    return AttributesView(attributes_).subspan(range.begin, range.count);
  }
  std::span<const Event> events(const Span& span) const {
    return std::span<const Event>(events_).subspan(span.events.begin, span.events.count);
  }
  std::span<const Link> links(const Span& span) const {
    return std::span<const Link>(links_).subspan(span.links.begin, span.links.count);
  }

 private:
  class ByteArena;
  Range Append(AttributesView attributes);

  std::vector<Resource> resources_;
  std::vector<Scope> scopes_;
  std::vector<Span> spans_;
  std::vector<Event> events_;
  std::vector<Link> links_;
  std::vector<AttributeView> attributes_;
  std::vector<std::shared_ptr<const void>> owners_;
  std::unique_ptr<ByteArena> arena_;
};

enum class SpanRejectReason : uint8_t {
  kInvalidId,         // trace or span id is zero
  kInvalidAttribute,  // bytes of an array or map that do not parse, or nest too deep
  kTooLarge,          // over a limit; `detail` names it
};
std::string_view ToString(SpanRejectReason reason);

struct SpanRejection {
  uint32_t span = 0;  // index into batch.spans()
  SpanRejectReason reason = SpanRejectReason::kInvalidId;
  std::string detail;
};

struct SpanAppendResult {
  uint64_t spans = 0;  // accepted, repeats of (trace, span) included
  uint64_t rejected = 0;
  std::vector<SpanRejection> rejections;  // at most WriteOptions::rejections_max
};

}  // namespace varve
