#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "varve/span_batch.h"
#include "varve/span_scan.h"
#include "varve/status.h"

namespace varve::testing {

/// Gives the values of a field of a span as SpanPredicate sees them: several for events and links,
/// none where absent. Arrays are one value here.
void FieldValues(const SpanBatch& batch, const SpanBatch::Span& span, const SpanField& field,
                 std::vector<ValueView>* out);

/// Keeps spans in one batch and hands out snapshots of them: the simplest thing that trace queries
/// can read, and the model that a Database is compared with. Of repeated (trace, span) the first
/// stays. Not thread-safe; the snapshots are.
class MemoryTraceStore {
 public:
  struct Options {
    /// Rows of one batch of a scan.
    size_t batch_rows = 1000;
    /// Spans are cut into blocks of this many in order of arrival, so that the blocks of a scan
    /// overlap in time as real ones do. 0: one block.
    size_t block_spans = 0;
    /// Gives the rows of a block in another order for each number: no reader may rely on one.
    uint64_t seed = 0;
  };
  MemoryTraceStore() : MemoryTraceStore(Options()) {}
  explicit MemoryTraceStore(const Options& options);
  ~MemoryTraceStore();

  /// Copies the spans of `batch`.
  void Append(const SpanBatch& batch);
  std::shared_ptr<const TraceSnapshot> TakeSnapshot() const;

 private:
  Options options_;
  SpanBatch spans_;
};

/// Copies all spans of `from`, with the resources and scopes that they need, to the end of `to`.
/// Nothing of `to` refers to `from` afterwards.
void CopySpans(const SpanBatch& from, SpanBatch* to);
/// Copies one span.
void CopySpan(const SpanBatch& from, const SpanBatch::Span& span, SpanBatch* to);

}  // namespace varve::testing
