#include "bindings/core/any_value.h"

#include <bit>

namespace varve::bindings {
namespace {

void AppendVarint(uint64_t value, std::string* out) {
  while (value >= 0x80) {
    out->push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out->push_back(static_cast<char>(value));
}

// Appends a length-delimited field; `tag` is its number times 8, plus 2.
void AppendField(uint8_t tag, std::string_view bytes, std::string* out) {
  out->push_back(static_cast<char>(tag));
  AppendVarint(bytes.size(), out);
  out->append(bytes);
}

}  // namespace

void AppendAnyString(std::string_view text, std::string* any) { AppendField(0x0a, text, any); }
void AppendAnyBytes(std::string_view bytes, std::string* any) { AppendField(0x3a, bytes, any); }
void AppendAnyBool(bool value, std::string* any) {
  any->append({0x10, static_cast<char>(value ? 1 : 0)});
}
void AppendAnyInt(int64_t value, std::string* any) {
  any->push_back(0x18);
  AppendVarint(static_cast<uint64_t>(value), any);
}
void AppendAnyDouble(double value, std::string* any) {
  const auto bits = std::bit_cast<uint64_t>(value);
  any->push_back(0x21);
  for (int i = 0; i < 64; i += 8) any->push_back(static_cast<char>(bits >> i));
}
void AppendAnyArray(std::string_view array, std::string* any) { AppendField(0x2a, array, any); }
void AppendAnyMap(std::string_view map, std::string* any) { AppendField(0x32, map, any); }

void AppendArrayItem(std::string_view any, std::string* array) { AppendField(0x0a, any, array); }
void AppendMapItem(std::string_view key, std::string_view any, std::string* map) {
  std::string pair;
  AppendField(0x0a, key, &pair);
  AppendField(0x12, any, &pair);
  AppendField(0x0a, pair, map);
}

}  // namespace varve::bindings
