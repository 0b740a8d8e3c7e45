#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "engine/base/hash.h"
#include "tools/ingest/context.h"
#include "tools/ingest/exposition.h"
#include "varve/write_batch.h"

namespace varve::ingest {

/// Turns the items of one exposition into rows of a batch. Series that the cache knows go by
/// reference; the caller passes each series' final labels, so extra labels are its business.
///
/// OpenMetrics dates a counter, histogram or summary by a sample of its own, <family>_created,
/// which may come before or after the others: rows of such a family wait until it ends and then
/// get that start timestamp. The _created series is stored as well, as Prometheus does.
class ExpositionBatch {
 public:
  struct Row {
    SeriesKey key;
    uint32_t line = 0;  // 0 for protobuf
  };

  /// `use_cache` false sends every series by labels.
  ExpositionBatch(IngestContext& context, WriteBatch* batch, bool use_cache);

  /// Adds a sample or histogram. `labels`: canonical. Returns false, and adds nothing, for a time
  /// that is too far ahead.
  bool AddRow(const ExpositionItem& item, LabelsView labels, int64_t default_time_ms);
  /// Adds a type, help or unit.
  void AddMetadata(const ExpositionItem& item);
  /// Writes out what still waits. Call it once, after the last item.
  void Finish();

  /// One per series of the batch.
  const std::vector<Row>& rows() const { return rows_; }
  /// Tells the context what the database has accepted: series references and metadata.
  void Remember(const AppendResult& result);

 private:
  struct Waiting {
    uint32_t series;
    int64_t time_ms;
    double value;
    SeriesKey group;
  };

  void FlushFamily();
  void FlushMetadata();

  IngestContext& context_;
  WriteBatch* batch_;
  const bool use_cache_;
  const int64_t newest_ms_;
  std::vector<Row> rows_;

  std::string family_;  // whose rows wait
  std::vector<Waiting> waiting_;
  absl::flat_hash_map<SeriesKey, int64_t, SeriesKeyHash> created_ms_;
  std::vector<LabelView> group_labels_;

  std::string metadata_family_;
  Metadata metadata_;
  std::vector<SeriesKey> metadata_keys_;
};

}  // namespace varve::ingest
