#pragma once

#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "varve/span_batch.h"
#include "varve/span_scan.h"

namespace varve::traces {

/// Prints everything that a batch says of one span, its scope and resource included.
std::string Print(const SpanBatch& batch, const SpanBatch::Span& span);
/// Prints all spans in order.
std::string Print(const SpanBatch& batch);

/// An attribute with its own text.
struct OwnedValue {
  ValueType type = ValueType::kEmpty;
  int64_t bits = 0;
  std::string text;
  ValueView view() const;
};
struct OwnedAttribute {
  std::string key;
  OwnedValue value;
};

struct RandomSpanOptions {
  uint32_t traces = 40;  // ids to choose from, from the first one on
  uint64_t first_trace = 0;
  uint32_t spans_per_trace = 60;
  int64_t start_ns = 1'700'000'000'000'000'000;
  int64_t span_ns = int64_t{4} * 3600 * 1'000'000'000;
  bool rare_things = true;  // odd types, long texts, repeated keys, skewed times
};
/// Fills `out` with `count` random spans that have everything a span can have. Some repeat spans of
/// the same choice of ids, with other content.
void AddRandomSpans(std::mt19937_64* random, size_t count, const RandomSpanOptions& options,
                    SpanBatch* out);

TraceId TraceIdOf(uint64_t number);
SpanId SpanIdOf(uint64_t number);

/// What a store of spans must hold: the first of each (trace, span, kind).
class SpanModel {
 public:
  void Add(const SpanBatch& batch);
  size_t spans() const;
  std::vector<TraceId> traces() const;
  /// Compares traces, scans, listings with those of a snapshot; reports through GoogleTest.
  void Check(const TraceSnapshot& snapshot, std::mt19937_64* random) const;

 private:
  struct Stored {
    std::string text;
    std::shared_ptr<SpanBatch> batch;  // with this one span
  };
  using Key = std::pair<SpanId, SpanKind>;
  std::map<TraceId, std::map<Key, Stored>> traces_;
};

/// Tests a predicate on the only span of `batch`, plainly.
bool HoldsFor(const SpanBatch& batch, const SpanPredicate& predicate);
/// Returns all values of a field of the only span of `batch`.
std::vector<ValueView> ValuesOf(const SpanBatch& batch, const SpanField& field);

}  // namespace varve::traces
