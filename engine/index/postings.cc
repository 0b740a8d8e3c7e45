#include "engine/index/postings.h"

#include <roaring/containers/containers.h>
#include <roaring/roaring.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <iterator>

#include "engine/base/coding.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"

namespace varve::index {
namespace {

std::shared_ptr<const void> Manage(roaring_bitmap_t* bitmap) {
  return {bitmap,
          [](const void* p) { roaring_bitmap_free(static_cast<const roaring_bitmap_t*>(p)); }};
}

/// Advances through a sorted list to the first member >= `wanted`, in steps that double.
size_t Gallop(std::span<const uint32_t> list, size_t at, uint32_t wanted) {
  size_t step = 1;
  while (at + step < list.size() && list[at + step] < wanted) {
    at += step;
    step *= 2;
  }
  const size_t end = std::min(at + step + 1, list.size());
  return static_cast<size_t>(std::lower_bound(list.begin() + static_cast<ptrdiff_t>(at),
                                              list.begin() + static_cast<ptrdiff_t>(end), wanted) -
                             list.begin());
}

/// Members of a bitset of at least this share of their span are kept as a bitset; below, sorting
/// wins.
constexpr size_t kSpanPerMemberMax = 32;

// Serialised form; engine/docs/format/label-index.md. These values live on disk.
constexpr uint8_t kFormList = 0;
constexpr uint8_t kFormContainers = 1;
constexpr uint8_t kContainerArray = 0;
constexpr uint8_t kContainerBitset = 1;
constexpr uint8_t kContainerRuns = 2;
constexpr size_t kSerialisedListMax = 64;
constexpr size_t kBitsetBytes = 8192;

/// Writes Roaring's portable form (RoaringFormatSpec, without runs), from which the library makes
/// a bitmap by copying containers; adding members to a bitmap costs several times as much.
class PortableWriter {
 public:
  static bool IsBitset(size_t members) { return members > 4096; }

  /// Begins the container of `members` ordinals with these high bits; keys ascend.
  void Begin(uint32_t key, size_t members) {
    PutFixed<uint16_t>(&keys_, static_cast<uint16_t>(key));
    PutFixed<uint16_t>(&keys_, static_cast<uint16_t>(members - 1));
    places_.push_back(static_cast<uint32_t>(containers_.size()));
  }
  void AddLow(uint16_t low) { PutFixed<uint16_t>(&containers_, low); }
  void AddWords(std::span<const uint64_t> words) {
    containers_.append(reinterpret_cast<const char*>(words.data()), words.size_bytes());
    containers_.append(kBitsetBytes - words.size_bytes(), '\0');
  }
  /// Adds the next container: ascending ordinals that share their high bits.
  void Add(std::span<const uint32_t> ordinals) {
    Begin(ordinals[0] >> 16, ordinals.size());
    const size_t at = containers_.size();
    if (IsBitset(ordinals.size())) {
      uint64_t words[kBitsetBytes / 8] = {};
      for (const uint32_t ordinal : ordinals) {
        words[(ordinal & 0xffff) / 64] |= uint64_t{1} << ordinal % 64;
      }
      AddWords(words);
      return;
    }
    containers_.resize(at + 2 * ordinals.size());
    char* out = containers_.data() + at;
    for (const uint32_t ordinal : ordinals) {
      const auto low = static_cast<uint16_t>(ordinal);
      std::memcpy(out, &low, sizeof low);
      out += sizeof low;
    }
  }
  roaring_bitmap_t* Finish() {
    constexpr uint32_t kCookieWithoutRuns = 12346;
    std::string bytes;
    bytes.reserve(8 + 8 * places_.size() + containers_.size());
    PutFixed<uint32_t>(&bytes, kCookieWithoutRuns);
    PutFixed<uint32_t>(&bytes, static_cast<uint32_t>(places_.size()));
    bytes += keys_;
    const auto base = static_cast<uint32_t>(bytes.size() + 4 * places_.size());
    for (const uint32_t place : places_) PutFixed<uint32_t>(&bytes, base + place);
    bytes += containers_;
    roaring_bitmap_t* bitmap = roaring_bitmap_portable_deserialize_safe(bytes.data(), bytes.size());
    VARVE_CHECK(bitmap != nullptr);
    return bitmap;
  }

 private:
  std::string keys_;
  std::string containers_;
  std::vector<uint32_t> places_;
};

roaring_bitmap_t* BitmapOf(std::span<const uint32_t> ordinals) {
  PortableWriter out;
  for (size_t at = 0; at < ordinals.size();) {
    size_t end = at + 1;
    const uint32_t key = ordinals[at] >> 16;
    while (end < ordinals.size() && ordinals[end] >> 16 == key) ++end;
    out.Add(ordinals.subspan(at, end - at));
    at = end;
  }
  return out.Finish();
}

/// Writes what two arrays share to `out` (room for one more than that) and returns how many.
/// `bits` is zero before and after: the smaller array is marked in it, the larger one looked up,
/// which has no branch to guess wrong and no chain of dependent loads as a merge has.
size_t AndArrays(std::span<const uint16_t> a, std::span<const uint16_t> b, uint32_t high,
                 std::span<uint64_t, kBitsetBytes / 8> bits, uint32_t* out) {
  const std::span<const uint16_t> small = a.size() < b.size() ? a : b;
  const std::span<const uint16_t> large = a.size() < b.size() ? b : a;
  for (const uint16_t low : small) bits[low / 64] |= uint64_t{1} << low % 64;
  size_t count = 0;
  for (const uint16_t low : large) {
    out[count] = high | low;
    count += bits[low / 64] >> low % 64 & 1;
  }
  for (const uint16_t low : small) bits[low / 64] = 0;
  return count;
}

/// Intersects two bitmaps whose common containers are arrays of similar size, where the packaged
/// library (built without SIMD) merges slowly. Returns false if they are not.
bool AndSparse(const roaring_bitmap_t* a, const roaring_bitmap_t* b, std::vector<uint32_t>* out) {
  constexpr int kSkewMax = 32;  // beyond, the library gallops
  const roaring_array_t& x = a->high_low_container;
  const roaring_array_t& y = b->high_low_container;
  size_t room = 0;
  uint64_t bits[kBitsetBytes / 8] = {};
  for (int pass = 0; pass < 2; ++pass) {
    size_t count = 0;
    for (int32_t i = 0, j = 0; i < x.size && j < y.size;) {
      if (x.keys[i] != y.keys[j]) {
        x.keys[i] < y.keys[j] ? ++i : ++j;
        continue;
      }
      if (x.typecodes[i] != ARRAY_CONTAINER_TYPE_CODE ||
          y.typecodes[j] != ARRAY_CONTAINER_TYPE_CODE) {
        return false;
      }
      const auto* m = static_cast<const array_container_t*>(x.containers[i]);
      const auto* n = static_cast<const array_container_t*>(y.containers[j]);
      if (m->cardinality > kSkewMax * n->cardinality ||
          n->cardinality > kSkewMax * m->cardinality) {
        return false;
      }
      if (pass == 0) {
        room += static_cast<size_t>(std::min(m->cardinality, n->cardinality));
      } else {
        count += AndArrays({m->array, static_cast<size_t>(m->cardinality)},
                           {n->array, static_cast<size_t>(n->cardinality)},
                           uint32_t{x.keys[i]} << 16, bits, out->data() + count);
      }
      ++i;
      ++j;
    }
    // One place more: AndArrays writes before it knows whether to keep.
    out->resize(pass == 0 ? room + 1 : count);
  }
  return true;
}

}  // namespace

Postings Postings::Range(uint32_t begin, uint32_t end) {
  Postings out;
  if (end <= begin) return out;
  out.kind_ = Kind::kRange;
  out.size_ = end - begin;
  out.small_[0] = begin;
  return out;
}

Postings Postings::Borrow(std::span<const uint32_t> ordinals) { return Share(nullptr, ordinals); }

Postings Postings::Share(std::shared_ptr<const void> owner, std::span<const uint32_t> ordinals) {
  VARVE_CHECK(!ordinals.empty());
  if (ordinals.back() - ordinals.front() == ordinals.size() - 1) {
    Postings out;
    out.kind_ = Kind::kRange;
    out.size_ = static_cast<uint32_t>(ordinals.size());
    out.small_[0] = ordinals.front();
    return out;
  }
  Postings out;
  out.size_ = static_cast<uint32_t>(ordinals.size());
  if (ordinals.size() <= kInlineMax) {
    std::copy(ordinals.begin(), ordinals.end(), out.small_);
    return out;
  }
  out.kind_ = Kind::kList;
  out.data_ = ordinals.data();
  out.owner_ = std::move(owner);
  return out;
}

Postings Postings::FromSorted(std::vector<uint32_t> ordinals) {
  if (ordinals.empty()) return {};
  for (size_t i = 1; i < ordinals.size(); ++i) VARVE_CHECK(ordinals[i - 1] < ordinals[i]);
  VARVE_CHECK(ordinals.back() < kOrdinalEnd);
  if (ordinals.size() > kListMax && ordinals.back() - ordinals.front() != ordinals.size() - 1) {
    return Adopt(BitmapOf(ordinals));
  }
  auto owner = std::make_shared<const std::vector<uint32_t>>(std::move(ordinals));
  const std::span<const uint32_t> span(*owner);
  return Share(std::move(owner), span);
}

Postings Postings::FromSorted(std::span<const uint32_t> ordinals) {
  if (ordinals.empty()) return {};
  if (ordinals.size() <= kInlineMax || ordinals.back() - ordinals.front() == ordinals.size() - 1) {
    for (size_t i = 1; i < ordinals.size(); ++i) VARVE_CHECK(ordinals[i - 1] < ordinals[i]);
    return Share(nullptr, ordinals);
  }
  return FromSorted(std::vector<uint32_t>(ordinals.begin(), ordinals.end()));
}

Postings Postings::FromBitset(std::span<const uint64_t> words) {
  constexpr size_t kWords = kBitsetBytes / 8;
  PortableWriter out;
  for (size_t key = 0; key * kWords < words.size(); ++key) {
    const std::span<const uint64_t> chunk =
        words.subspan(key * kWords, std::min(kWords, words.size() - key * kWords));
    size_t members = 0;
    for (const uint64_t word : chunk) members += static_cast<size_t>(std::popcount(word));
    if (members == 0) continue;
    out.Begin(static_cast<uint32_t>(key), members);
    if (PortableWriter::IsBitset(members)) {
      out.AddWords(chunk);
      continue;
    }
    for (size_t w = 0; w < chunk.size(); ++w) {
      for (uint64_t word = chunk[w]; word != 0; word &= word - 1) {
        out.AddLow(static_cast<uint16_t>(w * 64 + static_cast<size_t>(std::countr_zero(word))));
      }
    }
  }
  return Adopt(out.Finish());
}

Postings Postings::FromUnsorted(std::vector<uint32_t> ordinals) {
  bool ascending = true;
  uint32_t largest = 0;
  for (size_t i = 0; i < ordinals.size(); ++i) {
    ascending = ascending && (i == 0 || ordinals[i - 1] < ordinals[i]);
    largest = std::max(largest, ordinals[i]);
  }
  const bool dense = ordinals.size() > kListMax && largest / kSpanPerMemberMax < ordinals.size();
  if (ascending && (!dense || largest - ordinals.front() == ordinals.size() - 1)) {
    return FromSorted(std::move(ordinals));
  }
  if (dense) {
    std::vector<uint64_t> words(largest / 64 + 1);
    for (const uint32_t ordinal : ordinals) words[ordinal / 64] |= uint64_t{1} << ordinal % 64;
    return FromBitset(words);
  }
  std::sort(ordinals.begin(), ordinals.end());
  ordinals.erase(std::unique(ordinals.begin(), ordinals.end()), ordinals.end());
  return FromSorted(std::move(ordinals));
}

Postings Postings::Adopt(roaring_bitmap_s* bitmap) {
  Postings out = Borrow(bitmap);
  if (out.kind_ == Kind::kBitmap && out.size_ > kListMax) {
    out.owner_ = Manage(bitmap);
    return out;
  }
  if (out.kind_ == Kind::kBitmap) out = FromSorted(out.ToVector());
  roaring_bitmap_free(bitmap);
  return out;
}

Postings Postings::Borrow(const roaring_bitmap_s* bitmap) {
  const uint64_t size = roaring_bitmap_get_cardinality(bitmap);
  Postings out;
  if (size == 0) return out;
  const uint32_t first = roaring_bitmap_minimum(bitmap);
  const uint32_t last = roaring_bitmap_maximum(bitmap);
  VARVE_CHECK(last < kOrdinalEnd);
  if (uint64_t{last} - first == size - 1) {
    out.kind_ = Kind::kRange;
    out.small_[0] = first;
  } else if (size <= kInlineMax) {
    roaring_bitmap_to_uint32_array(bitmap, out.small_);
  } else {
    out.kind_ = Kind::kBitmap;
    out.data_ = bitmap;
  }
  out.size_ = static_cast<uint32_t>(size);
  return out;
}

Postings Postings::Copy(const roaring_bitmap_s* bitmap) {
  return Adopt(roaring_bitmap_copy(bitmap));
}

Postings Postings::Own() const {
  if (data_ == nullptr || owner_ != nullptr) return *this;
  if (kind_ == Kind::kBitmap) return Copy(bitmap());
  const std::span<const uint32_t> members = list();
  return FromSorted(std::vector<uint32_t>(members.begin(), members.end()));
}

bool Postings::Contains(uint32_t ordinal) const {
  switch (kind_) {
    case Kind::kRange:
      return ordinal >= small_[0] && ordinal - small_[0] < size_;
    case Kind::kBitmap:
      return roaring_bitmap_contains(bitmap(), ordinal);
    case Kind::kInline:
      return std::find(small_, small_ + size_, ordinal) != small_ + size_;
    case Kind::kList:
      break;
  }
  const std::span<const uint32_t> members = list();
  return std::binary_search(members.begin(), members.end(), ordinal);
}

uint32_t Postings::front() const {
  if (kind_ == Kind::kRange) return small_[0];
  return kind_ == Kind::kBitmap ? roaring_bitmap_minimum(bitmap()) : list().front();
}

uint32_t Postings::back() const {
  if (kind_ == Kind::kRange) return small_[0] + size_ - 1;
  return kind_ == Kind::kBitmap ? roaring_bitmap_maximum(bitmap()) : list().back();
}

void Postings::ToVector(std::vector<uint32_t>* out) const {
  out->resize(size_);
  switch (kind_) {
    case Kind::kRange:
      for (uint32_t i = 0; i < size_; ++i) (*out)[i] = small_[0] + i;
      return;
    case Kind::kBitmap:
      roaring_bitmap_to_uint32_array(bitmap(), out->data());
      return;
    case Kind::kInline:
    case Kind::kList:
      break;
  }
  const std::span<const uint32_t> members = list();
  std::copy(members.begin(), members.end(), out->begin());
}

std::vector<uint32_t> Postings::ToVector() const {
  std::vector<uint32_t> out;
  ToVector(&out);
  return out;
}

Postings::Cursor::Cursor(const Postings& set) : set_(set) {
  if (set.kind_ == Kind::kBitmap) bitmap_ = roaring_create_iterator(set.bitmap());
}

Postings::Cursor::~Cursor() {
  if (bitmap_ != nullptr) {
    roaring_free_uint32_iterator(static_cast<roaring_uint32_iterator_t*>(bitmap_));
  }
}

size_t Postings::Cursor::Next(std::span<uint32_t> out) {
  if (set_.kind_ == Kind::kBitmap) {
    return roaring_read_uint32_iterator(static_cast<roaring_uint32_iterator_t*>(bitmap_),
                                        out.data(), static_cast<uint32_t>(out.size()));
  }
  const size_t count = std::min(out.size(), set_.size_ - at_);
  if (set_.kind_ == Kind::kRange) {
    for (size_t i = 0; i < count; ++i) out[i] = set_.small_[0] + static_cast<uint32_t>(at_ + i);
  } else {
    std::copy_n(set_.list().begin() + static_cast<ptrdiff_t>(at_), count, out.begin());
  }
  at_ += count;
  return count;
}

void Postings::Cursor::SeekTo(uint32_t ordinal) {
  if (set_.kind_ == Kind::kBitmap) {
    auto* iterator = static_cast<roaring_uint32_iterator_t*>(bitmap_);
    if (iterator->has_value && iterator->current_value < ordinal) {
      roaring_move_uint32_iterator_equalorlarger(iterator, ordinal);
    }
    return;
  }
  if (at_ >= set_.size_) return;
  if (set_.kind_ == Kind::kRange) {
    if (ordinal > set_.small_[0]) {
      at_ = std::max<size_t>(at_, std::min<size_t>(ordinal - set_.small_[0], set_.size_));
    }
    return;
  }
  if (set_.list()[at_] < ordinal) at_ = Gallop(set_.list(), at_, ordinal);
}

Postings And(const Postings& a, const Postings& b) {
  using Kind = Postings::Kind;
  if (a.empty() || b.empty()) return {};
  const Postings& small = a.size() <= b.size() ? a : b;
  const Postings& large = a.size() <= b.size() ? b : a;
  if (large.kind_ == Kind::kRange || small.kind_ == Kind::kRange) {
    const Postings& range = large.kind_ == Kind::kRange ? large : small;
    const Postings& other = large.kind_ == Kind::kRange ? small : large;
    const uint32_t begin = range.front();
    const uint32_t last = range.back();
    if (other.kind_ == Kind::kRange) {
      const uint32_t from = std::max(begin, other.front());
      const uint32_t to = std::min(last, other.back());
      return from <= to ? Postings::Range(from, to + 1) : Postings();
    }
    const uint32_t other_first = other.front();
    const uint32_t other_last = other.back();
    if (begin <= other_first && other_last <= last) return other;
    if (begin > other_last || last < other_first) return {};
    if (other.kind_ != Kind::kBitmap) {
      const std::span<const uint32_t> list = other.list();
      const auto from = std::lower_bound(list.begin(), list.end(), begin);
      const auto to = std::upper_bound(from, list.end(), last);
      if (from == to) return {};
      return Postings::Share(other.owner_, list.subspan(static_cast<size_t>(from - list.begin()),
                                                        static_cast<size_t>(to - from)));
    }
    if (range.size() <= Postings::kListMax) {
      std::vector<uint32_t> members;
      range.ForEach([&](uint32_t ordinal) {
        if (roaring_bitmap_contains(other.bitmap(), ordinal)) members.push_back(ordinal);
      });
      return Postings::FromSorted(std::move(members));
    }
    roaring_bitmap_t* bounds = roaring_bitmap_from_range(begin, uint64_t{last} + 1, 1);
    roaring_bitmap_and_inplace(bounds, other.bitmap());
    return Postings::Adopt(bounds);
  }
  std::vector<uint32_t> members;
  if (a.kind_ == Kind::kBitmap && b.kind_ == Kind::kBitmap) {
    if (AndSparse(a.bitmap(), b.bitmap(), &members)) {
      return Postings::FromSorted(std::move(members));
    }
    return Postings::Adopt(roaring_bitmap_and(a.bitmap(), b.bitmap()));
  }
  members.reserve(small.size());
  if (a.kind_ == Kind::kBitmap || b.kind_ == Kind::kBitmap) {
    const Postings& list = a.kind_ == Kind::kBitmap ? b : a;
    const Postings& bitmap = a.kind_ == Kind::kBitmap ? a : b;
    for (const uint32_t ordinal : list.list()) {
      if (roaring_bitmap_contains(bitmap.bitmap(), ordinal)) members.push_back(ordinal);
    }
  } else {
    const std::span<const uint32_t> list = large.list();
    size_t at = 0;
    for (const uint32_t ordinal : small.list()) {
      at = Gallop(list, at, ordinal);
      if (at == list.size()) break;
      if (list[at] == ordinal) members.push_back(ordinal);
    }
  }
  return Postings::FromSorted(std::move(members));
}

namespace {
/// Turns any set into a bitmap of its own.
roaring_bitmap_t* ToBitmap(const Postings& set, const roaring_bitmap_t* bitmap) {
  if (bitmap != nullptr) return roaring_bitmap_copy(bitmap);
  if (set.back() - set.front() == set.size() - 1) {
    return roaring_bitmap_from_range(set.front(), uint64_t{set.back()} + 1, 1);
  }
  const std::vector<uint32_t> members = set.ToVector();
  return roaring_bitmap_of_ptr(members.size(), members.data());
}
}  // namespace

Postings Or(const Postings& a, const Postings& b) {
  using Kind = Postings::Kind;
  if (a.empty()) return b;
  if (b.empty()) return a;
  if (a.kind_ == Kind::kRange && b.kind_ == Kind::kRange) {
    const bool apart = uint64_t{a.back()} + 1 < b.front() || uint64_t{b.back()} + 1 < a.front();
    const uint32_t from = std::min(a.front(), b.front());
    const uint32_t to = std::max(a.back(), b.back());
    if (!apart) return Postings::Range(from, to + 1);
  }
  if (size_t{a.size()} + b.size() <= Postings::kListMax) {
    const std::vector<uint32_t> left = a.ToVector();
    const std::vector<uint32_t> right = b.ToVector();
    std::vector<uint32_t> members;
    members.reserve(left.size() + right.size());
    std::set_union(left.begin(), left.end(), right.begin(), right.end(),
                   std::back_inserter(members));
    return Postings::FromSorted(std::move(members));
  }
  const auto bitmap_of = [](const Postings& set) {
    return set.kind_ == Kind::kBitmap ? set.bitmap() : nullptr;
  };
  if (a.kind_ == Kind::kBitmap && b.kind_ == Kind::kBitmap) {
    return Postings::Adopt(roaring_bitmap_or(a.bitmap(), b.bitmap()));
  }
  const Postings& large = a.size() >= b.size() ? a : b;
  const Postings& small = a.size() >= b.size() ? b : a;
  roaring_bitmap_t* out = ToBitmap(large, bitmap_of(large));
  if (small.kind_ == Kind::kRange) {
    roaring_bitmap_add_range_closed(out, small.front(), small.back());
  } else if (small.kind_ == Kind::kBitmap) {
    roaring_bitmap_or_inplace(out, small.bitmap());
  } else {
    roaring_bitmap_add_many(out, small.size(), small.list().data());
  }
  return Postings::Adopt(out);
}

Postings AndNot(const Postings& a, const Postings& b) {
  using Kind = Postings::Kind;
  if (a.empty() || b.empty()) return a;
  if (a.front() > b.back() || a.back() < b.front()) return a;
  if (a.size() <= Postings::kListMax || a.kind_ == Kind::kInline || a.kind_ == Kind::kList) {
    std::vector<uint32_t> members;
    members.reserve(a.size());
    a.ForEach([&](uint32_t ordinal) {
      if (!b.Contains(ordinal)) members.push_back(ordinal);
    });
    return Postings::FromSorted(std::move(members));
  }
  if (b.kind_ == Kind::kBitmap && a.kind_ == Kind::kBitmap) {
    return Postings::Adopt(roaring_bitmap_andnot(a.bitmap(), b.bitmap()));
  }
  if (a.kind_ == Kind::kRange && b.kind_ == Kind::kRange) {
    const Postings left =
        b.front() > a.front() ? Postings::Range(a.front(), b.front()) : Postings();
    const Postings right =
        b.back() < a.back() ? Postings::Range(b.back() + 1, a.back() + 1) : Postings();
    return Or(left, right);
  }
  roaring_bitmap_t* out = ToBitmap(a, a.kind_ == Kind::kBitmap ? a.bitmap() : nullptr);
  if (b.kind_ == Kind::kBitmap) {
    roaring_bitmap_andnot_inplace(out, b.bitmap());
  } else if (b.kind_ == Kind::kRange) {
    roaring_bitmap_remove_range_closed(out, b.front(), b.back());
  } else {
    roaring_bitmap_remove_many(out, b.size(), b.list().data());
  }
  return Postings::Adopt(out);
}

bool Intersects(const Postings& a, const Postings& b) {
  using Kind = Postings::Kind;
  if (a.empty() || b.empty()) return false;
  if (a.kind_ == Kind::kBitmap && b.kind_ == Kind::kBitmap) {
    return roaring_bitmap_intersect(a.bitmap(), b.bitmap());
  }
  return !And(a, b).empty();
}

size_t AndSize(const Postings& a, const Postings& b) {
  using Kind = Postings::Kind;
  if (a.kind_ == Kind::kBitmap && b.kind_ == Kind::kBitmap) {
    return roaring_bitmap_and_cardinality(a.bitmap(), b.bitmap());
  }
  return And(a, b).size();
}

bool operator==(const Postings& a, const Postings& b) {
  if (a.size_ != b.size_) return false;
  if (a.empty()) return true;
  if (a.kind_ == Postings::Kind::kBitmap && b.kind_ == Postings::Kind::kBitmap) {
    return roaring_bitmap_equals(a.bitmap(), b.bitmap());
  }
  return And(a, b).size() == a.size();
}

Postings AndAll(std::vector<Postings> sets) {
  VARVE_CHECK(!sets.empty());
  std::sort(sets.begin(), sets.end(),
            [](const Postings& a, const Postings& b) { return a.size() < b.size(); });
  Postings out = std::move(sets[0]);
  for (size_t i = 1; i < sets.size() && !out.empty(); ++i) out = And(out, sets[i]);
  return out;
}

Postings OrAll(std::span<const Postings> sets) {
  PostingsUnion all;
  for (const Postings& set : sets) all.Add(set);
  return all.Finish();
}

size_t Postings::memory_bytes() const {
  if (data_ == nullptr) return 0;
  if (kind_ == Kind::kBitmap) return roaring_bitmap_size_in_bytes(bitmap()) + sizeof *bitmap();
  return size_ * sizeof(uint32_t);
}

void PostingsUnion::Add(const Postings& set) {
  if (set.kind_ == Postings::Kind::kRange && set.size() > 16) {
    if (!ranges_.empty() && ranges_.back().second == set.front()) {
      ranges_.back().second = set.back() + 1;
    } else {
      ranges_.emplace_back(set.front(), set.back() + 1);
    }
  } else if (set.kind_ == Postings::Kind::kBitmap) {
    bitmaps_ = Or(bitmaps_, set);
  } else {
    set.ForEach([this](uint32_t ordinal) { flat_.push_back(ordinal); });
  }
}

Postings PostingsUnion::Finish() {
  Postings out = std::exchange(bitmaps_, {});
  if (ranges_.size() == 1) {
    out = Or(out, Postings::Range(ranges_[0].first, ranges_[0].second));
  } else if (!ranges_.empty()) {
    roaring_bitmap_t* bitmap = roaring_bitmap_create();
    for (const auto& [begin, end] : ranges_) {
      roaring_bitmap_add_range_closed(bitmap, begin, end - 1);
    }
    out = Or(out, Postings::Adopt(bitmap));
  }
  ranges_.clear();
  if (!flat_.empty()) out = Or(out, Postings::FromUnsorted(std::exchange(flat_, {})));
  return out;
}

void Postings::AppendTo(std::string* out) const {
  if (size_ <= kSerialisedListMax) {
    out->push_back(static_cast<char>(kFormList));
    PutVarint(out, size_);
    uint64_t next = 0;
    ForEach([&](uint32_t ordinal) {
      PutVarint(out, ordinal - next);
      next = uint64_t{ordinal} + 1;
    });
    return;
  }
  const std::vector<uint32_t> members = ToVector();
  std::string body;
  uint64_t containers = 0;
  for (size_t at = 0; at < members.size();) {
    const uint32_t key = members[at] >> 16;
    size_t end = at + 1;
    size_t runs = 1;
    while (end < members.size() && members[end] >> 16 == key) {
      runs += members[end] != members[end - 1] + 1 ? 1 : 0;
      ++end;
    }
    const size_t count = end - at;
    PutFixed<uint16_t>(&body, static_cast<uint16_t>(key));
    if (runs * 4 < std::min(count * 2, kBitsetBytes)) {
      body.push_back(static_cast<char>(kContainerRuns));
      PutFixed<uint16_t>(&body, static_cast<uint16_t>(runs - 1));
      for (size_t i = at; i < end;) {
        size_t j = i + 1;
        while (j < end && members[j] == members[j - 1] + 1) ++j;
        PutFixed<uint16_t>(&body, static_cast<uint16_t>(members[i]));
        PutFixed<uint16_t>(&body, static_cast<uint16_t>(j - i - 1));
        i = j;
      }
    } else if (count * 2 <= kBitsetBytes) {
      body.push_back(static_cast<char>(kContainerArray));
      PutFixed<uint16_t>(&body, static_cast<uint16_t>(count - 1));
      for (size_t i = at; i < end; ++i)
        PutFixed<uint16_t>(&body, static_cast<uint16_t>(members[i]));
    } else {
      body.push_back(static_cast<char>(kContainerBitset));
      PutFixed<uint16_t>(&body, static_cast<uint16_t>(count - 1));
      std::string bits(kBitsetBytes, '\0');
      for (size_t i = at; i < end; ++i) {
        const uint32_t bit = members[i] & 0xffff;
        bits[bit / 8] = static_cast<char>(bits[bit / 8] | 1 << bit % 8);
      }
      body += bits;
    }
    ++containers;
    at = end;
  }
  out->push_back(static_cast<char>(kFormContainers));
  PutVarint(out, containers);
  out->append(body);
}

Result<Postings> Postings::Parse(std::string_view bytes, uint32_t end) {
  ByteReader in(bytes);
  const auto bad = [&](std::string_view what) -> Status {
    return MakeStatus(StatusCode::kDataLoss,
                      Concat("ordinal set: ", what, " at byte ", in.position()));
  };
  const uint8_t form = in.Fixed<uint8_t>();
  if (!in.ok()) return bad("empty");
  if (form == kFormList) {
    const uint64_t count = in.Count();
    if (count > kSerialisedListMax) return bad("list too long");
    std::vector<uint32_t> members;
    members.reserve(count);
    uint64_t next = 0;
    for (uint64_t i = 0; i < count; ++i) {
      const uint64_t gap = in.Varint();
      if (!in.ok() || next >= end || gap >= end - next) return bad("member out of range");
      members.push_back(static_cast<uint32_t>(next + gap));
      next += gap + 1;
    }
    if (!in.ok()) return bad("truncated");
    if (in.left() != 0) return bad("bytes after the end");
    return FromSorted(std::move(members));
  }
  if (form != kFormContainers) return bad("unknown form");
  const uint64_t containers = in.Count(/*item_bytes=*/7);
  if (!in.ok() || containers == 0 || containers > 65536) return bad("container count");
  const std::unique_ptr<roaring_bitmap_t, void (*)(roaring_bitmap_t*)> bitmap(
      roaring_bitmap_create(), [](roaring_bitmap_t* b) { roaring_bitmap_free(b); });
  int64_t key_before = -1;
  std::vector<uint32_t> members;
  for (uint64_t c = 0; c < containers; ++c) {
    const uint32_t key = in.Fixed<uint16_t>();
    const uint8_t kind = in.Fixed<uint8_t>();
    const uint32_t count = uint32_t{in.Fixed<uint16_t>()} + 1;
    if (!in.ok()) return bad("truncated");
    if (key <= key_before) return bad("container keys do not ascend");
    key_before = key;
    const uint32_t high = key << 16;
    uint32_t last = 0;
    if (kind == kContainerRuns) {
      const std::string_view runs = in.Bytes(uint64_t{count} * 4);
      if (!in.ok()) return bad("truncated");
      int64_t previous = -2;
      for (uint32_t i = 0; i < count; ++i) {
        uint16_t start = 0;
        uint16_t more = 0;
        std::memcpy(&start, runs.data() + 4 * i, 2);
        std::memcpy(&more, runs.data() + 4 * i + 2, 2);
        if (start <= previous + 1 || uint32_t{start} + more > 0xffff) return bad("bad run");
        last = uint32_t{start} + more;
        previous = last;
        roaring_bitmap_add_range_closed(bitmap.get(), high | start, high | last);
      }
    } else if (kind == kContainerArray) {
      const std::string_view array = in.Bytes(uint64_t{count} * 2);
      if (!in.ok()) return bad("truncated");
      members.resize(count);
      for (uint32_t i = 0; i < count; ++i) {
        uint16_t low = 0;
        std::memcpy(&low, array.data() + 2 * i, 2);
        if (i > 0 && low <= last) return bad("members do not ascend");
        last = low;
        members[i] = high | low;
      }
      roaring_bitmap_add_many(bitmap.get(), members.size(), members.data());
    } else if (kind == kContainerBitset) {
      const std::string_view bits = in.Bytes(kBitsetBytes);
      if (!in.ok()) return bad("truncated");
      members.clear();
      for (uint32_t w = 0; w < kBitsetBytes / 8; ++w) {
        uint64_t word = 0;
        std::memcpy(&word, bits.data() + size_t{w} * 8, 8);
        for (; word != 0; word &= word - 1) {
          members.push_back(high | (w * 64 + static_cast<uint32_t>(std::countr_zero(word))));
        }
      }
      if (members.size() != count) return bad("bitset does not have its members");
      last = members.back() & 0xffff;
      roaring_bitmap_add_many(bitmap.get(), members.size(), members.data());
    } else {
      return bad("unknown container");
    }
    if ((high | last) >= end) return bad("member out of range");
  }
  if (in.left() != 0) return bad("bytes after the end");
  return Copy(bitmap.get());
}

bool MutablePostings::Add(uint32_t ordinal) {
  if (count_ < kInlineMax) {
    if (count_ == 0) {
      bits_ = ordinal;
    } else if (inline_at(0) == ordinal) {
      return false;
    } else {
      const uint32_t other = inline_at(0);
      bits_ = std::min(other, ordinal) | uint64_t{std::max(other, ordinal)} << 32;
    }
    ++count_;
    return true;
  }
  if (count_ > kListMax) {
    if (!roaring_bitmap_add_checked(bitmap(), ordinal)) return false;
    ++count_;
    return true;
  }
  if (count_ == kInlineMax) {
    if (inline_at(0) == ordinal || inline_at(1) == ordinal) return false;
    auto* members = static_cast<uint32_t*>(std::malloc(4 * sizeof(uint32_t)));
    VARVE_CHECK(members != nullptr);
    members[0] = inline_at(0);
    members[1] = inline_at(1);
    bits_ = reinterpret_cast<uintptr_t>(members);
  }
  uint32_t* members = list();
  uint32_t* place = members + count_;
  if (members[count_ - 1] >= ordinal) {
    place = std::lower_bound(members, members + count_, ordinal);
    if (*place == ordinal) return false;
  }
  const auto at = static_cast<size_t>(place - members);
  if (count_ == kListMax) {
    roaring_bitmap_t* bitmap = roaring_bitmap_of_ptr(count_, members);
    roaring_bitmap_add(bitmap, ordinal);
    std::free(members);
    bits_ = reinterpret_cast<uintptr_t>(bitmap);
    ++count_;
    return true;
  }
  if (count_ >= 4 && std::has_single_bit(count_)) {
    members = static_cast<uint32_t*>(std::realloc(members, 2 * count_ * sizeof(uint32_t)));
    VARVE_CHECK(members != nullptr);
    bits_ = reinterpret_cast<uintptr_t>(members);
  }
  std::memmove(members + at + 1, members + at, (count_ - at) * sizeof(uint32_t));
  members[at] = ordinal;
  ++count_;
  return true;
}

bool MutablePostings::Remove(uint32_t ordinal) {
  if (!Contains(ordinal)) return false;
  if (count_ <= kInlineMax) {
    bits_ = count_ == 2 && inline_at(0) == ordinal ? inline_at(1) : inline_at(0);
    --count_;
    return true;
  }
  if (count_ > kListMax) {
    roaring_bitmap_t* members = bitmap();
    roaring_bitmap_remove(members, ordinal);
    if (--count_ == kListMax) {
      auto* copy = static_cast<uint32_t*>(std::malloc(kListMax * sizeof(uint32_t)));
      VARVE_CHECK(copy != nullptr);
      roaring_bitmap_to_uint32_array(members, copy);
      roaring_bitmap_free(members);
      bits_ = reinterpret_cast<uintptr_t>(copy);
    }
    return true;
  }
  uint32_t* members = list();
  uint32_t* place = std::lower_bound(members, members + count_, ordinal);
  std::memmove(place, place + 1,
               static_cast<size_t>(members + count_ - place - 1) * sizeof(uint32_t));
  --count_;
  if (count_ == kInlineMax) {
    bits_ = members[0] | uint64_t{members[1]} << 32;
    std::free(members);
  } else if (count_ >= 4 && std::has_single_bit(count_)) {
    auto* smaller = static_cast<uint32_t*>(std::realloc(members, count_ * sizeof(uint32_t)));
    VARVE_CHECK(smaller != nullptr);
    bits_ = reinterpret_cast<uintptr_t>(smaller);
  }
  return true;
}

void MutablePostings::Clear() {
  if (count_ > kListMax) {
    roaring_bitmap_free(bitmap());
  } else if (count_ > kInlineMax) {
    std::free(list());
  }
  count_ = 0;
  bits_ = 0;
}

bool MutablePostings::Contains(uint32_t ordinal) const {
  if (count_ > kListMax) return roaring_bitmap_contains(bitmap(), ordinal);
  if (count_ <= kInlineMax) {
    return (count_ > 0 && inline_at(0) == ordinal) || (count_ > 1 && inline_at(1) == ordinal);
  }
  return std::binary_search(list(), list() + count_, ordinal);
}

Postings MutablePostings::Borrow() const {
  if (count_ == 0) return {};
  if (count_ > kListMax) return Postings::Borrow(bitmap());
  if (count_ > kInlineMax) return Postings::Borrow(std::span<const uint32_t>(list(), count_));
  const uint32_t members[2] = {inline_at(0), inline_at(1)};
  return Postings::Borrow(std::span<const uint32_t>(members, count_));
}

size_t MutablePostings::memory_bytes() const {
  if (count_ <= kInlineMax) return 0;
  if (count_ <= kListMax) return std::max<size_t>(4, std::bit_ceil(count_)) * sizeof(uint32_t);
  // Rough, but walking the containers of every pair would make statistics slow.
  return sizeof(roaring_bitmap_t) + roaring_bitmap_size_in_bytes(bitmap());
}

}  // namespace varve::index
