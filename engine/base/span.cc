#include "varve/span.h"

#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>

#include "engine/base/any_value.h"
#include "engine/base/utf8.h"

namespace varve {
namespace {

constexpr char kHex[] = "0123456789abcdef";
constexpr uint32_t kPrintDepthMax = 64;

template <size_t kBytes>
std::string HexOf(const std::array<uint8_t, kBytes>& bytes) {
  std::string out(2 * kBytes, '0');
  for (size_t i = 0; i < kBytes; ++i) {
    out[2 * i] = kHex[bytes[i] >> 4];
    out[2 * i + 1] = kHex[bytes[i] & 15];
  }
  return out;
}

int DigitOf(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

template <size_t kBytes>
bool ParseHex(std::string_view hex, std::array<uint8_t, kBytes>* out) {
  if (hex.empty() || hex.size() > 2 * kBytes) return false;
  out->fill(0);
  size_t nibble = 2 * kBytes - hex.size();
  for (const char c : hex) {
    const int digit = DigitOf(c);
    if (digit < 0) return false;
    (*out)[nibble / 2] |= static_cast<uint8_t>(nibble % 2 == 0 ? digit << 4 : digit);
    ++nibble;
  }
  return true;
}

// --- Protobuf wire format, as little of it as AnyValue needs ---

bool ReadVarint(std::string_view* wire, uint64_t* out) {
  uint64_t value = 0;
  for (size_t i = 0; i < 10 && i < wire->size(); ++i) {
    const uint8_t byte = static_cast<uint8_t>((*wire)[i]);
    value |= static_cast<uint64_t>(byte & 0x7f) << (7 * i);
    if (byte < 0x80) {
      wire->remove_prefix(i + 1);
      *out = value;
      return true;
    }
  }
  return false;
}

struct WireField {
  uint32_t number = 0;
  uint32_t type = 0;  // 0 varint, 1 eight bytes, 2 bytes, 5 four bytes
  uint64_t scalar = 0;
  std::string_view bytes;
};

/// Takes the next field; false at the end or, with `*malformed`, where there is none.
bool NextField(std::string_view* wire, WireField* field, bool* malformed) {
  if (wire->empty()) return false;
  *malformed = true;
  uint64_t tag = 0;
  if (!ReadVarint(wire, &tag) || tag >> 3 == 0 || tag >> 32 != 0) return false;
  field->number = static_cast<uint32_t>(tag >> 3);
  field->type = static_cast<uint32_t>(tag & 7);
  switch (field->type) {
    case 0:
      if (!ReadVarint(wire, &field->scalar)) return false;
      break;
    case 1:
    case 5: {
      const size_t bytes = field->type == 1 ? 8 : 4;
      if (wire->size() < bytes) return false;
      field->scalar = 0;
      std::memcpy(&field->scalar, wire->data(), bytes);
      wire->remove_prefix(bytes);
      break;
    }
    case 2: {
      uint64_t length = 0;
      if (!ReadVarint(wire, &length) || length > wire->size()) return false;
      field->bytes = wire->substr(0, length);
      wire->remove_prefix(length);
      break;
    }
    default:
      return false;
  }
  *malformed = false;
  return true;
}

void AppendVarint(uint64_t value, std::string* out) {
  while (value >= 0x80) {
    out->push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out->push_back(static_cast<char>(value));
}
void AppendBytes(uint32_t number, std::string_view bytes, std::string* out) {
  AppendVarint(number << 3 | 2, out);
  AppendVarint(bytes.size(), out);
  out->append(bytes);
}

bool ValidateAt(const ValueView& value, uint32_t depth_left) {
  if (value.type != ValueType::kArray && value.type != ValueType::kMap) return true;
  if (depth_left == 0) return false;
  std::string_view wire = value.text;
  bool malformed = false;
  if (value.type == ValueType::kArray) {
    ValueView element;
    while (NextElement(&wire, &element, &malformed)) {
      if (!ValidateAt(element, depth_left - 1)) return false;
    }
  } else {
    AttributeView entry;
    while (NextEntry(&wire, &entry, &malformed)) {
      if (!ValidateAt(entry.value, depth_left - 1)) return false;
    }
  }
  return !malformed;
}

// --- Printing ---

/// Appends a number in the form of Go's JSON: shortest digits, an exponent below 1e-6 and from
/// 1e21 on.
void AppendNumber(double value, std::string* out) {
  char buffer[64];
  const double size = std::fabs(value);
  const bool plain = size == 0 || (size >= 1e-6 && size < 1e21);
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value,
                                 plain ? std::chars_format::fixed : std::chars_format::scientific);
  out->append(buffer, end.ptr);
}

void AppendDouble(double value, bool quote_special, std::string* out) {
  if (std::isfinite(value)) return AppendNumber(value, out);
  const char* name = std::isnan(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf";
  if (quote_special) out->push_back('"');
  out->append(name);
  if (quote_special) out->push_back('"');
}

void AppendBase64(std::string_view bytes, std::string* out) {
  static constexpr char kDigits[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    for (size_t j = 0; j < 3; ++j) {
      group = group << 8 | (i + j < bytes.size() ? static_cast<uint8_t>(bytes[i + j]) : 0);
    }
    const size_t given = std::min<size_t>(3, bytes.size() - i);
    for (size_t j = 0; j < 4; ++j) {
      out->push_back(j <= given ? kDigits[group >> (18 - 6 * j) & 63] : '=');
    }
  }
}

void AppendJsonString(std::string_view text, std::string* out) {
  out->push_back('"');
  while (!text.empty()) {
    const char c = text[0];
    const size_t length = Utf8Length(text);
    if (length == 0) {
      out->append("\\ufffd");
      text.remove_prefix(1);
      continue;
    }
    if (c == '"' || c == '\\') {
      out->push_back('\\');
      out->push_back(c);
    } else if (c == '\n') {
      out->append("\\n");
    } else if (c == '\r') {
      out->append("\\r");
    } else if (c == '\t') {
      out->append("\\t");
    } else if (static_cast<uint8_t>(c) < 0x20) {
      out->append("\\u00");
      out->push_back(kHex[c >> 4]);
      out->push_back(kHex[c & 15]);
    } else {
      out->append(text.substr(0, length));
    }
    text.remove_prefix(length);
  }
  out->push_back('"');
}

void AppendJsonAt(const ValueView& value, uint32_t depth_left, std::string* out) {
  switch (value.type) {
    case ValueType::kEmpty:
      out->append("null");
      return;
    case ValueType::kString:
      return AppendJsonString(value.text, out);
    case ValueType::kBool:
      out->append(value.boolean ? "true" : "false");
      return;
    case ValueType::kInt:
      out->append(std::to_string(value.integer));
      return;
    case ValueType::kDouble:
      return AppendDouble(value.number, true, out);
    case ValueType::kBytes:
      out->push_back('"');
      AppendBase64(value.text, out);
      out->push_back('"');
      return;
    case ValueType::kArray:
    case ValueType::kMap:
      break;
  }
  if (depth_left == 0) {
    out->append("null");
    return;
  }
  std::string_view wire = value.text;
  bool malformed = false;
  bool first = true;
  if (value.type == ValueType::kArray) {
    out->push_back('[');
    ValueView element;
    while (NextElement(&wire, &element, &malformed)) {
      if (!std::exchange(first, false)) out->push_back(',');
      AppendJsonAt(element, depth_left - 1, out);
    }
    out->push_back(']');
    return;
  }
  out->push_back('{');
  AttributeView entry;
  while (NextEntry(&wire, &entry, &malformed)) {
    if (!std::exchange(first, false)) out->push_back(',');
    AppendJsonString(entry.key, out);
    out->push_back(':');
    AppendJsonAt(entry.value, depth_left - 1, out);
  }
  out->push_back('}');
}

}  // namespace

std::string ToString(const TraceId& id) { return HexOf(id.bytes); }
std::string ToString(const SpanId& id) { return HexOf(id.bytes); }

std::optional<TraceId> ParseTraceId(std::string_view hex) {
  TraceId id;
  if (!ParseHex(hex, &id.bytes)) return std::nullopt;
  return id;
}
std::optional<SpanId> ParseSpanId(std::string_view hex) {
  SpanId id;
  if (!ParseHex(hex, &id.bytes)) return std::nullopt;
  return id;
}

ValueView ValueView::String(std::string_view text) {
  ValueView value;
  value.type = ValueType::kString;
  value.text = text;
  return value;
}
ValueView ValueView::Bool(bool boolean) {
  ValueView value;
  value.type = ValueType::kBool;
  value.integer = 0;
  value.boolean = boolean;
  return value;
}
ValueView ValueView::Int(int64_t integer) {
  ValueView value;
  value.type = ValueType::kInt;
  value.integer = integer;
  return value;
}
ValueView ValueView::Double(double number) {
  ValueView value;
  value.type = ValueType::kDouble;
  value.number = number;
  return value;
}
ValueView ValueView::Bytes(std::string_view bytes) {
  ValueView value;
  value.type = ValueType::kBytes;
  value.text = bytes;
  return value;
}
ValueView ValueView::Array(std::string_view wire) {
  ValueView value;
  value.type = ValueType::kArray;
  value.text = wire;
  return value;
}
ValueView ValueView::Map(std::string_view wire) {
  ValueView value;
  value.type = ValueType::kMap;
  value.text = wire;
  return value;
}

bool operator==(const ValueView& a, const ValueView& b) {
  if (a.type != b.type) return false;
  switch (a.type) {
    case ValueType::kEmpty:
      return true;
    case ValueType::kBool:
      return a.boolean == b.boolean;
    case ValueType::kInt:
      return a.integer == b.integer;
    case ValueType::kDouble:
      return std::bit_cast<uint64_t>(a.number) == std::bit_cast<uint64_t>(b.number);
    case ValueType::kString:
    case ValueType::kBytes:
    case ValueType::kArray:
    case ValueType::kMap:
      return a.text == b.text;
  }
  return false;
}

std::string ToString(const ValueView& value) {
  std::string out;
  switch (value.type) {
    case ValueType::kEmpty:
      break;
    case ValueType::kString:
      out = value.text;
      break;
    case ValueType::kBytes:
      AppendBase64(value.text, &out);
      break;
    case ValueType::kDouble:
      AppendDouble(value.number, false, &out);
      break;
    default:
      AppendJson(value, &out);
  }
  return out;
}

const ValueView* FindAttribute(AttributesView attributes, std::string_view key) {
  const ValueView* found = nullptr;
  for (const AttributeView& attribute : attributes) {
    if (attribute.key == key) found = &attribute.value;
  }
  return found;
}

bool DecodeAnyValue(std::string_view wire, ValueView* out) {
  *out = ValueView();
  WireField field;
  bool malformed = false;
  while (NextField(&wire, &field, &malformed)) {
    const bool bytes = field.type == 2;
    if (field.number == 1 && bytes) *out = ValueView::String(field.bytes);
    if (field.number == 2 && field.type == 0) *out = ValueView::Bool(field.scalar != 0);
    if (field.number == 3 && field.type == 0) {
      *out = ValueView::Int(static_cast<int64_t>(field.scalar));
    }
    if (field.number == 4 && field.type == 1) {
      *out = ValueView::Double(std::bit_cast<double>(field.scalar));
    }
    if (field.number == 5 && bytes) *out = ValueView::Array(field.bytes);
    if (field.number == 6 && bytes) *out = ValueView::Map(field.bytes);
    if (field.number == 7 && bytes) *out = ValueView::Bytes(field.bytes);
  }
  return !malformed;
}

bool DecodeKeyValue(std::string_view wire, AttributeView* out) {
  *out = AttributeView();
  WireField field;
  bool malformed = false;
  while (NextField(&wire, &field, &malformed)) {
    if (field.type != 2) continue;
    if (field.number == 1) out->key = field.bytes;
    if (field.number == 2 && !DecodeAnyValue(field.bytes, &out->value)) return false;
  }
  return !malformed;
}

bool NextElement(std::string_view* wire, ValueView* element, bool* malformed) {
  WireField field;
  while (NextField(wire, &field, malformed)) {
    if (field.number != 1 || field.type != 2) continue;
    *malformed = !DecodeAnyValue(field.bytes, element);
    return !*malformed;
  }
  return false;
}

bool NextEntry(std::string_view* wire, AttributeView* entry, bool* malformed) {
  WireField field;
  while (NextField(wire, &field, malformed)) {
    if (field.number != 1 || field.type != 2) continue;
    *malformed = !DecodeKeyValue(field.bytes, entry);
    return !*malformed;
  }
  return false;
}

bool ValidateValue(const ValueView& value, uint32_t depth_max) {
  return ValidateAt(value, depth_max);
}

void EncodeAnyValue(const ValueView& value, std::string* out) {
  switch (value.type) {
    case ValueType::kEmpty:
      return;
    case ValueType::kString:
      return AppendBytes(1, value.text, out);
    case ValueType::kBool:
      out->push_back(2 << 3);
      out->push_back(value.boolean ? 1 : 0);
      return;
    case ValueType::kInt:
      out->push_back(3 << 3);
      AppendVarint(static_cast<uint64_t>(value.integer), out);
      return;
    case ValueType::kDouble: {
      out->push_back(4 << 3 | 1);
      const uint64_t bits = std::bit_cast<uint64_t>(value.number);
      out->append(reinterpret_cast<const char*>(&bits), sizeof bits);
      return;
    }
    case ValueType::kArray:
      return AppendBytes(5, value.text, out);
    case ValueType::kMap:
      return AppendBytes(6, value.text, out);
    case ValueType::kBytes:
      return AppendBytes(7, value.text, out);
  }
}

void EncodeKeyValue(const AttributeView& attribute, std::string* out) {
  AppendBytes(1, attribute.key, out);
  std::string value;
  EncodeAnyValue(attribute.value, &value);
  AppendBytes(2, value, out);
}

void AppendElement(const ValueView& value, std::string* out) {
  std::string wire;
  EncodeAnyValue(value, &wire);
  AppendBytes(1, wire, out);
}

void AppendEntry(const AttributeView& attribute, std::string* out) {
  std::string wire;
  EncodeKeyValue(attribute, &wire);
  AppendBytes(1, wire, out);
}

void AppendJson(const ValueView& value, std::string* out) {
  AppendJsonAt(value, kPrintDepthMax, out);
}

}  // namespace varve
