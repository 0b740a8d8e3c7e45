#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "engine/base/strings.h"
#include "varve/status.h"

namespace varve::ingest {

/// Describes where and why a protobuf body stopped making sense. One is shared by all readers of
/// a body; the first fault stays.
struct WireFault {
  const char* body = nullptr;  // offsets in messages count from here
  const char* at = nullptr;    // null: no fault yet
  std::string what;

  bool ok() const { return at == nullptr; }
  /// Records a fault unless there is one, and returns false so that callers can return it.
  bool Set(const char* where, std::string_view message) {
    if (at == nullptr) {
      at = where;
      what = message;
    }
    return false;
  }
  /// Returns kInvalidArgument with field and byte offset.
  Status ToStatus() const {
    return MakeStatus(StatusCode::kInvalidArgument,
                      Concat("malformed protobuf at byte ", at - body, ": ", what));
  }
};

enum class WireType : uint8_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

/// Walks the fields of one protobuf message over untrusted bytes without copying or recursing.
/// Our own rather than protozero, because errors must name byte and field, and because a walk that
/// throws costs its callers their inlining.
///
/// Protocol: while (reader.Next()) switch on field(); in each case call exactly one of the value
/// readers, or Skip. All return false, and leave the fault set, on bytes that do not fit; stop
/// then. Groups (wire types 3 and 4) are refused, so there is no nesting to bound.
class WireReader {
 public:
  WireReader(std::string_view bytes, WireFault* fault, std::string_view name)
      : at_(bytes.data()), end_(bytes.data() + bytes.size()), fault_(fault), name_(name) {}

  /// Reads the next tag; false at the end and after a fault.
  bool Next() {
    if (at_ == end_ || !fault_->ok()) return false;
    field_at_ = at_;
    uint64_t tag;
    if (!ReadVarint(&tag)) return false;
    if (tag > 0xffffffffu || tag < 8) return Fail("invalid tag");
    field_ = static_cast<uint32_t>(tag >> 3);
    wire_ = static_cast<uint8_t>(tag & 7);
    return true;
  }
  uint32_t field() const { return field_; }
  WireType wire() const { return static_cast<WireType>(wire_); }
  const char* field_at() const { return field_at_; }
  const char* at() const { return at_; }
  const char* end() const { return end_; }

  bool Varint(uint64_t* out) { return Expect(WireType::kVarint) && ReadVarint(out); }
  bool Int64(int64_t* out) {
    uint64_t value;
    if (!Varint(&value)) return false;
    *out = static_cast<int64_t>(value);
    return true;
  }
  bool Int32(int32_t* out) {
    uint64_t value;
    if (!Varint(&value)) return false;
    *out = static_cast<int32_t>(value);
    return true;
  }
  bool Uint32(uint32_t* out) {
    uint64_t value;
    if (!Varint(&value)) return false;
    *out = static_cast<uint32_t>(value);
    return true;
  }
  bool Sint64(int64_t* out) {
    uint64_t value;
    if (!Varint(&value)) return false;
    *out = static_cast<int64_t>(value >> 1) ^ -static_cast<int64_t>(value & 1);
    return true;
  }
  bool Sint32(int32_t* out) {
    int64_t value;
    if (!Sint64(&value)) return false;
    *out = static_cast<int32_t>(value);
    return true;
  }
  bool Double(double* out) {
    if (!Expect(WireType::kFixed64)) return false;
    if (end_ - at_ < 8) return Fail("truncated double");
    std::memcpy(out, at_, 8);
    at_ += 8;
    return true;
  }
  bool Fixed64(uint64_t* out) {
    if (!Expect(WireType::kFixed64)) return false;
    if (end_ - at_ < 8) return Fail("truncated fixed64");
    std::memcpy(out, at_, 8);
    at_ += 8;
    return true;
  }
  bool Fixed32(uint32_t* out) {
    if (!Expect(WireType::kFixed32)) return false;
    if (end_ - at_ < 4) return Fail("truncated fixed32");
    std::memcpy(out, at_, 4);
    at_ += 4;
    return true;
  }
  bool Bytes(std::string_view* out) { return Expect(WireType::kBytes) && ReadBytes(out); }

  /// Read a repeated scalar, packed or not, calling sink(value) for each; sink returns false to
  /// stop after setting a fault.
  template <typename Sink>
  bool RepeatedVarint(Sink sink) {
    uint64_t value;
    if (wire() == WireType::kVarint) return ReadVarint(&value) && sink(value);
    std::string_view packed;
    if (!Bytes(&packed)) return false;
    const char* const end = end_;
    const char* const after = at_;
    at_ = packed.data();
    end_ = at_ + packed.size();
    bool good = true;
    while (good && at_ != end_) good = ReadVarint(&value) && sink(value);
    at_ = after;
    end_ = end;
    return good;
  }
  template <typename Sink>
  bool RepeatedFixed64(Sink sink) {
    uint64_t value;
    if (wire() == WireType::kFixed64) return Fixed64(&value) && sink(value);
    std::string_view packed;
    if (!Bytes(&packed)) return false;
    if (packed.size() % 8 != 0) return Fail("packed values of uneven length");
    for (size_t i = 0; i < packed.size(); i += 8) {
      std::memcpy(&value, packed.data() + i, 8);
      if (!sink(value)) return false;
    }
    return true;
  }
  template <typename Sink>
  bool RepeatedDouble(Sink sink) {
    double value;
    if (wire() == WireType::kFixed64) return Double(&value) && sink(value);
    std::string_view packed;
    if (!Bytes(&packed)) return false;
    if (packed.size() % 8 != 0) return Fail("packed doubles of uneven length");
    for (size_t i = 0; i < packed.size(); i += 8) {
      std::memcpy(&value, packed.data() + i, 8);
      if (!sink(value)) return false;
    }
    return true;
  }

  /// Passes over the value of a field that is not ours.
  bool Skip() {
    uint64_t varint;
    std::string_view bytes;
    switch (wire_) {
      case 0:
        return ReadVarint(&varint);
      case 1:
        return Advance(8);
      case 2:
        return ReadBytes(&bytes);
      case 5:
        return Advance(4);
      case 3:
      case 4:
        return Fail("groups are not supported");
      default:
        return Fail("invalid wire type");
    }
  }

  /// Records a fault at the current field. Returns false.
  [[gnu::noinline, gnu::cold]] bool Fail(std::string_view what) {
    return fault_->Set(field_at_ != nullptr ? field_at_ : at_,
                       Concat(name_, " field ", field_, ": ", what));
  }

 private:
  bool Expect(WireType wanted) {
    if (wire() == wanted) [[likely]]
      return true;
    return FailWireType(wanted);
  }
  [[gnu::noinline, gnu::cold]] bool FailWireType(WireType wanted) {
    return Fail(
        Concat("wire type ", static_cast<int>(wire_), " instead of ", static_cast<int>(wanted)));
  }
  [[gnu::noinline, gnu::cold]] bool FailLength(uint64_t size) {
    return Fail(Concat("length ", size, " runs past the end, ", end_ - at_, " bytes are left"));
  }
  bool Advance(size_t bytes) {
    if (static_cast<size_t>(end_ - at_) < bytes) return Fail("truncated value");
    at_ += bytes;
    return true;
  }
  bool ReadVarint(uint64_t* out) {
    if (at_ != end_ && static_cast<unsigned char>(*at_) < 0x80) [[likely]] {
      *out = static_cast<unsigned char>(*at_++);
      return true;
    }
    return ReadLongVarint(out);
  }
  [[gnu::noinline]] bool ReadLongVarint(uint64_t* out) {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (at_ == end_) return Fail("truncated varint");
      const auto byte = static_cast<unsigned char>(*at_++);
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) {
        *out = value;
        return true;
      }
    }
    return Fail("varint longer than 10 bytes");
  }
  bool ReadBytes(std::string_view* out) {
    uint64_t size;
    if (!ReadVarint(&size)) return false;
    if (size > static_cast<uint64_t>(end_ - at_)) [[unlikely]]
      return FailLength(size);
    *out = std::string_view(at_, size);
    at_ += size;
    return true;
  }

  const char* at_;
  const char* end_;
  const char* field_at_ = nullptr;
  WireFault* fault_;
  std::string_view name_;
  uint32_t field_ = 0;
  uint8_t wire_ = 0;
};

}  // namespace varve::ingest
