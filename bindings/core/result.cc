#include "bindings/core/result.h"

#include <algorithm>
#include <limits>
#include <map>
#include <unordered_map>
#include <utility>

#include "bindings/core/histograms.h"

namespace varve::bindings {
namespace {

using arrow::ArrayPtr;
using arrow::Field;

// Appends the rows of one series; floats and histograms interleave by time.
void AddSeries(query::Series series, MetricResult* out) {
  const size_t rows = series.values.size() + series.histograms.size();
  const size_t begin = out->times_ms.size();
  if (series.histograms.empty()) {
    out->times_ms.insert(out->times_ms.end(), series.times_ms.begin(), series.times_ms.end());
    out->values.insert(out->values.end(), series.values.begin(), series.values.end());
  } else {
    out->histograms.resize(begin);
    size_t f = 0;
    size_t h = 0;
    while (f < series.values.size() || h < series.histograms.size()) {
      const bool take_float =
          h == series.histograms.size() ||
          (f < series.values.size() && series.times_ms[f] < series.histogram_times_ms[h]);
      if (take_float) {
        out->times_ms.push_back(series.times_ms[f]);
        out->values.push_back(series.values[f++]);
        out->histograms.push_back(nullptr);
      } else {
        out->times_ms.push_back(series.histogram_times_ms[h]);
        out->values.push_back(std::numeric_limits<double>::quiet_NaN());
        out->histograms.push_back(std::move(series.histograms[h++]));
      }
    }
  }
  out->series.push_back(std::move(series.labels));
  out->offsets.push_back(begin + rows);
}

// What every label column needs: its values, and which of them each series has.
struct LabelColumn {
  std::string label;
  Field field;
  ArrayPtr dictionary;
  std::vector<int32_t> index_of_series;  // -1: the series has no such label
  bool nulls = false;
};

std::vector<LabelColumn> LabelColumns(const MetricResult& result, bool histogram) {
  std::map<std::string_view, size_t> at;
  for (const Labels& labels : result.series) {
    for (const LabelView& label : labels) at.emplace(label.name, 0);
  }
  std::vector<LabelColumn> out(at.size());
  size_t next = 0;
  for (auto& [name, index] : at) {
    index = next++;
    LabelColumn& column = out[index];
    column.label = name;
    std::string shown;
    arrow::AppendValidUtf8(name, &shown);
    while (shown == "time" || shown == "value" || (histogram && shown == "histogram") ||
           std::any_of(out.begin(), out.begin() + static_cast<ptrdiff_t>(index),
                       [&](const LabelColumn& other) { return other.field.name == shown; })) {
      shown += '_';
    }
    column.field = arrow::Dictionary(std::move(shown));
    column.index_of_series.assign(result.series.size(), -1);
  }
  std::vector<std::unordered_map<std::string_view, int32_t>> values(out.size());
  std::vector<arrow::TextBuilder> texts(out.size());
  for (size_t s = 0; s < result.series.size(); ++s) {
    for (const LabelView& label : result.series[s]) {
      const size_t c = at.at(label.name);
      const auto [entry, added] =
          values[c].emplace(label.value, static_cast<int32_t>(values[c].size()));
      if (added) texts[c].Append(label.value);
      out[c].index_of_series[s] = entry->second;
    }
  }
  for (size_t c = 0; c < out.size(); ++c) {
    out[c].dictionary = texts[c].Finish();
    out[c].nulls = std::find(out[c].index_of_series.begin(), out[c].index_of_series.end(), -1) !=
                   out[c].index_of_series.end();
    out[c].field.nullable = out[c].nulls;
  }
  return out;
}

class LongSourceImpl final : public arrow::Source {
 public:
  LongSourceImpl(std::shared_ptr<const MetricResult> result, int64_t rows_max)
      : result_(std::move(result)),
        rows_max_(static_cast<uint64_t>(std::max<int64_t>(rows_max, 1))),
        histograms_(!result_->histograms.empty()),
        labels_(LabelColumns(*result_, histograms_)) {
    fields_.push_back(arrow::TimestampMs("time"));
    fields_.push_back(arrow::Float64("value"));
    fields_.back().nullable = histograms_;
    for (const LabelColumn& column : labels_) fields_.push_back(column.field);
    if (histograms_) fields_.push_back(HistogramField());
  }

  const std::vector<Field>& fields() const override { return fields_; }

  Result<bool> Next(std::vector<ArrayPtr>* columns) override {
    if (row_ == result_->rows()) return false;
    const uint64_t count = std::min(rows_max_, result_->rows() - row_);
    const auto length = static_cast<int64_t>(count);
    columns->push_back(arrow::Fixed(length, result_->times_ms.data() + row_, result_));
    columns->push_back(Values(count));
    for (const LabelColumn& column : labels_) columns->push_back(Indexes(column, count));
    if (histograms_) {
      columns->push_back(
          HistogramColumn({result_->histograms.begin() + static_cast<ptrdiff_t>(row_),
                           result_->histograms.begin() + static_cast<ptrdiff_t>(row_ + count)}));
    }
    row_ += count;
    while (result_->offsets[series_ + 1] < row_ ||
           (result_->offsets[series_ + 1] == row_ && series_ + 1 < result_->series.size())) {
      ++series_;
    }
    return true;
  }

 private:
  ArrayPtr Values(uint64_t count) const {
    auto out = std::make_shared<arrow::Array>(
        *arrow::Fixed(static_cast<int64_t>(count), result_->values.data() + row_, result_));
    if (histograms_) {
      std::vector<bool> valid(count);
      for (uint64_t i = 0; i < count; ++i) {
        valid[i] = result_->histograms[row_ + i] == nullptr;
        out->null_count += valid[i] ? 0 : 1;
      }
      out->buffers[0] = arrow::MakeValidity(valid);
    }
    return out;
  }

  ArrayPtr Indexes(const LabelColumn& column, uint64_t count) const {
    std::vector<int32_t> indexes(count);
    size_t s = series_;
    for (uint64_t i = 0; i < count;) {
      while (result_->offsets[s + 1] <= row_ + i) ++s;
      const uint64_t end = std::min(count, result_->offsets[s + 1] - row_);
      std::fill(indexes.begin() + static_cast<ptrdiff_t>(i),
                indexes.begin() + static_cast<ptrdiff_t>(end), column.index_of_series[s]);
      i = end;
    }
    auto out = std::make_shared<arrow::Array>();
    out->length = static_cast<int64_t>(count);
    out->buffers.resize(1);
    if (column.nulls) {
      std::vector<bool> valid(count);
      for (uint64_t i = 0; i < count; ++i) {
        valid[i] = indexes[i] >= 0;
        if (valid[i]) continue;
        ++out->null_count;
        indexes[i] = 0;
      }
      if (out->null_count > 0) out->buffers[0] = arrow::MakeValidity(valid);
    }
    out->buffers.push_back(arrow::MakeBuffer(std::move(indexes)));
    out->dictionary = column.dictionary;
    return out;
  }

  const std::shared_ptr<const MetricResult> result_;
  const uint64_t rows_max_;
  const bool histograms_;
  const std::vector<LabelColumn> labels_;
  std::vector<Field> fields_;
  uint64_t row_ = 0;
  size_t series_ = 0;  // of row_
};

class SeriesSourceImpl final : public arrow::Source {
 public:
  explicit SeriesSourceImpl(std::shared_ptr<const MetricResult> result)
      : result_(std::move(result)), labels_(LabelColumns(*result_, false)) {
    for (const LabelColumn& column : labels_) {
      fields_.push_back(arrow::Utf8(column.field.name));
      fields_.back().nullable = column.nulls;
    }
    Field time = arrow::TimestampMs("item");
    Field value = arrow::Float64("item");
    fields_.push_back(arrow::List("time", std::move(time)));
    fields_.push_back(arrow::List("value", std::move(value)));
    // Large lists: a result may have more rows than an int32 counts.
    for (size_t i = fields_.size() - 2; i < fields_.size(); ++i) fields_[i].format = "+L";
  }

  const std::vector<Field>& fields() const override { return fields_; }

  Result<bool> Next(std::vector<ArrayPtr>* columns) override {
    if (done_ || result_->series.empty()) return false;
    done_ = true;
    for (const LabelColumn& column : labels_) {
      arrow::TextBuilder texts;
      for (const Labels& labels : result_->series) {
        const std::string_view value = labels.Get(column.label);
        if (value.empty()) {
          texts.AppendNull();
        } else {
          texts.Append(value);
        }
      }
      columns->push_back(texts.Finish());
    }
    const auto rows = static_cast<int64_t>(result_->rows());
    for (const void* data : {static_cast<const void*>(result_->times_ms.data()),
                             static_cast<const void*>(result_->values.data())}) {
      auto list = std::make_shared<arrow::Array>();
      list->length = static_cast<int64_t>(result_->series.size());
      list->buffers = {arrow::Buffer{}, arrow::Buffer{result_->offsets.data(), result_}};
      list->children = {arrow::Fixed(rows, data, result_)};
      columns->push_back(std::move(list));
    }
    return true;
  }

 private:
  const std::shared_ptr<const MetricResult> result_;
  const std::vector<LabelColumn> labels_;
  std::vector<Field> fields_;
  bool done_ = false;
};

}  // namespace

std::shared_ptr<const MetricResult> MakeColumns(query::QueryResult result) {
  auto out = std::make_shared<MetricResult>();
  out->annotations = std::move(result.annotations);
  out->statistics = std::move(result.statistics);
  if (const auto* scalar = std::get_if<query::Scalar>(&result.value)) {
    out->kind = Kind::kScalar;
    out->series.resize(1);
    out->times_ms = {scalar->time_ms};
    out->values = {scalar->value};
    out->offsets = {0, 1};
  } else if (auto* string = std::get_if<query::StringValue>(&result.value)) {
    out->kind = Kind::kString;
    out->text = std::move(string->value);
  } else if (auto* vector = std::get_if<query::Vector>(&result.value)) {
    out->kind = Kind::kVector;
    for (query::VectorSample& sample : *vector) {
      query::Series series;
      series.labels = std::move(sample.labels);
      if (sample.histogram != nullptr) {
        series.histogram_times_ms = {sample.time_ms};
        series.histograms.push_back(std::move(sample.histogram));
      } else {
        series.times_ms = {sample.time_ms};
        series.values = {sample.value};
      }
      AddSeries(std::move(series), out.get());
    }
  } else {
    auto& matrix = std::get<query::Matrix>(result.value);
    out->kind = Kind::kMatrix;
    uint64_t rows = 0;
    for (const query::Series& series : matrix) {
      rows += series.values.size() + series.histograms.size();
    }
    out->series.reserve(matrix.size());
    out->offsets.reserve(matrix.size() + 1);
    out->times_ms.reserve(rows);
    out->values.reserve(rows);
    for (query::Series& series : matrix) AddSeries(std::exchange(series, {}), out.get());
  }
  if (!out->histograms.empty()) out->histograms.resize(out->rows());
  return out;
}

std::unique_ptr<arrow::Source> LongSource(std::shared_ptr<const MetricResult> result,
                                          int64_t rows_max) {
  return std::make_unique<LongSourceImpl>(std::move(result), rows_max);
}

std::unique_ptr<arrow::Source> SeriesSource(std::shared_ptr<const MetricResult> result) {
  return std::make_unique<SeriesSourceImpl>(std::move(result));
}

}  // namespace varve::bindings
