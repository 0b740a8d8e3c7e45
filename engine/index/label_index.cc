#include "engine/index/label_index.h"

#include <zstd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <deque>
#include <utility>

#include "absl/base/call_once.h"
#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "engine/base/coding.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "engine/index/label_index_format.h"
#include "engine/index/select.h"
#include "engine/index/value_scan.h"

namespace varve::index {
namespace {

/// The postings of all values of one label name: made on first use, from the rows.
struct NamePostings {
  enum Kind : uint8_t { kRange, kList, kBitmap };
  struct Entry {
    uint32_t count = 0;
    uint32_t at = 0;  // kRange: first ordinal; kList: into lists; kBitmap: into bitmaps
    Kind kind = kRange;
  };
  std::vector<Entry> entries;  // by value
  std::vector<uint32_t> lists;
  std::vector<Postings> bitmaps;
  Postings all;

  size_t memory_bytes() const {
    size_t bytes = entries.capacity() * sizeof(Entry) + lists.capacity() * sizeof(uint32_t) +
                   bitmaps.capacity() * sizeof(Postings) + all.memory_bytes() + sizeof *this;
    for (const Postings& bitmap : bitmaps) bytes += bitmap.memory_bytes();
    return bytes;
  }
};

/// Remembers what regular expressions selected; forgets the oldest first.
class SetCache {
 public:
  static constexpr size_t kEntriesMax = 128;
  static constexpr size_t kBytesMax = size_t{8} << 20;

  static std::string KeyOf(const CompiledMatcher& matcher) {
    std::string key;
    PutString(&key, matcher.name());
    // =~ and !~ share an entry: what is kept does not depend on the negation.
    key.push_back(matcher.type() == MatchType::kRegex || matcher.type() == MatchType::kNotRegex);
    key.append(matcher.matcher().value);
    return key;
  }
  std::optional<Postings> Find(const std::string& key) const {
    absl::MutexLock lock(&mutex_);
    const auto found = sets_.find(key);
    if (found == sets_.end()) return std::nullopt;
    return found->second;
  }
  void Insert(const std::string& key, const Postings& set) {
    const size_t bytes = CostOf(key, set);
    if (bytes > kBytesMax / 4) return;
    absl::MutexLock lock(&mutex_);
    if (!sets_.emplace(key, set).second) return;
    order_.push_back(key);
    bytes_ += bytes;
    while (order_.size() > kEntriesMax || bytes_ > kBytesMax) {
      const auto oldest = sets_.find(order_.front());
      bytes_ -= CostOf(oldest->first, oldest->second);
      sets_.erase(oldest);
      order_.pop_front();
    }
  }
  size_t memory_bytes() const {
    absl::MutexLock lock(&mutex_);
    return bytes_;
  }

 private:
  static size_t CostOf(const std::string& key, const Postings& set) {
    return 2 * key.size() + 128 + set.memory_bytes();
  }
  mutable absl::Mutex mutex_;
  StringMap<Postings> sets_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::string> order_ ABSL_GUARDED_BY(mutex_);
  size_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

constexpr size_t kRowPadding = 4;

uint32_t LoadBytes(const uint8_t* at, uint8_t bytes) {
  static constexpr uint32_t kMasks[5] = {0, 0xff, 0xffff, 0xffffff, 0xffffffff};
  uint32_t value = 0;
  std::memcpy(&value, at, sizeof value);
  return value & kMasks[bytes];
}
void StoreBytes(uint8_t* at, uint32_t value, uint8_t bytes) {
  for (uint8_t i = 0; i < bytes; ++i) at[i] = static_cast<uint8_t>(value >> 8 * i);
}

}  // namespace

/// Strings: all values in one run of bytes, name by name, sorted; value_at has one more entry
/// than there are values. A value is known by its number among all values, or by its rank within
/// its name (subtract first_value[name]).
///
/// Rows: the shape of a series, then the rank of each of its values, each number in as many bytes
/// as its largest needs.
struct LabelIndexView::State {
  uint32_t series = 0;

  std::string name_bytes;
  std::vector<std::string_view> names;  // sorted
  StringViewMap<uint32_t> name_ids;
  std::vector<uint32_t> first_value;  // names + 1
  std::unique_ptr<char[]> value_bytes;
  std::vector<uint32_t> value_at;    // values + 1
  std::vector<uint8_t> value_width;  // bytes of a rank, by name

  std::vector<uint32_t> shape_begin;   // shapes + 1, into the next two
  std::vector<uint32_t> shape_names;   // ascending within a shape
  std::vector<uint32_t> shape_places;  // of the rank within the row
  uint8_t shape_width = 1;
  std::vector<uint8_t> rows;
  std::vector<uint32_t> row_at;  // by ordinal

  struct Lazy {
    absl::once_flag once;
    std::atomic<bool> ready{false};
    std::atomic<uint64_t> direct_tests{0};
    std::shared_ptr<const NamePostings> postings;
  };
  std::unique_ptr<Lazy[]> lazy;  // by name
  mutable std::atomic<size_t> lazy_bytes{0};
  mutable SetCache cache;

  std::string_view Value(uint32_t number) const {
    return {value_bytes.get() + value_at[number], value_at[number + 1] - value_at[number]};
  }
  const uint8_t* Row(uint32_t ordinal) const { return rows.data() + row_at[ordinal]; }
  uint32_t Shape(const uint8_t* row) const { return LoadBytes(row, shape_width); }

  /// Returns the index into shape_names of `name` within `shape`, or SIZE_MAX.
  size_t PlaceOf(uint32_t shape, uint32_t name) const {
    const auto begin = shape_names.begin() + shape_begin[shape];
    const auto end = shape_names.begin() + shape_begin[shape + 1];
    const auto found = std::lower_bound(begin, end, name);
    if (found == end || *found != name) return SIZE_MAX;
    return static_cast<size_t>(found - shape_names.begin());
  }
  /// Returns the first rank of `name` whose value is not less than `value`.
  uint32_t LowerBound(uint32_t name, std::string_view value) const {
    uint32_t low = first_value[name];
    uint32_t high = first_value[name + 1];
    while (low < high) {
      const uint32_t middle = low + (high - low) / 2;
      if (Value(middle) < value) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low - first_value[name];
  }
  std::optional<uint32_t> FindValue(uint32_t name, std::string_view value) const {
    const uint32_t rank = LowerBound(name, value);
    if (rank == ValueCount(name) || Value(first_value[name] + rank) != value) return std::nullopt;
    return rank;
  }

  const std::shared_ptr<const NamePostings>& PostingsOfName(uint32_t name) const;
  Postings Of(const std::shared_ptr<const NamePostings>& postings, uint32_t rank) const {
    const NamePostings::Entry& entry = postings->entries[rank];
    switch (entry.kind) {
      case NamePostings::kRange:
        return Postings::Range(entry.at, entry.at + entry.count);
      case NamePostings::kBitmap:
        return postings->bitmaps[entry.at];
      case NamePostings::kList:
        break;
    }
    return Postings::Share(
        postings, std::span<const uint32_t>(postings->lists).subspan(entry.at, entry.count));
  }

  // What Selection asks for.
  bool FindName(std::string_view name, uint32_t* id) const {
    const auto found = name_ids.find(name);
    if (found == name_ids.end()) return false;
    *id = found->second;
    return true;
  }
  uint32_t ValueCount(uint32_t name) const { return first_value[name + 1] - first_value[name]; }
  Postings All() const { return Postings::Range(0, series); }
  Postings WithName(uint32_t name) const { return PostingsOfName(name)->all; }
  Postings EqualTo(uint32_t name, std::string_view value) const {
    const std::optional<uint32_t> rank = FindValue(name, value);
    if (!rank) return {};
    return Of(PostingsOfName(name), *rank);
  }
  void AcceptedValues(const CompiledMatcher& matcher, uint32_t name,
                      std::vector<uint32_t>* ranks) const;
  Postings UnionOf(uint32_t name, std::span<const uint32_t> ranks) const;
  std::string_view ValueOf(uint32_t ordinal, uint32_t name) const {
    const uint8_t* row = Row(ordinal);
    const size_t place = PlaceOf(Shape(row), name);
    if (place == SIZE_MAX) return {};
    return Value(first_value[name] + LoadBytes(row + shape_places[place], value_width[name]));
  }
  bool PreferDirect(uint32_t name, size_t candidates) const {
    Lazy& slot = lazy[name];
    if (slot.ready.load(std::memory_order_acquire) || candidates > 4096) return false;
    // Testing a label costs about ten times what a row costs when postings are made.
    const uint64_t tested =
        slot.direct_tests.fetch_add(candidates, std::memory_order_relaxed) + candidates;
    return tested < series / 8;
  }
  std::optional<Postings> Recall(const CompiledMatcher& matcher) const {
    return cache.Find(SetCache::KeyOf(matcher));
  }
  void Remember(const CompiledMatcher& matcher, const Postings& set) const {
    cache.Insert(SetCache::KeyOf(matcher), set);
  }

  std::vector<uint32_t> PairCounts() const;
};

const std::shared_ptr<const NamePostings>& LabelIndexView::State::PostingsOfName(
    uint32_t name) const {
  Lazy& slot = lazy[name];
  absl::call_once(slot.once, [&] {
    auto out = std::make_shared<NamePostings>();
    const size_t shapes = shape_begin.size() - 1;
    std::vector<uint32_t> place_of(shapes, 0);  // 0: the shape lacks the name
    for (uint32_t shape = 0; shape < shapes; ++shape) {
      const size_t place = PlaceOf(shape, name);
      if (place != SIZE_MAX) place_of[shape] = shape_places[place];
    }
    const uint8_t width = value_width[name];
    std::vector<uint32_t> ordinals;
    std::vector<uint32_t> ranks;
    out->entries.resize(ValueCount(name));
    std::vector<uint32_t> last(out->entries.size());
    for (uint32_t ordinal = 0; ordinal < series; ++ordinal) {
      const uint8_t* row = Row(ordinal);
      const uint32_t place = place_of[Shape(row)];
      if (place == 0) continue;
      const uint32_t rank = LoadBytes(row + place, width);
      NamePostings::Entry& entry = out->entries[rank];
      if (entry.count++ == 0) entry.at = ordinal;
      last[rank] = ordinal;
      ordinals.push_back(ordinal);
      ranks.push_back(rank);
    }
    // Ranges are done; the others get room in `lists`, long ones only until they are bitmaps.
    std::vector<uint32_t> large;
    size_t list_room = 0;
    size_t large_room = 0;
    for (uint32_t rank = 0; rank < out->entries.size(); ++rank) {
      NamePostings::Entry& entry = out->entries[rank];
      if (last[rank] - entry.at == entry.count - 1) continue;
      const bool is_large = entry.count > Postings::kListMax;
      entry.kind = is_large ? NamePostings::kBitmap : NamePostings::kList;
      size_t& room = is_large ? large_room : list_room;
      entry.at = static_cast<uint32_t>(room);
      last[rank] = entry.at;  // where the next member goes
      room += entry.count;
    }
    out->lists.resize(list_room);
    large.resize(large_room);
    if (list_room + large_room > 0) {
      for (size_t i = 0; i < ordinals.size(); ++i) {
        const NamePostings::Entry& entry = out->entries[ranks[i]];
        if (entry.kind == NamePostings::kList) out->lists[last[ranks[i]]++] = ordinals[i];
        if (entry.kind == NamePostings::kBitmap) large[last[ranks[i]]++] = ordinals[i];
      }
    }
    for (NamePostings::Entry& entry : out->entries) {
      if (entry.kind != NamePostings::kBitmap) continue;
      const auto begin = large.begin() + entry.at;
      entry.at = static_cast<uint32_t>(out->bitmaps.size());
      out->bitmaps.push_back(Postings::FromUnsorted({begin, begin + entry.count}));
    }
    out->all = Postings::FromUnsorted(std::move(ordinals));
    lazy_bytes += out->memory_bytes();
    slot.postings = std::move(out);
    slot.ready.store(true, std::memory_order_release);
  });
  return slot.postings;
}

void LabelIndexView::State::AcceptedValues(const CompiledMatcher& matcher, uint32_t name,
                                           std::vector<uint32_t>* ranks) const {
  if (const std::vector<std::string>* literals = matcher.literals()) {
    for (const std::string& literal : *literals) {
      if (const std::optional<uint32_t> rank = FindValue(name, literal)) ranks->push_back(*rank);
    }
    return;
  }
  const auto test = [&](uint32_t rank) {
    if (matcher.Accepts(Value(first_value[name] + rank))) ranks->push_back(rank);
  };
  if (const std::span<const std::string> prefixes = matcher.prefixes(); !prefixes.empty()) {
    for (const std::string& prefix : prefixes) {
      for (uint32_t rank = LowerBound(name, prefix); rank < ValueCount(name); ++rank) {
        if (!Value(first_value[name] + rank).starts_with(prefix)) break;
        test(rank);
      }
    }
    return;
  }
  if (const std::string_view needle = matcher.needle(); !needle.empty()) {
    const std::span<const uint32_t> at =
        std::span(value_at).subspan(first_value[name], ValueCount(name) + 1);
    if (matcher.needle_suffices()) {
      FindStringsWith(value_bytes.get(), at, needle,
                      [&](uint32_t rank) { ranks->push_back(rank); });
    } else {
      FindStringsWith(value_bytes.get(), at, needle, test);
    }
    return;
  }
  for (uint32_t rank = 0; rank < ValueCount(name); ++rank) test(rank);
}

Postings LabelIndexView::State::UnionOf(uint32_t name, std::span<const uint32_t> ranks) const {
  if (ranks.empty()) return {};
  const std::shared_ptr<const NamePostings>& postings = PostingsOfName(name);
  if (ranks.size() == ValueCount(name)) return postings->all;
  PostingsUnion all;
  for (const uint32_t rank : ranks) {
    const NamePostings::Entry& entry = postings->entries[rank];
    if (entry.kind == NamePostings::kList) {
      all.Add(std::span<const uint32_t>(postings->lists).subspan(entry.at, entry.count));
    } else if (entry.count == 1) {
      all.Add(entry.at);
    } else {
      all.Add(Of(postings, rank));
    }
  }
  return all.Finish();
}

std::vector<uint32_t> LabelIndexView::State::PairCounts() const {
  std::vector<uint32_t> counts(value_at.size() - 1);
  for (uint32_t ordinal = 0; ordinal < series; ++ordinal) {
    const uint8_t* row = Row(ordinal);
    const uint32_t shape = Shape(row);
    for (uint32_t i = shape_begin[shape]; i < shape_begin[shape + 1]; ++i) {
      const uint32_t name = shape_names[i];
      ++counts[first_value[name] + LoadBytes(row + shape_places[i], value_width[name])];
    }
  }
  return counts;
}

namespace {

/// Reads the serialised form, which may be any bytes, into a State.
class Opener {
 public:
  using State = LabelIndexView::State;
  Opener(std::string_view bytes, std::string_view file, uint64_t offset)
      : bytes_(bytes), file_(file), offset_(offset) {}

  Result<std::unique_ptr<State>> Run() {
    auto state = std::make_unique<State>();
    VARVE_RETURN_IF_ERROR(ReadStreams(state.get()));
    VARVE_RETURN_IF_ERROR(ReadNames(state.get()));
    VARVE_RETURN_IF_ERROR(ReadValues(state.get()));
    VARVE_RETURN_IF_ERROR(ReadShapes(state.get()));
    VARVE_RETURN_IF_ERROR(ReadRows(state.get()));
    state->lazy = std::make_unique<State::Lazy[]>(names_);
    return state;
  }

 private:
  Status Bad(uint64_t position, std::string_view what) const {
    return DataLossError(file_, offset_ + position, Concat("label index: ", what));
  }
  /// Names the stream by where its stored bytes begin: positions inside a compressed one say
  /// nothing about the file.
  Status BadIn(Stream stream, std::string_view what) const { return Bad(stream_at_[stream], what); }

  Status ReadStreams(State* state) {
    ByteReader in(bytes_);
    if (in.Fixed<uint32_t>() != kLabelIndexMagic || !in.ok()) return Bad(0, "bad magic");
    const uint64_t series = in.Varint();
    names_ = in.Varint();
    shapes_ = in.Varint();
    values_ = in.Varint();
    if (!in.ok()) return Bad(in.position(), "truncated header");
    if (series > kSeriesMax || names_ > kLabelNamesMax || shapes_ > series ||
        values_ > kLabelIndexBytesMax / 4) {
      return Bad(4, "impossible counts");
    }
    state->series = static_cast<uint32_t>(series);
    uint64_t expanded = 0;
    for (size_t i = 0; i < kStreamCount; ++i) {
      const uint8_t codec = in.Fixed<uint8_t>();
      const uint64_t raw_bytes = in.Varint();
      const uint64_t stored_bytes = in.Varint();
      stream_at_[i] = in.position();
      const std::string_view stored = in.Bytes(stored_bytes);
      if (!in.ok()) return Bad(stream_at_[i], "truncated stream");
      if (raw_bytes > ExpansionMax(bytes_.size()) - expanded) {
        return Bad(stream_at_[i], "stream expands too far");
      }
      expanded += raw_bytes;
      if (codec == static_cast<uint8_t>(StreamCodec::kRaw)) {
        if (raw_bytes != stored_bytes) return Bad(stream_at_[i], "raw stream of two sizes");
        streams_[i] = stored;
      } else if (codec == static_cast<uint8_t>(StreamCodec::kZstd)) {
        if (ZSTD_getFrameContentSize(stored.data(), stored.size()) != raw_bytes) {
          return Bad(stream_at_[i], "compressed stream has another size");
        }
        expanded_[i] = std::make_unique_for_overwrite<char[]>(raw_bytes);
        const size_t got =
            ZSTD_decompress(expanded_[i].get(), raw_bytes, stored.data(), stored.size());
        if (ZSTD_isError(got) || got != raw_bytes) {
          return Bad(stream_at_[i], "compressed stream is damaged");
        }
        streams_[i] = {expanded_[i].get(), raw_bytes};
      } else {
        return Bad(stream_at_[i], "unknown codec");
      }
    }
    if (in.left() != 0) return Bad(in.position(), "bytes after the end");
    // Each thing takes at least this many bytes of its stream: bounds the allocations below.
    if (names_ > streams_[kStreamNames].size() / 4 || shapes_ > streams_[kStreamShapes].size() ||
        values_ > streams_[kStreamValueLengths].size() / 2 ||
        series > streams_[kStreamSeriesShapes].size()) {
      return Bad(4, "counts exceed the streams");
    }
    return absl::OkStatus();
  }

  Status ReadNames(State* state) {
    const Stream stream = kStreamNames;
    ByteReader in(streams_[stream]);
    state->name_bytes = std::string(streams_[stream]);
    state->names.reserve(names_);
    state->first_value.reserve(names_ + 1);
    state->first_value.push_back(0);
    uint64_t values = 0;
    uint64_t column_bytes = 0;
    for (uint64_t i = 0; i < names_; ++i) {
      const uint64_t size = in.Varint();
      const size_t at = in.position();
      in.Bytes(size);
      const uint64_t count = in.Varint();
      const uint64_t bytes = in.Varint();
      if (!in.ok()) return BadIn(stream, "truncated name");
      const std::string_view name = std::string_view(state->name_bytes).substr(at, size);
      if (name.empty() || (i > 0 && state->names.back() >= name)) {
        return BadIn(stream, "names do not ascend");
      }
      if (count == 0 || count > values_ - values) return BadIn(stream, "bad number of values");
      if (bytes == 0 || bytes > streams_[kStreamColumns].size() - column_bytes) {
        return BadIn(stream, "bad size of a column");
      }
      values += count;
      columns_.emplace_back(streams_[kStreamColumns].substr(column_bytes, bytes));
      column_bytes += bytes;
      state->names.push_back(name);
      state->name_ids.emplace(name, static_cast<uint32_t>(i));
      state->first_value.push_back(static_cast<uint32_t>(values));
      state->value_width.push_back(BytesFor(count));
    }
    if (in.left() != 0 || values != values_ || column_bytes != streams_[kStreamColumns].size()) {
      return BadIn(stream, "names do not cover values and columns");
    }
    return absl::OkStatus();
  }

  Status ReadValues(State* state) {
    const Stream stream = kStreamValueLengths;
    const std::string_view own_bytes = streams_[kStreamValueBytes];
    // First the lengths, so that the strings get exactly their room.
    state->value_at.resize(values_ + 1);
    ByteReader lengths(streams_[stream]);
    const uint64_t bytes_max = std::min<uint64_t>(ExpansionMax(bytes_.size()), UINT32_MAX);
    uint64_t total = 0;
    for (uint64_t i = 0; i < values_; ++i) {
      state->value_at[i] = static_cast<uint32_t>(total);
      const uint64_t shared = lengths.Varint();
      const uint64_t own = lengths.Varint();
      if (!lengths.ok() || shared > bytes_max || own > own_bytes.size() ||
          shared + own > bytes_max - total) {
        return BadIn(stream, "values are too long");
      }
      total += shared + own;
    }
    state->value_at[values_] = static_cast<uint32_t>(total);
    if (lengths.left() != 0) return BadIn(stream, "lengths after the last value");
    state->value_bytes = std::make_unique_for_overwrite<char[]>(total + kScanPadding);
    char* const bytes = state->value_bytes.get();
    std::memset(bytes + total, 0, kScanPadding);
    lengths = ByteReader(streams_[stream]);
    size_t used = 0;
    uint32_t value = 0;
    for (uint32_t name = 0; name < names_; ++name) {
      std::string_view before;
      for (; value < state->first_value[name + 1]; ++value) {
        const uint64_t shared = lengths.Varint();
        const uint64_t own = lengths.Varint();
        if (shared > before.size() || own == 0 || own > own_bytes.size() - used) {
          return BadIn(stream, "bad shared length");
        }
        char* const out = bytes + state->value_at[value];
        std::copy_n(before.data(), shared, out);
        std::copy_n(own_bytes.data() + used, own, out + shared);
        used += own;
        // Ascending from where the two may differ: what is shared is equal.
        const std::string_view text(out, shared + own);
        if (!before.empty() && text.substr(shared) <= before.substr(shared)) {
          return BadIn(kStreamValueBytes, "values do not ascend");
        }
        before = text;
      }
    }
    if (used != own_bytes.size()) return BadIn(kStreamValueBytes, "bytes after the last value");
    return absl::OkStatus();
  }

  Status ReadShapes(State* state) {
    const Stream stream = kStreamShapes;
    ByteReader in(streams_[stream]);
    state->shape_width = BytesFor(shapes_);
    state->shape_begin.reserve(shapes_ + 1);
    state->shape_begin.push_back(0);
    for (uint64_t shape = 0; shape < shapes_; ++shape) {
      const uint64_t count = in.Count();
      if (!in.ok() || count > kLabelsPerSeriesMax) return BadIn(stream, "shape too long");
      uint64_t next = 0;
      uint32_t place = state->shape_width;
      for (uint64_t i = 0; i < count; ++i) {
        const uint64_t gap = in.Varint();
        if (!in.ok() || next >= names_ || gap >= names_ - next) {
          return BadIn(stream, "shape names an unknown label");
        }
        const auto name = static_cast<uint32_t>(next + gap);
        state->shape_names.push_back(name);
        state->shape_places.push_back(place);
        place += state->value_width[name];
        next = uint64_t{name} + 1;
      }
      state->shape_begin.push_back(static_cast<uint32_t>(state->shape_names.size()));
      row_bytes_.push_back(place);
    }
    if (in.left() != 0) return BadIn(stream, "bytes after the last shape");
    return absl::OkStatus();
  }

  Status ReadRows(State* state) {
    const Stream stream = kStreamSeriesShapes;
    // Two passes: shapes give each row its place, then the columns fill them.
    ByteReader in(streams_[stream]);
    state->row_at.reserve(state->series);
    uint64_t total = 0;
    uint64_t labels = 0;
    uint64_t shapes_seen = 0;
    for (uint32_t ordinal = 0; ordinal < state->series; ++ordinal) {
      const uint64_t shape = in.Varint();
      // Shapes are numbered as they appear, so all are used.
      if (!in.ok() || shape >= shapes_ || shape > shapes_seen) {
        return BadIn(stream, "series of an unknown shape");
      }
      shapes_seen += shape == shapes_seen ? 1 : 0;
      state->row_at.push_back(static_cast<uint32_t>(total));
      total += row_bytes_[shape];
      labels += state->shape_begin[shape + 1] - state->shape_begin[shape];
      // A label takes a byte of the columns at least: checked before the rows are allocated.
      if (total > UINT32_MAX || labels > streams_[kStreamColumns].size()) {
        return BadIn(stream, "rows are too long");
      }
    }
    if (in.left() != 0 || shapes_seen != shapes_) return BadIn(stream, "shapes are left over");
    state->rows.resize(total + kRowPadding);
    std::vector<ByteReader> columns;
    columns.reserve(columns_.size());
    for (const std::string_view column : columns_) columns.emplace_back(column);
    std::vector<uint32_t> column_last(names_, 0);
    std::vector<bool> used(values_);
    in = ByteReader(streams_[stream]);
    std::vector<uint32_t> ranks;
    std::vector<uint32_t> before;
    uint64_t shape_before = 0;
    for (uint32_t ordinal = 0; ordinal < state->series; ++ordinal) {
      const uint64_t shape = in.Varint();
      uint8_t* row = state->rows.data() + state->row_at[ordinal];
      StoreBytes(row, static_cast<uint32_t>(shape), state->shape_width);
      const uint32_t begin = state->shape_begin[shape];
      const uint32_t count = state->shape_begin[shape + 1] - begin;
      ranks.resize(count);
      for (uint32_t i = 0; i < count; ++i) {
        const uint32_t name = state->shape_names[begin + i];
        const int64_t rank = WrapAdd(column_last[name], columns[name].Signed());
        if (!columns[name].ok() || rank < 0 || rank >= state->ValueCount(name)) {
          return BadIn(kStreamColumns, "value out of range");
        }
        ranks[i] = static_cast<uint32_t>(rank);
        column_last[name] = ranks[i];
        used[state->first_value[name] + ranks[i]] = true;
        StoreBytes(row + state->shape_places[begin + i], ranks[i], state->value_width[name]);
      }
      if (ordinal > 0) {
        const uint32_t* names_a = state->shape_names.data() + state->shape_begin[shape_before];
        const uint32_t* names_b = state->shape_names.data() + begin;
        const size_t shared = std::min(before.size(), ranks.size());
        size_t i = 0;
        while (i < shared && names_a[i] == names_b[i] && before[i] == ranks[i]) ++i;
        const bool ascends = i == shared                ? before.size() < ranks.size()
                             : names_a[i] == names_b[i] ? before[i] < ranks[i]
                                                        : names_a[i] < names_b[i];
        if (!ascends) return BadIn(kStreamColumns, "series do not ascend");
      }
      std::swap(before, ranks);
      shape_before = shape;
    }
    for (const ByteReader& column : columns) {
      if (column.left() != 0) return BadIn(kStreamColumns, "values are left over");
    }
    if (std::find(used.begin(), used.end(), false) != used.end()) {
      return BadIn(kStreamColumns, "a value has no series");
    }
    return absl::OkStatus();
  }

  std::string_view bytes_;
  std::string_view file_;
  uint64_t offset_;
  uint64_t names_ = 0;
  uint64_t shapes_ = 0;
  uint64_t values_ = 0;
  std::array<uint64_t, kStreamCount> stream_at_ = {};
  std::array<std::string_view, kStreamCount> streams_;
  std::array<std::unique_ptr<char[]>, kStreamCount> expanded_;
  std::vector<std::string_view> columns_;
  std::vector<uint32_t> row_bytes_;  // by shape
};

}  // namespace

LabelIndexView::LabelIndexView(std::unique_ptr<State> state) : state_(std::move(state)) {}
LabelIndexView::~LabelIndexView() = default;

Result<std::unique_ptr<LabelIndexView>> LabelIndexView::Open(std::string_view bytes,
                                                             std::string_view file,
                                                             uint64_t offset) {
  VARVE_ASSIGN_OR_RETURN(std::unique_ptr<State> state, Opener(bytes, file, offset).Run());
  return std::unique_ptr<LabelIndexView>(new LabelIndexView(std::move(state)));
}

uint32_t LabelIndexView::size() const { return state_->series; }

void LabelIndexView::GetLabels(uint32_t ordinal, std::vector<LabelView>* out) const {
  const State& s = *state_;
  const uint8_t* row = s.Row(ordinal);
  const uint32_t shape = s.Shape(row);
  const uint32_t begin = s.shape_begin[shape];
  const uint32_t count = s.shape_begin[shape + 1] - begin;
  out->resize(count);
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t name = s.shape_names[begin + i];
    const uint32_t rank = LoadBytes(row + s.shape_places[begin + i], s.value_width[name]);
    (*out)[i] = {s.names[name], s.Value(s.first_value[name] + rank)};
  }
}

std::string_view LabelIndexView::GetLabel(uint32_t ordinal, std::string_view name) const {
  uint32_t id = 0;
  if (!state_->FindName(name, &id)) return {};
  return state_->ValueOf(ordinal, id);
}

std::optional<uint32_t> LabelIndexView::Find(LabelsView labels) const {
  const State& s = *state_;
  std::vector<std::pair<uint32_t, uint32_t>> wanted;  // name, rank
  for (const LabelView& label : labels) {
    uint32_t name = 0;
    if (!s.FindName(label.name, &name)) return std::nullopt;
    const std::optional<uint32_t> rank = s.FindValue(name, label.value);
    if (!rank) return std::nullopt;
    wanted.emplace_back(name, *rank);
  }
  // Ranks order as the strings do, so comparing numbers is comparing labels.
  const auto compare = [&](uint32_t ordinal) -> std::strong_ordering {
    const uint8_t* row = s.Row(ordinal);
    const uint32_t shape = s.Shape(row);
    const uint32_t begin = s.shape_begin[shape];
    const size_t count = s.shape_begin[shape + 1] - begin;
    for (size_t i = 0; i < std::min(count, wanted.size()); ++i) {
      const uint32_t name = s.shape_names[begin + i];
      const uint32_t rank = LoadBytes(row + s.shape_places[begin + i], s.value_width[name]);
      if (const auto order = std::pair(name, rank) <=> wanted[i]; order != 0) return order;
    }
    return count <=> wanted.size();
  };
  uint32_t low = 0;
  uint32_t high = s.series;
  while (low < high) {
    const uint32_t middle = low + (high - low) / 2;
    const std::strong_ordering order = compare(middle);
    if (order == 0) return middle;
    if (order < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return std::nullopt;
}

Postings LabelIndexView::Select(std::span<const CompiledMatcher> matchers) const {
  return Selection<State>(*state_).Run(matchers);
}

Postings LabelIndexView::SeriesOf(std::string_view name, std::string_view value) const {
  uint32_t id = 0;
  if (!state_->FindName(name, &id)) return {};
  return state_->EqualTo(id, value);
}

bool LabelIndexView::Contains(std::string_view name, std::string_view value) const {
  uint32_t id = 0;
  return state_->FindName(name, &id) && state_->FindValue(id, value).has_value();
}

LabelStrings LabelIndexView::LabelNames(const Postings* within, size_t limit) const {
  const State& s = *state_;
  LabelStrings out;
  std::vector<bool> has_name(s.names.size(), within == nullptr);
  if (within != nullptr) {
    std::vector<bool> seen(s.shape_begin.size() - 1);
    within->ForEach([&](uint32_t ordinal) {
      const uint32_t shape = s.Shape(s.Row(ordinal));
      if (seen[shape]) return;
      seen[shape] = true;
      for (uint32_t i = s.shape_begin[shape]; i < s.shape_begin[shape + 1]; ++i) {
        has_name[s.shape_names[i]] = true;
      }
    });
  }
  for (uint32_t name = 0; name < s.names.size(); ++name) {
    if (!has_name[name]) continue;
    if (limit != 0 && out.values.size() == limit) {
      out.truncated = true;
      break;
    }
    out.values.push_back(s.names[name]);
  }
  return out;
}

LabelStrings LabelIndexView::LabelValues(std::string_view name, const Postings* within,
                                         size_t limit) const {
  const State& s = *state_;
  LabelStrings out;
  uint32_t id = 0;
  if (!s.FindName(name, &id)) return out;
  const uint32_t count = s.ValueCount(id);
  /// Returns false when the limit is reached.
  const auto add = [&](uint32_t rank) {
    if (limit != 0 && out.values.size() == limit) {
      out.truncated = true;
      return false;
    }
    out.values.push_back(s.Value(s.first_value[id] + rank));
    return true;
  };
  if (within == nullptr) {
    for (uint32_t rank = 0; rank < count && add(rank); ++rank) {
    }
    return out;
  }
  // Either walk the series or ask each value for a common one, whichever is fewer.
  if (within->size() / 8 <= count || within->size() <= 1024) {
    std::vector<bool> seen(count);
    within->ForEach([&](uint32_t ordinal) {
      const uint8_t* row = s.Row(ordinal);
      const size_t place = s.PlaceOf(s.Shape(row), id);
      if (place != SIZE_MAX) seen[LoadBytes(row + s.shape_places[place], s.value_width[id])] = true;
    });
    for (uint32_t rank = 0; rank < count; ++rank) {
      if (seen[rank] && !add(rank)) break;
    }
    return out;
  }
  const std::shared_ptr<const NamePostings>& postings = s.PostingsOfName(id);
  for (uint32_t rank = 0; rank < count; ++rank) {
    if (Intersects(*within, s.Of(postings, rank)) && !add(rank)) break;
  }
  return out;
}

Cardinality LabelIndexView::CardinalityStats(size_t top) const {
  const State& s = *state_;
  const std::vector<uint32_t> counts = s.PairCounts();
  CardinalityCounter counter(top);
  for (uint32_t name = 0; name < s.names.size(); ++name) {
    counter.BeginName(s.names[name]);
    for (uint32_t value = s.first_value[name]; value < s.first_value[name + 1]; ++value) {
      counter.AddValue(s.Value(value), counts[value]);
    }
  }
  return counter.Finish(s.series);
}

size_t LabelIndexView::memory_bytes() const {
  const State& s = *state_;
  return sizeof s + s.name_bytes.capacity() +
         s.names.capacity() * (2 * sizeof(std::string_view) + 8 + sizeof(State::Lazy)) +
         (s.value_at.back() + kScanPadding) + s.value_at.capacity() * sizeof(uint32_t) +
         (s.first_value.capacity() + s.shape_begin.capacity() + s.shape_names.capacity() +
          s.shape_places.capacity() + s.row_at.capacity()) *
             sizeof(uint32_t) +
         s.value_width.capacity() + s.rows.capacity() + s.lazy_bytes.load() +
         s.cache.memory_bytes();
}

}  // namespace varve::index
