#include "varve/span_batch.h"

#include "engine/base/arena.h"
#include "varve/span_scan.h"

namespace varve {

class SpanBatch::ByteArena : public Arena {
 public:
  ByteArena() : Arena(64 * 1024) {}
};

SpanBatch::SpanBatch() : arena_(std::make_unique<ByteArena>()) {}
SpanBatch::~SpanBatch() = default;
SpanBatch::SpanBatch(SpanBatch&&) noexcept = default;
SpanBatch& SpanBatch::operator=(SpanBatch&&) noexcept = default;

SpanBatch::Range SpanBatch::Append(AttributesView attributes) {
  const Range range{static_cast<uint32_t>(attributes_.size()),
                    static_cast<uint32_t>(attributes.size())};
  attributes_.insert(attributes_.end(), attributes.begin(), attributes.end());
  return range;
}

uint32_t SpanBatch::AddResource(AttributesView attributes, std::string_view schema_url,
                                uint32_t dropped_attributes) {
  resources_.push_back({Append(attributes), schema_url, dropped_attributes});
  return static_cast<uint32_t>(resources_.size() - 1);
}

uint32_t SpanBatch::AddScope(uint32_t resource, std::string_view name, std::string_view version,
                             AttributesView attributes, std::string_view schema_url,
                             uint32_t dropped_attributes) {
  scopes_.push_back({resource, name, version, Append(attributes), schema_url, dropped_attributes});
  return static_cast<uint32_t>(scopes_.size() - 1);
}

uint32_t SpanBatch::AddSpan(const Span& span, AttributesView attributes) {
  Span added = span;
  added.attributes = Append(attributes);
  added.events = {static_cast<uint32_t>(events_.size()), 0};
  added.links = {static_cast<uint32_t>(links_.size()), 0};
  spans_.push_back(added);
  return static_cast<uint32_t>(spans_.size() - 1);
}

void SpanBatch::AddEvent(int64_t time_ns, std::string_view name, AttributesView attributes,
                         uint32_t dropped_attributes) {
  events_.push_back({time_ns, name, Append(attributes), dropped_attributes});
  ++spans_.back().events.count;
}

void SpanBatch::AddLink(const Link& link, AttributesView attributes) {
  Link added = link;
  added.attributes = Append(attributes);
  links_.push_back(added);
  ++spans_.back().links.count;
}

std::string_view SpanBatch::Copy(std::string_view bytes) { return arena_->Copy(bytes); }

void SpanBatch::Keep(std::shared_ptr<const void> owner) { owners_.push_back(std::move(owner)); }

void SpanBatch::Clear() {
  resources_.clear();
  scopes_.clear();
  spans_.clear();
  events_.clear();
  links_.clear();
  attributes_.clear();
  owners_.clear();
  arena_->Clear();
}

std::string_view ToString(SpanRejectReason reason) {
  switch (reason) {
    case SpanRejectReason::kInvalidId:
      return "invalid id";
    case SpanRejectReason::kInvalidAttribute:
      return "invalid attribute";
    case SpanRejectReason::kTooLarge:
      return "too large";
  }
  return "unknown";
}

void SpanScanStats::Add(const SpanScanStats& other) {
  blocks += other.blocks;
  blocks_skipped += other.blocks_skipped;
  spans += other.spans;
  spans_matched += other.spans_matched;
  bytes_decompressed += other.bytes_decompressed;
}

}  // namespace varve
