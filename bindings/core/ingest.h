#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bindings/core/import.h"
#include "bindings/core/store.h"
#include "varve/labels.h"
#include "varve/status.h"
#include "varve/write_batch.h"

/// Samples, log entries and spans out of Arrow tables: one row a record. What SampleSource,
/// LogEntrySource and SpanSource stream comes back in by the shapes' defaults.
namespace varve::bindings {

struct LogTableShape {
  std::string time = "time";
  std::string line = "line";
  /// Columns of text whose values, where not empty, are labels of the stream; a map column of
  /// labels (empty: none); and labels of all streams.
  std::vector<std::string> labels;
  std::string labels_map = "labels";
  Labels fixed_labels;
  /// The same for structured metadata; nulls are absent.
  std::vector<std::string> metadata;
  std::string metadata_map = "metadata";
  /// Nanoseconds of one unit of integer times. 0: only timestamps are times.
  int64_t unit_ns = 0;
};

struct SpanTableShape {
  /// `trace_id` and `span_id` (hex), `name` and `start` must be there, and `end` or `duration_ns`;
  /// `parent_id`, `service`, `kind`, `status`, `status_message`, `attributes` and `resource` (maps)
  /// may.
  /// Columns that become attributes of the span: of text, integers or floats.
  std::vector<std::string> attributes;
  int64_t unit_ns = 0;
};

struct RowCounts {
  uint64_t rows = 0;      // stored
  uint64_t rejected = 0;  // with WriteOptions::partial
};

/// Append every row; samples by the columns of SampleFields, of which `labels`, `value` and
/// `histogram` may be missing. Tables over 16 MiB go in several batches, each whole or not at all;
/// only the last one is as durable as asked, and syncs what came before. A map column that the
/// table does not have is no error. Errors: kInvalidArgument names column and row; those of
/// AppendLogs and AppendSpans.
Result<RowCounts> AppendSampleTable(Store& store, const arrow::Table& table,
                                    const WriteOptions& options);
Result<RowCounts> AppendLogTable(Store& store, const arrow::Table& table,
                                 const LogTableShape& shape, const WriteOptions& options);
Result<RowCounts> AppendSpanTable(Store& store, const arrow::Table& table,
                                  const SpanTableShape& shape, const WriteOptions& options);

}  // namespace varve::bindings
