#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

namespace varve {

/// Hands out bytes that stay where they are until Clear; frees nothing in between. Not
/// thread-safe.
class Arena {
 public:
  explicit Arena(size_t block_bytes = 4096) : block_bytes_(block_bytes) {}

  char* Allocate(size_t bytes, size_t alignment = 1) {
    size_t skip = (alignment - reinterpret_cast<uintptr_t>(at_) % alignment) % alignment;
    if (at_ == nullptr || bytes + skip > left_) {
      NextBlock(bytes + alignment);
      skip = (alignment - reinterpret_cast<uintptr_t>(at_) % alignment) % alignment;
    }
    char* out = at_ + skip;
    at_ += skip + bytes;
    left_ -= skip + bytes;
    return out;
  }
  std::string_view Copy(std::string_view text) {
    if (text.empty()) return {"", 0};
    char* out = Allocate(text.size());
    std::memcpy(out, text.data(), text.size());
    return {out, text.size()};
  }
  /// Forgets everything and keeps the largest block for reuse.
  void Clear() {
    if (blocks_.empty()) return;
    auto largest = std::max_element(blocks_.begin(), blocks_.end(),
                                    [](const Block& a, const Block& b) { return a.size < b.size; });
    Block keep = std::move(*largest);
    blocks_.clear();
    at_ = keep.bytes.get();
    left_ = keep.size;
    allocated_ = keep.size;
    blocks_.push_back(std::move(keep));
  }
  size_t bytes_allocated() const { return allocated_; }

 private:
  struct Block {
    std::unique_ptr<char[]> bytes;
    size_t size = 0;
  };
  void NextBlock(size_t bytes) {
    // Grows geometrically up to 256 KiB, so that small arenas stay small.
    const size_t size =
        std::max(bytes, std::min(block_bytes_ << std::min<size_t>(blocks_.size(), 6),
                                 std::max<size_t>(block_bytes_, 256 * 1024)));
    blocks_.push_back({std::make_unique_for_overwrite<char[]>(size), size});
    at_ = blocks_.back().bytes.get();
    left_ = size;
    allocated_ += size;
  }

  size_t block_bytes_;
  std::vector<Block> blocks_;
  char* at_ = nullptr;
  size_t left_ = 0;
  size_t allocated_ = 0;
};

}  // namespace varve
