#include "bindings/core/samples.h"

#include <algorithm>
#include <limits>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "bindings/core/result.h"
#include "varve/query.h"

namespace varve::bindings {
namespace {

using arrow::ArrayPtr;

// Label text of one batch stays far below what int32 offsets can address.
constexpr size_t kTextBytesMax = 64u << 20;

class SampleSourceImpl final : public arrow::Source {
 public:
  SampleSourceImpl(std::shared_ptr<const Snapshot> snapshot, std::unique_ptr<SeriesSet> series,
                   TimeRange range, int64_t rows_max)
      : snapshot_(std::move(snapshot)),
        series_(std::move(series)),
        range_(range),
        rows_max_(static_cast<size_t>(std::max<int64_t>(rows_max, 1))),
        fields_{arrow::Dictionary("metric"), arrow::Map("labels"), arrow::TimestampMs("time"),
                arrow::Nullable(arrow::Float64("value")), HistogramField()} {}

  const std::vector<arrow::Field>& fields() const override { return fields_; }

  Result<bool> Next(std::vector<ArrayPtr>* columns) override {
    Batch batch;
    while (batch.times.size() < rows_max_ && batch.labels.bytes() < kTextBytesMax) {
      if (row_ < times_.size()) {
        Take(&batch);
      } else if (chunk_ < chunks_.size()) {
        if (Status status = Decode(chunks_[chunk_++]); !status.ok()) return status;
      } else if (next_series_ < series_->size()) {
        chunk_ = 0;
        if (Status status = series_->GetChunks(next_series_, range_, &chunks_); !status.ok()) {
          return status;
        }
        series_->GetLabels(next_series_++, &labels_);
        name_ = FindLabel(labels_, kMetricName);
        std::erase_if(labels_, [](const LabelView& label) { return label.name == kMetricName; });
      } else {
        break;
      }
    }
    if (batch.times.empty()) return false;
    columns->push_back(Metrics(&batch));
    columns->push_back(batch.labels.Finish());
    columns->push_back(arrow::Fixed(std::move(batch.times)));
    auto values = std::make_shared<arrow::Array>(*arrow::Fixed(std::move(batch.values)));
    if (batch.histogram_rows > 0) {
      std::vector<bool> valid(batch.histograms.size());
      for (size_t i = 0; i < valid.size(); ++i) valid[i] = batch.histograms[i] == nullptr;
      values->buffers[0] = arrow::MakeValidity(valid);
      values->null_count = batch.histogram_rows;
    }
    columns->push_back(std::move(values));
    columns->push_back(HistogramColumn(batch.histograms));
    return true;
  }

 private:
  struct Batch {
    std::vector<int32_t> metric;
    arrow::TextBuilder names;  // the dictionary of this batch
    std::unordered_map<std::string_view, int32_t> number_of_name;
    arrow::MapBuilder labels;
    std::vector<int64_t> times;
    std::vector<double> values;
    std::vector<query::HistogramPtr> histograms;
    int64_t histogram_rows = 0;
  };

  Status Decode(const Chunk& chunk) {
    times_.resize(chunk.count);
    values_.clear();
    histograms_.clear();
    row_ = 0;
    if (chunk.kind == ChunkKind::kFloat) {
      values_.resize(chunk.count);
      if (Status status = chunk.DecodeFloats(times_, values_); !status.ok()) return status;
    } else {
      if (Status status = chunk.DecodeTimes(times_); !status.ok()) return status;
      if (Status status = chunk.DecodeHistograms(&histograms_); !status.ok()) return status;
    }
    row_ = static_cast<size_t>(std::lower_bound(times_.begin(), times_.end(), range_.min_ms) -
                               times_.begin());
    times_.erase(std::upper_bound(times_.begin(), times_.end(), range_.max_ms), times_.end());
    row_ = std::min(row_, times_.size());
    return absl::OkStatus();
  }

  void Take(Batch* batch) {
    const auto [entry, added] =
        batch->number_of_name.emplace(name_, static_cast<int32_t>(batch->names.size()));
    if (added) batch->names.Append(name_);
    const int32_t metric = entry->second;
    while (row_ < times_.size() && batch->times.size() < rows_max_ &&
           batch->labels.bytes() < kTextBytesMax) {
      batch->metric.push_back(metric);
      batch->labels.Append(labels_);
      batch->times.push_back(times_[row_]);
      if (values_.empty()) {
        batch->values.push_back(std::numeric_limits<double>::quiet_NaN());
        batch->histograms.push_back(std::make_shared<const query::FloatHistogram>(
            query::FloatHistogram::From(histograms_[row_])));
        ++batch->histogram_rows;
      } else {
        batch->values.push_back(values_[row_]);
        batch->histograms.push_back(nullptr);
      }
      ++row_;
    }
  }

  static ArrayPtr Metrics(Batch* batch) {
    auto out = std::make_shared<arrow::Array>(*arrow::Fixed(std::move(batch->metric)));
    out->dictionary = batch->names.Finish();
    return out;
  }

  const std::shared_ptr<const Snapshot> snapshot_;
  const std::unique_ptr<SeriesSet> series_;
  const TimeRange range_;
  const size_t rows_max_;
  const std::vector<arrow::Field> fields_;

  size_t next_series_ = 0;
  std::vector<LabelView> labels_;  // of the current series, without its name
  std::string_view name_;
  std::vector<Chunk> chunks_;
  size_t chunk_ = 0;  // next to decode
  std::vector<int64_t> times_;
  std::vector<double> values_;
  std::vector<Histogram> histograms_;
  size_t row_ = 0;
};

}  // namespace

Result<std::unique_ptr<arrow::Source>> SampleSource(std::shared_ptr<const Snapshot> snapshot,
                                                    std::vector<Matcher> matchers, TimeRange range,
                                                    int64_t rows_max) {
  Result<std::unique_ptr<SeriesSet>> series = snapshot->Select(matchers, range);
  if (!series.ok()) return series.status();
  std::unique_ptr<arrow::Source> out =
      std::make_unique<SampleSourceImpl>(std::move(snapshot), *std::move(series), range, rows_max);
  return out;
}

}  // namespace varve::bindings
