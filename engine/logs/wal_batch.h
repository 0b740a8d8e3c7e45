#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/logs/rows.h"
#include "varve/labels.h"
#include "varve/status.h"

namespace varve::logs {

/// Types of the records in wal/logs. These values live on disk: add, never renumber.
/// Spec: engine/docs/format/logs-wal.md.
enum class WalRecord : uint8_t { kBatch = 1 };

/// The payload of a kBatch record is the streams of a batch, then one page of its entries. Records
/// stand alone: labels are written in each, so that no record depends on another.
void PutStreamCount(std::string* out, uint32_t streams);
void PutStream(std::string* out, LabelsView labels);

struct DecodedBatch {
  std::vector<LabelView> labels;       // into the payload
  std::vector<uint32_t> labels_begin;  // streams + 1
  std::string_view page;               // into the payload
  Rows rows;
  std::vector<uint32_t> streams;  // of each row; empty: all are of stream 0
  size_t stream_count() const { return labels_begin.size() - 1; }
  LabelsView labels_of(size_t stream) const {
    return LabelsView(labels).subspan(labels_begin[stream],
                                      labels_begin[stream + 1] - labels_begin[stream]);
  }
};
/// Decodes a payload, which may be anything. Errors: kDataLoss.
Status DecodeWalBatch(std::string_view payload, DecodedBatch* out);

}  // namespace varve::logs
