#include "bindings/core/search.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

namespace varve::bindings {
namespace {

using arrow::ArrayPtr;

constexpr size_t kTextBytesMax = 64u << 20;

class LogSourceImpl final : public arrow::Source {
 public:
  LogSourceImpl(std::shared_ptr<const LogResult> result, int64_t rows_max)
      : result_(std::move(result)),
        rows_max_(static_cast<size_t>(std::max<int64_t>(rows_max, 1))),
        fields_{arrow::TimestampNs("time"), arrow::Utf8("line"), arrow::Map("labels")} {}

  const std::vector<arrow::Field>& fields() const override { return fields_; }

  Result<bool> Next(std::vector<ArrayPtr>* columns) override {
    std::vector<int64_t> times;
    arrow::TextBuilder lines;
    arrow::MapBuilder labels;
    for (; row_ < result_->entries.size() && times.size() < rows_max_ &&
           lines.bytes() < kTextBytesMax && labels.bytes() < kTextBytesMax;
         ++row_) {
      const LogResult::Entry& entry = result_->entries[row_];
      times.push_back(entry.time_ns);
      lines.Append(entry.line);
      for (const auto& [name, value] : result_->labels[entry.stream]) labels.Add(name, value);
      labels.EndRow();
    }
    if (times.empty()) return false;
    columns->push_back(arrow::Fixed(std::move(times)));
    columns->push_back(lines.Finish());
    columns->push_back(labels.Finish());
    return true;
  }

 private:
  const std::shared_ptr<const LogResult> result_;
  const size_t rows_max_;
  const std::vector<arrow::Field> fields_;
  size_t row_ = 0;
};

class TraceSourceImpl final : public arrow::Source {
 public:
  explicit TraceSourceImpl(std::shared_ptr<const query::SearchResult> result)
      : result_(std::move(result)),
        fields_{arrow::Utf8("trace_id"),     arrow::Utf8("root_service"), arrow::Utf8("root_name"),
                arrow::TimestampNs("start"), arrow::Int64("duration_ns"), arrow::Uint64("spans"),
                arrow::Uint64("errors"),     arrow::Uint64("matched")} {}

  const std::vector<arrow::Field>& fields() const override { return fields_; }

  Result<bool> Next(std::vector<ArrayPtr>* columns) override {
    if (std::exchange(done_, true) || result_->traces.empty()) return false;
    arrow::TextBuilder ids;
    arrow::TextBuilder services;
    arrow::TextBuilder names;
    std::vector<int64_t> starts;
    std::vector<int64_t> durations;
    std::vector<uint64_t> spans;
    std::vector<uint64_t> errors;
    std::vector<uint64_t> matched;
    for (const query::TraceSummary& trace : result_->traces) {
      ids.Append(ToString(trace.id));
      services.Append(trace.root_service);
      names.Append(trace.root_name);
      starts.push_back(trace.start_ns);
      durations.push_back(trace.duration_ns);
      spans.push_back(trace.spans);
      errors.push_back(trace.errors);
      uint64_t sum = 0;
      for (const query::Spanset& set : trace.spansets) sum += set.matched;
      matched.push_back(sum);
    }
    columns->push_back(ids.Finish());
    columns->push_back(services.Finish());
    columns->push_back(names.Finish());
    columns->push_back(arrow::Fixed(std::move(starts)));
    columns->push_back(arrow::Fixed(std::move(durations)));
    columns->push_back(arrow::Fixed(std::move(spans)));
    columns->push_back(arrow::Fixed(std::move(errors)));
    columns->push_back(arrow::Fixed(std::move(matched)));
    return true;
  }

 private:
  const std::shared_ptr<const query::SearchResult> result_;
  const std::vector<arrow::Field> fields_;
  bool done_ = false;
};

}  // namespace

std::unique_ptr<arrow::Source> LogSource(std::shared_ptr<const LogResult> result,
                                         int64_t rows_max) {
  return std::make_unique<LogSourceImpl>(std::move(result), rows_max);
}

std::unique_ptr<arrow::Source> TraceSource(std::shared_ptr<const query::SearchResult> result) {
  return std::make_unique<TraceSourceImpl>(std::move(result));
}

std::string FormatAnalysis(const query::TraceSearchStats& stats) {
  const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(stats.total_time);
  return "total " + std::to_string(micros.count() / 1000) + "." +
         std::to_string(micros.count() % 1000 / 100) +
         " ms: " + std::to_string(stats.traces_inspected) + " traces of " +
         std::to_string(stats.spans_inspected) + " spans inspected; " +
         std::to_string(stats.scan.spans) + " spans tested, " +
         std::to_string(stats.scan.spans_matched) + " matched; " +
         std::to_string(stats.scan.blocks) + " blocks, " +
         std::to_string(stats.scan.blocks_skipped) + " skipped; " +
         std::to_string(stats.scan.bytes_decompressed) + " bytes decompressed\n";
}

std::shared_ptr<const LogResult> MakeLogResult(query::LogQueryResult result, bool backward) {
  auto out = std::make_shared<LogResult>();
  out->warnings = std::move(result.warnings);
  out->analysis = query::LogEngine::FormatAnalysis(result.statistics);
  if (auto* streams = std::get_if<query::Streams>(&result.value)) {
    for (query::LogStream& stream : *streams) {
      const auto number = static_cast<uint32_t>(out->labels.size());
      out->labels.push_back(query::FoldedLabels(stream));
      for (query::LogEntry& entry : stream.entries) {
        out->entries.push_back({entry.time_ns, number, std::move(entry.line)});
      }
    }
  }
  std::stable_sort(out->entries.begin(), out->entries.end(),
                   [backward](const LogResult::Entry& a, const LogResult::Entry& b) {
                     return backward ? a.time_ns > b.time_ns : a.time_ns < b.time_ns;
                   });
  return out;
}

}  // namespace varve::bindings
