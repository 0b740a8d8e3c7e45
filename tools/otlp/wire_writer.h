#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

/// Writing protobuf wire format into a string: as much as answers need.
namespace varve::otlp {

inline void AppendVarint(uint64_t value, std::string* out) {
  while (value >= 0x80) {
    out->push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out->push_back(static_cast<char>(value));
}
inline void AppendTag(uint32_t field, uint32_t wire_type, std::string* out) {
  AppendVarint(static_cast<uint64_t>(field) << 3 | wire_type, out);
}
inline void AppendBytesField(uint32_t field, std::string_view bytes, std::string* out) {
  AppendTag(field, 2, out);
  AppendVarint(bytes.size(), out);
  out->append(bytes);
}
inline void AppendVarintField(uint32_t field, uint64_t value, std::string* out) {
  AppendTag(field, 0, out);
  AppendVarint(value, out);
}
inline void AppendFixed64Field(uint32_t field, uint64_t value, std::string* out) {
  AppendTag(field, 1, out);
  char bytes[8];
  std::memcpy(bytes, &value, 8);
  out->append(bytes, 8);
}
inline void AppendDoubleField(uint32_t field, double value, std::string* out) {
  AppendFixed64Field(field, std::bit_cast<uint64_t>(value), out);
}
inline void AppendFixed32Field(uint32_t field, uint32_t value, std::string* out) {
  AppendTag(field, 5, out);
  char bytes[4];
  std::memcpy(bytes, &value, 4);
  out->append(bytes, 4);
}
// Proto3 leaves out what is empty or zero.
inline void AppendTextUnlessEmpty(uint32_t field, std::string_view bytes, std::string* out) {
  if (!bytes.empty()) AppendBytesField(field, bytes, out);
}
inline void AppendVarintUnlessZero(uint32_t field, uint64_t value, std::string* out) {
  if (value != 0) AppendVarintField(field, value, out);
}

/// Writes a message inside a message: starts with its tag, and its length is put in when it ends.
/// Cost: one move of its bytes when it is longer than 127.
class Submessage {
 public:
  Submessage(uint32_t field, std::string* out) : out_(out) {
    AppendTag(field, 2, out);
    begin_ = out->size();
    out->push_back(0);
  }
  ~Submessage() {
    uint64_t size = out_->size() - begin_ - 1;
    if (size < 0x80) {
      (*out_)[begin_] = static_cast<char>(size);
      return;
    }
    std::string length;
    AppendVarint(size, &length);
    out_->replace(begin_, 1, length);
  }
  Submessage(const Submessage&) = delete;
  Submessage& operator=(const Submessage&) = delete;

 private:
  std::string* out_;
  size_t begin_;
};

}  // namespace varve::otlp
