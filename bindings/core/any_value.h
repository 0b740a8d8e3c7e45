#pragma once

#include <cstdint>
#include <string>
#include <string_view>

/// Writes the messages that nested attribute values are kept as (OTLP,
/// opentelemetry.proto.common.v1 in protobuf's wire format): ValueView::Array takes an ArrayValue,
/// ValueView::Map a KeyValueList.
namespace varve::bindings {

/// How deep values may nest; the engine refuses deeper ones.
inline constexpr int kValueDepthMax = 32;

/// Append to an AnyValue. An empty one is a null.
void AppendAnyString(std::string_view text, std::string* any);
void AppendAnyBytes(std::string_view bytes, std::string* any);
void AppendAnyBool(bool value, std::string* any);
void AppendAnyInt(int64_t value, std::string* any);
void AppendAnyDouble(double value, std::string* any);
void AppendAnyArray(std::string_view array, std::string* any);
void AppendAnyMap(std::string_view map, std::string* any);

/// Append one AnyValue to an ArrayValue, and a key with an AnyValue to a KeyValueList.
void AppendArrayItem(std::string_view any, std::string* array);
void AppendMapItem(std::string_view key, std::string_view any, std::string* map);

}  // namespace varve::bindings
