#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "engine/base/strings.h"
#include "varve/span_batch.h"

namespace varve::tracing {

/// Counts calls from the service of a parent to the service of its child, itself included, as
/// Jaeger's dependency graph does. Parents and children may come in any order and in different
/// batches. Bounded: the newest million spans are remembered; the rest of an older trace is not
/// counted. Not thread-safe.
class DependencyCounter {
 public:
  explicit DependencyCounter(size_t spans_max = 1'000'000, size_t services_max = 4'096)
      : generation_max_(spans_max / 2), services_max_(services_max) {}

  /// Returns the number by which spans name a service.
  uint32_t ServiceOf(std::string_view name);
  void Add(const SpanBatch::Span& span, uint32_t own);
  /// Begins to fetch what Add will look up: nearly all of it misses the caches.
  void Prefetch(const SpanBatch::Span& span) const;

  /// From (parent, child) to calls.
  std::map<std::pair<std::string_view, std::string_view>, uint64_t> Calls() const;

 private:
  struct Seen {
    uint32_t service = kNone;  // of the span itself, once it has come
    uint32_t waiting = kNone;  // first of the children that came before it
  };
  struct Child {
    uint32_t service;
    uint32_t next;
  };
  struct Generation {
    absl::flat_hash_map<uint64_t, Seen> spans;
    std::vector<Child> children;
  };
  static constexpr uint32_t kNone = UINT32_MAX;

  void Count(uint32_t parent, uint32_t child) {
    ++calls_[static_cast<uint64_t>(parent) << 32 | child];
  }
  void TurnIfFull();

  const size_t generation_max_;
  const size_t services_max_;
  std::vector<std::string> services_;
  StringMap<uint32_t> service_ids_;
  Generation current_;
  Generation previous_;
  absl::flat_hash_map<uint64_t, uint64_t> calls_;
};

}  // namespace varve::tracing
