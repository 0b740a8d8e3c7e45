#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "varve/status.h"

namespace varve {

/// Identifies a trace: 16 bytes, all zero for none. Jaeger's and Zipkin's 64-bit ids stand in the
/// last 8 bytes.
struct TraceId {
  std::array<uint8_t, 16> bytes{};
  bool empty() const { return bytes == std::array<uint8_t, 16>{}; }
  friend bool operator==(const TraceId&, const TraceId&) = default;
  friend auto operator<=>(const TraceId&, const TraceId&) = default;
};
/// Identifies a span within its trace: 8 bytes, all zero for none.
struct SpanId {
  std::array<uint8_t, 8> bytes{};
  bool empty() const { return bytes == std::array<uint8_t, 8>{}; }
  friend bool operator==(const SpanId&, const SpanId&) = default;
  friend auto operator<=>(const SpanId&, const SpanId&) = default;
};
/// Print lower-case hex of full length.
std::string ToString(const TraceId& id);
std::string ToString(const SpanId& id);
/// Parse hex of any case; shorter texts (1 to 32, 1 to 16 digits) are padded with zeros on the
/// left. Nothing for other texts; an id of zero is an id here.
std::optional<TraceId> ParseTraceId(std::string_view hex);
std::optional<SpanId> ParseSpanId(std::string_view hex);

/// Numbers of OTLP (opentelemetry.proto.trace.v1); they live on disk.
enum class SpanKind : uint8_t {
  kUnspecified = 0,
  kInternal = 1,
  kServer = 2,
  kClient = 3,
  kProducer = 4,
  kConsumer = 5,
};
enum class SpanStatus : uint8_t { kUnset = 0, kOk = 1, kError = 2 };

/// The type of an attribute's value (OTLP AnyValue); these live on disk.
enum class ValueType : uint8_t {
  kEmpty = 0,
  kString = 1,
  kBool = 2,
  kInt = 3,
  kDouble = 4,
  kBytes = 5,
  kArray = 6,  // of values
  kMap = 7,    // of keys to values
};

/// Refers to an attribute's value. Strings and bytes are in `text`; arrays and maps too, as the
/// bytes of an OTLP ArrayValue or KeyValueList message (protobuf wire format): exact, and decoded
/// only by who looks inside. Depth and form of those bytes are checked on append.
struct ValueView {
  ValueType type = ValueType::kEmpty;
  union {
    bool boolean;
    int64_t integer = 0;
    double number;
  };
  std::string_view text;

  static ValueView String(std::string_view text);
  static ValueView Bool(bool value);
  static ValueView Int(int64_t value);
  static ValueView Double(double value);
  static ValueView Bytes(std::string_view bytes);
  static ValueView Array(std::string_view wire);
  static ValueView Map(std::string_view wire);
};
/// Compares type and bits: 1 differs from 1.0.
bool operator==(const ValueView& a, const ValueView& b);
/// Prints as Jaeger shows it: strings as they are, numbers in Go's form, bytes in base64, arrays
/// and maps as JSON.
std::string ToString(const ValueView& value);

struct AttributeView {
  std::string_view key;
  ValueView value;
};
/// Attributes in the order in which they came; a repeated key keeps its first place and last value.
using AttributesView = std::span<const AttributeView>;
/// Returns the value of `key`, or nullptr.
const ValueView* FindAttribute(AttributesView attributes, std::string_view key);

}  // namespace varve
