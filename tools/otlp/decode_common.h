#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>
#include <vector>

#include "tools/ingest/protobuf.h"
#include "varve/span.h"

/// What the decoders of the three signals share.
namespace varve::otlp {

using ingest::WireFault;
using ingest::WireReader;
using ingest::WireType;

/// Bounds the structs that one body may turn into: empty messages of two bytes would otherwise
/// become structs of a hundred.
inline constexpr size_t kElementsMax = 6'000'000;

/// Calls `read(reader)` at each field of a message; it takes the field or skips it, and returns
/// false for a fault.
template <typename Read>
bool ForEachField(std::string_view wire, WireFault* fault, std::string_view message, Read read) {
  WireReader reader(wire, fault, message);
  while (reader.Next()) {
    if (!read(reader)) return false;
  }
  return fault->ok();
}

/// Calls `read(bytes)` for each field of a message that has the number; passes the others over.
template <typename Read>
bool ForEachMessage(std::string_view wire, WireFault* fault, std::string_view message,
                    uint32_t field, Read read) {
  return ForEachField(wire, fault, message, [&](WireReader& reader) {
    std::string_view bytes;
    return reader.field() == field ? reader.Bytes(&bytes) && read(bytes) : reader.Skip();
  });
}

/// Reads what an upper level of a request, of a resource or a scope, says about the items in it:
/// `read(bytes)` gets field 1, and field 3 is the URL of a schema. Fields come in any order and
/// this must be known before the items, so each level is walked twice, and this walk hops over the
/// items by their lengths.
template <typename Read>
bool ReadLevel(std::string_view wire, WireFault* fault, std::string_view message,
               std::string_view* schema_url, Read read) {
  *schema_url = {};
  return ForEachField(wire, fault, message, [&](WireReader& reader) {
    std::string_view bytes;
    return reader.field() == 1   ? reader.Bytes(&bytes) && read(bytes)
           : reader.field() == 3 ? reader.Bytes(schema_url)
                                 : reader.Skip();
  });
}

/// Reads the bytes of a KeyValue message. Arrays and maps are delimited, not looked into.
bool ReadAttribute(std::string_view wire, WireFault* fault, AttributeView* out);
/// Reads the bytes of an AnyValue message.
bool ReadAnyValue(std::string_view wire, WireFault* fault, ValueView* out);

struct ResourceParts {
  std::vector<AttributeView> attributes;
  uint32_t dropped_attributes = 0;
  void Clear() {
    attributes.clear();
    dropped_attributes = 0;
  }
};
bool ReadResource(std::string_view wire, WireFault* fault, ResourceParts* out);

struct ScopeParts {
  std::string_view name;
  std::string_view version;
  std::vector<AttributeView> attributes;
  uint32_t dropped_attributes = 0;
  void Clear() {
    name = version = {};
    attributes.clear();
    dropped_attributes = 0;
  }
};
bool ReadScope(std::string_view wire, WireFault* fault, ScopeParts* out);

/// Unix nanoseconds of 64 bits as OTLP has them; beyond year 2262 they stop at the last one.
inline int64_t TimeOf(uint64_t ns) {
  constexpr uint64_t kMax = std::numeric_limits<int64_t>::max();
  return static_cast<int64_t>(ns < kMax ? ns : kMax);
}

/// Reads an id field of `kBytes` bytes; empty is none. Any other length is a fault.
template <typename Id>
bool ReadId(WireReader* reader, Id* out) {
  std::string_view bytes;
  if (!reader->Bytes(&bytes)) return false;
  if (bytes.size() == out->bytes.size()) [[likely]] {
    std::memcpy(out->bytes.data(), bytes.data(), bytes.size());
    return true;
  }
  if (bytes.empty()) {
    out->bytes.fill(0);
    return true;
  }
  return reader->Fail(Concat("an id of ", bytes.size(), " bytes instead of ", out->bytes.size()));
}

/// Returns kInvalidArgument, or kResourceExhausted where a limit was the fault.
Status StatusOf(const WireFault& fault);

}  // namespace varve::otlp
