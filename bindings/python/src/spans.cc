// Spans: in from Python, out to Python and to Arrow.

#include "bindings/core/spans.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <optional>

#include "bindings/core/any_value.h"
#include "bindings/core/ingest.h"
#include "bindings/core/store.h"
#include "bindings/python/src/common.h"
#include "bindings/python/src/values.h"

namespace varve::python {
namespace {

using bindings::Store;

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

nb::tuple AppendSpans(Store& self, nb::list resources, nb::list spans, std::optional<bool> durable,
                      bool partial) {
  SpanBatch batch;
  AddSpans(resources, spans, &batch);
  const WriteOptions options = WriteOptionsOf(durable, partial);
  const SpanAppendResult done = ValueOrRaise(Unlocked([&] {
    return self.Call([&](Database& database) { return database.AppendSpans(batch, options); });
  }));
  return nb::make_tuple(done.spans, done.rejected);
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
    one["trace_id"] = ToString(span.trace_id);
    one["span_id"] = ToString(span.span_id);
    one["parent_id"] = span.parent_id.empty() ? nb::none() : nb::cast(ToString(span.parent_id));
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

}  // namespace

int64_t Int64Of(nb::handle value) {
  int overflow = 0;
  const long long out = PyLong_AsLongLongAndOverflow(value.ptr(), &overflow);
  if (overflow != 0) throw nb::value_error("an attribute does not fit an int64");
  return out;
}

void AddSpans(nb::list resources, nb::list spans, SpanBatch* batch) {
  std::vector<uint32_t> scopes;
  for (const nb::handle attributes : resources) {
    scopes.push_back(batch->AddScope(batch->AddResource(AttributesOf(attributes, batch)), {}, {}));
  }
  for (const nb::handle each : spans) {
    const auto fields = nb::cast<nb::tuple>(each);
    if (fields.size() != 14) throw nb::value_error("a span has 14 fields");
    const auto resource = nb::cast<size_t>(fields[0]);
    if (resource >= scopes.size()) throw nb::value_error("no such resource");
    SpanBatch::Span span;
    span.scope = scopes[resource];
    span.trace_id = IdOf<TraceId>(fields[1]);
    span.span_id = IdOf<SpanId>(fields[2]);
    span.parent_id = IdOf<SpanId>(fields[3]);
    span.name = batch->Copy(BytesOf(fields[4], "a span's name"));
    span.kind = static_cast<SpanKind>(nb::cast<uint8_t>(fields[5]));
    span.start_ns = nb::cast<int64_t>(fields[6]);
    span.end_ns = nb::cast<int64_t>(fields[7]);
    span.status = static_cast<SpanStatus>(nb::cast<uint8_t>(fields[8]));
    span.status_message = batch->Copy(BytesOf(fields[9], "a status message"));
    span.trace_state = batch->Copy(BytesOf(fields[10], "a trace state"));
    batch->AddSpan(span, AttributesOf(fields[11], batch));
    for (const nb::handle item : nb::cast<nb::list>(fields[12])) {
      const auto event = nb::cast<nb::tuple>(item);
      batch->AddEvent(nb::cast<int64_t>(event[0]),
                      batch->Copy(BytesOf(event[1], "an event's name")),
                      AttributesOf(event[2], batch));
    }
    for (const nb::handle item : nb::cast<nb::list>(fields[13])) {
      const auto entry = nb::cast<nb::tuple>(item);
      SpanBatch::Link link;
      link.trace_id = IdOf<TraceId>(entry[0]);
      link.span_id = IdOf<SpanId>(entry[1]);
      batch->AddLink(link, AttributesOf(entry[2], batch));
    }
  }
}

// Gives a trace's log entries as tuples of time, labels, line and metadata, oldest first.
nb::list GetTraceLogs(Store& self, nb::bytes id, size_t limit) {
  const auto trace_id = IdOf<TraceId>(id);
  const std::vector<correlate::TraceLog> logs =
      ValueOrRaise(Unlocked([&] { return self.LogsOfTrace(trace_id, limit); }));
  nb::list out;
  for (const correlate::TraceLog& log : logs) {
    nb::dict labels;
    for (const LabelView& label : log.stream.view()) labels[Text(label.name)] = Text(label.value);
    nb::dict metadata;
    for (const auto& [name, value] : log.metadata) metadata[Text(name)] = Text(value);
    out.append(nb::make_tuple(log.time_ns, labels, Text(log.line), metadata));
  }
  return out;
}

void RegisterSpans(nb::class_<Store>& store) {
  store
      .def("append_spans", &AppendSpans, nb::arg("resources"), nb::arg("spans"),
           nb::arg("durable").none(), nb::arg("partial"))
      .def("append_span_table", &AppendSpanTable, nb::arg("table"), nb::arg("attributes"),
           nb::arg("unit_ns"), nb::arg("durable").none(), nb::arg("partial"))
      .def("trace", &GetTrace, nb::arg("id"))
      .def("trace_logs", &GetTraceLogs, nb::arg("id"), nb::arg("limit"))
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
