#include "bindings/core/ingest.h"

#include <algorithm>
#include <optional>
#include <unordered_map>

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

}  // namespace

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
  using Texts = std::vector<std::string_view>;
  const auto required = [&](const char* name) { return table.Texts(name); };
  const auto optional = [&](const char* name) -> Result<Texts> {
    if (!Has(table, name)) return Texts(table.rows());
    return table.Texts(name);
  };
  const Result<Texts> columns[] = {
      required("trace_id"),  required("span_id"),        required("name"),
      optional("parent_id"), optional("service"),        optional("kind"),
      optional("status"),    optional("status_message"), optional("trace_state")};
  for (const Result<Texts>& column : columns) {
    if (!column.ok()) return column.status();
  }
  const Texts& trace_ids = *columns[0];
  const Texts& span_ids = *columns[1];
  const Texts& names = *columns[2];
  const Texts& parent_ids = *columns[3];
  const Texts& services = *columns[4];
  const Texts& kinds = *columns[5];
  const Texts& statuses = *columns[6];
  const Texts& messages = *columns[7];
  const Texts& trace_states = *columns[8];
  const auto starts = TimesNs(table, "start", shape.unit_ns);
  if (!starts.ok()) return starts.status();
  std::vector<int64_t> ends;
  if (Has(table, "end")) {
    auto given = TimesNs(table, "end", shape.unit_ns);
    if (!given.ok()) return given.status();
    ends = *std::move(given);
  } else {
    int64_t unit_ns = 0;
    auto durations = table.Integers("duration_ns", &unit_ns);
    if (!durations.ok()) return durations.status();
    ends = *std::move(durations);
    for (size_t i = 0; i < ends.size(); ++i) {
      if (__builtin_add_overflow((*starts)[i], ends[i], &ends[i])) {
        return Bad("duration_ns", i, "the span ends after the year 2262");
      }
    }
  }
  const auto typed = AttributeColumns::Make(table, shape.attributes);
  if (!typed.ok()) return typed.status();
  const auto attributes = LabelColumns::Make(table, {}, "attributes", false);
  if (!attributes.ok()) return attributes.status();
  const auto resources = LabelColumns::Make(table, {}, "resource", false);
  if (!resources.ok()) return resources.status();

  RowCounts total;
  SpanBatch batch;
  std::unordered_map<std::string, uint32_t> scopes;  // of this batch, by resource
  std::vector<LabelView> pairs;
  std::vector<AttributeView> views;
  for (size_t begin = 0; begin < table.rows();) {
    batch.Clear();
    scopes.clear();
    size_t bytes = 0;
    size_t i = begin;
    for (; i < table.rows() && i - begin < kBatchRows && bytes < kBatchBytes; ++i) {
      resources->Read(i, &pairs);
      if (services[i].data() != nullptr && !services[i].empty()) {
        std::erase_if(pairs, [](const LabelView& pair) { return pair.name == "service.name"; });
        pairs.push_back({"service.name", services[i]});
      }
      const auto [found, added] = scopes.try_emplace(KeyOfRow(pairs), 0);
      if (added) {
        views.clear();
        for (const LabelView& pair : pairs) {
          views.push_back({pair.name, ValueView::String(pair.value)});
          bytes += pair.name.size() + pair.value.size();
        }
        found->second = batch.AddScope(batch.AddResource(views), {}, {});
      }
      SpanBatch::Span span;
      span.scope = found->second;
      const auto trace_id = ParseTraceId(trace_ids[i]);
      if (!trace_id.has_value()) {
        return After(Bad("trace_id", i, "not 1 to 32 hex digits"), begin);
      }
      const auto span_id = ParseSpanId(span_ids[i]);
      if (!span_id.has_value()) return After(Bad("span_id", i, "not 1 to 16 hex digits"), begin);
      span.trace_id = *trace_id;
      span.span_id = *span_id;
      if (!parent_ids[i].empty()) {
        const auto parent_id = ParseSpanId(parent_ids[i]);
        if (!parent_id.has_value()) {
          return After(Bad("parent_id", i, "not 1 to 16 hex digits"), begin);
        }
        span.parent_id = *parent_id;
      }
      span.name = names[i];
      if (!kinds[i].empty()) {
        const auto kind = SpanKindOf(kinds[i]);
        if (!kind.has_value()) {
          return After(Bad("kind", i, "\"" + std::string(kinds[i]) + "\" is not a kind of span"),
                       begin);
        }
        span.kind = *kind;
      }
      if (!statuses[i].empty()) {
        const auto status = SpanStatusOf(statuses[i]);
        if (!status.has_value()) {
          return After(Bad("status", i, "\"" + std::string(statuses[i]) + "\" is not a status"),
                       begin);
        }
        span.status = *status;
      }
      span.status_message = messages[i];
      span.trace_state = trace_states[i];
      span.start_ns = (*starts)[i];
      span.end_ns = ends[i];
      views.clear();
      attributes->Read(i, &pairs);
      for (const LabelView& pair : pairs) {
        views.push_back({pair.name, ValueView::String(pair.value)});
      }
      typed->Add(i, &views);
      bytes += span.name.size() + span.status_message.size() + span.trace_state.size() + 64;
      for (const AttributeView& view : views) bytes += view.key.size() + view.value.text.size() + 8;
      batch.AddSpan(span, views);
    }
    const WriteOptions write = OptionsOf(options, i == table.rows());
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
