// Logs, LogQL and TraceQL; metrics are in store.cc, spans in spans.cc.

#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <optional>

#include "bindings/core/ingest.h"
#include "bindings/core/logs.h"
#include "bindings/core/store.h"
#include "bindings/python/src/common.h"
#include "bindings/python/src/values.h"

namespace varve::python {
namespace {

using bindings::Store;
template <typename T>
using Input = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// One atomic batch stays below what a record of the log holds (64 MiB).
constexpr size_t kBatchBytes = 16u << 20;
constexpr size_t kBatchRows = 200'000;

// Reads a dict of str to str, sorted by key, bytes kept in `batch`.
std::vector<LabelView> MetadataOf(nb::handle mapping, LogBatch* batch) {
  std::vector<LabelView> out;
  if (mapping.is_none()) return out;
  if (!PyDict_Check(mapping.ptr())) throw nb::type_error("metadata must be dicts of str to str");
  PyObject* name = nullptr;
  PyObject* value = nullptr;
  for (Py_ssize_t at = 0; PyDict_Next(mapping.ptr(), &at, &name, &value) != 0;) {
    out.push_back({batch->Copy(BytesOf(name, "a metadata name")),
                   batch->Copy(BytesOf(value, "a metadata value"))});
  }
  std::sort(out.begin(), out.end());
  return out;
}

nb::tuple AppendLogs(Store& self, nb::list streams, std::optional<Input<uint32_t>> numbers,
                     const Input<int64_t>& times, int64_t unit_ns, nb::list lines,
                     std::optional<nb::list> metadata, std::optional<bool> durable, bool partial) {
  const size_t rows = times.size();
  if (lines.size() != rows) {
    throw nb::value_error(
        (std::to_string(rows) + " times but " + std::to_string(lines.size()) + " lines").c_str());
  }
  if ((numbers.has_value() && numbers->size() != rows) ||
      (metadata.has_value() && metadata->size() != rows)) {
    throw nb::value_error("streams, times, lines and metadata differ in length");
  }
  std::vector<Labels> labels;
  for (const nb::handle set : streams) labels.push_back(LabelsOf(set));
  if (labels.empty() && rows > 0) throw nb::value_error("no streams");
  uint64_t stored = 0;
  uint64_t rejected = 0;
  LogBatch batch;
  std::vector<uint32_t> index_of(labels.size());
  std::vector<bool> in_batch;
  for (size_t begin = 0; begin < rows;) {
    batch.Clear();
    in_batch.assign(labels.size(), false);
    size_t bytes = 0;
    size_t i = begin;
    for (; i < rows && i - begin < kBatchRows && bytes < kBatchBytes; ++i) {
      const uint32_t number = numbers.has_value() ? numbers->data()[i] : 0;
      if (number >= labels.size()) throw nb::value_error("a stream number is out of range");
      int64_t time_ns = 0;
      if (__builtin_mul_overflow(times.data()[i], unit_ns, &time_ns)) {
        throw nb::value_error(("row " + std::to_string(i) +
                               ": the time is outside the years 1678 to 2262; is its unit right?")
                                  .c_str());
      }
      if (!in_batch[number]) {
        in_batch[number] = true;
        index_of[number] = batch.AddStream(labels[number].view());
      }
      const std::string_view line = batch.Copy(BytesOf(lines[i], "a line"));
      std::vector<LabelView> own;
      if (metadata.has_value()) own = MetadataOf((*metadata)[i], &batch);
      bytes += line.size() + 32;
      for (const LabelView& label : own) bytes += label.name.size() + label.value.size();
      batch.AddEntry(index_of[number], time_ns, line, own);
    }
    const WriteOptions options =
        WriteOptionsOf(i == rows ? durable : std::optional(false), partial);
    const LogAppendResult done = ValueOrRaise(Unlocked([&] {
      return self.Call([&](Database& database) { return database.AppendLogs(batch, options); });
    }));
    stored += done.entries;
    rejected += done.rejected;
    begin = i;
  }
  return nb::make_tuple(stored, rejected);
}

nb::tuple AppendLogTable(Store& self, const arrow::Table& table, const std::string& time,
                         const std::string& line, std::vector<std::string> labels,
                         const std::string& labels_map, nb::dict fixed,
                         std::vector<std::string> metadata, const std::string& metadata_map,
                         int64_t unit_ns, std::optional<bool> durable, bool partial) {
  const bindings::LogTableShape shape{
      time,         line,   std::move(labels), labels_map, LabelsOf(fixed), std::move(metadata),
      metadata_map, unit_ns};
  const WriteOptions options = WriteOptionsOf(durable, partial);
  const bindings::RowCounts done =
      ValueOrRaise(Unlocked([&] { return bindings::AppendLogTable(self, table, shape, options); }));
  return nb::make_tuple(done.rows, done.rejected);
}

// --- LogQL and TraceQL ---

nb::object LogQl(Store& self, const std::string& text, int64_t start_ns, int64_t end_ns,
                 int64_t step_ns, uint32_t limit, bool backward, bool instant,
                 std::optional<int64_t> timeout_ms) {
  const auto cancellation = std::make_shared<query::Cancellation>();
  query::LogQueryOptions options;
  options.cancellation = cancellation;
  options.analyze = true;
  if (timeout_ms.has_value()) options.timeout = std::chrono::milliseconds(*timeout_ms);
  query::LogQueryRange range;
  range.start_ns = start_ns;
  range.end_ns = end_ns;
  range.step_ns = step_ns;
  range.limit = limit;
  range.direction = backward ? query::LogDirection::kBackward : query::LogDirection::kForward;
  Store::LogAnswer answer = ValueOrRaise(
      Interruptible(cancellation.get(), [&] { return self.LogQl(text, range, instant, options); }),
      text);
  if (answer.entries != nullptr) {
    return nb::cast(std::const_pointer_cast<bindings::LogResult>(std::move(answer.entries)));
  }
  return nb::cast(std::const_pointer_cast<bindings::MetricResult>(std::move(answer.metrics)));
}

nb::object TraceQl(Store& self, const std::string& text, int64_t start_ns, int64_t end_ns,
                   int64_t step_ms, uint32_t limit, uint32_t spans_per_spanset,
                   const std::string& cursor, std::optional<int64_t> timeout_ms) {
  const auto cancellation = std::make_shared<query::Cancellation>();
  query::TraceQueryOptions options;
  options.cancellation = cancellation;
  if (timeout_ms.has_value()) options.timeout = std::chrono::milliseconds(*timeout_ms);
  query::TraceSearch search;
  search.range = {start_ns, end_ns};
  search.limit = limit;
  search.spans_per_spanset = spans_per_spanset;
  search.cursor = cursor;
  Store::TraceAnswer answer =
      ValueOrRaise(Interruptible(cancellation.get(),
                                 [&] { return self.TraceQl(text, search, step_ms, options); }),
                   text);
  if (answer.traces != nullptr) {
    return nb::cast(std::const_pointer_cast<query::SearchResult>(std::move(answer.traces)));
  }
  return nb::cast(std::const_pointer_cast<bindings::MetricResult>(std::move(answer.metrics)));
}

nb::dict ValuesDict(const std::vector<query::NamedTraceValue>& values) {
  using Type = query::TraceValue::Type;
  nb::dict out;
  for (const query::NamedTraceValue& named : values) {
    nb::object value = nb::none();
    switch (named.value.type) {
      case Type::kNil:
        break;
      case Type::kBool:
        value = nb::bool_(named.value.boolean);
        break;
      case Type::kInt:
      case Type::kDuration:
        value = nb::int_(named.value.integer);
        break;
      case Type::kDouble:
        value = nb::float_(named.value.number);
        break;
      default:
        value = Text(query::ToString(named.value));
    }
    out[Text(named.name)] = value;
  }
  return out;
}

nb::dict TraceDict(const query::TraceSummary& trace) {
  nb::dict out;
  out["trace_id"] = ToString(trace.id);
  out["root_service"] = Text(trace.root_service);
  out["root_name"] = Text(trace.root_name);
  out["start_ns"] = trace.start_ns;
  out["duration_ns"] = trace.duration_ns;
  out["spans"] = trace.spans;
  out["errors"] = trace.errors;
  nb::dict services;
  for (const query::ServiceSummary& service : trace.services) {
    services[Text(service.service)] = service.spans;
  }
  out["services"] = services;
  nb::list matches;
  for (const query::Spanset& set : trace.spansets) {
    for (const query::MatchedSpan& span : set.spans) {
      nb::dict one;
      one["span_id"] = ToString(span.id);
      one["service"] = Text(span.service);
      one["name"] = Text(span.name);
      one["start_ns"] = span.start_ns;
      one["duration_ns"] = span.duration_ns;
      one["values"] = ValuesDict(span.values);
      matches.append(one);
    }
  }
  out["matches"] = matches;
  return out;
}

// --- What a server answered ---

// Builds log entries from streams, each (labels, times in ns, lines).
std::shared_ptr<bindings::LogResult> LogsFromParts(nb::list streams, bool backward,
                                                   std::vector<std::string> warnings) {
  query::LogQueryResult result;
  result.warnings = std::move(warnings);
  query::Streams out;
  for (const nb::handle item : streams) {
    const auto parts = nb::cast<nb::tuple>(item);
    if (parts.size() != 3) throw nb::value_error("a stream has 3 parts");
    query::LogStream& stream = out.emplace_back();
    for (const auto& [name, value] : nb::cast<nb::dict>(parts[0])) {
      stream.stream.emplace_back(BytesOf(name, "a label's name"),
                                 BytesOf(value, "a label's value"));
    }
    std::sort(stream.stream.begin(), stream.stream.end());
    const auto times = nb::cast<nb::list>(parts[1]);
    const auto lines = nb::cast<nb::list>(parts[2]);
    if (times.size() != lines.size()) throw nb::value_error("times and lines differ in length");
    for (size_t i = 0; i < times.size(); ++i) {
      stream.entries.push_back({nb::cast<int64_t>(times[i]), BytesOf(lines[i], "a line")});
    }
  }
  result.value = std::move(out);
  return std::const_pointer_cast<bindings::LogResult>(
      bindings::MakeLogResult(std::move(result), backward));
}

query::TraceValue TraceValueOf(nb::handle value) {
  using Type = query::TraceValue::Type;
  query::TraceValue out;
  PyObject* const object = value.ptr();
  if (value.is_none()) return out;
  if (PyBool_Check(object)) {
    out.type = Type::kBool;
    out.boolean = object == Py_True;
  } else if (PyLong_Check(object)) {
    out.type = Type::kInt;
    out.integer = Int64Of(value);
  } else if (PyFloat_Check(object)) {
    out.type = Type::kDouble;
    out.number = PyFloat_AS_DOUBLE(object);
  } else {
    out.type = Type::kString;
    out.text = BytesOf(value, "a value");
  }
  return out;
}

// Builds traces from dicts of what TraceDict shows; `services` maps to (spans, errors).
std::shared_ptr<query::SearchResult> TracesFromParts(nb::list traces, const std::string& next) {
  const auto text = [](nb::handle dict, const char* key) { return BytesOf(dict[key], key); };
  const auto number = [](nb::handle dict, const char* key) { return nb::cast<int64_t>(dict[key]); };
  auto out = std::make_shared<query::SearchResult>();
  out->next = next;
  for (const nb::handle item : traces) {
    query::TraceSummary& trace = out->traces.emplace_back();
    const auto id = ParseTraceId(text(item, "trace_id"));
    if (!id.has_value()) throw nb::value_error("a trace without an id");
    trace.id = *id;
    trace.root_service = text(item, "root_service");
    trace.root_name = text(item, "root_name");
    trace.start_ns = number(item, "start_ns");
    trace.duration_ns = number(item, "duration_ns");
    for (const auto& [name, counts] : nb::cast<nb::dict>(item["services"])) {
      const auto pair = nb::cast<nb::tuple>(counts);
      query::ServiceSummary& service = trace.services.emplace_back();
      service.service = BytesOf(name, "a service");
      service.spans = nb::cast<uint64_t>(pair[0]);
      service.errors = nb::cast<uint64_t>(pair[1]);
      trace.spans += service.spans;
      trace.errors += service.errors;
    }
    for (const nb::handle each : nb::cast<nb::list>(item["spansets"])) {
      const auto parts = nb::cast<nb::tuple>(each);
      query::Spanset& set = trace.spansets.emplace_back();
      set.matched = nb::cast<uint64_t>(parts[0]);
      for (const nb::handle one : nb::cast<nb::list>(parts[1])) {
        query::MatchedSpan& span = set.spans.emplace_back();
        if (const auto span_id = ParseSpanId(text(one, "span_id"))) span.id = *span_id;
        span.service = text(one, "service");
        span.name = text(one, "name");
        span.start_ns = number(one, "start_ns");
        span.duration_ns = number(one, "duration_ns");
        for (const auto& [key, value] : nb::cast<nb::dict>(one["values"])) {
          span.values.push_back({BytesOf(key, "a value's name"), TraceValueOf(value)});
        }
      }
    }
  }
  return out;
}

// Plans need no data, so that whoever asks a server can make them.
std::string Explain(const std::string& language, const std::string& text, int64_t start_ms,
                    int64_t end_ms, int64_t step_ms) {
  return ValueOrRaise(Unlocked([&]() -> Result<std::string> {
                        if (language == "logql") return query::LogEngine::Make({})->Explain(text);
                        if (language == "traceql") {
                          return query::TraceEngine::Make({})->Explain(text);
                        }
                        return query::Engine::Make({})->Explain(text, {start_ms, end_ms, step_ms});
                      }),
                      text);
}

}  // namespace

void RegisterSearch(nb::module_& module) {
  module.def("explain", &Explain, nb::arg("language"), nb::arg("text"), nb::arg("start_ms"),
             nb::arg("end_ms"), nb::arg("step_ms"));
  module.def(
      "is_log_query",
      [](const std::string& text) {
        return ValueOrRaise(query::InspectLogQuery(text), text).is_log_query;
      },
      nb::arg("text"));
  module.def(
      "is_trace_metrics_query",
      [](const std::string& text) {
        return ValueOrRaise(query::TraceEngine::Make({})->Parse(text), text).metrics;
      },
      nb::arg("text"));

  using bindings::LogResult;
  using query::SearchResult;
  nb::class_<LogResult>(module, "LogResult")
      .def_static("from_parts", &LogsFromParts, nb::arg("streams"), nb::arg("backward"),
                  nb::arg("warnings"))
      .def_prop_ro("rows", [](const LogResult& self) { return self.entries.size(); })
      .def_prop_ro("warnings", [](const LogResult& self) { return self.warnings; })
      .def("analysis", [](const LogResult& self) { return self.analysis; })
      .def(
          "entry",
          [](const LogResult& self, size_t row) {
            if (row >= self.entries.size()) throw nb::index_error("no such entry");
            const LogResult::Entry& entry = self.entries[row];
            nb::dict labels;
            for (const auto& [name, value] : self.labels[entry.stream]) {
              labels[Text(name)] = Text(value);
            }
            return nb::make_tuple(entry.time_ns, nb::bytes(entry.line.data(), entry.line.size()),
                                  labels);
          },
          nb::arg("row"))
      .def(
          "stream",
          [](const std::shared_ptr<LogResult>& self, int64_t rows) {
            return StreamCapsule(bindings::LogSource(self, rows));
          },
          nb::arg("rows"));
  nb::class_<SearchResult>(module, "SearchResult")
      .def_static("from_parts", &TracesFromParts, nb::arg("traces"), nb::arg("next"))
      .def_prop_ro("rows", [](const SearchResult& self) { return self.traces.size(); })
      .def_prop_ro(
          "next",
          [](const SearchResult& self) { return nb::bytes(self.next.data(), self.next.size()); })
      .def(
          "trace",
          [](const SearchResult& self, size_t row) {
            if (row >= self.traces.size()) throw nb::index_error("no such trace");
            return TraceDict(self.traces[row]);
          },
          nb::arg("row"))
      .def("analysis",
           [](const SearchResult& self) { return bindings::FormatAnalysis(self.stats); })
      .def("stream", [](const std::shared_ptr<SearchResult>& self) {
        return StreamCapsule(bindings::TraceSource(self));
      });
}

void RegisterLogs(nb::class_<Store>& store) {
  store
      .def("append_logs", &AppendLogs, nb::arg("streams"), nb::arg("numbers").none().noconvert(),
           nb::arg("times").noconvert(), nb::arg("unit_ns"), nb::arg("lines"),
           nb::arg("metadata").none(), nb::arg("durable").none(), nb::arg("partial"))
      .def(
          "log_entries",
          [](Store& self, const std::string& selector, int64_t start_ns, int64_t end_ns,
             int64_t rows) {
            return StreamCapsule(ValueOrRaise(
                Unlocked([&] { return self.LogEntries(selector, {start_ns, end_ns}, rows); }),
                selector));
          },
          nb::arg("selector"), nb::arg("start_ns"), nb::arg("end_ns"), nb::arg("rows"))
      .def("append_log_table", &AppendLogTable, nb::arg("table"), nb::arg("time"), nb::arg("line"),
           nb::arg("labels"), nb::arg("labels_map"), nb::arg("fixed"), nb::arg("metadata"),
           nb::arg("metadata_map"), nb::arg("unit_ns"), nb::arg("durable").none(),
           nb::arg("partial"))
      .def("logql", &LogQl, nb::arg("text"), nb::arg("start_ns"), nb::arg("end_ns"),
           nb::arg("step_ns"), nb::arg("limit"), nb::arg("backward"), nb::arg("instant"),
           nb::arg("timeout_ms").none())
      .def("traceql", &TraceQl, nb::arg("text"), nb::arg("start_ns"), nb::arg("end_ns"),
           nb::arg("step_ms"), nb::arg("limit"), nb::arg("spans_per_spanset"), nb::arg("cursor"),
           nb::arg("timeout_ms").none())
      .def(
          "explain_logql",
          [](Store& self, const std::string& text) {
            return ValueOrRaise(Unlocked([&] { return self.ExplainLogQl(text); }), text);
          },
          nb::arg("text"))
      .def(
          "explain_traceql",
          [](Store& self, const std::string& text) {
            return ValueOrRaise(Unlocked([&] { return self.ExplainTraceQl(text); }), text);
          },
          nb::arg("text"));
}

}  // namespace varve::python
