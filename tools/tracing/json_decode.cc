#include "tools/tracing/json_decode.h"

#include <simdjson.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <optional>

#include "absl/container/flat_hash_map.h"
#include "engine/base/strings.h"
#include "tools/otlp/base64.h"
#include "tools/tracing/jaeger_json.h"
#include "tools/tracing/jaeger_model.h"
#include "tools/tracing/zipkin_model.h"

namespace varve::tracing {
namespace {

namespace dom = simdjson::dom;

// Parsers up to this size are kept for the next body.
constexpr size_t kKeptBodyMax = 1 << 20;

/// Holds a parsed document; small ones share a parser of the thread.
class Document {
 public:
  Status Parse(std::string_view json) {
    thread_local dom::parser kept;
    dom::parser& parser = json.size() <= kKeptBodyMax ? kept : own_;
    if (const auto error = parser.parse(json.data(), json.size(), true).get(root)) {
      return MakeStatus(error == simdjson::DEPTH_ERROR ? StatusCode::kResourceExhausted
                                                       : StatusCode::kInvalidArgument,
                        Concat("malformed JSON: ", simdjson::error_message(error)));
    }
    return absl::OkStatus();
  }
  dom::element root;

 private:
  dom::parser own_;
};

/// Reads members of one object; the first that has the wrong type is remembered.
class Reader {
 public:
  Reader(dom::object object, SpanBatch* batch) : object_(object), batch_(batch) {}

  std::optional<dom::element> Find(std::string_view key) const {
    dom::element element;
    if (object_.at_key(key).get(element) != simdjson::SUCCESS || element.is_null()) {
      return std::nullopt;
    }
    return element;
  }
  std::string_view Text(std::string_view key) {
    const auto element = Find(key);
    std::string_view text;
    if (element.has_value() && element->get_string().get(text) != simdjson::SUCCESS) Bad(key);
    return text;
  }
  /// The same, kept by the batch.
  std::string_view Kept(std::string_view key) { return batch_->Copy(Text(key)); }
  int64_t Int(std::string_view key) {
    const auto element = Find(key);
    if (!element.has_value()) return 0;
    return IntOf(*element, key);
  }
  bool Bool(std::string_view key) {
    const auto element = Find(key);
    bool value = false;
    if (element.has_value() && element->get_bool().get(value) != simdjson::SUCCESS) Bad(key);
    return value;
  }
  std::optional<dom::array> Array(std::string_view key) {
    const auto element = Find(key);
    if (!element.has_value()) return std::nullopt;
    dom::array array;
    if (element->get_array().get(array) == simdjson::SUCCESS) return array;
    Bad(key);
    return std::nullopt;
  }
  std::optional<dom::object> Object(std::string_view key) {
    const auto element = Find(key);
    if (!element.has_value()) return std::nullopt;
    dom::object object;
    if (element->get_object().get(object) == simdjson::SUCCESS) return object;
    Bad(key);
    return std::nullopt;
  }
  template <typename Id>
  void Hex(std::string_view key, Id* id) {
    const std::string_view text = Text(key);
    if (text.empty()) return;
    std::string_view digits = text;
    // Some senders write the short form of a 64-bit id with more zeros than fit.
    while (digits.size() > 2 * id->bytes.size() && digits.starts_with('0')) digits.remove_prefix(1);
    if constexpr (sizeof(Id) == sizeof(TraceId)) {
      if (const auto parsed = ParseTraceId(digits)) {
        *id = *parsed;
        return;
      }
    } else {
      if (const auto parsed = ParseSpanId(digits)) {
        *id = *parsed;
        return;
      }
    }
    Bad(key);
  }
  int64_t IntOf(dom::element element, std::string_view key) {
    int64_t value = 0;
    if (element.get_int64().get(value) == simdjson::SUCCESS) return value;
    double number = 0;
    if (element.get_double().get(number) == simdjson::SUCCESS && number < 0x1p63 &&
        number >= -0x1p63) {
      return static_cast<int64_t>(number);
    }
    std::string_view text;
    if (element.get_string().get(text) == simdjson::SUCCESS) {
      const auto [at, error] = std::from_chars(text.data(), text.data() + text.size(), value);
      if (error == std::errc() && at == text.data() + text.size()) return value;
    }
    Bad(key);
    return 0;
  }
  void Bad(std::string_view key) {
    if (bad_.empty()) bad_ = key;
  }
  const std::string& bad() const { return bad_; }

 private:
  dom::object object_;
  SpanBatch* batch_;
  std::string bad_;
};

Status Malformed(std::string_view what, size_t index, std::string_view field) {
  return MakeStatus(StatusCode::kInvalidArgument,
                    Concat(what, " ", index, ": field \"", field, "\" is malformed"));
}

// --- Zipkin ---

ZipkinEndpoint EndpointOf(std::optional<dom::object> object, SpanBatch* batch, Reader* outer) {
  ZipkinEndpoint endpoint;
  if (!object.has_value()) return endpoint;
  Reader reader(*object, batch);
  endpoint.service = reader.Kept("serviceName");
  endpoint.ip = reader.Kept("ipv4");
  if (endpoint.ip.empty()) endpoint.ip = reader.Kept("ipv6");
  endpoint.port = reader.Int("port");
  if (!reader.bad().empty()) outer->Bad(reader.bad());
  return endpoint;
}

// Fills what both versions have; false if the span has no usable ids.
void ReadZipkinHead(Reader* reader, ZipkinSpan* span) {
  reader->Hex("traceId", &span->trace_id);
  reader->Hex("id", &span->id);
  reader->Hex("parentId", &span->parent_id);
  span->name = reader->Kept("name");
  span->timestamp_us = reader->Int("timestamp");
  span->duration_us = reader->Int("duration");
  span->debug = reader->Bool("debug");
}

template <typename ReadSpan>
Status DecodeZipkinList(std::string_view json, SpanBatch* out, ReadSpan read) {
  Document document;
  if (const Status status = document.Parse(json); !status.ok()) return status;
  dom::array spans;
  if (document.root.get_array().get(spans) != simdjson::SUCCESS) {
    return MakeStatus(StatusCode::kInvalidArgument, "not a list of spans");
  }
  size_t index = 0;
  for (const dom::element element : spans) {
    dom::object object;
    if (element.get_object().get(object) != simdjson::SUCCESS) {
      return MakeStatus(StatusCode::kInvalidArgument, Concat("span ", index, " is no object"));
    }
    Reader reader(object, out);
    read(&reader);
    if (!reader.bad().empty()) return Malformed("span", index, reader.bad());
    ++index;
  }
  return absl::OkStatus();
}

// --- Jaeger ---

bool ReadJaegerTag(dom::element element, SpanBatch* batch, AttributeView* out) {
  dom::object object;
  if (element.get_object().get(object) != simdjson::SUCCESS) return false;
  Reader reader(object, batch);
  out->key = reader.Kept("key");
  const std::string_view type = reader.Text("type");
  const auto value = reader.Find("value");
  if (!reader.bad().empty()) return false;
  if (!value.has_value()) {
    out->value = ValueView::String({});
    return true;
  }
  std::string_view text;
  bool flag = false;
  int64_t integer = 0;
  double number = 0;
  if (type == "bool") {
    if (value->get_bool().get(flag) == simdjson::SUCCESS) {
      out->value = ValueView::Bool(flag);
      return true;
    }
    if (value->get_string().get(text) != simdjson::SUCCESS) return false;
    out->value = ValueView::Bool(text == "true");
    return true;
  }
  if (type == "int64") {
    out->value = ValueView::Int(reader.IntOf(*value, "value"));
    return reader.bad().empty();
  }
  if (type == "float64") {
    if (value->get_double().get(number) != simdjson::SUCCESS) {
      if (value->get_string().get(text) != simdjson::SUCCESS) return false;
      if (text == "NaN") {
        number = std::nan("");
      } else if (text == "+Inf" || text == "-Inf" || text == "Inf") {
        number = text[0] == '-' ? -INFINITY : INFINITY;
      } else if (std::from_chars(text.data(), text.data() + text.size(), number).ec !=
                 std::errc()) {
        return false;
      }
    }
    out->value = ValueView::Double(number);
    return true;
  }
  if (type == "binary") {
    std::string bytes;
    if (value->get_string().get(text) != simdjson::SUCCESS || !otlp::DecodeBase64(text, &bytes)) {
      return false;
    }
    out->value = ValueView::Bytes(batch->Copy(bytes));
    return true;
  }
  // Strings, and whatever old files hold without a type.
  if (value->get_string().get(text) == simdjson::SUCCESS) {
    out->value = ValueView::String(batch->Copy(text));
  } else if (value->get_bool().get(flag) == simdjson::SUCCESS) {
    out->value = ValueView::Bool(flag);
  } else if (value->get_int64().get(integer) == simdjson::SUCCESS) {
    out->value = ValueView::Int(integer);
  } else if (value->get_double().get(number) == simdjson::SUCCESS) {
    out->value = ValueView::Double(number);
  } else {
    out->value = ValueView::String(batch->Copy(simdjson::minify(*value)));
  }
  return true;
}

bool ReadJaegerTags(std::optional<dom::array> array, SpanBatch* batch,
                    std::vector<AttributeView>* out) {
  if (!array.has_value()) return true;
  for (const dom::element element : *array) {
    if (!ReadJaegerTag(element, batch, &out->emplace_back())) return false;
  }
  return true;
}

/// Reads one trace of Jaeger's JSON.
class JaegerTraceReader {
 public:
  JaegerTraceReader(size_t index, SpanBatch* out) : index_(index), out_(out), builder_(out) {}

  Status Trace(dom::object trace) {
    Reader head(trace, out_);
    if (const auto object = head.Object("processes")) {
      for (const auto [key, value] : *object) {
        dom::object process;
        if (value.get_object().get(process) != simdjson::SUCCESS) return Bad("processes");
        const auto added = AddProcess(process);
        if (!added.has_value()) return Bad("processes");
        processes_[std::string(key)] = *added;
      }
    }
    const auto spans = head.Array("spans");
    if (!head.bad().empty()) return Bad(head.bad());
    if (!spans.has_value()) {
      // Some lists are of spans that carry their process, as Elasticsearch holds them.
      if (head.Find("spanID").has_value()) return Span(trace);
      return MakeStatus(StatusCode::kInvalidArgument,
                        Concat("trace ", index_, " has no \"spans\""));
    }
    for (const dom::element element : *spans) {
      dom::object object;
      if (element.get_object().get(object) != simdjson::SUCCESS) return BadSpan("");
      if (const Status status = Span(object); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

 private:
  Status Bad(std::string_view field) const { return Malformed("trace", index_, field); }
  Status BadSpan(std::string_view field) const {
    return MakeStatus(StatusCode::kInvalidArgument, Concat("trace ", index_, ", span ", spans_,
                                                           ": field \"", field, "\" is malformed"));
  }

  Status Span(dom::object object) {
    Reader reader(object, out_);
    span_.Clear();
    reader.Hex("traceID", &span_.trace_id);
    reader.Hex("spanID", &span_.span_id);
    reader.Hex("parentSpanID", &span_.parent_id);
    span_.operation = reader.Kept("operationName");
    span_.flags = static_cast<uint32_t>(reader.Int("flags"));
    span_.start_ns = MicrosToNs(reader.Int("startTime"));
    span_.duration_ns = MicrosToNs(reader.Int("duration"));
    if (!ReadJaegerTags(reader.Array("tags"), out_, &span_.tags)) return BadSpan("tags");
    if (!References(reader.Array("references"))) return BadSpan("references");
    if (!Logs(reader.Array("logs"))) return BadSpan("logs");
    const std::optional<uint32_t> process = ProcessOf(&reader);
    if (!process.has_value()) return BadSpan("process");
    if (!reader.bad().empty()) return BadSpan(reader.bad());
    builder_.AddSpan(*process, span_);
    ++spans_;
    return absl::OkStatus();
  }

  bool References(std::optional<dom::array> array) {
    if (!array.has_value()) return true;
    for (const dom::element item : *array) {
      dom::object fields;
      if (item.get_object().get(fields) != simdjson::SUCCESS) return false;
      Reader reader(fields, out_);
      JaegerReference& reference = span_.references.emplace_back();
      reference.child_of = reader.Text("refType") != "FOLLOWS_FROM";
      reader.Hex("traceID", &reference.trace_id);
      reader.Hex("spanID", &reference.span_id);
      if (!reader.bad().empty()) return false;
    }
    return true;
  }

  bool Logs(std::optional<dom::array> array) {
    if (!array.has_value()) return true;
    for (const dom::element item : *array) {
      dom::object fields;
      if (item.get_object().get(fields) != simdjson::SUCCESS) return false;
      Reader reader(fields, out_);
      JaegerLog log;
      log.time_ns = MicrosToNs(reader.Int("timestamp"));
      log.fields_begin = static_cast<uint32_t>(span_.fields.size());
      if (!ReadJaegerTags(reader.Array("fields"), out_, &span_.fields)) return false;
      log.fields_count = static_cast<uint32_t>(span_.fields.size()) - log.fields_begin;
      if (!reader.bad().empty()) return false;
      span_.logs.push_back(log);
    }
    return true;
  }

  // By name, else its own; one without a name for all that have neither.
  std::optional<uint32_t> ProcessOf(Reader* span) {
    const std::string_view id = span->Text("processID");
    if (const auto found = processes_.find(id); found != processes_.end()) return found->second;
    if (const auto own = span->Object("process")) return AddProcess(*own);
    if (!nameless_.has_value()) nameless_ = builder_.AddProcess({}, {});
    return nameless_;
  }

  std::optional<uint32_t> AddProcess(dom::object object) {
    Reader reader(object, out_);
    tags_.clear();
    const std::string_view service = reader.Kept("serviceName");
    if (!ReadJaegerTags(reader.Array("tags"), out_, &tags_) || !reader.bad().empty()) {
      return std::nullopt;
    }
    return builder_.AddProcess(service, tags_);
  }

  const size_t index_;
  SpanBatch* const out_;
  JaegerBuilder builder_;
  StringMap<uint32_t> processes_;
  std::optional<uint32_t> nameless_;
  JaegerSpan span_;
  std::vector<AttributeView> tags_;
  size_t spans_ = 0;
};

Status ReadJaegerTrace(dom::object trace, size_t index, SpanBatch* out) {
  return JaegerTraceReader(index, out).Trace(trace);
}

constexpr size_t kFlattenDepthMax = 4;

Status Flatten(dom::object object, const std::string& path, size_t depth,
               std::span<const std::string_view> whole,
               std::vector<std::pair<std::string, std::string>>* out) {
  if (depth > kFlattenDepthMax) {
    return MakeStatus(StatusCode::kResourceExhausted, Concat("\"", path, "\" is nested too deep"));
  }
  for (const auto [key, value] : object) {
    const std::string name = path.empty() ? std::string(key) : Concat(path, ".", key);
    dom::object inner;
    std::string_view text;
    if (value.is_null()) continue;
    if (value.get_string().get(text) == simdjson::SUCCESS) {
      out->emplace_back(name, text);
    } else if (value.get_object().get(inner) == simdjson::SUCCESS &&
               std::ranges::find(whole, key) == whole.end()) {
      const Status status = Flatten(inner, name, depth + 1, whole, out);
      if (!status.ok()) return status;
    } else {
      out->emplace_back(name, simdjson::minify(value));
    }
  }
  return absl::OkStatus();
}

}  // namespace

Status FlattenObject(std::string_view json, std::span<const std::string_view> whole,
                     std::vector<std::pair<std::string, std::string>>* out) {
  Document document;
  if (const Status status = document.Parse(json); !status.ok()) return status;
  dom::object object;
  if (document.root.get_object().get(object) != simdjson::SUCCESS) {
    return MakeStatus(StatusCode::kInvalidArgument, "not an object");
  }
  return Flatten(object, {}, 1, whole, out);
}

Status ParseTagMap(std::string_view json, std::vector<std::pair<std::string, std::string>>* tags) {
  Document document;
  if (const Status status = document.Parse(json); !status.ok()) return status;
  dom::object object;
  if (document.root.get_object().get(object) != simdjson::SUCCESS) {
    return MakeStatus(StatusCode::kInvalidArgument, "not an object");
  }
  for (const auto [key, value] : object) {
    std::string_view text;
    if (value.get_string().get(text) == simdjson::SUCCESS) {
      tags->emplace_back(key, text);
    } else if (value.is_number() || value.is_bool()) {
      tags->emplace_back(key, simdjson::minify(value));
    } else {
      return MakeStatus(StatusCode::kInvalidArgument, Concat("\"", key, "\" is no string"));
    }
  }
  return absl::OkStatus();
}

Status DecodeZipkinJson(std::string_view json, SpanBatch* out) {
  ZipkinBuilder builder(out);
  ZipkinSpan span;
  return DecodeZipkinList(json, out, [&](Reader* reader) {
    span.Clear();
    ReadZipkinHead(reader, &span);
    span.kind = ParseKind(reader->Text("kind"));
    span.shared = reader->Bool("shared");
    span.local = EndpointOf(reader->Object("localEndpoint"), out, reader);
    span.remote = EndpointOf(reader->Object("remoteEndpoint"), out, reader);
    if (const auto annotations = reader->Array("annotations")) {
      for (const dom::element item : *annotations) {
        dom::object fields;
        if (item.get_object().get(fields) != simdjson::SUCCESS) return reader->Bad("annotations");
        Reader inner(fields, out);
        const int64_t time_us = inner.Int("timestamp");
        span.annotations.emplace_back(time_us, inner.Kept("value"));
        if (!inner.bad().empty()) return reader->Bad("annotations");
      }
    }
    if (const auto tags = reader->Object("tags")) {
      for (const auto [key, value] : *tags) {
        std::string_view text;
        if (value.get_string().get(text) != simdjson::SUCCESS) return reader->Bad("tags");
        span.tags.push_back({out->Copy(key), ValueView::String(out->Copy(text))});
      }
    }
    if (reader->bad().empty()) builder.AddSpan(span);
  });
}

Status DecodeZipkinV1Json(std::string_view json, SpanBatch* out) {
  ZipkinBuilder builder(out);
  ZipkinSpan span;
  std::vector<ZipkinV1Annotation> annotations;
  std::vector<ZipkinV1Tag> tags;
  return DecodeZipkinList(json, out, [&](Reader* reader) {
    span.Clear();
    annotations.clear();
    tags.clear();
    ReadZipkinHead(reader, &span);
    if (const auto array = reader->Array("annotations")) {
      for (const dom::element item : *array) {
        dom::object fields;
        if (item.get_object().get(fields) != simdjson::SUCCESS) return reader->Bad("annotations");
        Reader inner(fields, out);
        ZipkinV1Annotation& annotation = annotations.emplace_back();
        annotation.time_us = inner.Int("timestamp");
        annotation.value = inner.Kept("value");
        annotation.endpoint = EndpointOf(inner.Object("endpoint"), out, &inner);
        if (!inner.bad().empty()) return reader->Bad("annotations");
      }
    }
    if (const auto array = reader->Array("binaryAnnotations")) {
      for (const dom::element item : *array) {
        dom::object fields;
        if (item.get_object().get(fields) != simdjson::SUCCESS) {
          return reader->Bad("binaryAnnotations");
        }
        Reader inner(fields, out);
        ZipkinV1Tag& tag = tags.emplace_back();
        tag.key = inner.Kept("key");
        tag.endpoint = EndpointOf(inner.Object("endpoint"), out, &inner);
        if (const auto value = inner.Find("value")) {
          std::string_view text;
          bool flag = false;
          int64_t integer = 0;
          double number = 0;
          if (value->get_string().get(text) == simdjson::SUCCESS) {
            tag.value = ValueView::String(out->Copy(text));
          } else if (value->get_bool().get(flag) == simdjson::SUCCESS) {
            tag.value = ValueView::Bool(flag);
          } else if (value->get_int64().get(integer) == simdjson::SUCCESS) {
            tag.value = ValueView::Int(integer);
          } else if (value->get_double().get(number) == simdjson::SUCCESS) {
            tag.value = ValueView::Double(number);
          } else {
            return reader->Bad("binaryAnnotations");
          }
        }
        if (!inner.bad().empty()) return reader->Bad("binaryAnnotations");
      }
    }
    if (reader->bad().empty()) builder.AddV1Span(span, annotations, tags);
  });
}

Status DecodeJaegerJson(std::string_view json, SpanBatch* out) {
  Document document;
  if (const Status status = document.Parse(json); !status.ok()) return status;
  dom::array traces;
  dom::object object;
  if (document.root.get_object().get(object) == simdjson::SUCCESS) {
    dom::element data;
    if (object.at_key("data").get(data) != simdjson::SUCCESS) {
      return ReadJaegerTrace(object, 0, out);
    }
    if (data.is_null()) return absl::OkStatus();
    if (data.get_object().get(object) == simdjson::SUCCESS) return ReadJaegerTrace(object, 0, out);
    if (data.get_array().get(traces) != simdjson::SUCCESS) {
      return MakeStatus(StatusCode::kInvalidArgument, "field \"data\" is not a list of traces");
    }
  } else if (document.root.get_array().get(traces) != simdjson::SUCCESS) {
    return MakeStatus(StatusCode::kInvalidArgument, "neither a trace nor a list of traces");
  }
  size_t index = 0;
  for (const dom::element element : traces) {
    if (element.get_object().get(object) != simdjson::SUCCESS) {
      return MakeStatus(StatusCode::kInvalidArgument, Concat("trace ", index, " is no object"));
    }
    if (const Status status = ReadJaegerTrace(object, index, out); !status.ok()) return status;
    ++index;
  }
  return absl::OkStatus();
}

}  // namespace varve::tracing
