#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "varve/span.h"

namespace varve {

/// Reads what stands inside arrays and maps: OTLP's AnyValue, ArrayValue and KeyValueList in
/// protobuf wire format (opentelemetry/proto/common/v1/common.proto). Unknown fields are skipped;
/// of repeated fields of a oneof the last wins, as protobuf says.

/// Decodes the bytes of an AnyValue message; false if they are malformed. Arrays and maps are only
/// delimited, not looked into. The view points into `wire`.
bool DecodeAnyValue(std::string_view wire, ValueView* out);
/// Decodes the bytes of a KeyValue message.
bool DecodeKeyValue(std::string_view wire, AttributeView* out);

/// Walks an ArrayValue or KeyValueList: each call takes the next element off `*wire`. Returns false
/// at the end, and with `*malformed` set where the bytes make no sense.
bool NextElement(std::string_view* wire, ValueView* element, bool* malformed);
bool NextEntry(std::string_view* wire, AttributeView* entry, bool* malformed);

/// Checks a value to the bottom: form of all bytes, and at most `depth_max` arrays and maps in one
/// another. Cost: linear in its bytes.
bool ValidateValue(const ValueView& value, uint32_t depth_max);

/// Append the wire bytes of an AnyValue, and of a KeyValue, without tag and length of their own.
void EncodeAnyValue(const ValueView& value, std::string* out);
void EncodeKeyValue(const AttributeView& attribute, std::string* out);
/// Append an element of an ArrayValue, an entry of a KeyValueList (tag and length included).
void AppendElement(const ValueView& value, std::string* out);
void AppendEntry(const AttributeView& attribute, std::string* out);

/// Appends the value as JSON: strings escaped (bytes that are not UTF-8 become U+FFFD), bytes as
/// base64 strings, integers as numbers, NaN and infinities as strings. Values nested deeper than
/// 64 print as null.
void AppendJson(const ValueView& value, std::string* out);

}  // namespace varve
