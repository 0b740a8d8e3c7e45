#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "varve/status.h"

struct roaring_bitmap_s;

namespace varve::index {

/// Every ordinal is below this, so that the end of any range can be written down.
inline constexpr uint32_t kOrdinalEnd = UINT32_MAX;

/// A set of series ordinals. Immutable once made, cheap to copy (shared bytes), thread-safe.
///
/// It takes whatever form is smallest to handle: a range of consecutive ordinals, up to four of
/// them inside the object, a sorted list, or a Roaring bitmap. Which one is never visible in the
/// results.
class Postings {
 public:
  static constexpr size_t kInlineMax = 4;
  /// Longer sets become Roaring bitmaps.
  static constexpr size_t kListMax = 256;

  /// Makes the empty set.
  Postings() = default;
  /// Makes {begin, ..., end - 1}; empty if end <= begin.
  static Postings Range(uint32_t begin, uint32_t end);
  /// Makes a set of strictly ascending ordinals below kOrdinalEnd (a precondition, checked).
  /// Cost: linear.
  static Postings FromSorted(std::span<const uint32_t> ordinals);
  static Postings FromSorted(std::vector<uint32_t> ordinals);
  /// Makes a set of ordinals in any order, with repetitions. Cost: n log n, or linear in the
  /// largest ordinal / 64 when the set is dense.
  static Postings FromUnsorted(std::vector<uint32_t> ordinals);
  /// Take over, or copy, a bitmap. Never null.
  static Postings Adopt(roaring_bitmap_s* bitmap);
  static Postings Copy(const roaring_bitmap_s* bitmap);
  /// Refer to memory of someone else, who keeps it unchanged while this object, its copies and
  /// what is made by moving it live. Results of And, Or and AndNot may share it too: Own() cuts
  /// the tie. `ordinals` are strictly ascending and not empty.
  static Postings Borrow(std::span<const uint32_t> ordinals);
  static Postings Borrow(const roaring_bitmap_s* bitmap);
  /// Shares a sorted, non-empty list that `owner` keeps alive.
  static Postings Share(std::shared_ptr<const void> owner, std::span<const uint32_t> ordinals);

  bool empty() const { return size_ == 0; }
  size_t size() const { return size_; }
  /// Cost: constant for ranges, logarithmic otherwise.
  bool Contains(uint32_t ordinal) const;
  /// Preconditions: not empty.
  uint32_t front() const;
  uint32_t back() const;

  /// Calls `f(uint32_t)` for every ordinal in ascending order.
  template <typename F>
  void ForEach(F&& f) const {
    if (kind_ == Kind::kRange) {
      for (uint32_t i = 0; i < size_; ++i) f(small_[0] + i);
    } else if (kind_ == Kind::kBitmap) {
      uint32_t batch[kBatch];
      Cursor cursor(*this);
      while (const size_t n = cursor.Next(batch)) {
        for (size_t i = 0; i < n; ++i) f(batch[i]);
      }
    } else {
      for (const uint32_t ordinal : list()) f(ordinal);
    }
  }
  /// Replaces `out` by all ordinals, ascending.
  void ToVector(std::vector<uint32_t>* out) const;
  std::vector<uint32_t> ToVector() const;

  /// Reads a set in pieces, in ascending order. The set outlives the cursor.
  class Cursor {
   public:
    explicit Cursor(const Postings& set);
    ~Cursor();
    Cursor(const Cursor&) = delete;
    Cursor& operator=(const Cursor&) = delete;
    /// Fills `out` from its beginning and returns how many there were; 0 at the end.
    size_t Next(std::span<uint32_t> out);
    /// Skips what is smaller than `ordinal`; never goes back.
    void SeekTo(uint32_t ordinal);

   private:
    const Postings& set_;
    size_t at_ = 0;           // into a list or a range
    void* bitmap_ = nullptr;  // roaring_uint32_iterator_t
  };

  friend Postings And(const Postings& a, const Postings& b);
  friend Postings Or(const Postings& a, const Postings& b);
  friend Postings AndNot(const Postings& a, const Postings& b);
  friend bool Intersects(const Postings& a, const Postings& b);
  friend size_t AndSize(const Postings& a, const Postings& b);
  friend bool operator==(const Postings& a, const Postings& b);

  /// Returns an equal set that refers to nobody else's memory.
  Postings Own() const;
  /// Bytes on the heap that this set keeps alive by itself (shared ones are counted in full).
  size_t memory_bytes() const;

  /// Appends the portable form: engine/docs/format/label-index.md, "Ordinal sets". The form
  /// depends on the members alone.
  void AppendTo(std::string* out) const;
  /// Parses what AppendTo wrote, exactly `bytes`. Every member is < `end`. Bytes may be anything:
  /// memory is bounded by a small multiple of their number. Errors: kDataLoss with the offset in
  /// the message.
  static Result<Postings> Parse(std::string_view bytes, uint32_t end = kOrdinalEnd);

 private:
  enum class Kind : uint8_t { kRange, kInline, kList, kBitmap };
  static constexpr size_t kBatch = 256;

  std::span<const uint32_t> list() const {  // of kInline and kList
    if (kind_ == Kind::kInline) return {small_, size_};
    return {static_cast<const uint32_t*>(data_), size_};
  }
  const roaring_bitmap_s* bitmap() const { return static_cast<const roaring_bitmap_s*>(data_); }
  static Postings FromBitset(std::span<const uint64_t> words);

  Kind kind_ = Kind::kInline;
  uint32_t size_ = 0;
  uint32_t small_[kInlineMax] = {};  // kInline: the members; kRange: the first
  const void* data_ = nullptr;       // kList: uint32_t*; kBitmap: roaring_bitmap_s*
  std::shared_ptr<const void> owner_;

  friend class PostingsUnion;
};

Postings And(const Postings& a, const Postings& b);
Postings Or(const Postings& a, const Postings& b);
/// Returns the members of `a` that are not in `b`.
Postings AndNot(const Postings& a, const Postings& b);
bool Intersects(const Postings& a, const Postings& b);
size_t AndSize(const Postings& a, const Postings& b);
/// Intersects all, smallest first. Precondition: not empty.
Postings AndAll(std::vector<Postings> sets);
Postings OrAll(std::span<const Postings> sets);

/// Gathers the union of many sets, as a regular expression over many values needs it: short lists
/// are gathered flat and sorted once.
class PostingsUnion {
 public:
  void Add(const Postings& set);
  void Add(uint32_t ordinal) { flat_.push_back(ordinal); }
  void Add(std::span<const uint32_t> ordinals) {
    flat_.insert(flat_.end(), ordinals.begin(), ordinals.end());
  }
  /// Returns the union and forgets it.
  Postings Finish();

 private:
  std::vector<uint32_t> flat_;
  std::vector<std::pair<uint32_t, uint32_t>> ranges_;  // [begin, end)
  Postings bitmaps_;
};

/// A set of ordinals that changes: for one label pair of a MemoryIndex. 16 bytes, up to two
/// members inside; then a sorted list; beyond Postings::kListMax a Roaring bitmap. Not thread-safe.
class MutablePostings {
 public:
  MutablePostings() = default;
  ~MutablePostings() { Clear(); }
  MutablePostings(MutablePostings&& other) noexcept : count_(other.count_), bits_(other.bits_) {
    other.count_ = 0;
    other.bits_ = 0;
  }
  MutablePostings& operator=(MutablePostings&& other) noexcept {
    if (this != &other) {
      Clear();
      std::swap(count_, other.count_);
      std::swap(bits_, other.bits_);
    }
    return *this;
  }

  /// Adds or removes a member; returns false if nothing changed. Cost: constant amortised when
  /// `ordinal` is the largest; else up to 256 moves.
  bool Add(uint32_t ordinal);
  bool Remove(uint32_t ordinal);
  void Clear();
  uint32_t size() const { return count_; }
  bool empty() const { return count_ == 0; }
  bool Contains(uint32_t ordinal) const;
  /// Returns a view that is good until the next change.
  Postings Borrow() const;
  size_t memory_bytes() const;

 private:
  static constexpr uint32_t kInlineMax = 2;
  static constexpr uint32_t kListMax = Postings::kListMax;

  // The form follows from the count: <= kInlineMax in bits_, <= kListMax a list whose capacity is
  // the next power of two, more a bitmap.
  uint32_t* list() const { return reinterpret_cast<uint32_t*>(bits_); }
  roaring_bitmap_s* bitmap() const { return reinterpret_cast<roaring_bitmap_s*>(bits_); }
  uint32_t inline_at(uint32_t i) const { return static_cast<uint32_t>(bits_ >> (32 * i)); }

  uint32_t count_ = 0;
  uint64_t bits_ = 0;
};
static_assert(sizeof(void*) == 8);
static_assert(sizeof(MutablePostings) == 16);

}  // namespace varve::index
