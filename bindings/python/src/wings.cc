// Writing and reading logs and spans; metrics are in store.cc.

#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <optional>

#include "bindings/core/any_value.h"
#include "bindings/core/ingest.h"
#include "bindings/core/logs.h"
#include "bindings/core/spans.h"
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

// --- Logs ---

WriteOptions WriteOptionsOf(std::optional<bool> durable, bool partial) {
  WriteOptions out;
  out.partial = partial;
  if (durable.has_value()) {
    out.durability = *durable ? Durability::kDurable : Durability::kProcessCrash;
  }
  return out;
}

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

// --- Spans ---

int64_t Int64Of(nb::handle value) {
  int overflow = 0;
  const long long out = PyLong_AsLongLongAndOverflow(value.ptr(), &overflow);
  if (overflow != 0) throw nb::value_error("an attribute does not fit an int64");
  return out;
}

void EncodeAny(nb::handle value, int depth, std::string* out);

// Encodes the items of a list or a dict as an OTLP ArrayValue or KeyValueList.
std::string EncodeItems(nb::handle value, int depth) {
  if (depth > bindings::kValueDepthMax) throw nb::value_error("an attribute is nested too deep");
  std::string out;
  std::string one;
  if (PyDict_Check(value.ptr())) {
    for (const auto& [key, item] : nb::borrow<nb::dict>(value)) {
      one.clear();
      EncodeAny(item, depth + 1, &one);
      bindings::AppendMapItem(BytesOf(key, "an attribute's key"), one, &out);
    }
    return out;
  }
  for (const nb::handle item : nb::borrow<nb::sequence>(value)) {
    one.clear();
    EncodeAny(item, depth + 1, &one);
    bindings::AppendArrayItem(one, &out);
  }
  return out;
}

void EncodeAny(nb::handle value, int depth, std::string* out) {
  PyObject* const object = value.ptr();
  if (value.is_none()) return;
  if (PyBool_Check(object)) {
    bindings::AppendAnyBool(object == Py_True, out);
  } else if (PyLong_Check(object)) {
    bindings::AppendAnyInt(Int64Of(value), out);
  } else if (PyFloat_Check(object)) {
    bindings::AppendAnyDouble(PyFloat_AS_DOUBLE(object), out);
  } else if (PyBytes_Check(object)) {
    bindings::AppendAnyBytes(BytesOf(value, "an attribute"), out);
  } else if (PyList_Check(object) || PyTuple_Check(object)) {
    bindings::AppendAnyArray(EncodeItems(value, depth), out);
  } else if (PyDict_Check(object)) {
    bindings::AppendAnyMap(EncodeItems(value, depth), out);
  } else {
    bindings::AppendAnyString(BytesOf(value, "an attribute"), out);
  }
}

ValueView ValueOf(nb::handle value, SpanBatch* batch) {
  PyObject* const object = value.ptr();
  if (value.is_none()) return ValueView();
  if (PyBool_Check(object)) return ValueView::Bool(object == Py_True);
  if (PyLong_Check(object)) return ValueView::Int(Int64Of(value));
  if (PyFloat_Check(object)) return ValueView::Double(PyFloat_AS_DOUBLE(object));
  if (PyBytes_Check(object)) return ValueView::Bytes(batch->Copy(BytesOf(value, "an attribute")));
  if (PyUnicode_Check(object)) {
    return ValueView::String(batch->Copy(BytesOf(value, "an attribute")));
  }
  const bool map = PyDict_Check(object);
  if (!map && !PyList_Check(object) && !PyTuple_Check(object)) {
    throw nb::type_error((std::string("an attribute must be str, bool, int, float, bytes, list or "
                                      "dict, not ") +
                          Py_TYPE(object)->tp_name)
                             .c_str());
  }
  const std::string_view wire = batch->Copy(EncodeItems(value, 0));
  return map ? ValueView::Map(wire) : ValueView::Array(wire);
}

std::vector<AttributeView> AttributesOf(nb::handle mapping, SpanBatch* batch) {
  std::vector<AttributeView> out;
  if (mapping.is_none()) return out;
  if (!PyDict_Check(mapping.ptr())) throw nb::type_error("attributes must be a dict");
  for (const auto& [key, value] : nb::borrow<nb::dict>(mapping)) {
    out.push_back({batch->Copy(BytesOf(key, "an attribute's key")), ValueOf(value, batch)});
  }
  return out;
}

template <typename Id>
Id IdOf(nb::handle bytes) {
  Id out;
  if (bytes.is_none()) return out;
  const std::string text = BytesOf(bytes, "an id");
  if (text.size() != out.bytes.size()) throw nb::value_error("an id has a wrong length");
  std::copy(text.begin(), text.end(), out.bytes.begin());
  return out;
}

// Takes resources as dicts of attributes and spans as tuples; varve/_traces.py makes them.
nb::tuple AppendSpans(Store& self, nb::list resources, nb::list spans, std::optional<bool> durable,
                      bool partial) {
  SpanBatch batch;
  std::vector<std::vector<nb::tuple>> of_resource(resources.size());
  for (const nb::handle item : spans) {
    const auto span = nb::cast<nb::tuple>(item);
    if (span.size() != 14) throw nb::value_error("a span has 14 fields");
    const auto resource = nb::cast<size_t>(span[0]);
    if (resource >= of_resource.size()) throw nb::value_error("no such resource");
    of_resource[resource].push_back(span);
  }
  for (size_t r = 0; r < of_resource.size(); ++r) {
    const uint32_t resource = batch.AddResource(AttributesOf(resources[r], &batch));
    const uint32_t scope = batch.AddScope(resource, {}, {});
    for (const nb::tuple& fields : of_resource[r]) {
      SpanBatch::Span span;
      span.scope = scope;
      span.trace_id = IdOf<TraceId>(fields[1]);
      span.span_id = IdOf<SpanId>(fields[2]);
      span.parent_id = IdOf<SpanId>(fields[3]);
      span.name = batch.Copy(BytesOf(fields[4], "a span's name"));
      span.kind = static_cast<SpanKind>(nb::cast<uint8_t>(fields[5]));
      span.start_ns = nb::cast<int64_t>(fields[6]);
      span.end_ns = nb::cast<int64_t>(fields[7]);
      span.status = static_cast<SpanStatus>(nb::cast<uint8_t>(fields[8]));
      span.status_message = batch.Copy(BytesOf(fields[9], "a status message"));
      span.trace_state = batch.Copy(BytesOf(fields[10], "a trace state"));
      batch.AddSpan(span, AttributesOf(fields[11], &batch));
      for (const nb::handle item : nb::cast<nb::list>(fields[12])) {
        const auto event = nb::cast<nb::tuple>(item);
        batch.AddEvent(nb::cast<int64_t>(event[0]),
                       batch.Copy(BytesOf(event[1], "an event's name")),
                       AttributesOf(event[2], &batch));
      }
      for (const nb::handle item : nb::cast<nb::list>(fields[13])) {
        const auto entry = nb::cast<nb::tuple>(item);
        SpanBatch::Link link;
        link.trace_id = IdOf<TraceId>(entry[0]);
        link.span_id = IdOf<SpanId>(entry[1]);
        batch.AddLink(link, AttributesOf(entry[2], &batch));
      }
    }
  }
  const WriteOptions options = WriteOptionsOf(durable, partial);
  const SpanAppendResult done = ValueOrRaise(Unlocked([&] {
    return self.Call([&](Database& database) { return database.AppendSpans(batch, options); });
  }));
  return nb::make_tuple(done.spans, done.rejected);
}

template <typename Id>
std::string HexOf(const Id& id) {
  return ToString(id);
}

nb::dict AttributesDict(AttributesView attributes) {
  nb::dict out;
  for (const AttributeView& attribute : attributes) {
    nb::object value = nb::none();
    switch (attribute.value.type) {
      case ValueType::kBool:
        value = nb::bool_(attribute.value.boolean);
        break;
      case ValueType::kInt:
        value = nb::int_(attribute.value.integer);
        break;
      case ValueType::kDouble:
        value = nb::float_(attribute.value.number);
        break;
      case ValueType::kBytes:
        value = nb::bytes(attribute.value.text.data(), attribute.value.text.size());
        break;
      case ValueType::kEmpty:
        break;
      default:
        value = Text(ToString(attribute.value));
    }
    out[Text(attribute.key)] = value;
  }
  return out;
}

// Gives a trace's spans as dicts, by start time.
nb::list GetTrace(Store& self, nb::bytes id) {
  const auto trace_id = IdOf<TraceId>(id);
  const std::shared_ptr<const SpanBatch> spans =
      ValueOrRaise(Unlocked([&] { return self.Trace(trace_id); }));
  nb::list out;
  for (const SpanBatch::Span& span : spans->spans()) {
    nb::dict one;
    one["trace_id"] = HexOf(span.trace_id);
    one["span_id"] = HexOf(span.span_id);
    one["parent_id"] = span.parent_id.empty() ? nb::none() : nb::cast(HexOf(span.parent_id));
    const AttributesView resource = spans->attributes(spans->resource_of(span).attributes);
    const ValueView* const service = FindAttribute(resource, "service.name");
    one["service"] = Text(service == nullptr ? std::string() : ToString(*service));
    one["name"] = Text(span.name);
    one["kind"] = static_cast<int>(span.kind);
    one["status"] = static_cast<int>(span.status);
    one["status_message"] = Text(span.status_message);
    one["start_ns"] = span.start_ns;
    one["end_ns"] = span.end_ns;
    one["attributes"] = AttributesDict(spans->attributes(span.attributes));
    one["resource"] = AttributesDict(resource);
    nb::list events;
    for (const SpanBatch::Event& event : spans->events(span)) {
      events.append(nb::make_tuple(event.time_ns, Text(event.name),
                                   AttributesDict(spans->attributes(event.attributes))));
    }
    one["events"] = events;
    out.append(one);
  }
  return out;
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

// --- Tables ---

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

nb::tuple AppendSpanTable(Store& self, const arrow::Table& table,
                          std::vector<std::string> attributes, int64_t unit_ns,
                          std::optional<bool> durable, bool partial) {
  const bindings::SpanTableShape shape{std::move(attributes), unit_ns};
  const WriteOptions options = WriteOptionsOf(durable, partial);
  const bindings::RowCounts done = ValueOrRaise(
      Unlocked([&] { return bindings::AppendSpanTable(self, table, shape, options); }));
  return nb::make_tuple(done.rows, done.rejected);
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

void RegisterWings(nb::class_<Store>& store) {
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
      .def("append_span_table", &AppendSpanTable, nb::arg("table"), nb::arg("attributes"),
           nb::arg("unit_ns"), nb::arg("durable").none(), nb::arg("partial"))
      .def("append_spans", &AppendSpans, nb::arg("resources"), nb::arg("spans"),
           nb::arg("durable").none(), nb::arg("partial"))
      .def("trace", &GetTrace, nb::arg("id"))
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
          nb::arg("text"))
      .def(
          "spans",
          [](Store& self, const std::string& service, int64_t start_ns, int64_t end_ns) {
            return StreamCapsule(
                ValueOrRaise(Unlocked([&] { return self.Spans(service, {start_ns, end_ns}); })));
          },
          nb::arg("service"), nb::arg("start_ns"), nb::arg("end_ns"))
      .def("services", [](Store& self) {
        const std::vector<std::string> names =
            ValueOrRaise(Unlocked([&] { return self.Services(); }));
        nb::list out;
        for (const std::string& name : names) out.append(Text(name));
        return out;
      });
}

}  // namespace varve::python
