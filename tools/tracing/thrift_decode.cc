#include <array>

#include "tools/tracing/jaeger_model.h"
#include "tools/tracing/thrift.h"
#include "tools/tracing/wire_formats.h"
#include "tools/tracing/zipkin_model.h"

namespace varve::tracing {
namespace {

constexpr int kDepthMax = 32;
// Structs are some 50 times the smallest span, tag or annotation on the wire.
constexpr size_t kElementsMax = 4'000'000;

template <size_t kBytes>
void PutBigEndian(int64_t value, uint8_t* out) {
  for (size_t i = 0; i < kBytes; ++i) {
    out[kBytes - 1 - i] = static_cast<uint8_t>(static_cast<uint64_t>(value) >> (8 * i));
  }
}

template <typename Protocol>
class ThriftDecoder {
 public:
  ThriftDecoder(std::string_view bytes, SpanBatch* out)
      : in_(bytes), batch_(out), jaeger_(out), zipkin_(out) {}

  Status JaegerBatch() { return Batch() ? absl::OkStatus() : in_.ToStatus(); }

  Status ZipkinList() { return ZipkinSpans() ? absl::OkStatus() : in_.ToStatus(); }

  Status AgentMessage() {
    typename Protocol::Message message;
    if (!in_.BeginMessage(&message)) return in_.ToStatus();
    const bool jaeger = message.name == "emitBatch";
    if (!jaeger && message.name != "emitZipkinBatch") {
      in_.Fail(Concat("unknown method ", GoQuote(message.name.substr(0, 64))));
      return in_.ToStatus();
    }
    const bool good = Struct([&](int16_t id, ThriftType type) {
      if (id != 1) return Skip(type);
      if (jaeger) return type == ThriftType::kStruct ? Batch() : Skip(type);
      return type == ThriftType::kList ? ZipkinSpans() : Skip(type);
    });
    return good ? absl::OkStatus() : in_.ToStatus();
  }

 private:
  // Walks the fields of a struct; read(id, type) takes exactly the value.
  template <typename Read>
  bool Struct(Read read) {
    in_.BeginStruct();
    ThriftType type = ThriftType::kStop;
    int16_t id = 0;
    while (in_.NextField(&type, &id)) {
      if (!read(id, type)) return false;
    }
    if (!in_.ok()) return false;
    in_.EndStruct();
    return true;
  }
  // Walks a list of structs; what else it holds is passed over.
  template <typename Read>
  bool List(Read read) {
    ThriftType type = ThriftType::kStop;
    uint32_t count = 0;
    if (!in_.BeginList(&type, &count)) return false;
    for (uint32_t i = 0; i < count; ++i) {
      if (++elements_ > kElementsMax) return in_.Fail("too many elements");
      if (!(type == ThriftType::kStruct ? read() : Skip(type))) return false;
    }
    return true;
  }
  bool Skip(ThriftType type) { return SkipThrift(in_, type, kDepthMax); }
  bool Text(ThriftType type, std::string_view* out) {
    return type == ThriftType::kString ? in_.Bytes(out) : Skip(type);
  }
  bool Long(ThriftType type, int64_t* out) {
    return type == ThriftType::kI64 ? in_.I64(out) : Skip(type);
  }
  bool Int(ThriftType type, int32_t* out) {
    return type == ThriftType::kI32 ? in_.I32(out) : Skip(type);
  }

  // --- Jaeger ---

  bool Tag(std::vector<AttributeView>* tags) {
    AttributeView tag;
    int32_t kind = 0;
    std::string_view text;
    std::string_view binary;
    double number = 0;
    bool flag = false;
    int64_t integer = 0;
    const bool good = Struct([&](int16_t id, ThriftType type) {
      switch (id) {
        case 1:
          return Text(type, &tag.key);
        case 2:
          return Int(type, &kind);
        case 3:
          return Text(type, &text);
        case 4:
          return type == ThriftType::kDouble ? in_.Double(&number) : Skip(type);
        case 5:
          return type == ThriftType::kBool ? in_.Bool(&flag) : Skip(type);
        case 6:
          return Long(type, &integer);
        case 7:
          return Text(type, &binary);
        default:
          return Skip(type);
      }
    });
    if (!good) return false;
    switch (kind) {
      case 1:
        tag.value = ValueView::Double(number);
        break;
      case 2:
        tag.value = ValueView::Bool(flag);
        break;
      case 3:
        tag.value = ValueView::Int(integer);
        break;
      case 4:
        tag.value = ValueView::Bytes(binary);
        break;
      default:
        tag.value = ValueView::String(text);
    }
    tags->push_back(tag);
    return true;
  }

  bool Tags(ThriftType type, std::vector<AttributeView>* tags) {
    if (type != ThriftType::kList) return Skip(type);
    return List([&] { return Tag(tags); });
  }

  bool Process() {
    std::string_view service;
    tags_.clear();
    const bool good = Struct([&](int16_t id, ThriftType type) {
      if (id == 1) return Text(type, &service);
      if (id == 2) return Tags(type, &tags_);
      return Skip(type);
    });
    if (!good) return false;
    process_ = jaeger_.AddProcess(service, tags_);
    has_process_ = true;
    return true;
  }

  bool Reference() {
    JaegerReference reference;
    int32_t kind = 0;
    int64_t low = 0;
    int64_t high = 0;
    int64_t span = 0;
    const bool good = Struct([&](int16_t id, ThriftType type) {
      switch (id) {
        case 1:
          return Int(type, &kind);
        case 2:
          return Long(type, &low);
        case 3:
          return Long(type, &high);
        case 4:
          return Long(type, &span);
        default:
          return Skip(type);
      }
    });
    if (!good) return false;
    reference.child_of = kind == 0;
    PutBigEndian<8>(high, reference.trace_id.bytes.data());
    PutBigEndian<8>(low, reference.trace_id.bytes.data() + 8);
    PutBigEndian<8>(span, reference.span_id.bytes.data());
    span_.references.push_back(reference);
    return true;
  }

  bool Log() {
    JaegerLog log;
    int64_t time_us = 0;
    log.fields_begin = static_cast<uint32_t>(span_.fields.size());
    const bool good = Struct([&](int16_t id, ThriftType type) {
      if (id == 1) return Long(type, &time_us);
      if (id == 2) return Tags(type, &span_.fields);
      return Skip(type);
    });
    if (!good) return false;
    log.fields_count = static_cast<uint32_t>(span_.fields.size()) - log.fields_begin;
    log.time_ns = MicrosToNs(time_us);
    span_.logs.push_back(log);
    return true;
  }

  bool Span() {
    span_.Clear();
    int64_t low = 0;
    int64_t high = 0;
    int64_t id64 = 0;
    int64_t parent = 0;
    int64_t start = 0;
    int64_t duration = 0;
    int32_t flags = 0;
    const bool good = Struct([&](int16_t id, ThriftType type) {
      switch (id) {
        case 1:
          return Long(type, &low);
        case 2:
          return Long(type, &high);
        case 3:
          return Long(type, &id64);
        case 4:
          return Long(type, &parent);
        case 5:
          return Text(type, &span_.operation);
        case 6:
          return type == ThriftType::kList ? List([&] { return Reference(); }) : Skip(type);
        case 7:
          return Int(type, &flags);
        case 8:
          return Long(type, &start);
        case 9:
          return Long(type, &duration);
        case 10:
          return Tags(type, &span_.tags);
        case 11:
          return type == ThriftType::kList ? List([&] { return Log(); }) : Skip(type);
        default:
          return Skip(type);
      }
    });
    if (!good) return false;
    PutBigEndian<8>(high, span_.trace_id.bytes.data());
    PutBigEndian<8>(low, span_.trace_id.bytes.data() + 8);
    PutBigEndian<8>(id64, span_.span_id.bytes.data());
    PutBigEndian<8>(parent, span_.parent_id.bytes.data());
    span_.flags = static_cast<uint32_t>(flags);
    span_.start_ns = MicrosToNs(start);
    span_.duration_ns = MicrosToNs(duration);
    jaeger_.AddSpan(process_, span_);
    return true;
  }

  bool Batch() {
    return Struct([&](int16_t id, ThriftType type) {
      if (id == 1 && type == ThriftType::kStruct) return Process();
      if (id == 2 && type == ThriftType::kList) {
        // Writers put the process first; a batch that does not has none yet.
        if (!has_process_) process_ = jaeger_.AddProcess({}, {});
        return List([&] { return Span(); });
      }
      return Skip(type);
    });
  }

  // --- Zipkin ---

  bool Endpoint(ZipkinEndpoint* endpoint) {
    int32_t ipv4 = 0;
    int16_t port = 0;
    const bool good = Struct([&](int16_t id, ThriftType type) {
      switch (id) {
        case 1:
          return Int(type, &ipv4);
        case 2:
          return type == ThriftType::kI16 ? in_.I16(&port) : Skip(type);
        case 3:
          return Text(type, &endpoint->service);
        default:
          return Skip(type);
      }
    });
    if (!good) return false;
    if (ipv4 != 0) {
      const auto bits = static_cast<uint32_t>(ipv4);
      endpoint->ip = batch_->Copy(
          Concat(bits >> 24, ".", bits >> 16 & 255, ".", bits >> 8 & 255, ".", bits & 255));
    }
    endpoint->port = static_cast<uint16_t>(port);
    return true;
  }

  bool ZipkinAnnotation() {
    ZipkinV1Annotation annotation;
    const bool good = Struct([&](int16_t id, ThriftType type) {
      switch (id) {
        case 1:
          return Long(type, &annotation.time_us);
        case 2:
          return Text(type, &annotation.value);
        case 3:
          return type == ThriftType::kStruct ? Endpoint(&annotation.endpoint) : Skip(type);
        default:
          return Skip(type);
      }
    });
    if (good) annotations_.push_back(annotation);
    return good;
  }

  bool ZipkinBinaryAnnotation() {
    ZipkinV1Tag tag;
    std::string_view value;
    int32_t kind = 6;
    const bool good = Struct([&](int16_t id, ThriftType type) {
      switch (id) {
        case 1:
          return Text(type, &tag.key);
        case 2:
          return Text(type, &value);
        case 3:
          return Int(type, &kind);
        case 4:
          return type == ThriftType::kStruct ? Endpoint(&tag.endpoint) : Skip(type);
        default:
          return Skip(type);
      }
    });
    if (!good) return false;
    const auto big_endian = [&](size_t bytes) {
      uint64_t bits = 0;
      for (size_t i = 0; i < bytes; ++i) bits = bits << 8 | static_cast<uint8_t>(value[i]);
      return bits;
    };
    if (kind == 0 && value.size() == 1) {
      tag.value = ValueView::Bool(value[0] != 0);
    } else if (kind == 2 && value.size() == 2) {
      tag.value = ValueView::Int(static_cast<int16_t>(big_endian(2)));
    } else if (kind == 3 && value.size() == 4) {
      tag.value = ValueView::Int(static_cast<int32_t>(big_endian(4)));
    } else if (kind == 4 && value.size() == 8) {
      tag.value = ValueView::Int(static_cast<int64_t>(big_endian(8)));
    } else if (kind == 5 && value.size() == 8) {
      tag.value = ValueView::Double(std::bit_cast<double>(big_endian(8)));
    } else if (kind == 6) {
      tag.value = ValueView::String(value);
    } else {
      tag.value = ValueView::Bytes(value);
    }
    zipkin_tags_.push_back(tag);
    return true;
  }

  bool ZipkinV1() {
    zipkin_span_.Clear();
    annotations_.clear();
    zipkin_tags_.clear();
    int64_t low = 0;
    int64_t high = 0;
    int64_t id64 = 0;
    int64_t parent = 0;
    const bool good = Struct([&](int16_t id, ThriftType type) {
      switch (id) {
        case 1:
          return Long(type, &low);
        case 3:
          return Text(type, &zipkin_span_.name);
        case 4:
          return Long(type, &id64);
        case 5:
          return Long(type, &parent);
        case 6:
          return type == ThriftType::kList ? List([&] { return ZipkinAnnotation(); }) : Skip(type);
        case 8:
          return type == ThriftType::kList ? List([&] { return ZipkinBinaryAnnotation(); })
                                           : Skip(type);
        case 9:
          return type == ThriftType::kBool ? in_.Bool(&zipkin_span_.debug) : Skip(type);
        case 10:
          return Long(type, &zipkin_span_.timestamp_us);
        case 11:
          return Long(type, &zipkin_span_.duration_us);
        case 12:
          return Long(type, &high);
        default:
          return Skip(type);
      }
    });
    if (!good) return false;
    PutBigEndian<8>(high, zipkin_span_.trace_id.bytes.data());
    PutBigEndian<8>(low, zipkin_span_.trace_id.bytes.data() + 8);
    PutBigEndian<8>(id64, zipkin_span_.id.bytes.data());
    PutBigEndian<8>(parent, zipkin_span_.parent_id.bytes.data());
    zipkin_.AddV1Span(zipkin_span_, annotations_, zipkin_tags_);
    return true;
  }

  bool ZipkinSpans() {
    return List([&] { return ZipkinV1(); });
  }

  Protocol in_;
  SpanBatch* const batch_;
  JaegerBuilder jaeger_;
  ZipkinBuilder zipkin_;
  size_t elements_ = 0;
  uint32_t process_ = 0;
  bool has_process_ = false;
  JaegerSpan span_;
  std::vector<AttributeView> tags_;
  ZipkinSpan zipkin_span_;
  std::vector<ZipkinV1Annotation> annotations_;
  std::vector<ZipkinV1Tag> zipkin_tags_;
};

}  // namespace

Status DecodeJaegerThriftBatch(std::string_view bytes, SpanBatch* out) {
  return ThriftDecoder<BinaryThrift>(bytes, out).JaegerBatch();
}
Status DecodeJaegerAgentCompact(std::string_view bytes, SpanBatch* out) {
  return ThriftDecoder<CompactThrift>(bytes, out).AgentMessage();
}
Status DecodeJaegerAgentBinary(std::string_view bytes, SpanBatch* out) {
  return ThriftDecoder<BinaryThrift>(bytes, out).AgentMessage();
}
Status DecodeZipkinThrift(std::string_view bytes, SpanBatch* out) {
  return ThriftDecoder<BinaryThrift>(bytes, out).ZipkinList();
}

}  // namespace varve::tracing
