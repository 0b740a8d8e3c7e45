#include "tools/otlp/json_wire.h"

#include <simdjson.h>

#include <charconv>
#include <cmath>
#include <limits>
#include <optional>

#include "engine/base/strings.h"
#include "tools/otlp/base64.h"
#include "tools/otlp/wire_writer.h"

namespace varve::otlp {
namespace {

namespace dom = simdjson::dom;

// Messages in one another: an array or map in a value takes three. The store's own bound on values
// is lower.
constexpr int kDepthMax = 256;
// Parsers up to this size are kept for the next body.
constexpr size_t kKeptBodyMax = 1 << 20;

/// Says what is wrong and where; the path is put together as the calls return.
struct JsonFault {
  bool too_deep = false;
  std::string what;
  std::string path;
  bool Set(std::string_view message) {
    what = message;
    return false;
  }
  bool At(std::string_view part) {
    const bool index = !path.empty() && path.front() == '[';
    path = Concat(part, path.empty() || index ? "" : ".", path);
    return false;
  }
};

std::optional<uint64_t> WholeNumber(double value) {
  if (std::nearbyint(value) != value) return std::nullopt;
  if (value >= 0 && value < 0x1p64) return static_cast<uint64_t>(value);
  if (value < 0 && value >= -0x1p63) return static_cast<uint64_t>(static_cast<int64_t>(value));
  return std::nullopt;
}

// Reads a 64-bit integer, signed or not, as its bits.
bool ReadInteger(dom::element element, uint64_t* out, JsonFault* fault) {
  switch (element.type()) {
    case dom::element_type::INT64:
      *out = static_cast<uint64_t>(element.get_int64().value_unsafe());
      return true;
    case dom::element_type::UINT64:
      *out = element.get_uint64().value_unsafe();
      return true;
    case dom::element_type::DOUBLE:
      if (const auto whole = WholeNumber(element.get_double().value_unsafe())) {
        *out = *whole;
        return true;
      }
      break;
    case dom::element_type::STRING: {
      const std::string_view text = element.get_string().value_unsafe();
      const char* const end = text.data() + text.size();
      int64_t negative = 0;
      if (const auto [at, error] = std::from_chars(text.data(), end, *out);
          error == std::errc() && at == end) {
        return true;
      }
      if (const auto [at, error] = std::from_chars(text.data(), end, negative);
          error == std::errc() && at == end) {
        *out = static_cast<uint64_t>(negative);
        return true;
      }
      break;
    }
    default:
      break;
  }
  return fault->Set("not an integer of 64 bits");
}

bool ReadDouble(dom::element element, double* out, JsonFault* fault) {
  switch (element.type()) {
    case dom::element_type::INT64:
      *out = static_cast<double>(element.get_int64().value_unsafe());
      return true;
    case dom::element_type::UINT64:
      *out = static_cast<double>(element.get_uint64().value_unsafe());
      return true;
    case dom::element_type::DOUBLE:
      *out = element.get_double().value_unsafe();
      return true;
    case dom::element_type::STRING: {
      const std::string_view text = element.get_string().value_unsafe();
      if (text == "NaN") {
        *out = std::numeric_limits<double>::quiet_NaN();
        return true;
      }
      if (text == "Infinity" || text == "-Infinity") {
        *out = (text[0] == '-' ? -1 : 1) * std::numeric_limits<double>::infinity();
        return true;
      }
      const char* const end = text.data() + text.size();
      if (const auto [at, error] = std::from_chars(text.data(), end, *out);
          error == std::errc() && at == end) {
        return true;
      }
      break;
    }
    default:
      break;
  }
  return fault->Set("not a number");
}

bool ReadHex(std::string_view hex, std::string* out) {
  if (hex.size() % 2 != 0) return false;
  for (size_t i = 0; i < hex.size(); i += 2) {
    unsigned value = 0;
    const auto [at, error] = std::from_chars(hex.data() + i, hex.data() + i + 2, value, 16);
    if (error != std::errc() || at != hex.data() + i + 2) return false;
    out->push_back(static_cast<char>(value));
  }
  return true;
}

bool WriteMessage(dom::element element, const MessageSchema& schema, int depth, std::string* out,
                  JsonFault* fault);

bool WriteValue(dom::element element, const FieldSchema& field, int depth, std::string* out,
                JsonFault* fault) {
  const auto text = [&](std::string_view* value) {
    return element.get_string().get(*value) == simdjson::SUCCESS || fault->Set("not a string");
  };
  std::string_view string;
  uint64_t bits = 0;
  double number = 0;
  switch (field.kind) {
    case FieldKind::kString:
      if (!text(&string)) return false;
      AppendBytesField(field.number, string, out);
      return true;
    case FieldKind::kBase64: {
      if (!text(&string)) return false;
      const Submessage bytes(field.number, out);
      return DecodeBase64(string, out) || fault->Set("not base64");
    }
    case FieldKind::kHexId: {
      if (!text(&string)) return false;
      const Submessage bytes(field.number, out);
      return ReadHex(string, out) || fault->Set("not an id in hex");
    }
    case FieldKind::kBool: {
      bool value = false;
      if (element.get_bool().get(value) != simdjson::SUCCESS) {
        return fault->Set("neither true nor false");
      }
      AppendVarintField(field.number, value ? 1 : 0, out);
      return true;
    }
    case FieldKind::kVarint:
      if (!ReadInteger(element, &bits, fault)) return false;
      AppendVarintField(field.number, bits, out);
      return true;
    case FieldKind::kSint32: {
      if (!ReadInteger(element, &bits, fault)) return false;
      const auto value = static_cast<int64_t>(bits);
      if (value < INT32_MIN || value > INT32_MAX) return fault->Set("not an integer of 32 bits");
      AppendVarintField(field.number, static_cast<uint32_t>(value << 1 ^ value >> 63), out);
      return true;
    }
    case FieldKind::kFixed32:
      if (!ReadInteger(element, &bits, fault)) return false;
      if (bits > UINT32_MAX) return fault->Set("not an integer of 32 bits");
      AppendFixed32Field(field.number, static_cast<uint32_t>(bits), out);
      return true;
    case FieldKind::kFixed64:
    case FieldKind::kSfixed64:
      if (!ReadInteger(element, &bits, fault)) return false;
      AppendFixed64Field(field.number, bits, out);
      return true;
    case FieldKind::kDouble:
      if (!ReadDouble(element, &number, fault)) return false;
      AppendDoubleField(field.number, number, out);
      return true;
    case FieldKind::kMessage: {
      if (depth == 0) {
        fault->too_deep = true;
        return fault->Set("nested too deep");
      }
      const Submessage message(field.number, out);
      return WriteMessage(element, *field.message, depth - 1, out, fault);
    }
  }
  return false;
}

bool WriteMessage(dom::element element, const MessageSchema& schema, int depth, std::string* out,
                  JsonFault* fault) {
  dom::object object;
  if (element.get_object().get(object) != simdjson::SUCCESS) return fault->Set("not an object");
  size_t next = 0;  // senders keep the order of the schema, so the next field is the likely one
  for (const auto [key, value] : object) {
    const FieldSchema* field = nullptr;
    for (size_t i = 0; i < schema.fields.size(); ++i) {
      const size_t at =
          next + i < schema.fields.size() ? next + i : next + i - schema.fields.size();
      if (schema.fields[at].name == key) {
        field = &schema.fields[at];
        next = at + 1 < schema.fields.size() ? at + 1 : 0;
        break;
      }
    }
    if (field == nullptr || value.is_null()) continue;
    if (!field->repeated) {
      if (!WriteValue(value, *field, depth, out, fault)) return fault->At(field->name);
      continue;
    }
    dom::array array;
    if (value.get_array().get(array) != simdjson::SUCCESS) {
      fault->Set("not an array");
      return fault->At(field->name);
    }
    size_t index = 0;
    for (const dom::element item : array) {
      if (!WriteValue(item, *field, depth, out, fault)) {
        fault->At(Concat("[", index, "]"));
        return fault->At(field->name);
      }
      ++index;
    }
  }
  return true;
}

}  // namespace

Status JsonToWire(std::string_view json, const MessageSchema& schema, std::string* out) {
  thread_local dom::parser kept;
  dom::parser own;
  dom::parser& parser = json.size() <= kKeptBodyMax ? kept : own;
  dom::element root;
  if (const auto error = parser.parse(json.data(), json.size(), true).get(root)) {
    if (error == simdjson::DEPTH_ERROR) {
      return MakeStatus(StatusCode::kResourceExhausted, "JSON nested too deep");
    }
    return MakeStatus(StatusCode::kInvalidArgument,
                      Concat("malformed JSON: ", simdjson::error_message(error)));
  }
  JsonFault fault;
  if (WriteMessage(root, schema, kDepthMax, out, &fault)) return absl::OkStatus();
  return MakeStatus(
      fault.too_deep ? StatusCode::kResourceExhausted : StatusCode::kInvalidArgument,
      Concat("malformed body at ", fault.path.empty() ? "its root" : fault.path, ": ", fault.what));
}

}  // namespace varve::otlp
