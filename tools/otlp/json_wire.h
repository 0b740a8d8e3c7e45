#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "varve/status.h"

namespace varve::otlp {

/// How a field of a message is written in JSON and on the wire.
enum class FieldKind : uint8_t {
  kString,
  kBase64,  // bytes
  kHexId,   // bytes: trace and span ids, which OTLP's JSON writes in hex of any case
  kBool,
  kVarint,    // int64, int32, uint64, uint32 and enums
  kSint32,    // zigzag
  kFixed32,   // unsigned
  kFixed64,   // unsigned
  kSfixed64,  // signed
  kDouble,
  kMessage,
};

struct MessageSchema;

struct FieldSchema {
  std::string_view name;  // lowerCamelCase: OTLP allows nothing else
  uint32_t number = 0;
  FieldKind kind = FieldKind::kString;
  bool repeated = false;
  const MessageSchema* message = nullptr;  // kMessage
};

/// What JSON may say about a message; fields that are not listed are ignored.
struct MessageSchema {
  std::span<const FieldSchema> fields;
};

/// The bodies of the three services (opentelemetry.proto.collector.*.v1.Export*ServiceRequest).
extern const MessageSchema kTraceRequest;
extern const MessageSchema kLogRequest;
extern const MessageSchema kMetricRequest;

/// Translates OTLP's JSON into protobuf wire bytes, appended to `out`: so each signal needs one
/// decoder only. 64-bit integers may be strings or numbers, doubles "NaN", "Infinity" or
/// "-Infinity"; null is an absent field. Lengths are written in their shortest form.
/// Errors: kInvalidArgument that names the path of the field, kResourceExhausted for values nested
/// too deep.
Status JsonToWire(std::string_view json, const MessageSchema& schema, std::string* out);

}  // namespace varve::otlp
