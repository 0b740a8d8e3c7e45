#include "engine/traces/wal_batch.h"

#include <bit>

#include "engine/base/coding.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "engine/traces/head.h"

namespace varve::traces {
namespace {

constexpr uint8_t kSameTrace = 0x01;  // as the span before
constexpr uint8_t kHasParent = 0x02;
constexpr uint8_t kHasState = 0x04;  // trace state, status message, flags, dropped counts
constexpr uint8_t kHasEvents = 0x08;
constexpr uint8_t kHasLinks = 0x10;
constexpr uint8_t kKnownBits = 0x1f;

void PutId(std::string_view bytes, std::string* out) { out->append(bytes); }

Status Malformed(const char* what) {
  return MakeStatus(StatusCode::kDataLoss, Concat("span batch: ", what));
}

class Decoder {
 public:
  Decoder(std::string_view payload, SpanBatch* out) : in_(payload), out_(out) {}

  Status Run() {
    if (in_.Fixed<uint8_t>() != kWalBatchVersion) return Malformed("unknown version");
    const uint64_t texts = in_.Count();
    texts_.reserve(texts);
    for (uint64_t i = 0; i < texts && in_.ok(); ++i) texts_.push_back(in_.String());
    if (!in_.ok()) return Malformed("texts end early");
    const uint64_t resources = in_.Count(3);
    for (uint64_t i = 0; i < resources && in_.ok(); ++i) {
      const std::string_view schema_url = Text();
      const uint32_t dropped = Number();
      Attributes();
      out_->AddResource(attributes_, schema_url, dropped);
    }
    const uint64_t scopes = in_.Count(6);
    for (uint64_t i = 0; i < scopes && in_.ok(); ++i) {
      const uint32_t resource = Number();
      if (resource >= resources) return Malformed("scope without resource");
      const std::string_view name = Text();
      const std::string_view version = Text();
      const std::string_view schema_url = Text();
      const uint32_t dropped = Number();
      Attributes();
      out_->AddScope(resource, name, version, attributes_, schema_url, dropped);
    }
    const uint64_t spans = in_.Count(14);
    for (uint64_t i = 0; i < spans && in_.ok(); ++i) VARVE_RETURN_IF_ERROR(Span(scopes));
    if (!in_.ok()) return Malformed(fault_ != nullptr ? fault_ : "bytes end early");
    if (in_.left() != 0) return Malformed("bytes behind the last span");
    return absl::OkStatus();
  }

 private:
  Status Span(uint64_t scopes) {
    const uint8_t bits = in_.Fixed<uint8_t>();
    const uint8_t kind_status = in_.Fixed<uint8_t>();
    span_.scope = Number();
    if (in_.ok() && span_.scope >= scopes) return Malformed("span without scope");
    if ((bits & ~kKnownBits) != 0) return Malformed("unknown bits of a span");
    if ((bits & kSameTrace) == 0) span_.trace_id = in_.Fixed<TraceId>();
    span_.span_id = in_.Fixed<SpanId>();
    span_.parent_id = (bits & kHasParent) != 0 ? in_.Fixed<SpanId>() : SpanId();
    span_.kind = static_cast<SpanKind>(kind_status & 15);
    span_.status = static_cast<SpanStatus>(kind_status >> 4);
    if ((kind_status & 15) > 5 || kind_status >> 4 > 2) return Malformed("unknown kind or status");
    span_.name = Text();
    span_.start_ns = WrapAdd(span_.start_ns, in_.Signed());
    span_.end_ns = WrapAdd(span_.start_ns, in_.Signed());
    span_.trace_state = span_.status_message = {};
    span_.flags = span_.dropped_attributes = span_.dropped_events = span_.dropped_links = 0;
    if ((bits & kHasState) != 0) {
      span_.trace_state = Text();
      span_.status_message = Text();
      span_.flags = Number();
      span_.dropped_attributes = Number();
      span_.dropped_events = Number();
      span_.dropped_links = Number();
    }
    Attributes();
    if (!in_.ok()) return absl::OkStatus();
    out_->AddSpan(span_, attributes_);
    if ((bits & kHasEvents) != 0) {
      const uint64_t events = in_.Count(4);
      for (uint64_t i = 0; i < events && in_.ok(); ++i) {
        const int64_t time = WrapAdd(span_.start_ns, in_.Signed());
        const std::string_view name = Text();
        const uint32_t dropped = Number();
        Attributes();
        out_->AddEvent(time, name, attributes_, dropped);
      }
    }
    if ((bits & kHasLinks) != 0) {
      const uint64_t links = in_.Count(28);
      for (uint64_t i = 0; i < links && in_.ok(); ++i) {
        SpanBatch::Link link;
        link.trace_id = in_.Fixed<TraceId>();
        link.span_id = in_.Fixed<SpanId>();
        link.trace_state = Text();
        link.dropped_attributes = Number();
        link.flags = Number();
        Attributes();
        out_->AddLink(link, attributes_);
      }
    }
    return absl::OkStatus();
  }

  std::string_view Text() {
    const uint64_t text = in_.Varint();
    if (text < texts_.size()) return texts_[text];
    Fail("text out of range");
    return {};
  }
  uint32_t Number() {
    const uint64_t number = in_.Varint();
    if (number > UINT32_MAX) Fail("number out of range");
    return static_cast<uint32_t>(number);
  }
  void Fail(const char* fault) {
    if (in_.ok()) fault_ = fault;
    in_.Fail();
  }
  void Attributes() {
    attributes_.clear();
    const uint64_t count = in_.Count(2);
    for (uint64_t i = 0; i < count && in_.ok(); ++i) {
      AttributeView attribute;
      attribute.key = Text();
      switch (static_cast<ValueType>(in_.Fixed<uint8_t>())) {
        case ValueType::kEmpty:
          break;
        case ValueType::kString:
          attribute.value = ValueView::String(Text());
          break;
        case ValueType::kBool:
          attribute.value = ValueView::Bool(in_.Fixed<uint8_t>() != 0);
          break;
        case ValueType::kInt:
          attribute.value = ValueView::Int(in_.Signed());
          break;
        case ValueType::kDouble:
          attribute.value = ValueView::Double(in_.Double());
          break;
        case ValueType::kBytes:
          attribute.value = ValueView::Bytes(Text());
          break;
        case ValueType::kArray:
          attribute.value = ValueView::Array(Text());
          break;
        case ValueType::kMap:
          attribute.value = ValueView::Map(Text());
          break;
        default:
          Fail("unknown type of a value");
      }
      attributes_.push_back(attribute);
    }
  }

  ByteReader in_;
  SpanBatch* out_;
  const char* fault_ = nullptr;
  std::vector<std::string_view> texts_;
  std::vector<AttributeView> attributes_;
  SpanBatch::Span span_;
};

}  // namespace

uint32_t WalBatchEncoder::Numbers::Of(uint32_t global, bool* fresh) {
  if (global >= slots_.size()) slots_.resize(std::max<size_t>(global + 1, slots_.size() * 2));
  Slot& slot = slots_[global];
  *fresh = slot.batch != batch_;
  if (*fresh) slot = {batch_, count_++};
  return slot.local;
}

uint32_t WalBatchEncoder::String(uint32_t global) {
  bool fresh = false;
  const uint32_t local = strings_.Of(global, &fresh);
  if (fresh) {
    PutString(&text_bytes_, head_->string(global));
    string_texts_.push_back(texts_++);
  }
  return string_texts_[local];
}

uint32_t WalBatchEncoder::Key(uint32_t global) {
  bool fresh = false;
  const uint32_t local = keys_.Of(global, &fresh);
  if (fresh) {
    PutString(&text_bytes_, head_->key(global));
    key_texts_.push_back(texts_++);
  }
  return key_texts_[local];
}

void WalBatchEncoder::PutAttributes(const HeadAttributes& attributes, std::string* out) {
  PutVarint(out, attributes.count);
  for (const HeadAttribute& attribute : attributes.view()) {
    PutVarint(out, Key(attribute.key));
    out->push_back(static_cast<char>(attribute.type));
    switch (attribute.type) {
      case ValueType::kEmpty:
        break;
      case ValueType::kBool:
        out->push_back(static_cast<char>(attribute.bits));
        break;
      case ValueType::kInt:
        PutSigned(out, static_cast<int64_t>(attribute.bits));
        break;
      case ValueType::kDouble:
        PutFixed(out, attribute.bits);
        break;
      default:
        PutVarint(out, String(static_cast<uint32_t>(attribute.bits)));
    }
  }
}

uint32_t WalBatchEncoder::Scope(uint32_t global) {
  bool fresh = false;
  const uint32_t local = scopes_.Of(global, &fresh);
  if (!fresh) return local;
  const HeadScope& scope = head_->scope(global);
  const uint32_t resource_local = resources_.Of(scope.resource, &fresh);
  if (fresh) {
    const HeadResource& resource = head_->resource(scope.resource);
    PutVarint(&resource_bytes_, String(resource.schema_url));
    PutVarint(&resource_bytes_, resource.dropped_attributes);
    PutAttributes(resource.attributes, &resource_bytes_);
  }
  PutVarint(&scope_bytes_, resource_local);
  PutVarint(&scope_bytes_, String(scope.name));
  PutVarint(&scope_bytes_, String(scope.version));
  PutVarint(&scope_bytes_, String(scope.schema_url));
  PutVarint(&scope_bytes_, scope.dropped_attributes);
  PutAttributes(scope.attributes, &scope_bytes_);
  return local;
}

std::span<const std::string_view> WalBatchEncoder::Encode(const Head& head, uint32_t begin,
                                                          uint32_t end) {
  head_ = &head;
  for (Numbers* numbers : {&strings_, &keys_, &resources_, &scopes_}) numbers->Start();
  texts_ = 0;
  key_texts_.clear();
  string_texts_.clear();
  for (std::string* bytes :
       {&head_bytes_, &text_bytes_, &resource_bytes_, &scope_bytes_, &scope_head_, &span_bytes_}) {
    bytes->clear();
  }
  PutVarint(&span_bytes_, end - begin);
  const HeadRow* before = nullptr;
  for (uint32_t i = begin; i < end; ++i) {
    const HeadRow& row = head.row(i);
    const bool same_trace = before != nullptr && before->trace_id == row.trace_id;
    const bool has_state = (row.trace_state | row.status_message | row.flags |
                            row.dropped_attributes | row.dropped_events | row.dropped_links) != 0;
    uint8_t bits = 0;
    if (same_trace) bits |= kSameTrace;
    if (!row.parent_id.empty()) bits |= kHasParent;
    if (has_state) bits |= kHasState;
    if (row.event_count > 0) bits |= kHasEvents;
    if (row.link_count > 0) bits |= kHasLinks;
    span_bytes_.push_back(static_cast<char>(bits));
    span_bytes_.push_back(
        static_cast<char>(static_cast<uint8_t>(row.kind) | static_cast<uint8_t>(row.status) << 4));
    PutVarint(&span_bytes_, Scope(row.scope));
    if (!same_trace) PutId(BytesOf(row.trace_id), &span_bytes_);
    PutId(BytesOf(row.span_id), &span_bytes_);
    if (!row.parent_id.empty()) PutId(BytesOf(row.parent_id), &span_bytes_);
    PutVarint(&span_bytes_, String(row.name));
    PutSigned(&span_bytes_, WrapSub(row.start_ns, before != nullptr ? before->start_ns : 0));
    PutSigned(&span_bytes_, WrapSub(row.end_ns, row.start_ns));
    if (has_state) {
      PutVarint(&span_bytes_, String(row.trace_state));
      PutVarint(&span_bytes_, String(row.status_message));
      for (const uint32_t number :
           {row.flags, row.dropped_attributes, row.dropped_events, row.dropped_links}) {
        PutVarint(&span_bytes_, number);
      }
    }
    PutAttributes(row.attributes, &span_bytes_);
    if (row.event_count > 0) {
      PutVarint(&span_bytes_, row.event_count);
      for (const HeadEvent& event : std::span(row.events, row.event_count)) {
        PutSigned(&span_bytes_, WrapSub(event.time_ns, row.start_ns));
        PutVarint(&span_bytes_, String(event.name));
        PutVarint(&span_bytes_, event.dropped_attributes);
        PutAttributes(event.attributes, &span_bytes_);
      }
    }
    if (row.link_count > 0) {
      PutVarint(&span_bytes_, row.link_count);
      for (const HeadLink& link : std::span(row.links, row.link_count)) {
        PutId(BytesOf(link.trace_id), &span_bytes_);
        PutId(BytesOf(link.span_id), &span_bytes_);
        PutVarint(&span_bytes_, String(link.trace_state));
        PutVarint(&span_bytes_, link.dropped_attributes);
        PutVarint(&span_bytes_, link.flags);
        PutAttributes(link.attributes, &span_bytes_);
      }
    }
    before = &row;
  }
  head_bytes_.push_back(static_cast<char>(kWalBatchVersion));
  PutVarint(&head_bytes_, texts_);
  PutVarint(&text_bytes_, resources_.count());
  PutVarint(&scope_head_, scopes_.count());
  pieces_ = {head_bytes_, text_bytes_, resource_bytes_, scope_head_, scope_bytes_, span_bytes_};
  return pieces_;
}

Status DecodeWalBatch(std::string_view payload, SpanBatch* out) {
  return Decoder(payload, out).Run();
}

}  // namespace varve::traces
