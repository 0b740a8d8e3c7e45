#include "tools/otlp/decode_common.h"

namespace varve::otlp {

bool ReadAnyValue(std::string_view wire, WireFault* fault, ValueView* out) {
  // Of a oneof the last field counts.
  *out = ValueView{};
  WireReader reader(wire, fault, "AnyValue");
  while (reader.Next()) {
    std::string_view text;
    switch (reader.field()) {
      case 1:
        if (!reader.Bytes(&text)) return false;
        *out = ValueView::String(text);
        break;
      case 2: {
        uint64_t value;
        if (!reader.Varint(&value)) return false;
        *out = ValueView::Bool(value != 0);
        break;
      }
      case 3: {
        int64_t value;
        if (!reader.Int64(&value)) return false;
        *out = ValueView::Int(value);
        break;
      }
      case 4: {
        double value;
        if (!reader.Double(&value)) return false;
        *out = ValueView::Double(value);
        break;
      }
      case 5:
        if (!reader.Bytes(&text)) return false;
        *out = ValueView::Array(text);
        break;
      case 6:
        if (!reader.Bytes(&text)) return false;
        *out = ValueView::Map(text);
        break;
      case 7:
        if (!reader.Bytes(&text)) return false;
        *out = ValueView::Bytes(text);
        break;
      default:
        if (!reader.Skip()) return false;
    }
  }
  return fault->ok();
}

bool ReadAttribute(std::string_view wire, WireFault* fault, AttributeView* out) {
  *out = AttributeView{};
  WireReader reader(wire, fault, "KeyValue");
  while (reader.Next()) {
    std::string_view value;
    switch (reader.field()) {
      case 1:
        if (!reader.Bytes(&out->key)) return false;
        break;
      case 2:
        if (!reader.Bytes(&value) || !ReadAnyValue(value, fault, &out->value)) return false;
        break;
      default:
        if (!reader.Skip()) return false;
    }
  }
  return fault->ok();
}

bool ReadResource(std::string_view wire, WireFault* fault, ResourceParts* out) {
  WireReader reader(wire, fault, "Resource");
  while (reader.Next()) {
    std::string_view attribute;
    switch (reader.field()) {
      case 1:
        if (out->attributes.size() >= kElementsMax) return reader.Fail("too many attributes");
        if (!reader.Bytes(&attribute) ||
            !ReadAttribute(attribute, fault, &out->attributes.emplace_back())) {
          return false;
        }
        break;
      case 2:
        if (!reader.Uint32(&out->dropped_attributes)) return false;
        break;
      default:
        if (!reader.Skip()) return false;
    }
  }
  return fault->ok();
}

bool ReadScope(std::string_view wire, WireFault* fault, ScopeParts* out) {
  WireReader reader(wire, fault, "InstrumentationScope");
  while (reader.Next()) {
    std::string_view attribute;
    switch (reader.field()) {
      case 1:
        if (!reader.Bytes(&out->name)) return false;
        break;
      case 2:
        if (!reader.Bytes(&out->version)) return false;
        break;
      case 3:
        if (out->attributes.size() >= kElementsMax) return reader.Fail("too many attributes");
        if (!reader.Bytes(&attribute) ||
            !ReadAttribute(attribute, fault, &out->attributes.emplace_back())) {
          return false;
        }
        break;
      case 4:
        if (!reader.Uint32(&out->dropped_attributes)) return false;
        break;
      default:
        if (!reader.Skip()) return false;
    }
  }
  return fault->ok();
}

Status StatusOf(const WireFault& fault) { return fault.ToStatus(); }

}  // namespace varve::otlp
