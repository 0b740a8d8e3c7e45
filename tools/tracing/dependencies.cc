#include "tools/tracing/dependencies.h"

#include <cstring>

namespace varve::tracing {
namespace {

constexpr size_t kNameMax = 1024;  // of a service

// Span ids are random, so with half of the trace id folded in, two of the remembered spans share a
// key with a chance of 1 in 10^7: one call counted for the wrong pair.
uint64_t KeyOf(const TraceId& trace, const SpanId& span) {
  uint64_t high;
  uint64_t low;
  uint64_t id;
  std::memcpy(&high, trace.bytes.data(), 8);
  std::memcpy(&low, trace.bytes.data() + 8, 8);
  std::memcpy(&id, span.bytes.data(), 8);
  return (id ^ (low * 0x9e3779b97f4a7c15u)) + high * 0xc2b2ae3d27d4eb4fu;
}

}  // namespace

uint32_t DependencyCounter::ServiceOf(std::string_view name) {
  name = name.substr(0, kNameMax);
  if (const auto found = service_ids_.find(name); found != service_ids_.end()) return found->second;
  if (services_.size() >= services_max_) return ServiceOf("other");
  services_.emplace_back(name);
  const auto id = static_cast<uint32_t>(services_.size() - 1);
  service_ids_.emplace(std::string(name), id);
  if (services_.size() == services_max_ - 1) ServiceOf("other");  // room for the name of the rest
  return id;
}

void DependencyCounter::TurnIfFull() {
  if (current_.spans.size() < generation_max_) return;
  previous_ = std::move(current_);
  current_ = Generation{};
}

void DependencyCounter::Prefetch(const SpanBatch::Span& span) const {
  const uint64_t key = KeyOf(span.trace_id, span.span_id);
  current_.spans.prefetch(key);
  previous_.spans.prefetch(key);
}

void DependencyCounter::Add(const SpanBatch::Span& span, uint32_t own) {
  const uint64_t key = KeyOf(span.trace_id, span.span_id);
  // Children that came first.
  for (Generation* generation : {&current_, &previous_}) {
    const auto found = generation->spans.find(key);
    if (found == generation->spans.end()) continue;
    if (found->second.service != kNone) return;  // a repeat of a span
    for (uint32_t at = found->second.waiting; at != kNone; at = generation->children[at].next) {
      Count(own, generation->children[at].service);
    }
    found->second.waiting = kNone;
  }
  TurnIfFull();
  current_.spans[key].service = own;
  if (span.parent_id.empty()) return;
  const uint64_t parent_key = KeyOf(span.trace_id, span.parent_id);
  for (const Generation* generation : {&current_, &previous_}) {
    const auto found = generation->spans.find(parent_key);
    if (found != generation->spans.end() && found->second.service != kNone) {
      Count(found->second.service, own);
      return;
    }
  }
  Seen& parent = current_.spans[parent_key];
  current_.children.push_back({own, parent.waiting});
  parent.waiting = static_cast<uint32_t>(current_.children.size() - 1);
}

std::map<std::pair<std::string_view, std::string_view>, uint64_t> DependencyCounter::Calls() const {
  std::map<std::pair<std::string_view, std::string_view>, uint64_t> calls;
  for (const auto& [pair, count] : calls_) {
    calls[{services_[pair >> 32], services_[pair & UINT32_MAX]}] += count;
  }
  return calls;
}

}  // namespace varve::tracing
