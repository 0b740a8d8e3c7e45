#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <utility>

#include "engine/base/macros.h"

namespace varve::index {

/// A vector whose elements never move: it grows by segments, each twice as large as the one
/// before. A reader that learned of element i through some synchronisation may go on reading it
/// while a writer appends. Segments are untouched memory until used, so doubling costs address
/// space, not pages.
template <typename T>
class StableVector {
 public:
  StableVector() = default;
  StableVector(const StableVector&) = delete;
  StableVector& operator=(const StableVector&) = delete;
  ~StableVector() {
    for (uint32_t i = 0; i < size_; ++i) (*this)[i].~T();
    for (T* segment : segments_) std::free(segment);
  }

  T& operator[](uint32_t i) const {
    const auto [segment, place] = Locate(i);
    return segments_[segment][place];
  }
  uint32_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  T& back() const { return (*this)[size_ - 1]; }

  template <typename... Args>
  T& emplace_back(Args&&... args) {
    VARVE_CHECK(size_ < UINT32_MAX);
    const auto [segment, place] = Locate(size_);
    if (segments_[segment] == nullptr) {
      segments_[segment] = static_cast<T*>(std::calloc(kFirst << segment, sizeof(T)));
      VARVE_CHECK(segments_[segment] != nullptr);
    }
    T* out = new (&segments_[segment][place]) T{std::forward<Args>(args)...};
    ++size_;
    return *out;
  }

 private:
  static constexpr uint64_t kFirst = 256;
  static constexpr int kFirstBits = 8;

  static std::pair<size_t, size_t> Locate(uint32_t i) {
    const uint64_t shifted = uint64_t{i} + kFirst;
    const auto segment = static_cast<size_t>(std::bit_width(shifted) - 1 - kFirstBits);
    return {segment, shifted - (kFirst << segment)};
  }

  std::array<T*, 33 - kFirstBits> segments_ = {};
  uint32_t size_ = 0;
};

}  // namespace varve::index
