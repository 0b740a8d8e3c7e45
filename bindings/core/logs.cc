#include "bindings/core/logs.h"

#include <utility>

namespace varve::bindings {
namespace {

// Text of one batch stays far below what int32 offsets can address; a replaced byte takes three.
constexpr size_t kTextBytesMax = 64u << 20;

class LogEntrySourceImpl final : public arrow::Source {
 public:
  LogEntrySourceImpl(std::shared_ptr<const LogSnapshot> snapshot,
                     std::unique_ptr<StreamSet> streams, std::shared_ptr<const LogScan> scan,
                     NsRange range, int64_t rows_max)
      : snapshot_(std::move(snapshot)),
        streams_(std::move(streams)),
        scan_(std::move(scan)),
        range_(range),
        rows_max_(static_cast<size_t>(std::max<int64_t>(rows_max, 1))),
        fields_(LogEntryFields()) {}

  const std::vector<arrow::Field>& fields() const override { return fields_; }

  Result<bool> Next(std::vector<arrow::ArrayPtr>* columns) override {
    LogEntryRows batch;
    while (batch.rows() < rows_max_ && batch.text_bytes() < kTextBytesMax) {
      if (row_ < rows_.size()) {
        batch.Append(rows_.times_ns[row_], rows_.lines[row_], labels_, rows_.metadata_of(row_));
        ++row_;
      } else if (chunk_ < chunks_.size()) {
        LogScanStats stats;
        row_ = 0;
        if (Status status = chunks_[chunk_++].Read(*scan_, &rows_, &stats); !status.ok()) {
          rows_.Clear();
          return status;
        }
      } else if (next_stream_ < streams_->size()) {
        chunk_ = 0;
        if (Status status = streams_->GetChunks(next_stream_, range_, &chunks_); !status.ok()) {
          return status;
        }
        streams_->GetLabels(next_stream_++, &labels_);
      } else {
        break;
      }
    }
    if (batch.rows() == 0) return false;
    batch.Finish(columns);
    return true;
  }

 private:
  const std::shared_ptr<const LogSnapshot> snapshot_;
  const std::unique_ptr<StreamSet> streams_;
  const std::shared_ptr<const LogScan> scan_;
  const NsRange range_;
  const size_t rows_max_;
  const std::vector<arrow::Field> fields_;

  size_t next_stream_ = 0;
  std::vector<LabelView> labels_;  // of the current stream
  std::vector<LogChunk> chunks_;
  size_t chunk_ = 0;  // next to read
  LogRows rows_;
  size_t row_ = 0;
};

}  // namespace

std::vector<arrow::Field> LogEntryFields() {
  return {arrow::TimestampNs("time"), arrow::Utf8("line"), arrow::Map("labels"),
          arrow::Map("metadata")};
}

void LogEntryRows::Append(int64_t time_ns, std::string_view line, LabelsView labels,
                          LabelsView metadata) {
  times_.push_back(time_ns);
  lines_.Append(line);
  labels_.Append(labels);
  metadata_.Append(metadata);
}

void LogEntryRows::Finish(std::vector<arrow::ArrayPtr>* columns) {
  columns->push_back(arrow::Fixed(std::move(times_)));
  columns->push_back(lines_.Finish());
  columns->push_back(labels_.Finish());
  columns->push_back(metadata_.Finish());
}

Result<std::unique_ptr<arrow::Source>> LogEntrySource(std::shared_ptr<const LogSnapshot> snapshot,
                                                      std::vector<Matcher> matchers, NsRange range,
                                                      int64_t rows_max) {
  LogScanSpec spec;
  spec.range = range;
  Result<std::shared_ptr<const LogScan>> scan = CompileLogScan(spec);
  if (!scan.ok()) return scan.status();
  Result<std::unique_ptr<StreamSet>> streams = snapshot->Select(matchers, range, scan->get());
  if (!streams.ok()) return streams.status();
  std::unique_ptr<arrow::Source> out = std::make_unique<LogEntrySourceImpl>(
      std::move(snapshot), *std::move(streams), *std::move(scan), range, rows_max);
  return out;
}

}  // namespace varve::bindings
