#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "bindings/core/arrow.h"
#include "varve/labels.h"
#include "varve/query.h"
#include "varve/scan.h"
#include "varve/status.h"

namespace varve::bindings {

/// The columns of a stream of samples: `metric`, `labels` (a map, without the name), `time`,
/// `value` and `histogram`, of which each row has one.
std::vector<arrow::Field> SampleFields();

/// Collects rows of these columns. Names and labels must live until Finish.
class SampleRows {
 public:
  void Append(std::string_view name, LabelsView labels, int64_t time_ms, double value);
  void Append(std::string_view name, LabelsView labels, int64_t time_ms,
              query::HistogramPtr histogram);
  size_t rows() const { return times_.size(); }
  size_t text_bytes() const { return labels_.bytes(); }
  /// Ends the batch; call it once, after at least one row.
  void Finish(std::vector<arrow::ArrayPtr>* columns);

 private:
  void AppendKey(std::string_view name, LabelsView labels, int64_t time_ms);

  std::vector<int32_t> metric_;
  arrow::TextBuilder names_;  // the dictionary of this batch
  std::unordered_map<std::string_view, int32_t> number_of_name_;
  std::string_view last_name_;
  int32_t last_number_ = 0;
  arrow::MapBuilder labels_;
  std::vector<int64_t> times_;
  std::vector<double> values_;
  std::vector<query::HistogramPtr> histograms_;
  int64_t histogram_rows_ = 0;
};

/// Streams samples as they are stored, series by series, times ascending within each. Holds the
/// snapshot, one series' chunks and one batch of at most `rows_max` rows.
/// Errors: those of Snapshot::Select.
Result<std::unique_ptr<arrow::Source>> SampleSource(std::shared_ptr<const Snapshot> snapshot,
                                                    std::vector<Matcher> matchers, TimeRange range,
                                                    int64_t rows_max);

}  // namespace varve::bindings
