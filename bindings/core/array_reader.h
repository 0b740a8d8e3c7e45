#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "bindings/c/include/varve.h"
#include "varve/status.h"

/// What readers of foreign Arrow arrays share. Nothing that an array says is believed before it was
/// checked, as far as that is possible without knowing the sizes of its buffers.
namespace varve::arrow {

inline bool IsNull(const ArrowArray& array, int64_t row) {
  if (array.null_count == 0 || array.n_buffers < 1 || array.buffers[0] == nullptr) return false;
  const int64_t at = array.offset + row;
  return (static_cast<const uint8_t*>(array.buffers[0])[at / 8] >> (at % 8) & 1) == 0;
}

/// Reads element `index` of a buffer of T.
template <typename T>
T ValueAt(const void* buffer, int64_t index) {
  T out;
  std::memcpy(&out, static_cast<const char*>(buffer) + index * static_cast<int64_t>(sizeof(T)),
              sizeof(T));
  return out;
}

inline bool IsInteger(std::string_view format) {
  return format.size() == 1 && std::strchr("cCsSiIlL", format[0]) != nullptr;
}

/// Checks that an array has the buffers that its type reads. Errors name the column `name`.
Status CheckShape(const ArrowSchema& schema, const ArrowArray& array, std::string_view name);

/// Reads row `row` as an integer of the given format. Precondition: IsInteger, or 'l' for times.
Result<int64_t> IntegerAt(char type, const ArrowArray& array, int64_t row);

/// Appends the texts [begin, begin + count) of an array, dictionary-encoded or not. Nulls become
/// empty views with null pointers.
Status AppendTexts(const ArrowSchema& schema, const ArrowArray& array, std::string_view name,
                   int64_t begin, int64_t count, std::vector<std::string_view>* out);

}  // namespace varve::arrow
