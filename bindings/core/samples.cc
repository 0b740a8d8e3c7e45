#include "bindings/core/samples.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "bindings/core/histograms.h"
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
        fields_(SampleFields()) {}

  const std::vector<arrow::Field>& fields() const override { return fields_; }

  Result<bool> Next(std::vector<ArrayPtr>* columns) override {
    SampleRows batch;
    while (batch.rows() < rows_max_ && batch.text_bytes() < kTextBytesMax) {
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
    if (batch.rows() == 0) return false;
    batch.Finish(columns);
    return true;
  }

 private:
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

  void Take(SampleRows* batch) {
    for (; row_ < times_.size() && batch->rows() < rows_max_ && batch->text_bytes() < kTextBytesMax;
         ++row_) {
      if (!values_.empty()) {
        batch->Append(name_, labels_, times_[row_], values_[row_]);
      } else {
        batch->Append(name_, labels_, times_[row_],
                      std::make_shared<const query::FloatHistogram>(
                          query::FloatHistogram::From(histograms_[row_])));
      }
    }
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

std::vector<arrow::Field> SampleFields() {
  return {arrow::Dictionary("metric"), arrow::Map("labels"), arrow::TimestampMs("time"),
          arrow::Nullable(arrow::Float64("value")), HistogramField()};
}

void SampleRows::AppendKey(std::string_view name, LabelsView labels, int64_t time_ms) {
  if (metric_.empty() || name != last_name_) {
    const auto [entry, added] = number_of_name_.emplace(name, static_cast<int32_t>(names_.size()));
    if (added) names_.Append(name);
    last_name_ = name;
    last_number_ = entry->second;
  }
  metric_.push_back(last_number_);
  labels_.Append(labels);
  times_.push_back(time_ms);
}

void SampleRows::Append(std::string_view name, LabelsView labels, int64_t time_ms, double value) {
  AppendKey(name, labels, time_ms);
  values_.push_back(value);
  histograms_.push_back(nullptr);
}

void SampleRows::Append(std::string_view name, LabelsView labels, int64_t time_ms,
                        query::HistogramPtr histogram) {
  AppendKey(name, labels, time_ms);
  values_.push_back(std::numeric_limits<double>::quiet_NaN());
  histograms_.push_back(std::move(histogram));
  ++histogram_rows_;
}

void SampleRows::Finish(std::vector<arrow::ArrayPtr>* columns) {
  auto metric = std::make_shared<arrow::Array>(*arrow::Fixed(std::move(metric_)));
  metric->dictionary = names_.Finish();
  columns->push_back(std::move(metric));
  columns->push_back(labels_.Finish());
  columns->push_back(arrow::Fixed(std::move(times_)));
  auto values = std::make_shared<arrow::Array>(*arrow::Fixed(std::move(values_)));
  if (histogram_rows_ > 0) {
    std::vector<bool> valid(histograms_.size());
    for (size_t i = 0; i < valid.size(); ++i) valid[i] = histograms_[i] == nullptr;
    values->buffers[0] = arrow::MakeValidity(valid);
    values->null_count = histogram_rows_;
  }
  columns->push_back(std::move(values));
  columns->push_back(HistogramColumn(histograms_));
}

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
