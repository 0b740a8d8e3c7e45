#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/strings.h"
#include "varve/status.h"

/// Reading of Thrift's two protocols over untrusted bytes: nothing is copied, no length is believed
/// before it is checked, nesting is bounded.
namespace varve::tracing {

/// Types as the binary protocol numbers them.
enum class ThriftType : uint8_t {
  kStop = 0,
  kBool = 2,
  kByte = 3,
  kDouble = 4,
  kI16 = 6,
  kI32 = 8,
  kI64 = 10,
  kString = 11,
  kStruct = 12,
  kMap = 13,
  kSet = 14,
  kList = 15,
};

/// What both protocols share. All readers return false, and set the fault, on bytes that do not
/// fit.
class ThriftReader {
 public:
  explicit ThriftReader(std::string_view bytes)
      : begin_(bytes.data()), at_(bytes.data()), end_(bytes.data() + bytes.size()) {}

  bool ok() const { return fault_.empty(); }
  /// kInvalidArgument with the byte offset.
  Status ToStatus() const {
    return MakeStatus(StatusCode::kInvalidArgument,
                      Concat("malformed Thrift at byte ", fault_at_ - begin_, ": ", fault_));
  }
  bool Fail(std::string_view what) {
    if (fault_.empty()) {
      fault_ = what;
      fault_at_ = at_;
    }
    return false;
  }
  bool at_end() const { return at_ == end_; }

 protected:
  size_t left() const { return static_cast<size_t>(end_ - at_); }
  bool Take(size_t bytes, const char** out) {
    if (left() < bytes) return Fail("truncated");
    *out = at_;
    at_ += bytes;
    return true;
  }
  template <typename T>
  bool BigEndian(T* out) {
    const char* bytes;
    if (!Take(sizeof(T), &bytes)) return false;
    std::make_unsigned_t<T> value = 0;
    for (size_t i = 0; i < sizeof(T); ++i) {
      value = static_cast<std::make_unsigned_t<T>>(value << 8 | static_cast<uint8_t>(bytes[i]));
    }
    *out = static_cast<T>(value);
    return true;
  }

  const char* begin_;
  const char* at_;
  const char* end_;
  const char* fault_at_ = nullptr;
  std::string fault_;
};

class BinaryThrift : public ThriftReader {
 public:
  using ThriftReader::ThriftReader;

  struct Message {
    std::string_view name;
  };
  bool BeginMessage(Message* message) {
    int32_t version = 0;
    int32_t sequence = 0;
    if (!I32(&version)) return false;
    if (version >= 0) {
      // The old form has no version: this is the length of the name.
      const char* name;
      int8_t type;
      if (!Take(static_cast<size_t>(version), &name) || !BigEndian(&type)) return false;
      message->name = {name, static_cast<size_t>(version)};
      return I32(&sequence);
    }
    if ((static_cast<uint32_t>(version) & 0xffff0000u) != 0x80010000u) return Fail("bad version");
    return Bytes(&message->name) && I32(&sequence);
  }
  void BeginStruct() {}
  void EndStruct() {}
  bool NextField(ThriftType* type, int16_t* id) {
    uint8_t byte = 0;
    if (!Byte(&byte) || byte == 0) return false;
    *type = static_cast<ThriftType>(byte);
    return BigEndian(id);
  }
  bool Bool(bool* out) {
    uint8_t byte = 0;
    if (!Byte(&byte)) return false;
    *out = byte != 0;
    return true;
  }
  bool Byte(uint8_t* out) { return BigEndian(out); }
  bool I16(int16_t* out) { return BigEndian(out); }
  bool I32(int32_t* out) { return BigEndian(out); }
  bool I64(int64_t* out) { return BigEndian(out); }
  bool Double(double* out) {
    int64_t bits;
    if (!BigEndian(&bits)) return false;
    *out = std::bit_cast<double>(bits);
    return true;
  }
  bool Bytes(std::string_view* out) {
    int32_t size = 0;
    const char* bytes;
    if (!I32(&size)) return false;
    if (size < 0) return Fail("negative length");
    if (!Take(static_cast<size_t>(size), &bytes)) return false;
    *out = {bytes, static_cast<size_t>(size)};
    return true;
  }
  bool BeginList(ThriftType* type, uint32_t* count) {
    uint8_t byte = 0;
    int32_t size = 0;
    if (!Byte(&byte) || !I32(&size)) return false;
    *type = static_cast<ThriftType>(byte);
    // An element takes a byte at the least.
    if (size < 0 || static_cast<size_t>(size) > left()) return Fail("more elements than bytes");
    *count = static_cast<uint32_t>(size);
    return true;
  }
  bool BeginMap(ThriftType* key, ThriftType* value, uint32_t* count) {
    uint8_t byte = 0;
    if (!Byte(&byte)) return false;
    *key = static_cast<ThriftType>(byte);
    return BeginList(value, count);
  }
};

class CompactThrift : public ThriftReader {
 public:
  using ThriftReader::ThriftReader;

  struct Message {
    std::string_view name;
  };
  bool BeginMessage(Message* message) {
    uint8_t protocol = 0;
    uint8_t version = 0;
    uint64_t sequence = 0;
    if (!Byte(&protocol) || !Byte(&version)) return false;
    if (protocol != 0x82 || (version & 0x1f) != 1) return Fail("not a compact message");
    return Varint(&sequence) && Bytes(&message->name);
  }
  void BeginStruct() {
    ids_.push_back(last_id_);
    last_id_ = 0;
  }
  void EndStruct() {
    last_id_ = ids_.back();
    ids_.pop_back();
  }
  bool NextField(ThriftType* type, int16_t* id) {
    uint8_t byte = 0;
    if (!Byte(&byte) || byte == 0) return false;
    const auto delta = static_cast<int16_t>(byte >> 4);
    if (delta != 0) {
      *id = static_cast<int16_t>(last_id_ + delta);
    } else if (!I16(id)) {
      return false;
    }
    last_id_ = *id;
    const uint8_t compact = byte & 15;
    // Of a field, the type is the value of a boolean.
    field_bool_ = compact == 1 ? 1 : 0;
    has_field_bool_ = compact == 1 || compact == 2;
    return TypeOf(compact, type);
  }
  bool Bool(bool* out) {
    if (has_field_bool_) {
      *out = field_bool_ != 0;
      has_field_bool_ = false;
      return true;
    }
    uint8_t byte = 0;
    if (!Byte(&byte)) return false;
    *out = byte == 1;
    return true;
  }
  bool Byte(uint8_t* out) { return BigEndian(out); }
  bool I16(int16_t* out) { return Zigzag(out); }
  bool I32(int32_t* out) { return Zigzag(out); }
  bool I64(int64_t* out) { return Zigzag(out); }
  bool Double(double* out) {
    const char* bytes;
    if (!Take(8, &bytes)) return false;
    std::memcpy(out, bytes, 8);
    return true;
  }
  bool Bytes(std::string_view* out) {
    uint64_t size = 0;
    const char* bytes;
    if (!Varint(&size) || !Take(size, &bytes)) return false;
    *out = {bytes, size};
    return true;
  }
  bool BeginList(ThriftType* type, uint32_t* count) {
    uint8_t byte = 0;
    if (!Byte(&byte)) return false;
    uint64_t size = byte >> 4;
    if (size == 15 && !Varint(&size)) return false;
    if (size > left()) return Fail("more elements than bytes");
    *count = static_cast<uint32_t>(size);
    has_field_bool_ = false;
    return TypeOf(byte & 15, type);
  }
  bool BeginMap(ThriftType* key, ThriftType* value, uint32_t* count) {
    uint64_t size = 0;
    if (!Varint(&size)) return false;
    *count = static_cast<uint32_t>(size);
    if (size == 0) return true;
    if (size > left()) return Fail("more elements than bytes");
    uint8_t types = 0;
    return Byte(&types) && TypeOf(types >> 4, key) && TypeOf(types & 15, value);
  }

 private:
  bool Varint(uint64_t* out) {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      uint8_t byte = 0;
      if (!Byte(&byte)) return false;
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) {
        *out = value;
        return true;
      }
    }
    return Fail("varint longer than 10 bytes");
  }
  template <typename T>
  bool Zigzag(T* out) {
    uint64_t value = 0;
    if (!Varint(&value)) return false;
    *out = static_cast<T>(static_cast<int64_t>(value >> 1) ^ -static_cast<int64_t>(value & 1));
    return true;
  }
  bool TypeOf(uint8_t compact, ThriftType* type) {
    constexpr ThriftType kTypes[] = {ThriftType::kStop,  ThriftType::kBool,   ThriftType::kBool,
                                     ThriftType::kByte,  ThriftType::kI16,    ThriftType::kI32,
                                     ThriftType::kI64,   ThriftType::kDouble, ThriftType::kString,
                                     ThriftType::kList,  ThriftType::kSet,    ThriftType::kMap,
                                     ThriftType::kStruct};
    if (compact >= std::size(kTypes)) return Fail("unknown type");
    *type = kTypes[compact];
    return true;
  }

  int16_t last_id_ = 0;
  std::vector<int16_t> ids_;
  uint8_t field_bool_ = 0;
  bool has_field_bool_ = false;
};

/// Passes over a value of any type, at most `depth` containers deep.
template <typename Protocol>
bool SkipThrift(Protocol& in, ThriftType type, int depth) {
  if (depth == 0) return in.Fail("nested too deep");
  bool flag;
  uint8_t byte;
  int16_t i16;
  int32_t i32;
  int64_t i64;
  double number;
  std::string_view bytes;
  uint32_t count = 0;
  switch (type) {
    case ThriftType::kBool:
      return in.Bool(&flag);
    case ThriftType::kByte:
      return in.Byte(&byte);
    case ThriftType::kDouble:
      return in.Double(&number);
    case ThriftType::kI16:
      return in.I16(&i16);
    case ThriftType::kI32:
      return in.I32(&i32);
    case ThriftType::kI64:
      return in.I64(&i64);
    case ThriftType::kString:
      return in.Bytes(&bytes);
    case ThriftType::kStruct: {
      in.BeginStruct();
      ThriftType field;
      int16_t id;
      while (in.NextField(&field, &id)) {
        if (!SkipThrift(in, field, depth - 1)) return false;
      }
      in.EndStruct();
      return in.ok();
    }
    case ThriftType::kMap: {
      ThriftType key = ThriftType::kStop;
      ThriftType value = ThriftType::kStop;
      if (!in.BeginMap(&key, &value, &count)) return false;
      for (uint32_t i = 0; i < count; ++i) {
        if (!SkipThrift(in, key, depth - 1) || !SkipThrift(in, value, depth - 1)) return false;
      }
      return true;
    }
    case ThriftType::kSet:
    case ThriftType::kList: {
      ThriftType element = ThriftType::kStop;
      if (!in.BeginList(&element, &count)) return false;
      for (uint32_t i = 0; i < count; ++i) {
        if (!SkipThrift(in, element, depth - 1)) return false;
      }
      return true;
    }
    case ThriftType::kStop:
      break;
  }
  return in.Fail("unknown type");
}

}  // namespace varve::tracing
