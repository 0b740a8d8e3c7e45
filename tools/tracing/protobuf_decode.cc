#include <algorithm>
#include <cstring>

#include "tools/ingest/protobuf.h"
#include "tools/tracing/jaeger_model.h"
#include "tools/tracing/wire_formats.h"
#include "tools/tracing/zipkin_model.h"

namespace varve::tracing {
namespace {

using ingest::WireFault;
using ingest::WireReader;

constexpr size_t kElementsMax = 4'000'000;

// Reads an id that is shorter than it could be into its low bytes.
template <typename Id>
bool ReadShortId(WireReader* reader, Id* out) {
  std::string_view bytes;
  if (!reader->Bytes(&bytes)) return false;
  if (bytes.size() > out->bytes.size()) {
    return reader->Fail(Concat("an id of ", bytes.size(), " bytes"));
  }
  out->bytes.fill(0);
  std::copy(bytes.begin(), bytes.end(), out->bytes.end() - static_cast<ptrdiff_t>(bytes.size()));
  return true;
}

// --- Zipkin ---

class ZipkinDecoder {
 public:
  ZipkinDecoder(SpanBatch* out, WireFault* fault) : batch_(out), builder_(out), fault_(fault) {}

  bool List(std::string_view wire) {
    WireReader reader(wire, fault_, "ListOfSpans");
    while (reader.Next()) {
      std::string_view message;
      if (reader.field() != 1) {
        if (!reader.Skip()) return false;
        continue;
      }
      if (!reader.Bytes(&message) || !Span(message)) return false;
      if (++elements_ > kElementsMax) return reader.Fail("too many elements");
    }
    return fault_->ok();
  }

 private:
  bool Endpoint(std::string_view wire, ZipkinEndpoint* out) {
    WireReader reader(wire, fault_, "Endpoint");
    while (reader.Next()) {
      std::string_view bytes;
      bool good = true;
      switch (reader.field()) {
        case 1:
          good = reader.Bytes(&out->service);
          break;
        case 2:
          good = reader.Bytes(&bytes);
          if (good && bytes.size() == 4) {
            const auto part = [&](size_t i) {
              return static_cast<unsigned>(static_cast<uint8_t>(bytes[i]));
            };
            out->ip = batch_->Copy(Concat(part(0), ".", part(1), ".", part(2), ".", part(3)));
          }
          break;
        case 4:
          good = reader.Int64(&out->port);
          break;
        default:
          good = reader.Skip();
      }
      if (!good) return false;
    }
    return fault_->ok();
  }

  bool Span(std::string_view wire) {
    span_.Clear();
    WireReader reader(wire, fault_, "Span");
    while (reader.Next()) {
      std::string_view message;
      uint64_t number = 0;
      bool good = true;
      switch (reader.field()) {
        case 1:
          good = ReadShortId(&reader, &span_.trace_id);
          break;
        case 2:
          good = ReadShortId(&reader, &span_.parent_id);
          break;
        case 3:
          good = ReadShortId(&reader, &span_.id);
          break;
        case 4: {
          constexpr SpanKind kKinds[] = {SpanKind::kUnspecified, SpanKind::kClient,
                                         SpanKind::kServer, SpanKind::kProducer,
                                         SpanKind::kConsumer};
          good = reader.Varint(&number);
          if (good && number < std::size(kKinds)) span_.kind = kKinds[number];
          break;
        }
        case 5:
          good = reader.Bytes(&span_.name);
          break;
        case 6:
          good = reader.Fixed64(&number);
          span_.timestamp_us = static_cast<int64_t>(number);
          break;
        case 7:
          good = reader.Varint(&number);
          span_.duration_us = static_cast<int64_t>(number);
          break;
        case 8:
          good = reader.Bytes(&message) && Endpoint(message, &span_.local);
          break;
        case 9:
          good = reader.Bytes(&message) && Endpoint(message, &span_.remote);
          break;
        case 10:
          good = reader.Bytes(&message) && Annotation(message);
          break;
        case 11:
          good = reader.Bytes(&message) && Tag(message);
          break;
        case 12:
          good = reader.Varint(&number);
          span_.debug = number != 0;
          break;
        case 13:
          good = reader.Varint(&number);
          span_.shared = number != 0;
          break;
        default:
          good = reader.Skip();
      }
      if (!good) return false;
    }
    if (!fault_->ok()) return false;
    builder_.AddSpan(span_);
    return true;
  }

  bool Annotation(std::string_view wire) {
    uint64_t time = 0;
    std::string_view value;
    WireReader reader(wire, fault_, "Annotation");
    while (reader.Next()) {
      const bool good = reader.field() == 1   ? reader.Fixed64(&time)
                        : reader.field() == 2 ? reader.Bytes(&value)
                                              : reader.Skip();
      if (!good) return false;
    }
    if (++elements_ > kElementsMax) return reader.Fail("too many elements");
    span_.annotations.emplace_back(static_cast<int64_t>(time), value);
    return fault_->ok();
  }

  bool Tag(std::string_view wire) {
    std::string_view key;
    std::string_view value;
    WireReader reader(wire, fault_, "TagsEntry");
    while (reader.Next()) {
      const bool good = reader.field() == 1   ? reader.Bytes(&key)
                        : reader.field() == 2 ? reader.Bytes(&value)
                                              : reader.Skip();
      if (!good) return false;
    }
    if (++elements_ > kElementsMax) return reader.Fail("too many elements");
    span_.tags.push_back({key, ValueView::String(value)});
    return fault_->ok();
  }

  SpanBatch* const batch_;
  ZipkinBuilder builder_;
  WireFault* const fault_;
  ZipkinSpan span_;
  size_t elements_ = 0;
};

// --- Jaeger ---

class JaegerDecoder {
 public:
  JaegerDecoder(SpanBatch* out, WireFault* fault) : builder_(out), fault_(fault) {}

  bool PostSpans(std::string_view wire) {
    WireReader reader(wire, fault_, "PostSpansRequest");
    while (reader.Next()) {
      std::string_view message;
      if (reader.field() == 1) {
        if (!reader.Bytes(&message) || !Batch(message)) return false;
      } else if (!reader.Skip()) {
        return false;
      }
    }
    return fault_->ok();
  }

 private:
  bool Batch(std::string_view wire) {
    std::string_view process;
    WireReader first(wire, fault_, "Batch");
    while (first.Next()) {
      if (first.field() == 2) {
        if (!first.Bytes(&process)) return false;
      } else if (!first.Skip()) {
        return false;
      }
    }
    uint32_t batch_process = 0;
    if (!fault_->ok() || !Process(process, &batch_process)) return false;
    WireReader second(wire, fault_, "Batch");
    while (second.Next()) {
      std::string_view message;
      if (second.field() == 1) {
        if (!second.Bytes(&message) || !Span(message, batch_process)) return false;
        if (++elements_ > kElementsMax) return second.Fail("too many elements");
      } else if (!second.Skip()) {
        return false;
      }
    }
    return fault_->ok();
  }

  bool Process(std::string_view wire, uint32_t* out) {
    std::string_view service;
    tags_.clear();
    WireReader reader(wire, fault_, "Process");
    while (reader.Next()) {
      std::string_view message;
      const bool good = reader.field() == 1   ? reader.Bytes(&service)
                        : reader.field() == 2 ? reader.Bytes(&message) && Tag(message, &tags_)
                                              : reader.Skip();
      if (!good) return false;
    }
    if (!fault_->ok()) return false;
    *out = builder_.AddProcess(service, tags_);
    return true;
  }

  bool Tag(std::string_view wire, std::vector<AttributeView>* tags) {
    AttributeView tag;
    uint64_t kind = 0;
    std::string_view text;
    std::string_view binary;
    uint64_t flag = 0;
    int64_t integer = 0;
    double number = 0;
    WireReader reader(wire, fault_, "KeyValue");
    while (reader.Next()) {
      bool good = true;
      switch (reader.field()) {
        case 1:
          good = reader.Bytes(&tag.key);
          break;
        case 2:
          good = reader.Varint(&kind);
          break;
        case 3:
          good = reader.Bytes(&text);
          break;
        case 4:
          good = reader.Varint(&flag);
          break;
        case 5:
          good = reader.Int64(&integer);
          break;
        case 6:
          good = reader.Double(&number);
          break;
        case 7:
          good = reader.Bytes(&binary);
          break;
        default:
          good = reader.Skip();
      }
      if (!good) return false;
    }
    if (++elements_ > kElementsMax) return reader.Fail("too many elements");
    switch (kind) {
      case 1:
        tag.value = ValueView::Bool(flag != 0);
        break;
      case 2:
        tag.value = ValueView::Int(integer);
        break;
      case 3:
        tag.value = ValueView::Double(number);
        break;
      case 4:
        tag.value = ValueView::Bytes(binary);
        break;
      default:
        tag.value = ValueView::String(text);
    }
    tags->push_back(tag);
    return fault_->ok();
  }

  // Timestamp and Duration have the same fields.
  bool Seconds(std::string_view wire, int64_t* ns) {
    int64_t seconds = 0;
    int64_t nanos = 0;
    WireReader reader(wire, fault_, "Timestamp");
    while (reader.Next()) {
      const bool good = reader.field() == 1   ? reader.Int64(&seconds)
                        : reader.field() == 2 ? reader.Int64(&nanos)
                                              : reader.Skip();
      if (!good) return false;
    }
    seconds = std::clamp<int64_t>(seconds, -9'000'000'000, 9'000'000'000);
    nanos = std::clamp<int64_t>(nanos, -1'000'000'000, 1'000'000'000);
    *ns = AddClamped(seconds * 1'000'000'000, nanos);
    return fault_->ok();
  }

  bool Span(std::string_view wire, uint32_t process) {
    span_.Clear();
    std::string_view own_process;
    WireReader reader(wire, fault_, "Span");
    while (reader.Next()) {
      std::string_view message;
      bool good = true;
      switch (reader.field()) {
        case 1:
          good = ReadShortId(&reader, &span_.trace_id);
          break;
        case 2:
          good = ReadShortId(&reader, &span_.span_id);
          break;
        case 3:
          good = reader.Bytes(&span_.operation);
          break;
        case 4:
          good = reader.Bytes(&message) && Reference(message);
          break;
        case 5:
          good = reader.Uint32(&span_.flags);
          break;
        case 6:
          good = reader.Bytes(&message) && Seconds(message, &span_.start_ns);
          break;
        case 7:
          good = reader.Bytes(&message) && Seconds(message, &span_.duration_ns);
          break;
        case 8:
          good = reader.Bytes(&message) && Tag(message, &span_.tags);
          break;
        case 9:
          good = reader.Bytes(&message) && Log(message);
          break;
        case 10:
          good = reader.Bytes(&own_process);
          break;
        default:
          good = reader.Skip();
      }
      if (!good) return false;
    }
    if (!fault_->ok()) return false;
    if (!own_process.empty()) {
      // The same process comes with each of its spans.
      if (own_process != last_process_ && !Process(own_process, &last_process_index_)) return false;
      last_process_ = own_process;
      process = last_process_index_;
    }
    builder_.AddSpan(process, span_);
    return true;
  }

  bool Reference(std::string_view wire) {
    JaegerReference reference;
    uint64_t kind = 0;
    WireReader reader(wire, fault_, "SpanRef");
    while (reader.Next()) {
      const bool good = reader.field() == 1   ? ReadShortId(&reader, &reference.trace_id)
                        : reader.field() == 2 ? ReadShortId(&reader, &reference.span_id)
                        : reader.field() == 3 ? reader.Varint(&kind)
                                              : reader.Skip();
      if (!good) return false;
    }
    if (++elements_ > kElementsMax) return reader.Fail("too many elements");
    reference.child_of = kind == 0;
    span_.references.push_back(reference);
    return fault_->ok();
  }

  bool Log(std::string_view wire) {
    JaegerLog log;
    log.fields_begin = static_cast<uint32_t>(span_.fields.size());
    WireReader reader(wire, fault_, "Log");
    while (reader.Next()) {
      std::string_view message;
      const bool good =
          reader.field() == 1   ? reader.Bytes(&message) && Seconds(message, &log.time_ns)
          : reader.field() == 2 ? reader.Bytes(&message) && Tag(message, &span_.fields)
                                : reader.Skip();
      if (!good) return false;
    }
    if (++elements_ > kElementsMax) return reader.Fail("too many elements");
    log.fields_count = static_cast<uint32_t>(span_.fields.size()) - log.fields_begin;
    span_.logs.push_back(log);
    return fault_->ok();
  }

  JaegerBuilder builder_;
  WireFault* const fault_;
  JaegerSpan span_;
  std::vector<AttributeView> tags_;
  std::string_view last_process_;
  uint32_t last_process_index_ = 0;
  size_t elements_ = 0;
};

}  // namespace

Status DecodeZipkinProtobuf(std::string_view bytes, SpanBatch* out) {
  WireFault fault;
  fault.body = bytes.data();
  return ZipkinDecoder(out, &fault).List(bytes) ? absl::OkStatus() : fault.ToStatus();
}

Status DecodeJaegerPostSpans(std::string_view bytes, SpanBatch* out) {
  WireFault fault;
  fault.body = bytes.data();
  return JaegerDecoder(out, &fault).PostSpans(bytes) ? absl::OkStatus() : fault.ToStatus();
}

}  // namespace varve::tracing
