#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "engine/base/macros.h"

namespace varve::codec {

/// Owns a few bytes that grow at the end: 16 bytes of state and, unlike std::string, growth that
/// wastes about a tenth. Made for the many small chunks of a head. Not thread-safe.
class SmallBuffer {
 public:
  SmallBuffer() = default;
  SmallBuffer(const SmallBuffer&) = delete;
  SmallBuffer& operator=(const SmallBuffer&) = delete;
  SmallBuffer(SmallBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)),
        capacity_(std::exchange(other.capacity_, 0)) {}
  SmallBuffer& operator=(SmallBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
    return *this;
  }
  ~SmallBuffer() { std::free(data_); }

  char* data() { return data_; }
  const char* data() const { return data_; }
  uint32_t size() const { return size_; }
  uint32_t capacity() const { return capacity_; }
  std::string_view view() const { return {data_, size_}; }
  void set_size(uint32_t size) { size_ = size; }

  /// Makes room for `bytes` in all.
  void Reserve(uint32_t bytes) {
    if (bytes > capacity_) [[unlikely]] {
      // Four steps a doubling, which are the size classes of common allocators.
      uint32_t want = bytes < 16 ? 16 : bytes;
      uint32_t step = 16;
      while (step * 8 < want) step *= 2;
      Resize((want + step - 1) / step * step);
    }
  }
  /// Gives back what is not used.
  void ShrinkToFit() {
    if (size_ < capacity_) Resize(size_);
  }
  void Clear() {
    std::free(data_);
    data_ = nullptr;
    size_ = capacity_ = 0;
  }

 private:
  void Resize(uint32_t bytes) {
    if (bytes == 0) return Clear();
    auto* data = static_cast<char*>(std::realloc(data_, bytes));
    VARVE_CHECK(data != nullptr);
    data_ = data;
    capacity_ = bytes;
  }

  char* data_ = nullptr;
  uint32_t size_ = 0;
  uint32_t capacity_ = 0;
};

}  // namespace varve::codec
