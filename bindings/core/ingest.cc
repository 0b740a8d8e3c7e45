#include "bindings/core/ingest.h"

#include <algorithm>
#include <optional>
#include <unordered_map>

#include "bindings/core/histograms.h"
#include "bindings/core/spans.h"
#include "varve/log_batch.h"
#include "varve/span_batch.h"

namespace varve::bindings {
namespace {

// A batch is one record of the log, which holds 64 MiB.
constexpr size_t kBatchBytes = 16u << 20;
constexpr size_t kBatchRows = 200'000;

Status Bad(std::string_view column, size_t row, const std::string& message) {
  return MakeStatus(StatusCode::kInvalidArgument, "column \"" + std::string(column) + "\", row " +
                                                      std::to_string(row) + ": " + message);
}

bool Has(const arrow::Table& table, std::string_view name) {
  return !name.empty() && !table.KindOf(name).empty();
}

Result<std::vector<int64_t>> TimesNs(const arrow::Table& table, const std::string& name,
                                     int64_t integer_unit_ns) {
  int64_t unit_ns = 0;
  Result<std::vector<int64_t>> times = table.Integers(name, &unit_ns);
  if (!times.ok()) return times;
  if (unit_ns == 0) unit_ns = integer_unit_ns;
  if (unit_ns <= 0) {
    return MakeStatus(StatusCode::kInvalidArgument,
                      "column \"" + name + "\" holds integers, whose unit is not given");
  }
  for (size_t i = 0; i < times->size(); ++i) {
    int64_t& time = (*times)[i];
    const int64_t given = time;
    if (__builtin_mul_overflow(given, unit_ns, &time)) {
      return Bad(name, i,
                 "the time " + std::to_string(given) +
                     " is outside the years 1678 to 2262; is its unit right?");
    }
  }
  return times;
}

// Reads timestamps as milliseconds, rounded down.
Result<std::vector<int64_t>> TimesMs(const arrow::Table& table, const std::string& name) {
  int64_t unit_ns = 0;
  Result<std::vector<int64_t>> times = table.Integers(name, &unit_ns);
  if (!times.ok()) return times;
  if (unit_ns <= 0) {
    return MakeStatus(StatusCode::kInvalidArgument,
                      "column \"" + name + "\" holds integers, whose unit is not given");
  }
  constexpr int64_t kMs = 1'000'000;
  for (size_t i = 0; i < times->size(); ++i) {
    int64_t& time = (*times)[i];
    const int64_t given = time;
    if (unit_ns < kMs) {
      const int64_t divide = kMs / unit_ns;
      time = given / divide - (given % divide < 0 ? 1 : 0);
    } else if (__builtin_mul_overflow(given, unit_ns / kMs, &time)) {
      time = kMaxTime;
    }
    if (time < kTimeMsMin || time > kTimeMsMax) {
      return Bad(name, i,
                 "the time " + std::to_string(given) + " is not between the years 1 and 9999");
    }
  }
  return times;
}

// Label columns and a map of more of them, read row by row.
class LabelColumns {
 public:
  static Result<LabelColumns> Make(const arrow::Table& table, const std::vector<std::string>& names,
                                   const std::string& map, bool empty_is_absent) {
    LabelColumns out;
    out.empty_is_absent_ = empty_is_absent;
    for (const std::string& name : names) {
      auto texts = table.Texts(name);
      if (!texts.ok()) return texts.status();
      out.columns_.emplace_back(name, *std::move(texts));
    }
    if (Has(table, map)) {
      auto maps = table.TextMaps(map);
      if (!maps.ok()) return maps.status();
      out.maps_ = *std::move(maps);
    }
    return out;
  }

  // Replaces `out` by the labels of a row, in no order.
  void Read(size_t row, std::vector<LabelView>* out) const {
    out->clear();
    for (const auto& [name, texts] : columns_) {
      const std::string_view text = texts[row];
      if (text.data() == nullptr || (empty_is_absent_ && text.empty())) continue;
      out->push_back({name, text});
    }
    if (maps_.begin.size() > row + 1) {
      for (uint64_t i = maps_.begin[row]; i < maps_.begin[row + 1]; ++i) {
        const LabelView& label = maps_.entries[i];
        if (empty_is_absent_ && label.value.empty()) continue;
        out->push_back(label);
      }
    }
  }

 private:
  std::vector<std::pair<std::string, std::vector<std::string_view>>> columns_;
  arrow::Table::Maps maps_;
  bool empty_is_absent_ = false;
};

// Says how the batch that ends at `last` is written.
WriteOptions OptionsOf(const WriteOptions& options, bool last) {
  WriteOptions out = options;
  if (!last) out.durability = Durability::kProcessCrash;
  return out;
}

Status After(const Status& status, uint64_t rows) {
  if (rows == 0) return status;
  return MakeStatus(status.code(), std::string(status.message().data(), status.message().size()) +
                                       " (the first " + std::to_string(rows) + " rows are stored)");
}

std::string KeyOfRow(const std::vector<LabelView>& labels) {
  std::string key;
  for (const LabelView& label : labels) {
    for (const std::string_view text : {label.name, label.value}) {
      const uint64_t size = text.size();
      key.append(reinterpret_cast<const char*>(&size), sizeof(size)).append(text);
    }
  }
  return key;
}

// Attributes of one row of a span table.
class AttributeColumns {
 public:
  static Result<AttributeColumns> Make(const arrow::Table& table,
                                       const std::vector<std::string>& names) {
    AttributeColumns out;
    for (const std::string& name : names) {
      Column& column = out.columns_.emplace_back();
      column.name = name;
      const std::string kind = table.KindOf(name);
      if (kind == "integer") {
        int64_t unit_ns = 0;
        auto values = table.Integers(name, &unit_ns);
        if (!values.ok()) return values.status();
        column.integers = *std::move(values);
      } else if (kind == "float") {
        auto values = table.Floats(name);
        if (!values.ok()) return values.status();
        column.numbers = *std::move(values);
      } else {
        auto values = table.Texts(name);
        if (!values.ok()) return values.status();
        column.texts = *std::move(values);
      }
    }
    return out;
  }

  void Add(size_t row, std::vector<AttributeView>* out) const {
    for (const Column& column : columns_) {
      if (!column.integers.empty()) {
        out->push_back({column.name, ValueView::Int(column.integers[row])});
      } else if (!column.numbers.empty()) {
        out->push_back({column.name, ValueView::Double(column.numbers[row])});
      } else if (column.texts[row].data() != nullptr) {
        out->push_back({column.name, ValueView::String(column.texts[row])});
      }
    }
  }

 private:
  struct Column {
    std::string name;
    std::vector<int64_t> integers;
    std::vector<double> numbers;
    std::vector<std::string_view> texts;
  };
  std::vector<Column> columns_;
};

// The columns of a table of spans, read row by row.
class SpanTableColumns {
 public:
  static Result<SpanTableColumns> Make(const arrow::Table& table, const SpanTableShape& shape) {
    SpanTableColumns out;
    struct Wanted {
      const char* name;
      Texts* column;
      bool required;
    };
    for (const Wanted& wanted :
         {Wanted{"trace_id", &out.trace_ids_, true}, Wanted{"span_id", &out.span_ids_, true},
          Wanted{"name", &out.names_, true}, Wanted{"parent_id", &out.parent_ids_, false},
          Wanted{"service", &out.services_, false}, Wanted{"kind", &out.kinds_, false},
          Wanted{"status", &out.statuses_, false}, Wanted{"status_message", &out.messages_, false},
          Wanted{"trace_state", &out.trace_states_, false}}) {
      if (!wanted.required && !Has(table, wanted.name)) {
        wanted.column->resize(table.rows());
        continue;
      }
      Result<Texts> texts = table.Texts(wanted.name);
      if (!texts.ok()) return texts.status();
      *wanted.column = *std::move(texts);
    }
    if (Status status = out.ReadTimes(table, shape.unit_ns); !status.ok()) return status;
    Result<AttributeColumns> typed = AttributeColumns::Make(table, shape.attributes);
    if (!typed.ok()) return typed.status();
    out.typed_ = *std::move(typed);
    Result<LabelColumns> attributes = LabelColumns::Make(table, {}, "attributes", false);
    if (!attributes.ok()) return attributes.status();
    out.attributes_ = *std::move(attributes);
    Result<LabelColumns> resources = LabelColumns::Make(table, {}, "resource", false);
    if (!resources.ok()) return resources.status();
    out.resources_ = *std::move(resources);
    return out;
  }

  size_t rows() const { return names_.size(); }

  // Replaces `out` by the attributes of the resource, `service` among them.
  void ReadResource(size_t row, std::vector<LabelView>* out) const {
    resources_.Read(row, out);
    if (services_[row].empty()) return;
    std::erase_if(*out, [](const LabelView& pair) { return pair.name == "service.name"; });
    out->push_back({"service.name", services_[row]});
  }

  // Fills everything but the scope. Errors name column and row.
  Status ReadSpan(size_t row, SpanBatch::Span* span) const {
    const auto trace_id = ParseTraceId(trace_ids_[row]);
    if (!trace_id.has_value()) return Bad("trace_id", row, "not 1 to 32 hex digits");
    const auto span_id = ParseSpanId(span_ids_[row]);
    if (!span_id.has_value()) return Bad("span_id", row, "not 1 to 16 hex digits");
    span->trace_id = *trace_id;
    span->span_id = *span_id;
    if (!parent_ids_[row].empty()) {
      const auto parent_id = ParseSpanId(parent_ids_[row]);
      if (!parent_id.has_value()) return Bad("parent_id", row, "not 1 to 16 hex digits");
      span->parent_id = *parent_id;
    }
    if (const std::string_view text = kinds_[row]; !text.empty()) {
      const auto kind = SpanKindOf(text);
      if (!kind.has_value()) {
        return Bad("kind", row, "\"" + std::string(text) + "\" is not a kind of span");
      }
      span->kind = *kind;
    }
    if (const std::string_view text = statuses_[row]; !text.empty()) {
      const auto status = SpanStatusOf(text);
      if (!status.has_value()) {
        return Bad("status", row, "\"" + std::string(text) + "\" is not a status");
      }
      span->status = *status;
    }
    span->name = names_[row];
    span->status_message = messages_[row];
    span->trace_state = trace_states_[row];
    span->start_ns = starts_[row];
    span->end_ns = ends_[row];
    return absl::OkStatus();
  }

  // Replaces `out` by the attributes of the map and of the columns that become some; `pairs` is
  // scratch.
  void ReadAttributes(size_t row, std::vector<LabelView>* pairs,
                      std::vector<AttributeView>* out) const {
    attributes_.Read(row, pairs);
    out->clear();
    for (const LabelView& pair : *pairs) {
      out->push_back({pair.name, ValueView::String(pair.value)});
    }
    typed_.Add(row, out);
  }

 private:
  using Texts = std::vector<std::string_view>;

  Status ReadTimes(const arrow::Table& table, int64_t unit_ns) {
    Result<std::vector<int64_t>> starts = TimesNs(table, "start", unit_ns);
    if (!starts.ok()) return starts.status();
    starts_ = *std::move(starts);
    if (Has(table, "end")) {
      Result<std::vector<int64_t>> ends = TimesNs(table, "end", unit_ns);
      if (!ends.ok()) return ends.status();
      ends_ = *std::move(ends);
      return absl::OkStatus();
    }
    int64_t unused_unit_ns = 0;
    Result<std::vector<int64_t>> durations = table.Integers("duration_ns", &unused_unit_ns);
    if (!durations.ok()) return durations.status();
    ends_ = *std::move(durations);
    for (size_t i = 0; i < ends_.size(); ++i) {
      if (__builtin_add_overflow(starts_[i], ends_[i], &ends_[i])) {
        return Bad("duration_ns", i, "the span ends after the year 2262");
      }
    }
    return absl::OkStatus();
  }

  Texts trace_ids_;
  Texts span_ids_;
  Texts names_;
  Texts parent_ids_;
  Texts services_;
  Texts kinds_;
  Texts statuses_;
  Texts messages_;
  Texts trace_states_;
  std::vector<int64_t> starts_;
  std::vector<int64_t> ends_;
  AttributeColumns typed_;
  LabelColumns attributes_;
  LabelColumns resources_;
};

}  // namespace

Result<RowCounts> AppendSampleTable(Store& store, const arrow::Table& table,
                                    const WriteOptions& options) {
  const auto times = TimesMs(table, "time");
  if (!times.ok()) return times.status();
  const auto names = table.Texts("metric");
  if (!names.ok()) return names.status();
  const auto labels = LabelColumns::Make(table, {}, "labels", true);
  if (!labels.ok()) return labels.status();
  Result<std::vector<double>> values = std::vector<double>(table.rows());
  if (Has(table, "value")) values = table.Floats("value");
  if (!values.ok()) return values.status();
  Result<Histograms> histograms = Histograms();
  if (Has(table, "histogram")) histograms = ReadHistograms(table, "histogram");
  if (!histograms.ok()) return histograms.status();
  histograms->rows.resize(table.rows());

  RowCounts total;
  WriteBatch batch;
  std::unordered_map<std::string, uint32_t> series;  // of this batch
  std::vector<LabelView> row_labels;
  for (size_t begin = 0; begin < times->size();) {
    batch.Clear();
    series.clear();
    size_t bytes = 0;
    size_t i = begin;
    for (; i < times->size() && i - begin < kBatchRows && bytes < kBatchBytes; ++i) {
      labels->Read(i, &row_labels);
      std::erase_if(row_labels, [](const LabelView& label) { return label.name == kMetricName; });
      row_labels.push_back({kMetricName, (*names)[i]});
      const auto [found, added] = series.try_emplace(KeyOfRow(row_labels), 0);
      if (added) {
        const Result<Labels> canonical = Labels::Make(row_labels);
        if (!canonical.ok()) {
          return After(Bad("labels", i, std::string(canonical.status().message())), begin);
        }
        found->second = batch.AddSeries(canonical->view());
        bytes += found->first.size();
      }
      const query::HistogramPtr& histogram = histograms->rows[i];
      if (histogram == nullptr) {
        batch.AddSample(found->second, (*times)[i], (*values)[i]);
        bytes += 20;
        continue;
      }
      Result<Histogram> stored = ToStored(*histogram);
      if (!stored.ok()) {
        return After(Bad("histogram", i, std::string(stored.status().message())), begin);
      }
      bytes += StoredBytes(*stored);
      batch.AddHistogram(found->second, (*times)[i], *std::move(stored));
    }
    const WriteOptions write = OptionsOf(options, i == times->size());
    const Result<AppendResult> done =
        store.Call([&](Database& database) { return database.Append(batch, write); });
    if (!done.ok()) return After(done.status(), begin);
    total.rows += done->samples + done->histograms;
    total.rejected += done->rejected;
    begin = i;
  }
  return total;
}

Result<RowCounts> AppendLogTable(Store& store, const arrow::Table& table,
                                 const LogTableShape& shape, const WriteOptions& options) {
  const auto times = TimesNs(table, shape.time, shape.unit_ns);
  if (!times.ok()) return times.status();
  const auto lines = table.Texts(shape.line);
  if (!lines.ok()) return lines.status();
  const auto labels = LabelColumns::Make(table, shape.labels, shape.labels_map, true);
  if (!labels.ok()) return labels.status();
  const auto metadata = LabelColumns::Make(table, shape.metadata, shape.metadata_map, false);
  if (!metadata.ok()) return metadata.status();

  RowCounts total;
  LogBatch batch;
  std::unordered_map<std::string, uint32_t> streams;  // of this batch
  std::vector<LabelView> row_labels;
  std::vector<LabelView> row_metadata;
  for (size_t begin = 0; begin < times->size();) {
    batch.Clear();
    streams.clear();
    size_t bytes = 0;
    size_t i = begin;
    for (; i < times->size() && i - begin < kBatchRows && bytes < kBatchBytes; ++i) {
      labels->Read(i, &row_labels);
      const auto [found, added] = streams.try_emplace(KeyOfRow(row_labels), 0);
      if (added) {
        row_labels.insert(row_labels.end(), shape.fixed_labels.begin(), shape.fixed_labels.end());
        const Result<Labels> canonical = Labels::Make(row_labels);
        if (!canonical.ok()) {
          return After(Bad(shape.line, i, std::string(canonical.status().message())), begin);
        }
        found->second = batch.AddStream(canonical->view());
      }
      metadata->Read(i, &row_metadata);
      std::sort(row_metadata.begin(), row_metadata.end());
      const std::string_view line = (*lines)[i];
      bytes += line.size() + 32;
      for (const LabelView& label : row_metadata) bytes += label.name.size() + label.value.size();
      batch.AddEntry(found->second, (*times)[i], line, row_metadata);
    }
    const WriteOptions write = OptionsOf(options, i == times->size());
    const Result<LogAppendResult> done =
        store.Call([&](Database& database) { return database.AppendLogs(batch, write); });
    if (!done.ok()) return After(done.status(), begin);
    total.rows += done->entries;
    total.rejected += done->rejected;
    begin = i;
  }
  return total;
}

Result<RowCounts> AppendSpanTable(Store& store, const arrow::Table& table,
                                  const SpanTableShape& shape, const WriteOptions& options) {
  const Result<SpanTableColumns> columns = SpanTableColumns::Make(table, shape);
  if (!columns.ok()) return columns.status();
  RowCounts total;
  SpanBatch batch;
  std::unordered_map<std::string, uint32_t> scopes;  // of this batch, by resource
  std::vector<LabelView> pairs;
  std::vector<AttributeView> attributes;
  for (size_t begin = 0; begin < columns->rows();) {
    batch.Clear();
    scopes.clear();
    size_t bytes = 0;
    size_t i = begin;
    for (; i < columns->rows() && i - begin < kBatchRows && bytes < kBatchBytes; ++i) {
      columns->ReadResource(i, &pairs);
      const auto [found, added] = scopes.try_emplace(KeyOfRow(pairs), 0);
      if (added) {
        attributes.clear();
        for (const LabelView& pair : pairs) {
          attributes.push_back({pair.name, ValueView::String(pair.value)});
          bytes += pair.name.size() + pair.value.size();
        }
        found->second = batch.AddScope(batch.AddResource(attributes), {}, {});
      }
      SpanBatch::Span span;
      span.scope = found->second;
      if (Status status = columns->ReadSpan(i, &span); !status.ok()) return After(status, begin);
      columns->ReadAttributes(i, &pairs, &attributes);
      bytes += span.name.size() + span.status_message.size() + span.trace_state.size() + 64;
      for (const AttributeView& attribute : attributes) {
        bytes += attribute.key.size() + attribute.value.text.size() + 8;
      }
      batch.AddSpan(span, attributes);
    }
    const WriteOptions write = OptionsOf(options, i == columns->rows());
    const Result<SpanAppendResult> done =
        store.Call([&](Database& database) { return database.AppendSpans(batch, write); });
    if (!done.ok()) return After(done.status(), begin);
    total.rows += done->spans;
    total.rejected += done->rejected;
    begin = i;
  }
  return total;
}

}  // namespace varve::bindings
