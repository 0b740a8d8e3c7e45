#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "varve/sample.h"
#include "varve/status.h"

namespace varve::metrics {

/// Types of the records in wal/metrics. These values live on disk: add, never renumber.
/// Spec: engine/docs/format/metrics-wal.md.
enum class WalRecord : uint8_t {
  kEpoch = 1,  // empty payload; series numbers start anew
  kBatch = 2,  // one batch, whole
};

/// Collects the rows of one batch and encodes them as the payload of one kBatch record. Series
/// are numbered by the writer; a series must be defined in this or an earlier batch of the epoch.
/// Reuse it with Clear.
class WalBatchEncoder {
 public:
  void Clear();
  void AddSeries(uint32_t series, LabelsView labels);
  void AddSample(uint32_t series, int64_t time_ms, double value, int64_t start_ms);
  void AddHistogram(uint32_t series, int64_t time_ms, int64_t start_ms, const Histogram& histogram);
  void AddExemplar(uint32_t series, const Exemplar& exemplar);
  void AddMetadata(std::string_view family, const Metadata& metadata);
  bool empty() const { return series_ + samples_ + histograms_ + exemplars_ + metadata_ == 0; }
  /// Returns the payload in pieces, to be written one after the other; valid until the next call.
  std::span<const std::string_view> Finish();

 private:
  std::string head_;
  std::string series_bytes_, sample_bytes_, start_bytes_, histogram_bytes_, exemplar_bytes_,
      metadata_bytes_;
  uint64_t series_ = 0, samples_ = 0, histograms_ = 0, exemplars_ = 0, metadata_ = 0;
  uint32_t last_series_ = 0;
  int64_t last_time_ = 0;
  bool has_starts_ = false;
  std::vector<std::string_view> pieces_;
};

/// Receives the rows of a decoded batch, in the order in which they were added.
class WalBatchSink {
 public:
  virtual ~WalBatchSink() = default;
  /// The views last for the call. Returning an error ends the decoding with it.
  virtual Status OnSeries(uint32_t series, LabelsView labels) = 0;
  virtual Status OnSample(uint32_t series, int64_t time_ms, double value, int64_t start_ms) = 0;
  virtual Status OnHistogram(uint32_t series, int64_t time_ms, int64_t start_ms,
                             Histogram histogram) = 0;
  virtual Status OnExemplar(uint32_t series, Exemplar exemplar) = 0;
  virtual Status OnMetadata(std::string_view family, Metadata metadata) = 0;
};

/// Decodes the payload of a kBatch record. Safe on any bytes. Errors: kDataLoss that says what
/// does not fit; rows before the fault have then reached the sink.
Status DecodeWalBatch(std::string_view payload, WalBatchSink* sink);

}  // namespace varve::metrics
